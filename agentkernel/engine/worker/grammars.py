"""What an answer may be: a grammar of the client's, a JSON schema, or the calls that tools take.

Rules
1. The grammar of calls holds from the first byte of a call; before that the model may say anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_cpp import llama_grammar

from agentkernel.engine import port
from agentkernel.engine.worker.llama import LlamaError

# Where a call begins in each form that a grammar can hold, for llama.cpp's trigger patterns.
_TRIGGERS = {"tool": r"[\s\S]*?(?:^|\n)[ \t]*(TOOL:[\s\S]*)", "hermes": r"[\s\S]*?(<tool_call>[\s\S]*)"}


def grammar(request: port.Open, forms: tuple[str, ...]) -> tuple[str, list[str]]:
    """The grammar of the answer, if any, and the patterns from which on it holds: without, from the start.

    Raises LlamaError for a bad schema.
    """
    if request.schemas:
        return _calls(request.schemas, forms), [_TRIGGERS[form] for form in forms if form in _TRIGGERS]
    if request.json_schema:
        text, rules = _converted({"root": json.loads(request.json_schema)})
        return f"{text}\nroot ::= {rules['root']}\n", []
    return request.grammar, []


def _calls(schemas: Mapping[str, str], forms: tuple[str, ...]) -> str:
    text, rules = _converted({name: json.loads(schema) for name, schema in schemas.items()})
    calls = []
    if "tool" in forms:
        calls += [f"{_literal(f'TOOL:{name} ')} {rule}" for name, rule in rules.items()]
    if "hermes" in forms:
        calls += [_hermes(name, rule) for name, rule in rules.items()]
    return f"{text}\nroot ::= {' | '.join(calls)}\n"


def _converted(schemas: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Rules of GBNF for all the schemas, and the name of each one's own."""
    try:
        converter = llama_grammar.SchemaConverter(
            prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False
        )
        rules = {}
        for number, (name, schema) in enumerate(schemas.items()):
            rules[name] = converter.visit(converter.resolve_refs(schema, name), f"value-{number}")
        return str(converter.format_grammar()), rules
    except Exception as error:  # the converter raises whatever a strange schema leads it to
        raise LlamaError(f"the JSON schema can't become a grammar: {error!r}") from error


def _hermes(name: str, rule: str) -> str:
    opening = _literal("<tool_call>\n{" + f'"name": {json.dumps(name)}, "arguments": ')
    return f"{opening} {rule} {_literal('}' + chr(10) + '</tool_call>')}"


def _literal(text: str) -> str:
    """A terminal of GBNF, whose strings are escaped as JSON's are."""
    return json.dumps(text)
