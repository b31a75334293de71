"""Tool calls in a model's output: found while it is being generated, at the very byte each ends; pure.

Rules
1. What is found depends on the bytes alone, never on how they were cut; no bytes can raise.
2. The first call of a turn counts, and none behind it. What only looks like a call is text.
3. No byte is read twice: what a broken call had taken in is text, and the byte that broke it may begin
   the next call. A call holds at most 64 KiB, nested 32 deep; one that grows beyond is text.
4. JSON is strict: UTF-8, no NaN, no raw line break in a string, no key twice in one object, so that every
   reader of a call reads the same. Arguments are returned as they were written, byte for byte.
5. Code is text: inside a Markdown fence (one that is never closed runs to the end of the turn), and right
   behind a backtick, no call begins.

Syntaxes
- tool: `TOOL:<name> {json}`, `TOOL:` first on its line but for blanks; ends with the object.
- bracket: `[[NAME: args]]`; ends with the first `]]` at which every `[` of the arguments is closed. In
  Python, in shell and in JSON brackets inside quotes don't count; a quote ends with its line unless it is
  triple. Arguments stand on one line, unless they are JSON, Python or a file's content.
- hermes: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`; ends with the tag, or with the turn.
- llama: an answer that is one object `{"name": …, "parameters": {…}}`, or `<|python_tag|>` and to the end
  of the turn such an object or Python code; found by `finish`.
- mistral: `[TOOL_CALLS]` and `[{"name": …, "arguments": {…}}, …]` or `name[CALL_ID]id[ARGS]{json}`, where
  id and both marks may be missing; ends with the array or the object.
"""

from agentkernel.calls.detector import SYNTAXES, Detector, Found, syntaxes
from agentkernel.calls.reading import Call

__all__ = ["SYNTAXES", "Call", "Detector", "Found", "syntaxes"]
