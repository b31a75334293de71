"""Whatever JSON is read as a document: its values are those of JSON; whatever bytes: a fault at worst."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentkernel.syscalls.document import Document, Fault

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=9), values, max_size=4), st.booleans(), st.none() | st.just("\t"))
def test_json_is_read_as_it_is(value: dict[str, object], ascii_only: bool, indent: str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert Document(text.encode()).value == value


@given(st.binary(max_size=50) | st.text("{}[]:,-?&*!|>'\"%@#~<=0 1a\n\t", max_size=50).map(str.encode))
@example(b"\xef\xbb\xbfa: 1")
@example(b"&a [*a]")
@example(b"<<: {a: 1}")
def test_any_bytes_are_a_document_or_a_fault_with_a_line_of_it(data: bytes) -> None:
    fault = None
    try:
        Document(data)
    except Fault as raised:
        fault = raised
    assert fault is None or 1 <= fault.line <= data.count(b"\n") + 2


@pytest.mark.parametrize(
    "number", ["0123", "1_000", "0x10", "1:30", ".inf", ".nan", "2026-01-01", "yes", "="]
)
def test_what_is_no_json_value_is_text(number: str) -> None:
    assert Document(f"a: {number}".encode()).value == {"a": number}
