"""Tools as a model knows them: how it is told of them, how a result reaches it.

Rules
1. A template that knows tools is given them; for others a system message says the same in words.
2. A result is the template's tool turn; where it has none, or refuses it, a turn of the user's.
"""

from __future__ import annotations

import json
from typing import Any

from agentkernel.engine.worker.llama import Model
from agentkernel.plan import Message

_HOW = "To call one, answer with one line: TOOL:name {arguments as JSON}"
_CALL_ID = "call00001"  # Mistral's templates want nine letters or digits


def introduced(model: Model, messages: tuple[Message, ...], functions: str) -> tuple[Message, ...]:
    """The messages, with a system message about the functions where the template can't tell of them."""
    if not functions or model.told_tools:
        return messages
    listed = [function["function"] for function in json.loads(functions)]
    lines = [f"{f['name']}({_arguments(f['parameters'])}): {f['description']}" for f in listed]
    names = ", ".join(f["name"] for f in listed)
    said = Message("system", "\n".join([f"You may use these tools: {names}.", *lines, _HOW]))
    if messages and messages[0].role == "system":
        said = Message("system", f"{messages[0].content}\n{said.content}")
        return (said, *messages[1:])
    return (said, *messages)


def as_template_takes(message: Message) -> dict[str, str]:
    """A message with what templates want of its role."""
    plain = {"role": message.role, "content": message.content}
    return plain | ({"tool_call_id": _CALL_ID, "name": "tool"} if message.role == "tool" else {})


def _arguments(schema: dict[str, Any]) -> str:
    """The names of the arguments, those that may be left out with a question mark."""
    required = schema.get("required", ())
    return ", ".join(n if n in required else f"{n}?" for n in schema.get("properties", {}))
