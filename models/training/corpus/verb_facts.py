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
        "negotiate the protocol", "switch to protocol v1", "agree on capabilities", "start the v1 dialect", "choose the protocol version", "greet the kernel and pick a version",
        "open a session with protocol v1", "tell the kernel which capabilities I have", "settle the protocol with the kernel", "find out which capabilities the kernel offers", "shake hands with the kernel", "use the new protocol")),
    Verb("AUTH", "shows the kernel your token, so that it lets you in", "AUTH me - <token>", (
        "log in", "present my token", "authenticate", "prove who I am", "sign in with a token", "get past AUTH_REQUIRED",
        "give the kernel my token", "show my credentials", "be let in by the kernel", "identify myself", "use my token to log in", "get access with my token")),
    Verb("HELP", "lists the verbs and what each of them takes", "HELP me -", (
        "see all verbs", "get help", "list the commands", "read how a verb is used", "know which commands there are", "get an explanation of a command",
        "see what commands the kernel has", "look up the commands", "learn which verbs exist", "know every verb", "show all commands", "find out what I can type")),
    Verb("QUIT", "closes this connection", "QUIT me -", (
        "close the connection", "leave", "disconnect", "end my connection", "hang up", "log out",
        "end this session", "close this connection", "stop talking to the kernel", "go away", "drop my connection", "leave the kernel without stopping it")),
    Verb("PING", "asks the kernel whether it is alive; it answers PONG", "PING me -", (
        "check that the kernel is alive", "test the connection", "get a PONG", "see whether the kernel answers", "check that the server responds", "know if the kernel is there",
        "ask whether the kernel is alive", "make sure that the kernel answers", "check the connection", "know whether the server is up", "see if anybody answers", "probe the kernel")),
    Verb("STATUS", "shows the state of the kernel or of one process", "STATUS me - 7", (
        "see the state of the kernel", "see the state of a process", "know how a process is doing", "look at one process", "get the uptime", "check how the kernel is doing",
        "ask how the kernel is doing", "learn the state of a process", "check the condition of a process", "get a process's state", "see the kernel's state and uptime", "ask what state a process is in")),
    Verb("PS", "lists the processes", "PS me -", (
        "list the processes", "see what is running", "get all PIDs", "find my processes", "see every process", "show the process table",
        "see all processes", "get a list of the processes", "show which processes run", "know which processes there are", "look at the process list", "list every running process")),
    Verb("SHUTDOWN", "ends the kernel in good order", "SHUTDOWN me -", (
        "stop the kernel", "shut the kernel down", "turn the server off", "end the kernel", "power down the whole kernel", "halt the server",
        "stop the whole server", "turn off the kernel", "bring the kernel down", "make the kernel exit", "close the kernel down", "end the server in good order")),
    Verb("LIST_MODELS", "lists the models in the catalogue", "LIST_MODELS me -", (
        "list the models", "see which models there are", "know what models are available", "browse the catalogue", "show the model catalogue", "find the id of a model",
        "get the names of the models", "show every model", "see the catalogue of models", "know which models I can load", "find out which models exist", "look at the models in the catalogue")),
    Verb("SELECT_MODEL", "chooses the model that the next LOAD takes", "SELECT_MODEL me - builtin/agentkernel-tiny", (
        "choose a model", "select a model", "pick another model", "change the selected model", "set which model comes next", "make a model the selected one",
        "make another model the default", "decide which model is loaded next", "set the model for the next LOAD", "switch the default model", "say which model I prefer", "mark a model as the next one")),
    Verb("MODEL_INFO", "describes a model: its family, path and chat template", "MODEL_INFO me - builtin/agentkernel-tiny", (
        "learn about a model", "see the details of a model", "know the family of a model", "read a model's chat template", "describe a model", "get facts on one model",
        "see what is known about a model", "get a description of a model", "find out a model's family", "ask for the path of a model", "show the facts about one model", "inspect one model")),
    Verb("LOAD", "loads a GGUF model into an engine", "LOAD me - builtin/agentkernel-tiny", (
        "load a model", "load a GGUF file", "bring a model into memory", "start an engine with a model", "open a GGUF", "get a model ready to run",
        "put a model into memory", "make a model ready", "bring up a model", "have a model in memory", "load the model that I selected", "get an engine for a model", "load a model from its file", "read a model file into memory")),
    Verb("UNLOAD", "removes a loaded model that no process uses", "UNLOAD me - builtin/agentkernel-tiny", (
        "unload a model", "free the memory of a model", "remove a loaded model", "drop a model from memory", "get rid of a loaded model", "stop an engine and free its model",
        "take a model out of memory", "let go of a loaded model", "free a model's memory", "throw a model out of memory", "remove the loaded model from memory", "release a model")),
    Verb("SET_GEN", "sets the defaults for generation: temperature, top_p, seed and max_tokens", "SET_GEN me - temperature=0.5", (
        "set the temperature", "change the seed", "change top_p", "set the generation defaults", "set the default max_tokens", "make the sampling less random",
        "change the sampling settings", "make answers more random", "choose another temperature", "fix the seed", "work with a new seed", "draw with a different seed", "let the kernel take my seed", "alter the generation settings", "set top_p for all prompts")),
    Verb("GET_GEN", "shows the defaults for generation", "GET_GEN me -", (
        "see the temperature", "read the generation defaults", "know the current seed", "look up top_p", "show the generation settings", "see the sampling settings",
        "find out the temperature", "view the current sampling settings", "show the temperature and the seed", "check the default seed", "ask what top_p is", "be told the current settings", "ask which temperature holds", "hear the defaults for generation", "see which generation settings hold")),
    Verb("EXEC", "starts a prompt as a process and streams its tokens", "EXEC me - Tell me a story", (
        "start a process", "run a prompt", "launch a prompt", "create a new process", "send a prompt to the model", "get tokens for a prompt",
        "run a prompt as a process", "begin a new process", "ask the model something", "have the model answer a prompt", "make the model write something", "execute a prompt")),
    Verb("SEND_INPUT", "gives the next user turn to an interactive process", "SEND_INPUT me - 7 Go on", (
        "send the next turn to a process", "say something to an interactive process", "give input to a process", "continue a conversation", "talk to a waiting process", "type another message to a process",
        "say something more to a process", "write back to an interactive process", "pass another message to a process", "feed a process its next turn", "type the next turn for a process", "give an interactive process its next message")),
    Verb("STOP_OUTPUT", "holds a process and its output", "STOP_OUTPUT me - 7", (
        "hold the output of a process", "pause the output", "hold back a process's tokens", "silence the stream of a process", "keep the output back", "mute a process",
        "hold back a process's output", "keep a process from printing", "stop the output of a process for now", "pause the stream of tokens", "put the output on hold", "make a process's output wait")),
    Verb("CONTINUE_OUTPUT", "lets a held process and its output go on", "CONTINUE_OUTPUT me - 7", (
        "continue the output", "see held output again", "let the output flow again", "get the stream back", "release the held output", "unmute a process",
        "let a process print again", "resume the output of a process", "have the output go on", "hear the process again", "take the output off hold", "start the stopped output again")),
    Verb("WAIT", "waits until a process has ended and returns the reason", "WAIT me - 7", (
        "wait for a process", "wait until a process ends", "know why a process ended", "block until a process is done", "get the reason of an end", "be told when a process finishes",
        "wait for the end of my process", "be told the reason why a process ended", "hold on until a process is finished", "wait till a process is done", "know when a process has ended", "sit until a process finishes")),
    Verb("TERM", "lets a process finish its sentence, then ends it", "TERM me - 7", (
        "end a process gently", "stop a process politely", "let a process finish its sentence and end", "ask a process to end", "terminate a process", "end a process after its sentence",
        "let a process come to an end in good order", "end a process at the end of its sentence", "stop a process kindly", "have a process finish and then end", "close a process without cutting its sentence", "finish a process softly")),
    Verb("KILL", "stops a process at its next step", "KILL me - 7", (
        "stop a process", "stop a process at once", "kill a process", "end a process immediately", "stop a process now", "force a process to stop", "kill the process that hangs", "kill a process that runs wild", "halt a running process", "abort a process",
        "stop a process right away", "cut a process off", "shoot a process down", "make a process die now", "end a process by force", "get rid of a running process at once")),
    Verb("SUSPEND", "pauses a process and keeps its work", "SUSPEND me - 7", (
        "pause a process", "suspend a process", "put a process to sleep", "freeze a process", "park a process for later", "halt a process for a while",
        "put a process on hold", "set a process aside for a time", "make a process stand still", "let a process rest and keep its work", "stop a process for a time without losing its work", "interrupt a process and keep it")),
    Verb("RESUME", "lets a suspended process go on", "RESUME me - 7", (
        "resume a process", "continue a suspended process", "wake a process up", "let a paused process go on", "unfreeze a process", "restart a paused process",
        "let a suspended process run again", "make a paused process run again", "take a process off hold", "carry on with a suspended process", "start a suspended process again", "wake a suspended process")),
    Verb("SET_PRIORITY", "changes a process's priority: low, normal, high or critical", "SET_PRIORITY me - 7 high", (
        "change the priority of a process", "make a process more important", "raise a priority", "give a process low priority", "assign a priority to a process", "choose a new priority for a process", "set a process to critical", "lower the priority of a process",
        "set the priority of a process", "make one process more urgent than others", "change how important a process is", "put a process ahead of the others", "let a process run before others", "make a process less urgent")),
    Verb("GET_QUOTA", "shows the limits of a process or an owner and what is used of them", "GET_QUOTA me - 7", (
        "see the limits of a process", "read a quota", "know how many tokens a process may use", "see how much of its quota a process used", "show the quota", "check a process's budget",
        "see what limits a process has", "view the quota of a process", "find out how many tokens a process has left", "ask for a process's limits", "look up what a process has used", "learn which limits a process has")),
    Verb("SET_QUOTA", "changes the limits of a process or an owner", "SET_QUOTA me - 7 max_tokens=64", (
        "limit a process", "change a quota", "give a process more tokens", "set a limit on tool calls", "raise a process's budget", "cap the tokens of a process",
        "set limits for a process", "change how many tokens a process may use", "restrict a process", "adjust a quota", "allow a process more tool calls", "put a cap on a process")),
    Verb("SUBSCRIBE", "sends you the kernel's events as they happen", "SUBSCRIBE me -", (
        "get events", "follow the kernel's events", "be notified of changes", "receive an event for each change", "watch what happens in the kernel", "subscribe to events",
        "get the kernel's events", "hear about every change", "have the events sent to me", "listen to the kernel's events", "see events as they happen", "be told of what happens in the kernel")),
    Verb("MEMW", "writes into a process's memory pages", "MEMW me 6\n7\ntext", (
        "write to a process's memory", "put text into memory pages", "store bytes in a process", "fill a memory page", "change the memory of a process", "write a page",
        "write bytes to a process", "put bytes into a process's memory", "fill the pages of a process", "place data in a process's memory", "store data in memory pages", "set bytes in a process's pages")),
    Verb("MEMR", "reads a process's memory pages", "MEMR me - 7", (
        "read a process's memory", "get the bytes of a memory page", "look into a process's memory", "fetch a memory page", "see what is in the memory of a process", "read a page",
        "read bytes from a process", "see the bytes in a process's pages", "get data out of memory pages", "look at a memory page", "take bytes from a process's memory", "show the contents of a memory page")),
    Verb("MEM", "shows how much memory pages and contexts take", "MEM me - 7", (
        "see how much memory is used", "know the memory usage", "count the memory pages", "show the memory figures", "measure a process's memory", "get memory statistics",
        "learn how much memory the pages take", "find out the memory use of a process", "check how much memory a process takes", "see memory figures", "ask how many pages a process has", "know the size of a process's memory", "know how much memory every process uses", "see the memory that a process uses up")),
    Verb("FORK", "makes children that begin with their parent's context", "FORK me - 7", (
        "fork a process", "copy a process", "make children of a process", "split a process in two", "try several answers from one context", "clone a process with its context",
        "make a child of a process", "create children with the context of a process", "let a process have children", "branch a process", "get two processes out of one", "start several children from one parent")),
    Verb("SNAPSHOT", "keeps an image of one process's context under a name", "SNAPSHOT me - 7 tuesday", (
        "take a snapshot", "keep an image of a process", "save one process's context", "make a snapshot of a process", "photograph the state of one process", "preserve one process's context",
        "make an image of one process", "store the context of one process", "freeze the context of a process in an image", "create a snapshot of one process", "take a picture of a process's context", "save a snapshot under a name")),
    Verb("LIST_SNAPSHOTS", "lists the snapshots that were kept", "LIST_SNAPSHOTS me -", (
        "list the snapshots", "see which snapshots there are", "know what snapshots were kept", "find the name of a snapshot", "show all snapshots", "look at my snapshots",
        "get the names of the snapshots", "see every snapshot", "find out which snapshots exist", "show the list of snapshots", "check which images of processes there are", "view the kept snapshots")),
    Verb("DROP_SNAPSHOT", "deletes a snapshot", "DROP_SNAPSHOT me - tuesday", (
        "delete a snapshot", "remove a snapshot", "drop a snapshot", "throw a snapshot away", "forget a snapshot", "free the space of a snapshot",
        "get rid of a snapshot", "erase an image of a process", "clear away an old snapshot", "discard a kept snapshot", "destroy a snapshot", "wipe a snapshot out", "throw one of my snapshots away", "erase one of the old snapshots", "delete a snapshot of mine")),
    Verb("CHECKPOINT", "saves one process or all of them under a name", "CHECKPOINT me - 7 monday", (
        "save a process with its files", "make a checkpoint", "save everything under a name", "back up all my processes", "store the state of all processes", "save a process so that RESTORE can bring it back",
        "save all processes at once", "make a backup of every process", "store everything for later", "write the state of all processes to disk", "keep everything as it is now", "put all my processes into one file", "create a checkpoint of a process", "save every process", "save each of the processes that I run")),
    Verb("RESTORE", "brings back the processes of a checkpoint", "RESTORE me - monday", (
        "go back to a checkpoint", "restore the saved processes", "bring a checkpoint back", "load a checkpoint", "recover saved processes", "return to an earlier state",
        "bring back what a checkpoint saved", "undo everything since the checkpoint", "get saved processes back", "load what CHECKPOINT saved", "reset my processes to a checkpoint", "put the saved state back", "revive the processes of a checkpoint")),
    Verb("LIST_CHECKPOINTS", "lists your checkpoints", "LIST_CHECKPOINTS me -", (
        "list the checkpoints", "see which checkpoints there are", "know what checkpoints I made", "find the name of a checkpoint", "show all checkpoints", "look at my checkpoints",
        "get the names of the checkpoints", "see every checkpoint", "find out which checkpoints exist", "show the list of checkpoints", "check which states were saved", "view the saved checkpoints")),
    Verb("DROP_CHECKPOINT", "deletes a checkpoint", "DROP_CHECKPOINT me - monday", (
        "delete a checkpoint", "remove a checkpoint", "drop a checkpoint", "throw a checkpoint away", "forget a checkpoint", "free the space of a checkpoint",
        "get rid of a checkpoint", "erase a saved state", "clear away an old checkpoint", "discard a checkpoint", "destroy a checkpoint", "wipe a checkpoint out", "throw one of my checkpoints away", "erase one of the old checkpoints", "delete a checkpoint of mine")),
    Verb("REPLAY", "runs an ended process again and compares what it says", "REPLAY me - 7", (
        "run an ended process again", "repeat a process and compare", "check that a process says the same again", "run a finished process once more", "verify what a process generated", "find out where a second run differs",
        "test whether a process is deterministic", "do an ended process over", "compare a process with a second run of it", "generate an ended process anew and compare", "see whether a process would say the same", "reproduce a finished process", "make a replay of a process", "have a replay of an ended process", "set a second run against the first one")),
    Verb("ATTACH", "streams a process's output from an offset on", "ATTACH me - 7 0", (
        "follow a running process", "stream a process's output to me", "attach to a process", "take a process over", "come back to a process after a lost connection", "reconnect to the output of a process",
        "follow what a process says", "connect to a running process", "have a process's output sent to me from the start", "take up the output of a process from an offset", "watch a process that already runs", "read on after my connection broke", "follow what a process puts out", "see the output of a process as it comes")),
    Verb("DETACH", "stops streaming a process's output to you; the process goes on", "DETACH me - 7", (
        "detach from a process", "no longer follow a process", "stop watching a process and let it run", "leave a process running on its own", "let a process run on without me", "end what ATTACH began",
        "take my connection off a process", "stop streaming a process", "stop reading a process without ending it", "let go of a process that should run on", "unfollow a process", "turn away from a process that goes on", "give up following a process", "end my following of a process")),
    Verb("LOGS", "gives back what a process has put out", "LOGS me - 7", (
        "read what a process has put out", "see the whole output of a process", "get the text that a process wrote", "look up what a process said", "read the output of an ended process", "get the log of a process",
        "see what was put out by a process", "get a part of a process's output", "look through the output of a process", "read again what a process has said", "fetch all that a process put out", "know what a process has written so far", "read the text that a process put out")),
    Verb("REGISTER_TOOL", "adds a tool of your own to the kernel", 'REGISTER_TOOL me - {"name":"hi","description":"greets","schema":{"type":"object"},"command":["echo","hi"]}', (
        "add a tool", "register a tool", "offer my own tool", "bring a new tool to the kernel", "give processes another tool", "make my function a tool",
        "give the kernel a new tool", "make a tool known to the kernel", "offer a function as a tool", "add my tool", "install another tool", "bring in a tool of my own", "add one more tool", "make a new tool available")),
    Verb("UNREGISTER_TOOL", "removes a tool that was registered", "UNREGISTER_TOOL me - hi", (
        "remove a tool", "unregister a tool", "take a tool away from the kernel", "forget a tool that I registered", "get rid of a registered tool", "withdraw my tool",
        "delete a tool of mine", "drop a registered tool", "make the kernel forget a tool", "take back my own tool", "undo REGISTER_TOOL", "no longer offer a tool")),
    Verb("LIST_TOOLS", "lists the tools that processes may call", "LIST_TOOLS me -", (
        "list the tools", "see which tools there are", "know what tools processes can call", "show the tools", "find the name of a tool", "see all available tools",
        "get the names of the tools", "see which tools can be called", "show every tool", "find out what tools processes have", "look at the list of tools", "know which tools exist")),
    Verb("TOOL_INFO", "describes a tool: its arguments and limits", "TOOL_INFO me - calc", (
        "learn about a tool", "see the details of a tool", "know which arguments a tool takes", "read a tool's schema", "describe a tool", "get facts on one tool",
        "see what is known about a tool", "get a description of a tool", "find out how a tool is called", "ask for the limits of a tool", "show the facts about one tool", "inspect one tool")),
    Verb("ANSWER", "answers what a process asks a person", "ANSWER me - 7 yes", (
        "answer a question of a process", "answer what a process asks", "tell a process what it asks me", "reply to the question of a process", "respond when a process asks a person", "give a process the answer that it waits for",
        "answer ask_human", "reply to what a process wants to know", "be the human that a process asks", "let a process have my answer", "settle a process's question", "say yes to a process's question")),
    Verb("APPROVE", "allows a tool call that waits for your approval", "APPROVE me - 7 1", (
        "allow a tool call", "approve a call", "say yes to a waiting call", "let a tool call run", "permit what a process asks for", "accept a pending tool call",
        "give permission for a tool call", "let a waiting tool call go on", "say that a tool call is fine", "agree to a tool call", "confirm a tool call", "grant a tool call")),
    Verb("DENY", "refuses a tool call that waits for your approval", "DENY me - 7 1", (
        "refuse a tool call", "deny a call", "say no to a waiting call", "forbid a pending tool call", "reject what a process asks for", "block a tool call",
        "stop a tool call from running", "turn down a tool call", "not allow a tool call", "veto a tool call", "disapprove of a waiting call", "keep a tool call from happening")),
    Verb("LIST_FILES", "lists the files in a process's workspace", "LIST_FILES me - 7", (
        "list the files of a process", "see which files a process has", "look into the workspace of a process", "know what files a process made", "show the workspace of a process", "find a file in a process's workspace",
        "get the names of a process's files", "see every file of a process", "find out which files a process wrote", "see what a process keeps in its workspace", "check the directory of a process", "browse the workspace of a process")),
    Verb("GET_FILE", "reads a file from a process's workspace", "GET_FILE me - 7 notes.txt", (
        "read a file of a process", "get a file from a process", "fetch a file that a process wrote", "download a file from a process's workspace", "see what is in a file of a process", "open a file of a process",
        "take a file out of a process's workspace", "get the contents of a process's file", "copy a file from a process to me", "have a file out of the workspace of a process", "load a file that a process made", "print a process's file", "look at one of the files that a process has", "read one file from a process", "have the text of one of a process's files")),
    Verb("PUT_FILE", "writes a file into a process's workspace", "PUT_FILE me - 7 notes.txt|hello", (
        "write a file for a process", "give a file to a process", "put a file into the workspace of a process", "upload a file to a process", "store a file in a process's workspace", "send a file to a process",
        "place a file in the directory of a process", "replace a file of a process", "copy a file of mine to a process", "change a file in a process's workspace", "hand a process a file", "save a file where a process finds it", "place one of my files where a process works", "put some file of mine in front of a process", "move my file into the workspace of a process")),
    Verb("WHY", "tells what a process is about or waits for", "WHY me - 7", (
        "know why a process is waiting", "understand why a process does not run", "get an explanation of a process's state", "find out why a process is slow", "learn why a process stands still", "know the cause of a state",
        "know the reason for a process's state", "see why a process is stuck", "ask what a process waits for", "learn why my process is not running", "have the state of a process explained", "get told why a process waits")),
)  # fmt: skip
