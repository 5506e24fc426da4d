"""find_secrets() and mask(): what is a secret, what is not, and that no masked text holds one."""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.changes.masking import find_secrets, mask

KEY = b"k" * 32
LETTERS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF" * 4
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n  q83vEjRWeJq83vEj\n-----END RSA PRIVATE KEY-----"

SECRETS = {
    # text: the secret in it
    "id = AKIA" + "ABCDEFGH2345WXYZ": "AKIA" + "ABCDEFGH2345WXYZ",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzKE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzKE",
    "git clone with ghp_" + LETTERS[:36]: "ghp_" + LETTERS[:36],
    "x: github_pat_" + LETTERS[:40]: "github_pat_" + LETTERS[:40],
    "CI=glpat-" + LETTERS[:20]: "glpat-" + LETTERS[:20],
    "xoxb-" + "123456789012-" + LETTERS[:24]: "xoxb-" + "123456789012-" + LETTERS[:24],
    "https://hooks.slack.com/services/" + "T0AB12CD3/B0AB12CD3/" + LETTERS[:24]: "T0AB12CD3/B0AB12CD3/" + LETTERS[:24],
    "stripe: sk_live_" + LETTERS[:24]: "sk_live_" + LETTERS[:24],
    f"Cookie: {JWT}": JWT,
    "postgres://app:s3cr3t!pw@db:5432/x": "s3cr3t!pw",
    "amqp://guest:rabbit@mq//": "rabbit",
    "redis://:hunter22@cache:6379/0": "hunter22",
    "curl -H 'Authorization: Bearer abcdef0123456789abcdef'": "abcdef0123456789abcdef",
    "password: hunter2": "hunter2",
    "password=Tr0ub4dor&3": "Tr0ub4dor&3",
    'DB_PASSWORD="swordfish"': "swordfish",
    "  'db_password' => 'swordfish',": "swordfish",
    '{"clientSecret": "q1w2e3r4t5y6"}': "q1w2e3r4t5y6",
    '{"api_key":"0f1e2d3c4b5a69788796"}': "0f1e2d3c4b5a69788796",
    "export API_TOKEN=0f1e2d3c4b5a69788796": "0f1e2d3c4b5a69788796",
    "SECRET_KEY = b'django-insecure-9$k#2l'": "django-insecure-9$k#2l",
    "session.auth_token := 'a8f5f167f44f4964e6c998dee827110c'": "a8f5f167f44f4964e6c998dee827110c",
    "https://api.test/x?token=a8f5f167f44f4964&limit=5": "a8f5f167f44f4964",
    "spring.datasource.password=S3cure-Pass": "S3cure-Pass",
    "password_prod: 9fj2kd0s": "9fj2kd0s",
    "<connection><password>sw0rdfish</password></connection>": "sw0rdfish",
    "conf(password=hunter2)": "hunter2",
    "passphrase = 'correct horse battery staple'": "correct horse battery staple",
    "os.environ['API_KEY'] = 'a8f5f167f44f4964'": "a8f5f167f44f4964",
    "access_key: c2VjcmV0LXZhbHVlLTEyMw==": "c2VjcmV0LXZhbHVlLTEyMw==",
}
CLEAN = [
    "password:",
    "password: ''",
    'password = ""',
    "password: ${DB_PASSWORD}",
    "password: $DB_PASSWORD",
    "password: {{secret:db}}",
    "password: {{ vault_password }}",
    "password: <your password>",
    "password: changeme",
    "password: CHANGE_ME",
    "token: xxxxxxxxxxxx",
    "secret: ********",
    "api_key: your-api-key-here",
    "password: null",
    "password = None",
    "password: str",
    "password: str | None = None",
    "token: Optional[str] = None",
    "secret: bytes",
    "password = getpass.getpass()",
    "password = os.environ['DB_PASSWORD']",
    "token = request.token",
    "token = get_token(x)",
    "const token = await fetchToken()",
    "password = config.db.password",
    "token == 'abcdef123456'",
    "if token != expected:",
    "password_file: /run/secrets/db",
    "password: /run/secrets/db_password",
    "secretName: db-credentials-v2",
    "secret: db-credentials",
    "max_tokens: 4096",
    "token_ttl: 3600",
    "tokenizer: cl100k_base",
    "secret_id: 1234567890ab",
    "password_min_length: 12",
    "passwordless: true1234",
    "public_key: MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
    "https://example.org:8080/a@b",
    "https://user@example.org/",
    "postgres://app:${PGPASSWORD}@db/x",
    "postgres://app:password@db/x",
    "postgres://user:<password>@host/db",
    "redis://cache:6379/0",
    "AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ me",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "class: sk-loading-indicator-wrapper-box",
    "01a1fc5e-a644-7211-94a9-16c140388bfd",
    '"password": "Password"',
    "label: Forgot your password?",
    "Authorization: Bearer <token>",
    "password: !vault |",
    "password: ENC[AES256_GCM,data:abc]",
    "token: &anchor",
    "password: *default",
    "token: |",
    "password: >-",
    "secret: vault:secret/data/app#token",
    "password: ref+vault://x",
    "secretKeyRef: {name: db, key: password}",
    "key: password\nname: db-main-1",
    "api_key = %(api_key)s",
    "password: %DB_PASSWORD%",
    "password: ⟦secret:0a1b2c3d⟧",
    "secret: arn:aws:secretsmanager:eu-west-1:1:secret:x",
    "token: string",
    "token-type: access",
    "csrf_token(request)",
    "password: required",
    "kubectl create secret generic x",
    "password: true",
    "token=...",
    "import token",
    "secret::Key",
    "def as_uri(self, include_password=False):",
    "def f(token: _TokenType) -> str:",
    "key(credential=credential_,",
    "redis://[[username]:[password]]@localhost:6379/0",
    "private_key = $dir/private/cakey.pem",
    "secret = $insta::secret",
    'RESET_TOKEN = "_password_reset_token"',
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_found_where_it_is_and_covered(text):
    secret = SECRETS[text]
    found = find_secrets(f"first: line\n{text}\nlast: line\n")
    assert [(f.line, f.column) for f in found] == [(2, text.index(secret) + 1)]
    assert secret not in found[0].excerpt_masked and "•" in found[0].excerpt_masked
    masked = mask(text, KEY)
    assert secret not in masked and masked.count("⟦secret:") == 1
    before, after = text.split(secret, 1)
    assert masked.startswith(before) and masked.endswith(after)


@pytest.mark.parametrize("text", CLEAN)
def test_what_only_looks_like_a_secret_is_left_alone(text):
    assert find_secrets(text) == []
    assert mask(text, KEY) == text


def test_a_private_key_is_masked_line_by_line_so_that_line_numbers_stay():
    text = f"a: 1\nkey: |\n{PEM}\nb: 2\n"
    masked = mask(text, KEY)
    assert "MII" not in masked and "q83" not in masked
    assert masked.count("\n") == text.count("\n") and masked.endswith("-----END RSA PRIVATE KEY-----\nb: 2\n")
    assert [(f.kind, f.line, f.column) for f in find_secrets(text)] == [("private key", 4, 1), ("private key", 5, 3)]


def test_a_private_key_without_an_end_is_masked_to_the_end():
    assert "MII" not in mask(PEM.split("\n-----END")[0], KEY)


def test_equal_secrets_have_equal_fingerprints_and_others_differ():
    a, b, c = (mask(f"password: {value}", KEY) for value in ("hunter2x", "hunter2x", "hunter3x"))
    assert a == b != c
    assert mask("password: hunter2x", b"another key") != a


def test_masking_twice_is_masking_once():
    for text in SECRETS:
        once = mask(text, KEY)
        assert mask(once, KEY) == once


@given(st.lists(st.sampled_from([*SECRETS, *CLEAN])))
def test_among_other_lines_the_same_secrets_are_found(texts):
    text = "\n\n".join(texts)
    expected = [SECRETS[t] for t in texts if t in SECRETS]
    masked = mask(text, KEY)
    assert len(find_secrets(text)) == len(expected) == masked.count("⟦secret:") - text.count("⟦secret:")


@given(st.text())
def test_any_text_is_survived_and_its_lines_kept(text):
    assert mask(text, KEY).count("\n") == text.count("\n")
    assert all(f.line >= 1 and f.column >= 1 for f in find_secrets(text))


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "password",
        "password:",
        "password=''",
        "eyJ",
        "eyJaaaaaaaaa.",
        "://",
        "a://b:",
        "-----BEGIN PRIVATE KEY-----\n",
        "sk-",
        "token = ",
        "xoxb-",
        "<password>",
        "://:@",
        "\n",
        'secret: "',
        "authorization: bearer ",
    ],
)
def test_a_megabyte_of_anything_is_scanned_in_seconds(unit):
    text = unit * (500_000 // len(unit))
    started = time.process_time()
    mask(text, KEY)
    assert time.process_time() - started < 4


def test_ordinary_prose_and_code_hold_no_secrets():
    assert find_secrets(string.printable * 3) == []
