"""What an answer may be: a grammar of the client's, a JSON schema, or the calls that tools take.

Rules
1. The grammar of calls holds from the first byte of a call; before that the model may say anything but what
   would begin one that there isn't.
2. What llama.cpp's parser would crash over is refused, or for calls left out: it recurses into repetitions.
3. llama.cpp's own triggers are not used: a token that leaves the grammar as it triggers it ends the process,
   and they match all of the text anew for every token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_cpp import llama_grammar

from agentkernel.engine import port
from agentkernel.engine.worker.llama import LlamaError

# What is there of a call from its first byte on, in a text that begins with a line, or at `\A` with a turn.
_BEGUN = {
    "tool": re.compile(rb"^[ \t]*(TOOL:.*)", re.MULTILINE | re.DOTALL),
    "hermes": re.compile(rb"(<tool_call>.*)", re.DOTALL),
    "llama": re.compile(rb"(?:\A\s*|<\|python_tag\|>)(\{\s*\"name.*)", re.DOTALL),
    "mistral": re.compile(rb"(\[TOOL_CALLS\].*)", re.DOTALL),
}
_SPACED = ((": ", ", "), (":", ","))  # how models write JSON
_LINE = 256  # bytes that are kept of a line: more than blanks and the beginning of a call

_MOST_REPEATED = 1000  # times
_COUNTED = ("minLength", "maxLength", "minItems", "maxItems")
# Of llama.cpp's own rules those that admit what is no JSON: raw control characters, half of a surrogate pair,
# numbers that no float holds.
_STRICT = {
    "char": r"""[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" """
    "([0-9a-cA-CefEF] [0-9a-fA-F] | [dD] [0-7]) [0-9a-fA-F] [0-9a-fA-F])",
    "number": '("-"? integral-part) ("." decimal-part)? ([eE] [-+]? [0-9] [0-9]?)? space',
}
_RULE = re.compile(rf"^({'|'.join(_STRICT)}) ::= .*$", re.MULTILINE)
_REPETITION = re.compile(r"\{(\d*),?(\d*)\}")


@dataclass(frozen=True, slots=True)
class Calls:
    """What calls may be: rules of GBNF, and of each how it begins and the rule for the rest."""

    rules: str
    openings: tuple[tuple[bytes, str], ...]
    forms: tuple[str, ...]

    def rest(self, begun: bytes) -> str:
        """The grammar of what follows this beginning of a call; nothing when none begins so."""
        rests = [
            (opening[len(begun) :], rule) for opening, rule in self.openings if opening.startswith(begun)
        ]
        if not rests:
            return ""
        return f"{self.rules}\nroot ::= {' | '.join(f'{_literal(o.decode())} {rule}' for o, rule in rests)}\n"


class Beginning:
    """Looks for the beginning of a call in a turn."""

    def __init__(self, forms: tuple[str, ...]) -> None:
        self._marks = [_BEGUN[form] for form in forms if form in _BEGUN]
        self._line = b""

    def after(self, piece: bytes) -> bytes:
        """What is there of a call when this follows; nothing while none has begun."""
        text = self._line + piece
        return next((found[1] for mark in self._marks if (found := mark.search(text))), b"")

    def take(self, piece: bytes) -> None:
        """It follows, and begins no call."""
        text = self._line + piece
        before, _, line = text.rpartition(b"\n")
        if before.strip():  # else it is still the turn's beginning
            text = b".\n" + line
        self._line = text if len(text) <= _LINE else b"." + text[-_LINE:]


def grammar(request: port.Open, forms: tuple[str, ...]) -> str | Calls:
    """The grammar of the answer, nothing where there is none, or that of the calls in it.

    Raises LlamaError for a bad schema.
    """
    if request.schemas:
        return _calls(request.schemas, forms)
    if request.json_schema:
        schema = json.loads(request.json_schema)
        if _held(schema) != schema:
            raise LlamaError(f"the JSON schema repeats something more than {_MOST_REPEATED} times")
        text, rules = _converted({"root": schema})
        return f"{text}\nroot ::= {rules['root']}\n"
    return request.grammar


def _calls(schemas: Mapping[str, str], forms: tuple[str, ...]) -> Calls:
    text, rules = _converted({name: _held(json.loads(schema)) for name, schema in schemas.items()})
    openings = [
        (opening.encode(), f"{rule} {_literal(closing)}" if closing else rule)
        for form in forms
        for name, rule in rules.items()
        for opening, closing in _written(form, name)
    ]
    return Calls(text, tuple(openings), forms)


def _written(form: str, name: str) -> list[tuple[str, str]]:
    """What stands before and behind the arguments of a call in this form."""
    match form:
        case "tool":
            return [(f"TOOL:{name} ", "")]
        case "hermes":
            return [(f"<tool_call>\n{opening}", "}\n</tool_call>") for opening in _objects(name, "arguments")]
        case "llama":
            return [(opening, "}") for opening in _objects(name, "parameters")]
        case "mistral":
            objects = _objects(name, "arguments")
            lists = [(f"[TOOL_CALLS]{gap}[{opening}", "}]") for opening in objects for gap in (" ", "")]
            return [*lists, (f"[TOOL_CALLS]{name}[ARGS]", ""), (f"[TOOL_CALLS]{name}", "")]
    return []


def _objects(name: str, arguments: str) -> list[str]:
    """An object with the name, up to its arguments, as models space it."""
    quoted = json.dumps(name)
    return [f'{{"name"{colon}{quoted}{comma}"{arguments}"{colon}' for colon, comma in _SPACED]


def _held(schema: Any) -> Any:
    """The schema without the bounds that no grammar can hold."""
    if isinstance(schema, list):
        return [_held(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _held(value) for key, value in schema.items() if _most(key, value) <= _MOST_REPEATED}


def _most(key: str, value: Any) -> float:
    """How often this part of a schema has something repeated."""
    if key in _COUNTED and isinstance(value, int | float):
        return value
    if key == "pattern" and isinstance(value, str):
        return max((int(n) for counts in _REPETITION.findall(value) for n in counts if n), default=0)
    return 0


def _converted(schemas: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Rules of GBNF for all the schemas, and the name of each one's own."""
    try:
        converter = llama_grammar.SchemaConverter(
            prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False
        )
        rules = {}
        for number, (name, schema) in enumerate(schemas.items()):
            rules[name] = converter.visit(converter.resolve_refs(schema, name), f"value-{number}")
        text = str(converter.format_grammar())
    except Exception as error:  # the converter raises whatever a strange schema leads it to
        raise LlamaError(f"the JSON schema can't become a grammar: {error!r}") from error
    return _RULE.sub(lambda rule: f"{rule[1]} ::= {_STRICT[rule[1]]}", text), rules


def _literal(text: str) -> str:
    """A terminal of GBNF, whose strings are escaped as JSON's are."""
    return json.dumps(text)
