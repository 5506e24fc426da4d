"""What we write is what every browser reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.api import events
from tests.support.event_stream import EventStream
from tests.support.vectors import vectors

CASES = json.loads((vectors("sse-wpt") / "cases.json").read_text())
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\x00\ufeff: "))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_our_reader_reads_as_browsers_do(case, piece):
    stream, data = EventStream(), case["stream"].encode()
    for start in range(0, len(data), piece):
        stream.feed(data[start : start + piece])
    stream.feed(b"", final=True)
    found = [{"type": e.type, "data": e.data, "lastEventId": e.id} for e in stream.events]
    assert [{k: f[k] for k in wanted} for f, wanted in zip(found, case["events"], strict=True)] == case["events"]


@given(data=TEXT, event=TEXT, id=st.integers(0, 2**53))
def test_any_text_comes_back_with_its_line_ends_as_line_feeds(data, event, id):
    stream = EventStream()
    stream.feed(
        events.retry_frame(1000)
        + events.HEARTBEAT
        + events.event_frame(data, id=id, event=event)
        + events.event_frame("next", id=id + 1)
    )
    first, second = stream.events
    assert first.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert (first.id, second.id, second.data, stream.retry) == (str(id), str(id + 1), "next", 1000)


@given(value=st.recursive(st.none() | st.booleans() | TEXT, lambda x: st.lists(x) | st.dictionaries(TEXT, x)))
def test_an_event_as_json_is_one_line_and_comes_back_exactly(value):
    stream = EventStream()
    stream.feed(events.event_frame(json.dumps(value, ensure_ascii=False), id=1))
    assert json.loads(stream.events[0].data) == value


@pytest.mark.parametrize(
    ("header", "seq"),
    [
        ("17", 17),
        (" 17 ", 17),
        ("", None),
        (None, None),
        ("x", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 30, None),
    ],
)
def test_a_last_event_id_that_is_not_ours_starts_from_the_beginning(header, seq):
    assert events.last_event_id(header) == seq
