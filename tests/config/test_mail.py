import pytest

from config.services.service_urls import mail_settings


def test_without_a_server_mail_is_kept_in_files_that_only_the_installation_reads(tmp_path):
    found = mail_settings("", tmp_path)
    assert found["EMAIL_BACKEND"].endswith("filebased.EmailBackend")
    assert found["EMAIL_FILE_PATH"] == str(tmp_path / "mail")


def test_a_mail_url_names_server_account_and_encryption(tmp_path):
    found = mail_settings("smtp://me%40x:p%3Aw@mail.example:587?tls=starttls", tmp_path)
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == ("mail.example", 587)
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("me@x", "p:w")
    assert (found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (True, False)
    assert mail_settings("smtps://mail.example", tmp_path)["EMAIL_PORT"] == 465


@pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://mail.example?tls=maybe"])
def test_a_mail_url_that_cannot_be_meant_is_refused_in_words(url, tmp_path):
    with pytest.raises(ValueError, match="smtp"):
        mail_settings(url, tmp_path)
