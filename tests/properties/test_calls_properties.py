"""Whatever a model puts out: the same calls however it is cut, and their arguments byte for byte."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.calls import SYNTAXES, Call, Detector, Found

FRAGMENTS = [
    "TOOL:", "calc", "TOOL:ls {}", " ", "\n", "{", "}", "[", "]", '"', "'", "\\", ":", ",", "1", "|", "a",
    '{"a": "]]"}', '{"name": "ls", "arguments": {}}', "[[", "]]", "[[CALC: ", "[[PYTHON:", "[[SHELL: ", "```",
    "`", "~~~", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "ü", "😀",
]  # fmt: skip
pieces = st.one_of(st.sampled_from(FRAGMENTS).map(str.encode), st.binary(max_size=3))
outputs = st.lists(pieces, max_size=12).map(b"".join)
cut_lists = st.lists(st.integers(0, 200), max_size=6)
form_sets = st.sets(st.sampled_from(list(SYNTAXES))).map(
    lambda chosen: tuple(f for f in SYNTAXES if f in chosen)
)
everything = st.one_of(st.just(tuple(SYNTAXES)), form_sets)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
    | st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(FRAGMENTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
objects = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), values, max_size=4)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
styles = st.fixed_dictionaries({
    "ensure_ascii": st.booleans(),
    "indent": st.sampled_from([None, 0, 2]),
    "separators": st.sampled_from([(",", ":"), (", ", " : ")]),
})  # fmt: skip


def detect(forms: tuple[str, ...], data: bytes, cuts: list[int]) -> Found | None:
    """What is found when the data come in pieces; a call ends in the piece that reports it."""
    detector = Detector(forms)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        found = detector.feed(data[start:end])
        if found:
            assert start < found.end <= end
            return found
    found = detector.finish()
    assert found is None or found.end == len(data)
    return found


@settings(max_examples=1000)
@given(everything, outputs, cut_lists)
def test_any_bytes_in_any_pieces_give_the_same(forms: tuple[str, ...], data: bytes, cuts: list[int]) -> None:
    found = detect(forms, data, [])
    assert detect(forms, data, cuts) == found
    assert detect(forms, data, list(range(len(data)))) == found
    for call in found.calls if found else ():
        assert call.form in forms
        assert isinstance(json.loads(call.arguments), dict)


@settings(max_examples=300)
@given(everything, outputs, outputs)
def test_what_follows_a_call_changes_nothing(forms: tuple[str, ...], data: bytes, more: bytes) -> None:
    detector = Detector(forms)
    found = detector.feed(data)
    if found:
        assert Detector(forms).feed(data[: found.end]) == found
        assert Detector(forms).feed(data[: found.end - 1]) is None
        assert Detector(forms).feed(data[: found.end] + more) == found


@settings(max_examples=300)
@given(names, objects, styles, st.sampled_from([b"", b"Well.\n", b"\xff\n  "]), cut_lists)
def test_an_object_on_a_tool_line_comes_back_byte_for_byte(
    name: str, arguments: dict[str, Any], style: dict[str, Any], before: bytes, cuts: list[int]
) -> None:
    text = json.dumps(arguments, **style)
    data = before + f"TOOL:{name} {text}".encode()
    assert detect(tuple(SYNTAXES), data, cuts) == Found(len(data), (Call(name, text, "tool"),))


@settings(max_examples=300)
@given(names, objects, styles, cut_lists)
def test_the_families_arguments_come_back_byte_for_byte(
    name: str, arguments: dict[str, Any], style: dict[str, Any], cuts: list[int]
) -> None:
    text = json.dumps(arguments, **style)
    written = f'{{"name": "{name}", "arguments": {text} }}'
    for form, data in [
        ("hermes", f"<tool_call>\n{written}\n</tool_call>"),
        ("llama", written),
        ("llama", f"<|python_tag|>{written}"),
        ("mistral", f"[TOOL_CALLS][{written}]"),
        ("mistral", f"[TOOL_CALLS]{name}[ARGS]{text}"),
    ]:
        found = detect((form,), data.encode(), cuts)
        assert found == Found(len(data.encode()), (Call(name, text, form),))


@given(everything, st.text(st.characters(codec="utf-8", exclude_characters="[<{:"), max_size=60), cut_lists)
def test_text_without_any_mark_is_text(forms: tuple[str, ...], text: str, cuts: list[int]) -> None:
    assert detect(forms, text.encode(), cuts) is None


def balanced_end(body: str) -> int | None:
    """Behind the first `]]` at which every bracket of the text is closed."""
    depth = closed = 0
    for end, character in enumerate(body, 1):
        if character == "]" and depth == 0:
            closed += 1
        else:
            depth += {"[": 1, "]": -1}.get(character, 0)
            closed = 0
        if closed == 2:
            return end
    return None


@settings(max_examples=300)
@given(st.text(st.sampled_from("[]a ,(b1)"), max_size=30), cut_lists)
def test_the_old_form_ends_where_its_brackets_are_balanced(code: str, cuts: list[int]) -> None:
    data = f"[[CALC: {code}]] more]]".encode()
    body = f"{code}]] more]]".strip()
    end = balanced_end(body)
    found = detect(("bracket",), data, cuts)
    if end is None:
        assert found is None
    else:
        assert found is not None
        assert data[: found.end].endswith(body[:end].encode())
        expression = body[: end - 2].strip()
        assert json.loads(found.calls[0].arguments) == ({"expression": expression} if expression else {})
