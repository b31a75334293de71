"""From a request's prompt or messages to tokens.

Rules
1. A prompt is one user turn in the model's own template, unless it is raw or carries control tokens.
2. A later turn is what the template puts behind an answer: found by rendering it around a placeholder.
"""

from __future__ import annotations

from llama_cpp import llama_grammar

from agentkernel.engine import port
from agentkernel.engine.worker.llama import LlamaError, Model
from agentkernel.process import Message

_ANSWER = "\u2402answer\u2403"  # stands for the model's answer while a template is rendered


def first_turn(model: Model, request: port.Open, limit: int) -> list[int]:
    """The tokens of a new process's prompt. Raises LlamaError, or MemoryError when they reach the limit."""
    if request.messages:
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        text = model.render(turns)
        if text is None:
            text = "\n".join(m.content for m in request.messages)
        return model.tokenize_within(text, limit, bos=not _has_bos(model, text))
    prompt = request.prompt or ""
    if not request.raw and not model.carries_specials(prompt):
        text = model.render([{"role": "user", "content": prompt}])
        if text is not None:
            return model.tokenize_within(text, limit, bos=not _has_bos(model, text))
    return model.tokenize_within(prompt, limit, bos=not _has_bos(model, prompt))


def next_turn(model: Model, message: Message, limit: int, *, raw: bool) -> list[int]:
    """The tokens that follow an answer when this message comes next; raises as `first_turn`."""
    text = None
    if not raw:
        text = model.render(
            [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": _ANSWER},
                {"role": message.role, "content": message.content},
            ]
        )
    if text is None or _ANSWER not in text:
        return model.tokenize_within(message.content, limit, bos=False)
    return model.tokenize_within(text.partition(_ANSWER)[2], limit, bos=False)


def grammar_text(request: port.Open) -> str:
    """The grammar the answer must follow, if any. Raises LlamaError for a bad schema."""
    if not request.json_schema:
        return request.grammar
    try:
        return str(llama_grammar.json_schema_to_gbnf(request.json_schema))
    except Exception as error:  # the converter raises whatever a strange schema leads it to
        raise LlamaError(f"the JSON schema can't become a grammar: {error!r}") from error


def _has_bos(model: Model, text: str) -> bool:
    return bool(model.bos_text) and text.startswith(model.bos_text)
