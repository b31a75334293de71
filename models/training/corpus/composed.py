# ruff: noqa: E501  (tables of sentences read better as blocks)
# fmt: off
"""Sentence forms composed from heads and tails, so that no single way to ask stands for one kind of request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def joined(*parts: Sequence[str]) -> tuple[str, ...]:
    """Every sentence that takes one piece of each part, in order."""
    sentences = [""]
    for part in parts:
        sentences = [head + piece for head in sentences for piece in part]
    return tuple(sentences)


def balanced(many: Sequence[str], few: Sequence[str]) -> tuple[str, ...]:
    """Both lists in one, the shorter one repeated until it is drawn about as often as the longer."""
    longer, shorter = (many, few) if len(many) >= len(few) else (few, many)
    return (*longer, *tuple(shorter) * (len(longer) // max(1, len(shorter))))


_WISH_TALES = (
    "I want to {w}",
    "I need to {w}",
    "I must {w}",
    "I was asked to {w}",
    "Imagine that I have to {w}",
    "Let's say we want to {w}",
    "Somebody wants to {w}",
    "I cannot {w}",
    "I don't know how to {w}",
    "I forgot how to {w}",
    "My plan is to {w}",
    "I tried to {w}",
    "We have to {w}",
    "It should be possible to {w}",
    "A friend would like to {w}",
    "My script has to {w}",
    "I will have to {w} soon",
    "I am new and want to {w}",
    "The manual says that one can {w}",
    "Assume I need to {w}",
    "I hope to {w}",
)
_WISH_ENDS = (
    ". How?",
    ". Which verb?",
    ". What do I send?",
    ". What do I type?",
    ". Any idea?",
    ". Is there a verb for that?",
    ". Which command is that?",
    ". Help me.",
    ". Tell me how.",
    ". Please advise.",
    ", how does that work?",
    ", what now?",
    ". What is the verb called?",
    ". What does the kernel offer?",
    ".",
    ". Who can help?",
)
_WISH_QUESTIONS = (
    "How am I able to {w}",
    "How might I {w}",
    "Which verb would let me {w}",
    "What verb allows me to {w}",
    "What is used to {w}",
    "How do people {w}",
    "With which verb do I {w}",
    "What could I send to {w}",
    "How do you {w}",
    "Which request makes the kernel {w}",
    "Do you have a verb to {w}",
    "How may I {w}",
    "What helps me {w}",
    "By which command can I {w}",
    "How do we {w}",
    "What will {w}",
    "Can you say how to {w}",
    "What is it that lets me {w}",
    "Where can I {w}",
    "Who or what can {w}",
    "How is it possible to {w}",
    "Which one is the verb to {w}",
    "What do users type to {w}",
    "May I {w}, and how",
)
_QUESTION_ENDS = ("?", "?", " in this kernel?", " from the terminal?", ", please?", " in agentkernel?", " with one command?", " right now?", " myself?", "")
_VERB_TALES = (
    "I need to use {v}",
    "My colleague mentioned {v}",
    "I found {v} in the manual",
    "I want to use {v}",
    "I have never used {v}",
    "I must explain {v} to a friend",
    "There is a verb {v}",
    "Somebody typed {v}",
    "HELP lists {v}",
    "I keep forgetting {v}",
    "I read {v} somewhere",
    "In a log I saw {v}",
    "My script sends {v}",
)
_VERB_ENDS = (". What does it do?", ". What is it for?", ". Explain it.", ". Tell me about it.", ". How does it work?", ", but what is it?", ". Can you help?", ". What is that?", ". What happens then?", ". Why?", ". What does that mean?", ".")
_VERB_QUESTIONS = (
    "What does {v} do",
    "What is {v}",
    "How does {v} work",
    "What does {v} mean",
    "How do I use {v}",
    "What do people mean by {v}",
    "What does one call {v}",
    "What is {v} good for",
    "When is {v} useful",
    "What would happen after {v}",
    "Which job has {v}",
    "What kind of verb is {v}",
    "Can you define {v}",
    "Why is there a verb {v}",
    "What changes when I send {v}",
    "What do people do with {v}",
)
_VERB_QUESTION_ENDS = ("?", " here?", " in the kernel?", ", in short?", ", please?", " at all?", " in agentkernel?", " when I type it?", "")


VERB_NAMED = (
    *joined(("{v}: ", "{v} - ", "{v}, ", "The verb {v}: "), ("what is it", "what is it for", "how does it work", "what is that", "tell me more", "please explain", "what happens then", "can you explain it", "when do I use it", "a short answer please"), ("?", ".", "")),
    *joined(("I need facts about ", "I look for help with ", "I search for an explanation of ", "Give a summary of ", "Sum up ", "Outline ", "I'd like a word on ", "What can be said about ", "Do you have information about "), ("{v}", "the verb {v}", "the command {v}"), (".", "", " in one line.")),
    *joined(_VERB_TALES, _VERB_ENDS),
    *joined(_VERB_QUESTIONS, _VERB_QUESTION_ENDS),
    *joined(("What is ", "What's ", "Tell me ", "Explain ", "I wonder what is "), ("the aim of ", "the goal of ", "the job of ", "the role of ", "the idea of ", "the sense of ", "the function of ", "the task of ", "the effect of ", "the use of "), ("{v}?", "{v}")),
)
VERB_WISHED = (*joined(_WISH_TALES, _WISH_ENDS), *joined(_WISH_QUESTIONS, _QUESTION_ENDS))
_NOW = (".", ".", "", " for me.", " now.", " at once.", " today.", " first.")
_ASK = ("?", "?", "", " please?", " now?", ", do you know?", ", can you say?")
_IT = ("What is {q}?", "How much is {q}?", "Compute {q}.", "Calculate {q}.", "Work out {q}.", "Tell me {q}.", "Solve {q}.", "Find {q}.", "Evaluate {q}.", "What does {q} give?", "Determine {q}.", "{q}?")
_WORKED_OUT = (" worked out", " calculated", " done", " solved", " evaluated", " determined", " figured out")
_WANTING = ("I want ", "I need ", "I would like ", "I'd like ", "We'd like ", "Please have ", "Get ", "We need ", "I wish to have ", "I'd love to have ")
_TAGS = (", would you?", ", could you?", ", can you?", ", won't you?", ", if you can.", ", please.")
CALC = (
    *joined(
        (
            "What is {q}",
            "How much is {q}",
            "What does {q} give",
            "What comes out of {q}",
            "What do I get from {q}",
            "What will {q} be",
            "How much could {q} be",
            "What number comes from {q}",
            "Which number equals {q}",
            "What equals {q}",
            "What result has {q}",
            "What do {q} come to",
            "How much do we get for {q}",
            "How many are {q}",
        ),
        _ASK,
    ),
    *joined(
        ("Compute {q}", "Calculate {q}", "Work out {q}", "Show me {q}", "Find {q}", "Solve {q}", "Evaluate {q}", "Determine {q}", "Answer {q}", "Do the arithmetic: {q}", "I need to know {q}", "I must know {q}", "Let me have {q}", "Find out {q}", "Tell me what {q} makes", "Tell me how much {q} comes to"),
        (*_NOW, " with the calculator.", " exactly.", " and tell me."),
    ),
    *joined(("I want {q}", "I need {q}", "I would like {q}", "Please have {q}", "Get {q}", "We need {q}", "Let us get {q}", "It is time to get {q}"), _WORKED_OUT, (".", "", " now.", " please.")),
    *joined(("{q} is what", "{q} equals what", "{q} makes what", "{q} gives which number", "{q} comes to how much", "{q}: how much is that", "{q}, what is that", "{q} is how much", "{q} yields what"), ("?", "", " please?")),
    *joined(("What might {q} be", "How much might {q} be", "How big will {q} be", "How large might {q} be", "What must {q} be", "What do you think {q} is", "What does {q} equal", "What does {q} come to", "What does {q} amount to", "To what does {q} amount", "How large is {q}", "How much is {q} altogether", "How much has {q}", "What outcome has {q}"), _ASK),
)
READ_FILE = (
    *joined(
        ("Read ", "Show ", "Examine ", "Pull up ", "Peek into ", "Reveal ", "Quote ", "Type out ", "Browse ", "Study ", "Dump ", "Recite ", "Open ", "Print ", "Display ", "Get ", "Fetch ", "Present ", "Bring up ", "Look at ", "Inspect ", "Check ", "I want to read ", "Let me read ",
         "Consult ", "Skim ", "Go over ", "Leaf through ", "Glance at ", "Explore ", "Retrieve ", "Call up ", "Go through ", "Take a look at ", "Have a glance at ", "Read aloud ", "Read us ", "Show us ", "Print me ", "Bring me ", "Fetch me ", "I want to view ", "I'd like to view ", "Let me view ", "I have to read ", "I must see "),
        ("{p}", "the file {p}", "the contents of {p}", "the text of {p}", "what is in {p}", "what {p} says", "the file named {p}", "all of {p}", "what {p} holds", "what stands in {p}", "the document {p}"),
        (".", "", " for me.", " now.", ", would you?"),
    ),
    *joined(("Open ", "Open up ", "Bring up ", "Pull up ", "Read ", "Show us ", "Call up ", "Look through ", "Read out "), ("{p}", "the file {p}", "my file {p}", "the document {p}", "the text file {p}"), _TAGS),
    *joined(("View ", "Do view ", "Please view "), ("the file {p}", "the text of {p}", "what {p} says", "my file {p}", "all of {p}", "the document {p}"), (".", "", " now.", " for me.")),
    *joined(("Read me ", "Show me ", "Give me ", "Get me ", "Print me "), ("what {p} says", "what is in {p}", "what stands in {p}", "my file {p}", "the document {p}", "the text file {p}", "all of {p}", "the whole file {p}", "the lines of {p}"), (".", "", " now.", ", would you?")),
    *joined(("Can I ", "May I ", "Could I ", "How can I "), ("see ", "read ", "view "), ("{p}", "the file {p}", "what {p} says", "the text in {p}"), ("?", " please?")),
    *joined(_WANTING, ("{p}", "the file {p}", "the text of {p}", "the document {p}"), (" read", " shown to me", " opened", " printed", " displayed", " read out", " on the screen"), (".", "")),
    *joined(("What does ", "What did ", "What might ", "What will ", "What could "), ("{p}", "the file {p}", "my file {p}", "the note {p}", "the document {p}"), (" say", " tell", " contain", " hold", " have in it", " tell us", " tell me"), _ASK),
    *joined(("What is in ", "What stands in ", "What does one find in ", "What text is in ", "What do we have in ", "What is stored in ", "What was saved in ", "What is inside ", "What is there in ", "What did somebody put into "), ("{p}", "the file {p}", "my file {p}"), _ASK),
)
_TEXT = ('"{t}"', '"{t}"', 'the words "{t}"', 'the line "{t}"', 'the note "{t}"', 'the sentence "{t}"', 'the message "{t}"', 'the following text: "{t}"', 'this: "{t}"', "{t}", "{t}", "{t}")
WRITE_FILE = (
    *joined(("Write ", "Put ", "Store ", "Note ", "Record ", "Place ", "Enter ", "Keep ", "I want to save ", "Let me write "), _TEXT, (" to {p}", " into {p}", " in {p}", " to the file {p}", " in a file called {p}", " into a new file {p}", " in the file named {p}", " as {p}"), (".", "", " now.")),
    *joined(("Create ", "Make ", "Start ", "Begin ", "Produce ", "I need ", "Set up "), ("{p}", "a file {p}", "the file {p}", "a new file {p}", "a file named {p}"), (' with the words "{t}"', ' containing "{t}"', ' that says "{t}"', ' with "{t}" in it', ' holding "{t}"', ' with the line "{t}"', ': "{t}"'), (".", "")),
    *joined(("Save ", "Kindly save ", "Preserve "), _TEXT, (" into {p}", " in {p}", " to the file {p}", " in a file called {p}", " into a new file {p}", " in the file named {p}", " as {p}", " under the name {p}"), (".", "", " now.")),
    *joined(_WANTING, ('"{t}"', 'the words "{t}"', 'the line "{t}"', 'the note "{t}"'), (" written to {p}", " stored in {p}", " put into {p}", " kept in {p}", " noted in {p}", " entered in a file {p}", " in a file named {p}"), (".", "")),
    *joined(("Have ", "Let ", "I want to have "), ("{p}", "the file {p}", "a file {p}"), (' hold "{t}"', ' carry the line "{t}"', ' read "{t}"', ' contain the words "{t}"', ' consist of "{t}"', ' begin with "{t}"'), (".", "")),
    *joined(("See that ", "Make sure that ", "See to it that "), ("{p}", "the file {p}"), (' holds "{t}"', ' says "{t}"', ' reads "{t}"', ' contains "{t}"'), (".", "")),
    *joined(("In {p}", "Into {p}", "To {p}", "To the file {p}", "Into a new file {p}", "In a file named {p}"), (", write ", ", put ", ", save ", ", store ", " please write ", " I want "), ('"{t}"', 'the words "{t}"', 'this: "{t}"'), (".", "")),
)
APPEND_FILE = (
    *joined(_WANTING, ('"{t}"', 'the words "{t}"', 'another line "{t}"'), (" appended to {p}", " put at the end of {p}", " attached to {p}", " as the last line of {p}", " put below the text of {p}", " also added at the end of {p}", " added as a line to {p}", " added below the rest of {p}", " added in {p} at the end", " tacked onto {p}", " appended in {p}", " joined to the text of {p}"), (".", "")),
    *joined(("{p}", "The file {p}"), (" should end with ", " needs the further line ", " must also say ", " should get one more line: "), ('"{t}"',), (".", "")),
    *joined(
        ("Append ", "Add ", "Attach ", "Put ", "Write "),
        ('"{t}"', 'the words "{t}"', 'another line "{t}"', "{t}"),
        (" to the end of {p}", " at the bottom of {p}", " as the last line of {p}", " as a new line to {p}", " below the text of {p}", " to what {p} says", " after everything in {p}", " to the text in {p}"),
        (".", "", " now."),
    ),
)
LIST_FILES = (
    *joined(
        ("List ", "Show ", "Give me ", "Tell me ", "Display ", "Print ", "Enumerate ", "Name ", "Read out ", "Look up ", "Find out ", "Get ", "I want to see ", "Let me look at "),
        ("the files", "my files", "all my files", "every file", "the file names", "the names of the files", "the files in the workspace", "the files here", "the contents of the workspace", "the files that exist", "what files you have"),
        (".", "", " now.", " for me."),
    ),
    *joined(("What files ", "Which files ", "What documents ", "How many and which files "), ("are here", "exist", "can you see", "does the workspace hold", "are around", "lie in the workspace", "are mine", "did I make", "lie around", "are stored", "are in the folder", "were saved", "have I got", "are kept in the workspace"), _ASK),
    *joined(_WANTING, ("the files", "my files", "all files", "the names of all files", "the workspace"), (" listed", " shown", " enumerated", " displayed"), (".", "")),
)
LIST_FOLDER = joined(("List ", "Show ", "Show me ", "Print ", "Give me ", "Enumerate ", "Look at ", "Tell me "), ("the folder {d}", "the directory {d}", "the files of {d}", "the files inside {d}", "everything in the folder {d}", "the files in the folder {d}"), (".", "", " now."))
SEARCH_TEXT = (
    *joined(("Find ", "Look for ", "Search for ", "Seek ", "Hunt for "), ('"{t}"', 'the words "{t}"', 'lines with "{t}"', "{t}"), (" inside {p}", " within {p}", " in the file {p}", " in the text of {p}", " in {p}"), (".", "", " now.")),
    *joined(("Which line of {p} has ", "Is there somewhere in {p} ", "Does {p} mention ", "Where can I find in {p} ", "Where does {p} say ", "Does {p} hold "), ('"{t}"', 'the words "{t}"'), ("?", "")),
    *joined(("Scan {p} for ", "Check {p} for ", "Search through {p} for ", "In {p}, find ", "In {p}, look for ", "Go through {p} and find ", "Show the lines of {p} with "), ('"{t}"', "{t}", 'the words "{t}"'), (".", "")),
)
DELETE_FILE = (
    *joined(_WANTING, ("{p}", "the file {p}", "my file {p}"), (" removed", " erased", " gone", " thrown away", " wiped", " destroyed", " deleted for good", " deleted at once", " deleted from the workspace", " to be deleted", " out of the way", " discarded"), (".", "")),
    *joined(("{p}", "The file {p}", "My file {p}"), (" should be deleted", " must go", " has to be removed", " is to be deleted", " may be erased", " is not needed, delete it", " can be thrown away"), (".", "", " now.")),
    *joined(("Delete ", "Remove ", "Erase ", "Destroy ", "Drop ", "Wipe ", "Discard ", "Clear away ", "I want to delete ", "I'd like to delete ", "Get rid of "), ("{p}", "the file {p}", "my file {p}", "the old file {p}", "the file named {p}"), (".", "", " now.", " for me.", ", would you?")),
)
GET_TIME = (
    *joined(("What time ", "Which hour ", "What hour ", "Which date ", "What day ", "Which time "), ("is it", "do you have", "does the clock show", "is it at the moment", "is it just now", "is it right at this moment", "do they have in UTC"), _ASK),
    *joined(("Tell me ", "Show me ", "Give me ", "Say ", "Check ", "Look up ", "I need ", "I want ", "Get "), ("the time", "the date", "today's date", "the hour", "the present time", "the day", "the clock's time", "the time and the date", "what the clock shows", "what hour it is", "the time right now", "the date right now", "which day we have", "how late it is", "the date of the day"), (".", "", " now.", " for me.")),
    *joined(("What is ", "What's ", "Do you know ", "Can you say "), ("the hour", "the hour right now", "the date right now", "the day right now", "the present time", "the date of today", "the exact time", "the day and the time", "the time at the moment", "today's day", "the time by the clock"), _ASK),
)
PYTHON = joined(("Run ", "Execute ", "Try ", "Start ", "Evaluate ", "Call "), ("this in Python: ", "this Python code: ", "this Python: ", "the Python line ", "the Python program ", "Python with ", "as Python: "), ("{t}",))
SHELL = joined(("Run ", "Execute ", "Try ", "Start ", "Call ", "Launch "), ("this command: ", "the shell command ", "in a shell: ", "the program ", "the command line "), ("{t}",))
MEM_READ = (
    *joined(("What is ", "What did I store ", "What do you keep ", "What did you remember ", "What is kept ", "What stands "), ("in memory under {k}", "under the key {k}", "in your memory as {k}", "as {k} in memory"), ("?", "")),
    *joined(("Recall ", "Look up ", "Fetch ", "Get ", "Tell me "), ("the key {k} from memory", "what memory holds as {k}", "the memory entry {k}", "the remembered {k}"), (".", "")),
)
MEM_WRITE = joined(("Remember ", "Store ", "Keep ", "Memorise ", "Save "), ('"{t}"', 'the value "{t}"', 'that "{t}"'), (" in memory under {k}", " as {k} in memory", " under the key {k}", " in your memory as {k}", " for later as {k}"), (".", ""))
ASK_HUMAN = (
    *joined(("Get ", "Have ", "I want ", "Let "), ("the operator", "a person", "somebody", "your human", "the human"), (' reply to "{t}"', ' tell you "{t}"', ' be asked "{t}"', ' decide "{t}"')),
    *joined(("Ask ", "I want you to ask ", "Question ", "Go and ask ", "Please put it to "), ("the human", "a human", "your human", "the operator", "the person at the desk"), (' "{t}"', ': "{t}"', ' this: "{t}"')),
)
SLEEP = (
    *joined(("Sleep ", "Wait ", "Pause ", "Idle ", "Stand still ", "Stop "), ("for {n} seconds", "{n} seconds", "about {n} seconds", "for {n} s"), (".", "", " and go on.")),
    *joined((*_WANTING, "Take ", "Make "), ("a pause of {n} seconds", "a rest of {n} seconds", "a break of {n} seconds", "{n} seconds of silence", "you to sleep {n} seconds"), (".", "")),
)
CALC_WRITE = (
    *joined((*_WANTING, "Let us have "), ("{q}",), _WORKED_OUT, (" and written to {p}", " and kept in {p}", " and put into {p}", " and noted in {p}", " and stored in {p}", ", then written into {p}", " with the result in {p}"), (".", "")),
    *joined(
        _IT,
        (
            " Write it to {p}",
            " Save it to {p}",
            " Store it in {p}",
            " Put it into {p}",
            " Write the outcome to {p}",
            " Save the answer as {p}",
            " Note it in {p}",
            " Keep the number in {p}",
            " Then write it to {p}",
            " Then save the number in {p}",
            " Write it down in {p}",
            " And put the result in {p}",
            " I want it in {p}",
            " It belongs in {p}",
        ),
        (".", ""),
    ),
    *joined(("Compute {q}", "Calculate {q}", "Work out {q}", "Solve {q}", "Find {q}", "Determine {q}"), (" and ", ", then ", " and then "), ("write it to {p}", "save the number in {p}", "put the result into {p}", "store it in {p}", "note the answer in {p}", "keep it in {p}"), (".", "")),
)
CALC_APPEND = (
    *joined(_WANTING, ("{q}",), _WORKED_OUT, (" and appended to {p}", " and put at the end of {p}", " and attached to {p}"), (".", "")),
    *joined(_IT, (" Append it to {p}", " Append the result to {p}", " Add it to the end of {p}", " Add the number to {p}", " Then append it to {p}", " Put it at the end of {p}", " Add it as a line to {p}"), (".", "")),
)
CALC_REMEMBER = (
    *joined(_WANTING, ("{q}",), _WORKED_OUT, (" and remembered as {k}", " and kept in memory as {k}", " and put in memory under {k}"), (".", "")),
    *joined(_IT, (" Remember it as {k}", " Keep it in memory as {k}", " Store it in memory under {k}", " Then remember it as {k}", " Memorise it as {k}", " Remember the result as {k}"), (".", "")),
)
COPY = (
    *joined(_WANTING, ("{p}", "the file {p}", "the text of {p}"), (" copied to {o}", " duplicated as {o}", " cloned into {o}", " also in {o}"), (".", "")),
    *joined(("Copy ", "Duplicate ", "Clone "), ("{p}", "the file {p}", "the text of {p}", "what is in {p}"), (" to {o}", " into {o}", " into a new file {o}", " and write it to {o}", " and save it as {o}"), (".", "")),
)
TIME_WRITE = (
    *joined(_WANTING, ("the time", "the date", "today's date", "the present time", "the hour"), (" written to {p}", " noted in {p}", " kept in {p}", " in the file {p}"), (".", "")),
    *joined(("Write ", "Save ", "Put ", "Note ", "Store ", "Record "), ("the time", "the date", "today's date", "the present time", "the hour"), (" to {p}", " in {p}", " into {p}", " into the file {p}", " in a new file {p}"), (".", "")),
)
COMPOSED: Mapping[str, Sequence[str]] = {
    "verb_named": VERB_NAMED, "verb_wished": VERB_WISHED, "calc": CALC, "python": PYTHON, "shell": SHELL,
    "read_file": READ_FILE, "write_file": WRITE_FILE, "append_file": APPEND_FILE, "list_files": LIST_FILES,
    "list_folder": LIST_FOLDER, "search_text": SEARCH_TEXT, "delete_file": DELETE_FILE, "get_time": GET_TIME,
    "sleep": SLEEP, "ask_human": ASK_HUMAN, "mem_read": MEM_READ, "mem_write": MEM_WRITE,
    "calc_write": CALC_WRITE, "calc_append": CALC_APPEND, "calc_remember": CALC_REMEMBER,
    "time_write": TIME_WRITE, "copy": COPY,
}
