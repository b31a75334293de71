# ruff: noqa: E501  (tables of sentences read better as blocks)
"""What the model is taught of each kernel verb: its effect, an example to type, and wishes that it fulfils."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """`effect` continues "<NAME> ..."; each wish continues "I want to ..."."""

    name: str
    effect: str
    example: str
    wishes: tuple[str, ...]


VERBS = (
    Verb("HELLO", "agrees on protocol v1 and its capabilities with the kernel", "HELLO me - {}", (
        "negotiate the protocol", "switch to protocol v1", "agree on capabilities", "start the v1 dialect", "choose the protocol version", "greet the kernel and pick a version")),
    Verb("AUTH", "shows the kernel your token, so that it lets you in", "AUTH me - <token>", (
        "log in", "present my token", "authenticate", "prove who I am", "sign in with a token", "get past AUTH_REQUIRED")),
    Verb("HELP", "lists the verbs and what each of them takes", "HELP me -", (
        "see all verbs", "get help", "list the commands", "read how a verb is used", "know which commands there are", "get an explanation of a command")),
    Verb("QUIT", "closes this connection", "QUIT me -", (
        "close the connection", "leave", "disconnect", "end my connection", "hang up", "log out")),
    Verb("PING", "asks the kernel whether it is alive; it answers PONG", "PING me -", (
        "check that the kernel is alive", "test the connection", "get a PONG", "see whether the kernel answers", "check that the server responds", "know if the kernel is there")),
    Verb("STATUS", "shows the state of the kernel or of one process", "STATUS me - 7", (
        "see the state of the kernel", "see the state of a process", "know how a process is doing", "look at one process", "get the uptime", "check how the kernel is doing")),
    Verb("PS", "lists the processes", "PS me -", (
        "list the processes", "see what is running", "get all PIDs", "find my processes", "see every process", "show the process table")),
    Verb("SHUTDOWN", "ends the kernel in good order", "SHUTDOWN me -", (
        "stop the kernel", "shut the kernel down", "turn the server off", "end the kernel", "power down the whole kernel", "halt the server")),
    Verb("LIST_MODELS", "lists the models in the catalogue", "LIST_MODELS me -", (
        "list the models", "see which models there are", "know what models are available", "browse the catalogue", "show the model catalogue", "find the id of a model")),
    Verb("SELECT_MODEL", "chooses the model that the next LOAD takes", "SELECT_MODEL me - builtin/agentkernel-tiny", (
        "choose a model", "select a model", "pick another model", "change the selected model", "set which model comes next", "make a model the selected one")),
    Verb("MODEL_INFO", "describes a model: its family, path and chat template", "MODEL_INFO me - builtin/agentkernel-tiny", (
        "learn about a model", "see the details of a model", "know the family of a model", "read a model's chat template", "describe a model", "get facts on one model")),
    Verb("LOAD", "loads a GGUF model into an engine", "LOAD me - builtin/agentkernel-tiny", (
        "load a model", "load a GGUF file", "bring a model into memory", "start an engine with a model", "open a GGUF", "get a model ready to run")),
    Verb("UNLOAD", "removes a loaded model and frees its memory", "UNLOAD me - builtin/agentkernel-tiny", (
        "unload a model", "free the memory of a model", "remove a loaded model", "drop a model from memory", "get rid of a loaded model", "stop an engine and free its model")),
    Verb("SET_GEN", "sets the defaults for generation: temperature, top_p, seed and max_tokens", "SET_GEN me - temperature=0.5", (
        "set the temperature", "change the seed", "change top_p", "set the generation defaults", "set the default max_tokens", "make the sampling less random")),
    Verb("GET_GEN", "shows the defaults for generation", "GET_GEN me -", (
        "see the temperature", "read the generation defaults", "know the current seed", "look up top_p", "show the generation settings", "see the sampling settings")),
    Verb("EXEC", "starts a prompt as a process and streams its tokens", "EXEC me - Tell me a story", (
        "start a process", "run a prompt", "launch a prompt", "create a new process", "send a prompt to the model", "get tokens for a prompt")),
    Verb("SEND_INPUT", "gives the next user turn to an interactive process", "SEND_INPUT me - 7 Go on", (
        "send the next turn to a process", "answer an interactive process", "give input to a process", "continue a conversation", "talk to a waiting process", "type another message to a process")),
    Verb("STOP_OUTPUT", "holds a process's output back", "STOP_OUTPUT me - 7", (
        "hold the output of a process", "pause the output", "stop seeing a process's tokens", "silence the stream of a process", "keep the output back", "mute a process")),
    Verb("CONTINUE_OUTPUT", "lets held output flow again", "CONTINUE_OUTPUT me - 7", (
        "continue the output", "see held output again", "let the output flow again", "get the stream back", "release the held output", "unmute a process")),
    Verb("WAIT", "waits until a process has ended and returns the reason", "WAIT me - 7", (
        "wait for a process", "wait until a process ends", "know why a process ended", "block until a process is done", "get the reason of an end", "be told when a process finishes")),
    Verb("TERM", "lets a process finish its sentence, then ends it", "TERM me - 7", (
        "end a process gently", "stop a process politely", "let a process finish its sentence and end", "ask a process to end", "terminate a process", "end a process after its sentence")),
    Verb("KILL", "stops a process at its next step", "KILL me - 7", (
        "stop a process", "stop a process at once", "kill a process", "end a process immediately", "stop a process now", "force a process to stop", "halt a running process", "abort a process")),
    Verb("SUSPEND", "pauses a process and keeps its work", "SUSPEND me - 7", (
        "pause a process", "suspend a process", "put a process to sleep", "freeze a process", "park a process for later", "halt a process for a while")),
    Verb("RESUME", "lets a suspended process go on", "RESUME me - 7", (
        "resume a process", "continue a suspended process", "wake a process up", "let a paused process go on", "unfreeze a process", "restart a paused process")),
    Verb("SET_PRIORITY", "changes a process's priority: low, normal, high or critical", "SET_PRIORITY me - 7 high", (
        "change the priority of a process", "make a process more important", "raise a priority", "give a process low priority", "set a process to critical", "lower the priority of a process")),
    Verb("GET_QUOTA", "shows a process's limits and what it has used", "GET_QUOTA me - 7", (
        "see the limits of a process", "read a quota", "know how many tokens a process may use", "see how much of its quota a process used", "show the quota", "check a process's budget")),
    Verb("SET_QUOTA", "changes a process's limits on tokens and tool calls", "SET_QUOTA me - 7 max_tokens=64", (
        "limit a process", "change a quota", "give a process more tokens", "set a limit on tool calls", "raise a process's budget", "cap the tokens of a process")),
    Verb("SUBSCRIBE", "sends you the kernel's events as they happen", "SUBSCRIBE me -", (
        "get events", "follow the kernel's events", "be notified of changes", "receive an event for each change", "watch what happens in the kernel", "subscribe to events")),
    Verb("MEMW", "writes into a process's memory pages", "MEMW me - 7|text", (
        "write to a process's memory", "put text into memory pages", "store bytes in a process", "fill a memory page", "change the memory of a process", "write a page")),
    Verb("MEMR", "reads a process's memory pages", "MEMR me - 7", (
        "read a process's memory", "get the bytes of a memory page", "look into a process's memory", "fetch a memory page", "see what is in the memory of a process", "read a page")),
    Verb("MEM", "shows how much memory the pages of a process take", "MEM me - 7", (
        "see how much memory is used", "know the memory usage", "count the memory pages", "show the memory figures", "measure a process's memory", "get memory statistics")),
    Verb("FORK", "makes children that begin with their parent's context", "FORK me - 7", (
        "fork a process", "copy a process", "make children of a process", "split a process in two", "try several answers from one context", "clone a process with its context")),
    Verb("SNAPSHOT", "keeps an image of one process's context", "SNAPSHOT me - 7", (
        "take a snapshot", "keep an image of a process", "save one process's context", "make a snapshot of a process", "photograph the state of one process", "preserve one process's context")),
    Verb("CHECKPOINT", "saves the kernel's whole state under a name", "CHECKPOINT me - monday", (
        "save the kernel's state", "make a checkpoint", "save everything under a name", "back up the whole kernel", "store the state of all processes", "keep the whole kernel's state")),
    Verb("RESTORE", "brings a checkpoint back", "RESTORE me - monday", (
        "go back to a checkpoint", "restore the saved state", "bring a checkpoint back", "load a checkpoint", "recover the saved kernel", "return to an earlier state")),
    Verb("ATTACH", "replays a process's output from an offset, then follows it", "ATTACH me - 7 0", (
        "follow a running process", "replay a process's output", "attach to a process", "see the output of a process again", "come back to a process after a lost connection", "reconnect to the output of a process")),
    Verb("LOGS", "shows the log lines of the kernel or of a process", "LOGS me - 7", (
        "read the log", "see the log lines", "look at the logs", "find an error in the log", "show what the kernel logged", "get the log of a process")),
    Verb("REGISTER_TOOL", "adds a tool of your own to the kernel", "REGISTER_TOOL me - {}", (
        "add a tool", "register a tool", "offer my own tool", "bring a new tool to the kernel", "give processes another tool", "make my function a tool")),
    Verb("LIST_TOOLS", "lists the tools that processes may call", "LIST_TOOLS me -", (
        "list the tools", "see which tools there are", "know what tools processes can call", "show the tools", "find the name of a tool", "see all available tools")),
    Verb("APPROVE", "allows a tool call that waits for your approval", "APPROVE me - 7", (
        "allow a tool call", "approve a call", "say yes to a waiting call", "let a tool call run", "permit what a process asks for", "accept a pending tool call")),
    Verb("DENY", "refuses a tool call that waits for your approval", "DENY me - 7", (
        "refuse a tool call", "deny a call", "say no to a waiting call", "forbid a pending tool call", "reject what a process asks for", "block a tool call")),
    Verb("WHY", "explains why a process is in its present state", "WHY me - 7", (
        "know why a process is waiting", "understand why a process does not run", "get an explanation of a process's state", "find out why a process is slow", "learn why a process stands still", "know the cause of a state")),
)  # fmt: skip
