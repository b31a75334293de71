"""Calls are found at the byte they end, in every syntax; what only looks like one is text."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest

from agentkernel.calls import SYNTAXES, Call, Detector, Found, syntaxes

ALL = tuple(SYNTAXES)
TOOL_AND_BRACKET = ("tool", "bracket")
HERMES, LLAMA, MISTRAL = ((*TOOL_AND_BRACKET, form) for form in ("hermes", "llama", "mistral"))


def tool(name: str, arguments: str) -> tuple[Call, ...]:
    return (Call(name, arguments, "tool"),)


def old(name: str, **arguments: Any) -> tuple[Call, ...]:
    return (Call(name, json.dumps(arguments, separators=(",", ":")), "bracket"),)


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and cut at random."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    places = random.Random(len(data))
    for _ in range(5):
        cuts = sorted(places.randrange(len(data) + 1) for _ in range(4))
        yield [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


def detect(forms: tuple[str, ...], chunks: list[bytes], *, finish: bool) -> Found | None:
    detector = Detector(forms)
    for chunk in chunks:
        if found := detector.feed(chunk):
            return found
    return detector.finish() if finish else None


FOUND = [
    # The syntax of this kernel.
    ('TOOL:calc {"expression": "417 + 268"}', tool("calc", '{"expression": "417 + 268"}')),
    ("TOOL:get_time {}", tool("get_time", "{}")),
    ("TOOL:get_time{}", tool("get_time", "{}")),
    ('I look.\n \t TOOL:a.b-c_1 \t {"a" : [1, {"b": null}]}', tool("a.b-c_1", '{"a" : [1, {"b": null}]}')),
    ('TOOL:python {"code": "d = {}; s = \\"}\\"; b = \'\\\\\\\\\'"}',
     tool("python", '{"code": "d = {}; s = \\"}\\"; b = \'\\\\\\\\\'"}')),
    ('TOOL:write_file {"path": "a",\n "content": "[[CALC: 1]] TOOL:x {}"}',
     tool("write_file", '{"path": "a",\n "content": "[[CALC: 1]] TOOL:x {}"}')),
    ('TOOL:say {"text": "Grüße 😀 \\ud83d\\ude00"}', tool("say", '{"text": "Grüße 😀 \\ud83d\\ude00"}')),
    (f"TOOL:{'n' * 64} {{}}", tool("n" * 64, "{}")),
    ('TOOL:deep {"a": ' + "[" * 31 + "]" * 31 + "}", tool("deep", '{"a": ' + "[" * 31 + "]" * 31 + "}")),
    ('TOOL:f {"a": "' + "x" * (64 * 1024 - 9) + '"}', tool("f", '{"a": "' + "x" * (64 * 1024 - 9) + '"}')),
    ('TOOL:broken {"a":\nTOOL:calc {"expression": "1"}', tool("calc", '{"expression": "1"}')),
    ('TOOL:broken {"a": "\nTOOL:ls {}', tool("ls", "{}")),
    ('TOOL:twice {"a": 1, "a": 2}\r\nTOOL:ls {}', tool("ls", "{}")),
    ("TOOL:TOOL:x {}\nTOOL:ls {}", tool("ls", "{}")),
    ("~~~\nTOOL:no {}\n```\n~~~~ \nTOOL:ls {}", tool("ls", "{}")),
    ("```py\nTOOL:no {}\n``\n  ``` x\n[[NO: 1]]\n````\nTOOL:ls {}", tool("ls", "{}")),
    ("```a``` and\nTOOL:ls {}", tool("ls", "{}")),
    ("``\nTOOL:ls {}", tool("ls", "{}")),
    ("`a [[LS:]]", old("list_files")),
    # The old kernel's.
    ("I compute [[CALC: (1 + 2) * 3]]", old("calc", expression="(1 + 2) * 3")),
    ("[[[[CALC:1]]", old("calc", expression="1")),
    ("[[PYTHON: a[b[0]]]]", old("python", code="a[b[0]]")),
    ("[[PYTHON: print(']]', \"[[\")]]", old("python", code="print(']]', \"[[\")")),
    ("[[PYTHON:\nx = '''it's ]]\n'''\n# don't [\nprint(x[0])\n]]",
     old("python", code="x = '''it's ]]\n'''\n# don't [\nprint(x[0])")),
    ("[[PYTHON: '' + '\\'' + \"\"]]", old("python", code="'' + '\\'' + \"\"")),
    ("[[PYTHON: {1, 2}]]", old("python", code="{1, 2}")),
    ("[[ASK: What's the [first] name?]]", old("ask_human", question="What's the [first] name?")),
    ("[[LS:]]", old("list_files")),
    ("[[LS: notes/]]", old("list_files", path="notes/")),
    ("[[GET_TIME: now]]", old("get_time")),
    ("[[SLEEP: 2.5]]", old("sleep", seconds=2.5)),
    ("[[SLEEP: long]]", old("sleep", seconds="long")),
    ("[[SHELL: grep -n 'a ]] b' x]]", old("shell", argv=["grep", "-n", "a ]] b", "x"])),
    ("[[SHELL: echo it\\'s 5\\\" long]]", old("shell", argv=["echo", "it's", '5"', "long"])),
    ("[[WRITE_FILE: a.txt | one\n|two]]", old("write_file", path="a.txt", content="one\n|two")),
    ("[[WRITE_FILE: a.txt]]", old("write_file", path="a.txt")),
    ("[[MEM_WRITE: k|v]]", old("mem_write", key="k", value="v")),
    ("[[TRANSLATE: a | b]]", old("translate", input="a | b")),
    ('[[CALC: {"expression":\n "]] [[ \\"]]"} ]]',
     (Call("calc", '{"expression":\n "]] [[ \\"]]"}', "bracket"),)),
    ('[[CALC: {"a": 1} | 2]]', old("calc", expression='{"a": 1} | 2')),
    ("[[CALC: unclosed\n[[NOTE [[CALC: 2] ]]", old("calc", expression="2]")),
    ("[[PYTHON: x\n```\n1\n```\n]]", old("python", code="x\n```\n1\n```")),
]  # fmt: skip

FOUND_IN_FAMILIES = [
    (HERMES, '<tool_call>\n{"name": "ls", "arguments": {"path": "</tool_call>"}}\n</tool_call>',
     (Call("ls", '{"path": "</tool_call>"}', "hermes"),)),
    (HERMES, 'text <tool_call><tool_call>{"arguments":{"a" : 1.0},"id":3,"name":"x"}</tool_call>',
     (Call("x", '{"a" : 1.0}', "hermes"),)),
    (HERMES, "<tool_call>\nTOOL:ls {}", tool("ls", "{}")),
    (HERMES, "<tool_call>[[LS:]]", old("list_files")),
    (MISTRAL, '[TOOL_CALLS] [{"name":"a", "arguments": {}}, {"arguments": {"b": []}, "name": "b", "id": 1}]',
     (Call("a", "{}", "mistral"), Call("b", '{"b": []}', "mistral"))),
    (MISTRAL, '[TOOL_CALLS]ls[ARGS]{"path": "]"}', (Call("ls", '{"path": "]"}', "mistral"),)),
    (MISTRAL, "[TOOL_CALLS]ls[CALL_ID]aB3[ARGS]{}", (Call("ls", "{}", "mistral"),)),
    (MISTRAL, '[TOOL_CALLS]\n[{"name": "ls", "arguments": {}}]', (Call("ls", "{}", "mistral"),)),
    (MISTRAL, "[TOOL_CALLS] ls {}", (Call("ls", "{}", "mistral"),)),
    (MISTRAL, "[[TOOL_CALLS]ls{}", (Call("ls", "{}", "mistral"),)),
    (LLAMA, "\n TOOL:ls {}", tool("ls", "{}")),
    (LLAMA, '{"name": "x", "parameters": {}} or\nTOOL:ls {}', tool("ls", "{}")),
    (LLAMA, '{"a"\n:[[LS:]] [[CALC: 1]]', old("calc", expression="1")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("forms", "text", "calls"),
    [*((TOOL_AND_BRACKET, *case) for case in FOUND), *FOUND_IN_FAMILIES],
)
def test_a_call_is_found_at_its_last_byte_however_the_output_is_cut(
    forms: tuple[str, ...], text: str, calls: tuple[Call, ...]
) -> None:
    data = text.encode()
    for trailing in (b"", b"}]] more\nTOOL:b {}", "ü".encode()[:1]):
        for chunks in chunkings(data + trailing):
            assert detect(forms, chunks, finish=False) == Found(len(data), calls)


AT_THE_END = [
    (LLAMA, ' {"name": "ls", "parameters": {"path": "[[CALC: 1]]"}}\n',
     (Call("ls", '{"path": "[[CALC: 1]]"}', "llama"),)),
    (LLAMA, '{"type": "function", "name": "ls", "arguments": {}}', (Call("ls", "{}", "llama"),)),
    (LLAMA, 'Well: <|python_tag|>{"name": "ls", "parameters": {}} ', (Call("ls", "{}", "llama"),)),
    (LLAMA, "<|python_tag|>\nprint('[[LS:]]')\nTOOL:ls {}\n",
     (Call("python", '{"code":"print(\'[[LS:]]\')\\nTOOL:ls {}"}', "llama"),)),
    (LLAMA, '<|python_tag|>{"name": 1}', (Call("python", '{"code":"{\\"name\\": 1}"}', "llama"),)),
    (HERMES, '<tool_call>{"name": "ls", "arguments": {}}\n', (Call("ls", "{}", "hermes"),)),
]  # fmt: skip


@pytest.mark.parametrize(("forms", "text", "calls"), AT_THE_END)
def test_a_call_that_only_the_end_of_the_turn_completes_is_found_by_finish(
    forms: tuple[str, ...], text: str, calls: tuple[Call, ...]
) -> None:
    data = text.encode()
    for chunks in chunkings(data):
        assert detect(forms, chunks, finish=False) is None
        assert detect(forms, chunks, finish=True) == Found(len(data), calls)


TEXT: list[tuple[tuple[str, ...], str | bytes]] = [
    (ALL, ""),
    (ALL, "Just text, a[b[0]] and {braces} <tags> | pipes."),
    (ALL, "See TOOL:ls {}"),
    (ALL, "TOOL: ls {}"),
    (ALL, "tool:ls {}"),
    (ALL, "TOOL:ls\n{}"),
    (ALL, "TOOL:ls []"),
    (ALL, "TOOL:1s {}"),
    (ALL, "TOOL:l/s {}"),
    (ALL, f"TOOL:{'n' * 65} {{}}"),
    (ALL, 'TOOL:ls {"a": 1'),
    (ALL, 'TOOL:ls {"a": NaN}'),
    (ALL, 'TOOL:ls {"a": 1e999}'),
    (ALL, "TOOL:ls {'a': 1}"),
    (ALL, 'TOOL:ls {"a": 1,}'),
    (ALL, 'TOOL:ls {"a": [1}]}'),
    (ALL, 'TOOL:ls {"a": "\n"}'),
    (ALL, 'TOOL:ls {"a": "\\x"}'),
    (ALL, 'TOOL:ls {"a": "\\ud800"}'),
    (ALL, 'TOOL:ls {"a": {"b": 1, "\\u0062": 2}}'),
    (ALL, b'TOOL:ls {"a": "\xff"}'),
    (ALL, b'TOOL:l\xc3\xa4 {"a": 1}'),
    (ALL, 'TOOL:ls {"a": ' + "[" * 32 + "]" * 32 + "}"),
    (ALL, 'TOOL:ls {"a": "' + "x" * (64 * 1024 - 8) + '"}'),
    (ALL, 'TOOL:ls {"a": "' + "\\u0041" * 12 * 1024 + '"}'),
    (ALL, "TOOL:ls {" + " " * 64 * 1024 + "}"),
    (ALL, "```\nTOOL:ls {}\n[[LS:]]\n<tool_call>{}"),
    (ALL, '```json\n{"a": 1}\n``\n~~~\nTOOL:ls {}'),
    (ALL, "  ~~~~\n~~~\nTOOL:ls {}"),
    (ALL, "Write `[[CALC: 1]]` or `<tool_call>{}` or `<|python_tag|>x`."),
    (ALL, "[[calc: 1]]"),
    (ALL, "[[1A: 1]]"),
    (ALL, "[[CALC 1]]"),
    (ALL, "[[: 1]]"),
    (ALL, f"[[{'A' * 65}: 1]]"),
    (ALL, "[[CALC: 1]"),
    (ALL, "[[CALC: [1]] ]"),
    (ALL, "[[CALC: 1\n]]"),
    (ALL, "[[SHELL: echo 'a\n]]"),
    (ALL, b"[[CALC: \xff]]"),
    (ALL, "[[PYTHON: " + "x" * 64 * 1024 + "]]"),
    (ALL, "[[PYTHON: '" + "x" * 64 * 1024 + "']]"),
    (ALL, "<tool_call>ls</tool_call>"),
    (ALL, '<tool_call>{"name": "ls"}</tool_call>'),
    (ALL, '<tool_call>{"name": "l s", "arguments": {}}</tool_call>'),
    (ALL, '<tool_call>{"name": "ls", "arguments": "{}"}</tool_call>'),
    (ALL, '<tool_call>{"name": "ls", "arguments": {}} </tool>'),
    (ALL, '<tool_call>{"name": "ls", "arguments": {}'),
    (ALL, '<tool_call>[{"name": "ls", "arguments": {}}]</tool_call>'),
    (ALL, "[TOOL_CALLS] []"),
    (ALL, '[TOOL_CALLS][{"name": "ls"}]'),
    (ALL, '[TOOL_CALLS][{"name": "ls", "arguments": {}}, 1]'),
    (ALL, '[TOOL_CALLS][{"name": "ls", "arguments": {}}'),
    (ALL, "[TOOL_CALLS] is a mark {}"),
    (ALL, "[TOOL_CALLS]ls[ARGS]"),
    (ALL, "[TOOL_CALLS]ls[ARGUMENTS]{}"),
    (ALL, f"[TOOL_CALLS]{'n' * 300}{{}}"),
    (ALL, '{"name": "Ada", "born": 1815}'),
    (ALL, '{"a": [[CALC: 1]]'),
    (ALL, '{"name": "ls", "parameters": {}}.'),
    (ALL, 'So: {"name": "ls", "parameters": {}}'),
    (ALL, "<|python_tag|> \n"),
    (ALL, b"<|python_tag|>\xff"),
    (ALL, "<|python_tag|>" + "x" * (64 * 1024 + 1)),
    (ALL, '<|python_tag|>{"name": "ls", "parameters": {}} and' + " " * 64 * 1024),
    (TOOL_AND_BRACKET, '<tool_call>{"name": "ls", "arguments": {}}</tool_call>'),
    (TOOL_AND_BRACKET, "[TOOL_CALLS]ls{} <|python_tag|>print()"),
    (TOOL_AND_BRACKET, '{"name": "ls", "parameters": {}}'),
    (("tool",), "[[LS:]]"),
    (("bracket",), "TOOL:ls {}"),
]


@pytest.mark.parametrize(("forms", "text"), TEXT)
def test_what_only_looks_like_a_call_is_text(forms: tuple[str, ...], text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    for chunks in chunkings(data) if len(data) < 1000 else [[data]]:
        assert detect(forms, chunks, finish=True) is None


def test_deeply_nested_json_behind_a_python_tag_is_code_and_no_call() -> None:
    data = b'<|python_tag|>{"name": "x", "parameters": {"a": ' + b"[" * 9999 + b"]" * 9999 + b"}}"
    found = detect(LLAMA, [data], finish=True)
    assert found is not None
    assert found.calls[0].name == "python"


def test_after_a_call_nothing_more_is_found() -> None:
    detector = Detector(ALL)
    assert detector.feed(b"TOOL:ls {}") == Found(10, tool("ls", "{}"))
    assert detector.feed(b"\nTOOL:ls {}\n") is None
    assert detector.finish() is None


def test_a_turn_is_finished_once() -> None:
    detector = Detector(LLAMA)
    detector.feed(b"<|python_tag|>print()")
    assert detector.finish() is not None
    assert detector.finish() is None
    assert detector.feed(b"\nTOOL:ls {}\n") is None


def test_a_template_says_which_syntaxes_a_model_speaks() -> None:
    assert syntaxes("") == TOOL_AND_BRACKET
    assert syntaxes("{{ '<tool_call>' }}") == HERMES
    assert syntaxes("{% if role == 'ipython' %}") == LLAMA
    assert syntaxes("<|python_tag|>") == LLAMA
    assert syntaxes("[TOOL_CALLS]") == MISTRAL
    assert syntaxes("<tool_call> [TOOL_CALLS] ipython") == ALL


def lines_run(data: bytes, size: int) -> int:
    """How many lines of the package a detector runs for the data, fed in pieces of a size."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if "calls" not in frame.f_code.co_filename:
            return None
        count += 1
        return trace

    detector = Detector(ALL)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for start in range(0, len(data), size):
            assert detector.feed(data[start : start + size]) is None
    finally:
        sys.settrace(before)
    return count


HARD = [
    "[[[[", "{", "TOOL:", "TOOL:a {\n", 'TOOL:a {"', "\nTOOL:a {[", 'TOOL:a {"a": 1, "a": 2}\n', "[[A: ",
    "]]", "[[PYTHON: '", "```\n", "` ", " ", "\n", "\xff", '{"a":', "<tool_call>{", "[TOOL_CALLS]",
    "[TOOL_CALLS][{", "<|python_tag|>",
]  # fmt: skip


@pytest.mark.parametrize("unit", HARD)
def test_work_grows_no_faster_than_the_output(unit: str) -> None:
    data = unit.encode("latin-1") * (20_000 // len(unit))
    few, many = lines_run(data, 50), lines_run(data * 8, 50)
    assert many <= 8.5 * few


def held(detector: Detector) -> int:
    """The size of the largest thing that a detector and its readers hold."""
    values: list[object] = [detector._tail]
    reader: Any = detector._reader
    while reader is not None:
        values += reader.gi_frame.f_locals.values()
        reader = reader.gi_yieldfrom
    return max(len(value) for value in values if isinstance(value, bytes | bytearray | list))


@pytest.mark.parametrize("unit", HARD)
def test_what_is_held_is_bounded_by_the_longest_call(unit: str) -> None:
    detector = Detector(ALL)
    data = unit.encode("latin-1") * (300_000 // len(unit))
    for start in range(0, len(data), 4096):
        detector.feed(data[start : start + 4096])
        assert held(detector) <= 64 * 1024 + 1


@pytest.mark.parametrize("opening", ["TOOL:", "[[", "[TOOL_CALLS]"])
def test_of_a_name_no_more_is_held_than_a_name_can_have(opening: str) -> None:
    detector = Detector(ALL)
    detector.feed(opening.encode())
    for _ in range(1000):
        detector.feed(b"A")
        assert held(detector) <= 200
