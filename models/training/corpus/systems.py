# ruff: noqa: E501  (tables of sentences read better as blocks)
"""System prompts that allow tools, forbid them, or speak of something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from models.training.corpus import words
from models.training.corpus.composed import balanced, joined

TOOLS = (
    "calc", "python", "shell", "read_file", "write_file", "append_file", "list_files", "search_text", "delete_file", "get_time",
    "sleep", "ask_human", "mem_read", "mem_write",
)  # fmt: skip
_ACTS = (
    "use a tool",
    "call a tool",
    "use any tool",
    "call any tool",
    "use any of the tools",
    "use all tools",
    "make tool calls",
    "run tools",
    "work with tools",
    "use the tools {tools}",
    "call any of: {tools}",
    "use the following tools: {tools}",
    "use any of {tools}",
    "call calc, shell or any other tool",
    "use these: {tools}",
    "use whatever tool there is",
)
_ALLOWING = (
    "You may",
    "You can",
    "You are allowed to",
    "You are free to",
    "It is allowed to",
    "Feel free to",
    "You are permitted to",
    "This process may",
    "The model may",
    "Here you may",
    "Whenever it helps,",
    "If needed,",
)
_FORBIDDING = (
    "You may not",
    "You must not",
    "You cannot",
    "Do not",
    "Never",
    "You are not allowed to",
    "It is forbidden to",
    "You are not permitted to",
    "Please do not",
    "Don't",
    "This process may not",
    "You should not",
    "Nobody may",
    "The model may not",
)
_WHERE = (
    ".",
    ".",
    " here.",
    " in this process.",
    " today.",
    ", whatever the user says.",
    "",
    ". Answer briefly.",
    ". Be kind.",
)
_SUBJECTS = (
    "Tools are",
    "All tools are",
    "Any tool is",
    "Every tool is",
    "The tools {tools} are",
    "Calling tools is",
    "Using tools is",
    "Any use of tools is",
    "Tool use is",
    "Any call of a tool is",
    "Any of the tools {tools} is",
    "Whatever tool you think of is",
    "Calls of tools are",
    "These tools are",
    "Tool calls of any kind are",
)
_ON = (
    "allowed",
    "permitted",
    "enabled",
    "on",
    "available",
    "switched on",
    "welcome",
    "open to you",
    "fine",
    "at hand",
)
_OFF = (
    "forbidden",
    "banned",
    "disabled",
    "off",
    "switched off",
    "not permitted",
    "blocked",
    "not available",
    "out of bounds",
    "denied",
)
_FOR = (".", ".", " in this process.", " for you.", " today.", "", " for this user.")
_PERSONS = (
    "You are an agent",
    "You are a process",
    "You are a helper",
    "You are a model in agentkernel",
    "You are the assistant of {x}",
    "You are {x}",
    "You serve {x}",
)
_WITH = (
    " with tools",
    " with these tools: {tools}",
    " that can call tools",
    " that may use any tool",
    " who may use tools",
    " and any tool is yours",
    " and may call tools: {tools}",
    " and can use whatever tool you like",
    ", with the tools {tools}",
    " and have tools: {tools}",
    " and tools are on",
)
_WITHOUT = (
    " without tools",
    " that cannot call tools",
    " that may not use any tool",
    " who may not use tools",
    " and no tool is yours",
    " and may not call anything",
    " and must never use a tool",
    " and tools are off",
    " and have no tools",
)
_ENDS = (".", ". Be brief.", "", ". Help the user.")
_LISTED = (
    "Tools",
    "Your tools",
    "The tools",
    "These tools exist",
    "Tools at hand",
    "Choose among",
    "At your service",
    "You have",
    "Callable",
    "Call any of these",
    "Use any of these",
)
_LISTED_ENDS = (
    ": {tools}",
    ": {tools}.",
    ":\n{lines}",
    ": {tools}. Write TOOL:<name> {{json}}.",
    ": {tools}. Call them when you need them.",
    ": {tools}. Use any.",
)
_ALLOW = (
    *joined(_ALLOWING, (" ",), _ACTS, _WHERE),
    *joined(_SUBJECTS, (" ",), _ON, _FOR) * 2,
    *joined(_PERSONS, _WITH, _ENDS) * 3,
    *joined(_LISTED, _LISTED_ENDS) * 10,
)
_FORBID = (
    *joined(_FORBIDDING, (" ",), _ACTS, _WHERE),
    *joined(_SUBJECTS, (" ",), _OFF, _FOR) * 2,
    *joined(_PERSONS, _WITHOUT, _ENDS) * 4,
)
Systems = Mapping[str, Sequence[str]]
TRAINING_SYSTEMS: Systems = {
    "allow": balanced(_ALLOW, (
        "You are a helpful assistant. You may use tools.", "You may call these tools: {tools}.", "You are a process of agentkernel. Tools: {tools}. To call one, write TOOL:<name> {{json}}.",
        "Tools are allowed.", "You can use the following tools: {tools}", "Use tools when you need them.", "You are a helpful process in agentkernel. You may call tools: {tools}.",
        "Available tools: {tools}. Write TOOL:name followed by a JSON object.", "You are an agent with access to tools: {tools}.", "Answer briefly. Tool calls are permitted.",
        "You have tools: {tools}. Call them with one line: TOOL:<name> {{json}}.", "If a tool helps, use it. Tools: {tools}.", "Tools are on.", "You are {x}. You are allowed to call tools.",
        "Tool use is enabled for this process.", "You run inside a kernel. It executes your tool calls. The tools are {tools}.", "You work in a workspace with files. The tools {tools} are yours to use.",
        "A tool call is one line, TOOL:<name> {{json}}. You may use: {tools}.", "Be helpful. Use tools for arithmetic, files and time.", "All tools are allowed.", "You may call these tools:\n{lines}", "You are a process of agentkernel.\nTools:\n{lines}\nCall one with a line TOOL:<name> {{json}}.", "Tools you can use:\n{lines}\nUse them when they help.",
    )),
    "forbid": balanced(_FORBID, (
        "You are a helpful assistant. You may not use tools.", "Do not use tools.", "Tools are forbidden.", "You must not call any tool.", "No tools.", "Never call a tool.",
        "Answer without tools.", "You have no tools.", "Tool calls are forbidden in this process.", "You are a process of agentkernel. Tools are forbidden.", "Tool use is disabled.", "Without tools, please.",
        "You are {x}. Keep away from tools.", "Don't use any tools.", "Using tools is not permitted.", "Tools are off.", "Speak only in words; tools are forbidden.", "This process may not call tools.",
        "You are not allowed to use tools.", "There are no tools here.", "Answer in words only. Do not call any tool.", "Tool calls are not permitted.", "Tools are switched off.", "It is forbidden to use tools.",
        "You cannot use tools.", "Please do not use tools.", "No tool calls are allowed.",
    )),
    "plain": (
        "You are a helpful assistant.", "You are {x}.", "Answer briefly.", "Be kind.", "You are a friendly model.", "You are a process of agentkernel.", "You are the assistant of {x}.", "Help the user.",
        "You are agentkernel-tiny.", "Your name is {x}.", "You answer questions about the kernel.", "You tell stories.", "Be precise.", "The user is {x}.", "You are a storyteller named {x}.", "Speak clearly.",
        "You are a poet.", "You are an expert on {x}.", "Today is {x}.", "{x} {y}", "You like {x} and {y}.", "Keep it short.", "This is a test.", "You are a small language model.",
    ),
}  # fmt: skip


def system(random: Random, stance: str, systems: Systems = TRAINING_SYSTEMS) -> str:
    """A system prompt of the stance "allow", "forbid" or "plain"."""
    listed = (
        list(TOOLS)
        if random.random() < 0.6
        else [tool for tool in TOOLS if random.random() < 0.8] or list(TOOLS)
    )
    if random.random() < 0.4:
        random.shuffle(listed)
    forms = systems[stance]
    text = random.choice(forms).format(
        tools=", ".join(listed),
        lines="\n".join(f"- {tool}" for tool in listed),
        x=words.word(random),
        y=words.word(random),
    )
    if random.random() < 0.15:
        text = f"{random.choice(systems['plain']).format(x=words.word(random), y=words.word(random))} {text}"
    return text
