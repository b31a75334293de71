# ruff: noqa: E501  (tables of sentences read better as blocks)
"""Sentence forms, wishes and words of the evaluation; none of them is in the training set (a test compares them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HELD_OUT: Mapping[str, Sequence[str]] = {
    "verb_named": (
        "What's the purpose of {v}?", "Could you tell me about the verb {v}?", "What would {v} do for me?", "I'd like to understand {v}.", "When would I use {v}?",
        "Summarise {v}.", "What exactly does {v} do?", "Give me a short explanation of {v}.", "What is meant by {v}?", "Tell me how {v} works.", "What is {v} used for?",
        "Please describe {v} to me.", "{v}: what does it do?", "What do you know about {v}?", "I am looking for information on {v}.", "Remind me what {v} does.",
    ),
    "verb_wished": (
        "What should I type to {w}?", "Is there a verb to {w}?", "How am I supposed to {w}?", "What do I use to {w}?", "Which of the verbs lets me {w}?", "I'm looking for a way to {w}.",
        "Tell me which verb I need to {w}.", "What's the best way to {w}?", "Could you show me how to {w}?", "Suppose I want to {w}. Which verb is it?", "How can one {w} here?", "I was told that I can {w}. How?",
    ),
    "calc": (
        "Could you work out {q}?", "What would {q} be?", "Please tell me the result of {q}.", "How much would {q} be?", "Figure out {q}.", "I'd like to know what {q} is.", "Can you do {q} for me?",
        "What number is {q}?", "Give me {q}.", "What value has {q}?",
    ),
    "python": ("Please execute this line of Python: {t}", "Could you run {t} in Python?", "Have Python execute {t}", "Run the following Python: {t}"),
    "shell": ("Could you run the command {t}", "Please execute the command {t}", "Use the shell: {t}", "Have the shell run {t}"),
    "read_file": (
        "Could you read {p} for me?", "What's written in {p}?", "I'd like to know what is in {p}.", "Please show me the file {p}.", "What does the text in {p} say?", "Tell me the contents of {p}.",
        "Can you show me what {p} contains?", "Open up {p}, will you?", "Read me the file {p}.", "View {p}.",
    ),
    "write_file": (
        'Please save "{t}" to {p}.', 'Could you write "{t}" into {p}?', 'I need a file {p} with the text "{t}".', 'Make {p} say "{t}".', 'Please create {p} with the content "{t}".', 'Store the text "{t}" in the file {p}.',
        'Write the text "{t}" to {p}.', "Could you write {t} to {p}?", 'Create a new file {p} that contains "{t}".', "Save the following in {p}: {t}",
    ),
    "append_file": ('I\'d like "{t}" added to {p}.', 'Could you append "{t}" to {p}?', 'Add "{t}" at the end of {p}.', 'Append the line "{t}" to {p}.'),
    "list_files": (
        "Could you list the files?", "What files do I have?", "Show me all the files in the workspace.", "Tell me what files there are.", "Which files are in the workspace?", "I'd like to see the files.",
        "Please show me my files.", "Give me the list of files.", "Let me see the files here.", "List all files.",
    ),
    "list_folder": ("I'd like to see the files in {d}.", "Show me what files are in {d}.", "What files are in the folder {d}?", "Could you list the folder {d}?"),
    "search_text": ('Could you look for "{t}" in {p}?', 'Could you find "{t}" in {p}?', 'Search the file {p} for "{t}".', 'Where in {p} is "{t}"?'),
    "delete_file": ("Could you delete {p}?", "Could you remove {p} for me?", "I want {p} deleted.", "Delete the file called {p}."),
    "get_time": (
        "Could you tell me the time?", "What's the current time?", "What time do we have?", "Please give me the current date.", "Which day is it today?", "I'd like to know the time.", "Do you have the time?",
        "Say what time it is.", "What's today's date?", "What is the time right now?",
    ),
    "sleep": ("Could you sleep for {n} seconds?", "Could you wait {n} seconds?", "I'd like you to pause for {n} seconds.", "Now rest {n} seconds."),
    "ask_human": ('Could you ask the human "{t}"', 'I\'d like the human to answer "{t}"', 'Ask the human this question: "{t}"', 'Let the human answer "{t}"'),
    "mem_read": ("What did you store under {k}?", "Could you recall {k}?", "Tell me what is stored under {k}.", "Read the value of {k} from memory."),
    "mem_write": ('Could you remember "{t}" as {k}?', 'Could you store "{t}" under {k}?', 'Keep "{t}" in memory as {k}.', 'Put "{t}" in memory under the key {k}.'),
    "calc_write": (
        "Could you compute {q} and save it to {p}?", "What is {q}? Please put the result in {p}.", "Please work out {q} and write the answer to {p}.", "I'd like {q} computed and saved in {p}.",
        "How much is {q}? Write the result to {p}.", "Calculate {q}. Then store it in {p}.", "Compute {q}, then save the result in {p}.", "Figure out {q} and write it into {p}.",
    ),
    "calc_append": ("Please compute {q} and add it to the end of {p}.", "What is {q}? Add the result to {p}.", "Calculate {q} and append it to {p}."),
    "calc_remember": ("Please compute {q} and remember the result as {k}.", "What is {q}? Store it in memory as {k}.", "Calculate {q} and remember it as {k}."),
    "time_write": ("Please write the current time to {p}.", "Could you save the time in {p}?", "What is the date? Write it to {p}.", "Put the current time into {p}."),
    "copy": ("I'd like a copy of {p} in {o}.", "Could you copy {p} into {o}?", "Take the text of {p} and write it to {o}.", "Save the contents of {p} as {o}."),
    "write_again": ("Please write that to {p}.", "Now save the number in {p}.", "Could you put it into {p}?", "Then store it in {p}."),
    "read_back": ("Could you read it back?", "Show me what it says.", "Read that file.", "Let me check it."),
    "thanks": ("Thanks so much.", "Thank you, that's it.", "Good work.", "Fine."),
}  # fmt: skip
WISHES: Mapping[str, Sequence[str]] = {
    "HELLO": ("agree on the protocol version", "negotiate capabilities with the kernel"), "AUTH": ("send my token", "authenticate myself with a token"),
    "HELP": ("get a list of all verbs", "know all of the commands"), "QUIT": ("close my connection", "disconnect from the kernel"), "PING": ("check if the kernel is still alive", "test that the kernel answers"),
    "STATUS": ("ask for the state of the kernel", "see how one process is doing"), "PS": ("see a list of all processes", "list what processes are running"), "SHUTDOWN": ("shut down the kernel", "end the whole kernel"),
    "LIST_MODELS": ("see all the models in the catalogue", "get a list of the models"), "SELECT_MODEL": ("choose another model", "select the model to use next"), "MODEL_INFO": ("see information about a model", "know the details of one model"),
    "LOAD": ("load a GGUF model", "load a model file"), "UNLOAD": ("unload the loaded model", "free the memory that a model takes"), "SET_GEN": ("change the temperature", "use another seed"), "GET_GEN": ("know the temperature", "ask for the generation settings"),
    "EXEC": ("start a prompt", "run a new prompt as a process"), "SEND_INPUT": ("send more input to a process", "give the next turn to an interactive process"), "STOP_OUTPUT": ("pause a process's output", "hold back the output"),
    "CONTINUE_OUTPUT": ("continue a process's output", "let held output go on"), "WAIT": ("wait until my process has ended", "wait for the end of a process"), "TERM": ("end a process after it finishes its sentence", "gently end a process"),
    "KILL": ("kill the process that runs", "stop a process immediately"), "SUSPEND": ("make a process pause", "suspend a process for a while"), "RESUME": ("continue a paused process", "resume a suspended process"),
    "SET_PRIORITY": ("give another priority to a process", "give a process high priority"), "GET_QUOTA": ("see the quota of a process", "know the limits of a process"), "SET_QUOTA": ("set the quota of a process", "change the limits of a process"),
    "SUBSCRIBE": ("receive the kernel's events", "subscribe to the kernel's events"), "MEMW": ("write bytes into the memory of a process", "write into memory pages"), "MEMR": ("read the memory of a process", "read memory pages"),
    "MEM": ("know how much memory a process uses", "see the memory usage"), "FORK": ("make children from a process", "fork one of my processes"), "SNAPSHOT": ("take a snapshot of a process", "keep an image of one process's context"),
    "LIST_SNAPSHOTS": ("see a list of the snapshots", "know which snapshots I have"), "DROP_SNAPSHOT": ("delete one of the snapshots", "remove an old snapshot of a process"),
    "CHECKPOINT": ("save every process that I have", "make a checkpoint of everything"), "RESTORE": ("restore a checkpoint", "go back to a saved state"), "ATTACH": ("attach myself to a process", "follow the output of a process"),
    "LOGS": ("read the output of a process", "know what a process has put out"), "DETACH": ("detach myself from a process", "stop following a process"), "REGISTER_TOOL": ("register my own tool", "add a new tool"), "LIST_TOOLS": ("get a list of the tools", "see what tools there are"), "APPROVE": ("approve a tool call", "allow a waiting tool call"),
    "LIST_CHECKPOINTS": ("see a list of the checkpoints", "know which checkpoints I have"), "DROP_CHECKPOINT": ("delete one of the checkpoints", "remove an old checkpoint"),
    "REPLAY": ("replay a process", "compare a second run of a process with the first"), "TOOL_INFO": ("see information about a tool", "know the arguments of one tool"), "UNREGISTER_TOOL": ("unregister my own tool", "remove a tool that I added"),
    "ANSWER": ("answer the question that a process asks", "reply to a process that asks a person"), "LIST_FILES": ("see a list of the files of a process", "know which files are in a process's workspace"),
    "GET_FILE": ("read one of a process's files", "get a file out of the workspace of a process"), "PUT_FILE": ("write a file into the workspace of a process", "put one of my files into a process's workspace"),
    "DENY": ("deny a tool call", "refuse a waiting tool call"), "WHY": ("understand why my process waits", "find out why a process does not run"),
}  # fmt: skip
CHAT: Sequence[str] = (
    "Hello again!", "Hi kernel!", "Hey you", "Good day", "What's up today?", "Are you alive?", "Who built you?", "What sort of model are you?", "What may I ask you?", "How may you help me?", "Thanks for your help!", "That's nice.",
    "See you later.", "Bye for now.", "How do you do today?", "What is agentkernel for?", "What is a process here?", "Where is {x} from?", "What is the population of {x}?", "Who painted {x}?", "Why do {x} and {y} fight?", "How big is {x}?",
    "Is it true that {x} is {y}?", "What is your favourite {x}?", "Do people eat {x}?", "I own {n} {x}.", "My cat is called {x}.", "The name of my file is {p}.", "I think {n} is a nice number.", "We met near the {x}.", "I am reading {p} at the moment.",
    "My house number is {n}.", "I have been to {x} twice.", "Use the tool called {x}.", "Invoke the {x} tool with {y}.", "Please call the tool {x}.", "Send a letter to {x}.", "Look for {x} on the web.", "What is a {x} made of?", "Which is better, {x} or {y}?",
)  # fmt: skip
FOREIGN: Sequence[str] = (
    "¿Dónde está la biblioteca?", "¿Puedes ayudarme?", "Écris une histoire.", "Où est le fichier ?", "Wer bist du?", "Schreibe eine Datei.", "Come ti chiami?", "Qual è il tuo nome?", "Quem é você?", "Hoe laat is het?", "Vem är du?",
    "Opowiedz mi bajkę.", "Кто ты?", "Напиши файл.", "あなたは誰ですか", "物語を話してください", "你是谁?", "写一个文件", "너는 누구니?", "من أنت؟", "מי אתה?", "तुम कौन हो?", "Ποιος είσαι;", "Sen kimsin?", "Kuka sinä olet?", "Kas tu esi?", "Kdo jsi?",
)  # fmt: skip
SYSTEMS: Mapping[str, Sequence[str]] = {
    "allow": (
        "You are an assistant with tools. Tools: {tools}.", "You can call tools: {tools}.", "You may use any of these tools: {tools}.", "Tool calls are allowed here.", "You are a process of the kernel and may use tools.",
    ),
    "forbid": (
        "You are a helpful assistant. Tools are not allowed.", "Do not call tools.", "You must not use tools.", "Tools are forbidden here.", "You may not call any tools.", "Answer without using tools.",
    ),
    "plain": ("You are a friendly assistant.", "You are the helper of {x}.", "Be brief.", "You are a small model named {x}."),
}  # fmt: skip
STORIES: Sequence[str] = (
    "I'd love {s}.", "Could you please tell me {s}?", "How about {s}?", "Could you come up with {s}?", "Let's have {s}.", "Think of {s}.", "Can I have {s}?", "Tell us {s}.", "Do tell me {s}.", "Now I would like to hear {s}.",
)  # fmt: skip
HEROES: Sequence[str] = (
    "walrus", "zebra", "giraffe", "panda", "eagle", "flamingo", "salmon", "moth", "hamster", "weasel", "lobster", "stork", "captain", "carpenter", "nurse", "pilot", "magician", "juggler", "grandmother", "detective", "beaver",
    "tortoise", "rooster", "parrotfish", "vampire", "troll", "gnome", "sparrowhawk", "rhino", "panther", "happy hippo", "blue whale", "sad clown", "tiny elf", "violinist", "cactus", "teapot", "tractor", "star fish", "jaguar",
)  # fmt: skip
