# ruff: noqa: E501  (tables of sentences read better as blocks)
"""The training set's sentence forms, by kind of request.

The evaluation has its own list under the same keys; no form may stand in both.
Slots: v verb, w wish, q calculation, a b numbers, p path, d folder, t text, k key, n seconds, o a second path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.training.corpus.composed import COMPOSED, balanced

_WRITTEN: Mapping[str, Sequence[str]] = {
    "verb_named": (
        "What does {v} do?", "What is {v}?", "Explain {v}.", "Tell me about {v}.", "What is {v} for?", "How do I use {v}?",
        "What does the verb {v} mean?", "What happens when I send {v}?", "Describe {v}.", "Describe the verb {v}.",
        "{v}?", "What is the use of {v}?", "Why would I use {v}?", "When do I need {v}?", "How does {v} work?",
        "Can you explain {v}?", "What can I do with {v}?", "Give me an example of {v}.", "Show me how {v} is used.",
        "I don't understand {v}.", "I do not know what {v} does.", "What does {v} mean in the kernel?", "Help me with {v}.",
        "The verb {v}, what is it?", "What is the verb {v} good for?", "Define {v}.", "What about {v}?",
        "Which effect does {v} have?", "What is the effect of {v}?", "How do you write {v}?", "What do I type for {v}?",
        "Teach me {v}.", "Say what {v} does.", "Please explain the command {v}.", "Is {v} a command? What does it do?",
        "I read about {v}. What is it?", "What will the kernel do on {v}?", "What if I type {v}?", "Somebody told me to use {v}. What does it do?",
        "What does {v} do to a process?", "In one sentence, what is {v}?", "Do you know {v}?", "What's {v}?", "How is {v} used?",
        "explain the {v} verb", "usage of {v}", "info on {v}", "{v} example", "{v} usage", "Tell me what {v} does.",
        "I saw {v} in the list of verbs. What is that?", "Could you explain what {v} does?", "What's the meaning of {v}?", "What's {v} about?",
        "Can you tell me what {v} is?", "I'd like to know about {v}.", "What is the point of {v}?", "Talk about {v}.", "I want to know about {v}.",
        "Could you say what {v} means?", "Who needs {v}?", "Let me know about {v}.", "Please tell me about the {v} verb.", "Does {v} help me? How?",
        "What comes back from {v}?", "{v}, please explain", "what is {v} again", "Do I need {v}?", "I am curious about {v}.", "Say something about {v}.",
    ),
    "verb_wished": (
        "How do I {w}?", "How can I {w}?", "Which verb do I use to {w}?", "I want to {w}.", "What do I type to {w}?",
        "How to {w}?", "What is the verb to {w}?", "Is there a way to {w}?", "I need to {w}.", "I would like to {w}.",
        "Which command lets me {w}?", "Tell me how to {w}.", "What must I send to {w}?", "Can I {w}?", "How would I {w}?",
        "Show me how to {w}.", "Which verb is there to {w}?", "My goal is to {w}.", "How does one {w}?", "How should I {w}?",
        "What is the command to {w}?", "I have to {w}. How?", "Explain how to {w}.", "Help me {w}.", "Is it possible to {w}?",
        "Say I want to {w}. What do I do?", "Which verb helps me to {w}?", "What do I do to {w}?", "Can you tell me how to {w}?",
        "If I want to {w}, which verb do I need?", "The kernel should let me {w}. How?", "What verb do I send to {w}?",
        "I am trying to {w}.", "I'd like to {w}.", "To {w}, what do I use?", "Where do I start if I want to {w}?", "how to {w}",
        "Do you know how to {w}?", "Please tell me how I can {w}.", "What's the way to {w}?", "How could a user {w}?", "Which word do I type to {w}?",
        "What should I do to {w}?", "Which of your verbs can {w}?", "Is there any verb that lets me {w}?", "I was wondering how to {w}.", "In order to {w}, what do I send?",
        "Name the verb to {w}.", "Give me the verb to {w}.", "What would I type if I wanted to {w}?", "Someone asked me to {w}. How?", "Today I want to {w}.", "I must {w}.",
        "Any way to {w}?", "Whats the verb to {w}?", "You can {w}, I heard. How?", "I'd like to know how to {w}.", "Could you tell me how to {w}?", "What is needed to {w}?",
        "Please say which verb can {w}.", "I wish to {w}.", "What lets me {w}?", "Which verb should I use if I need to {w}?", "Say how I can {w}.", "It is time to {w}. How?",
    ),
    "calc": (
        "What is {q}?", "What's {q}?", "How much is {q}?", "Compute {q}.", "Calculate {q}.", "Work out {q}.", "{q}?", "{q}",
        "{q} =", "What do you get for {q}?", "Tell me {q}.", "Give me the result of {q}.", "Please compute {q}.", "Evaluate {q}.",
        "I need {q}.", "Solve {q}.", "What is the result of {q}?", "Can you compute {q}?", "Can you tell me what {q} is?",
        "Do you know what {q} is?", "Find {q}.", "What does {q} make?", "What is the answer to {q}?", "Let me know {q}.",
        "Use your calculator: {q}", "Calc {q}", "How much does {q} make?", "Please tell me how much {q} is.", "Do the sum: {q}.",
        "I want to know {q}.", "My homework says {q}. What is it?", "Is it hard to work out {q}?", "Could you calculate {q} for me?", "I would like to have {q}.",
        "I was wondering what {q} is.", "Say how much {q} is.", "Please do {q}.", "Can I have {q}?", "Would you compute {q}?", "Show me {q}.", "Quickly, {q}!", "Which number is {q}?", "Let's do {q}.",
    ),
    "python": (
        "Run this Python code: {t}", "Execute {t} in Python.", "What does the Python code {t} print?", "Run {t} with Python.",
        "Use Python to run {t}", "Python: {t}", "Please run the Python line {t}", "Evaluate this in Python: {t}", "Run python: {t}",
        "Start Python with {t}", "Let Python do {t}", "Try this Python: {t}", "Call the python tool with {t}", "Execute this Python program: {t}",
    ),
    "shell": (
        "Run the command {t}", "Run {t} in the shell.", "Execute the shell command {t}", "Shell: {t}", "Please run {t} in a shell.",
        "What does the command {t} print?", "Use the shell to run {t}", "Start the command {t}", "Execute {t} in the shell.",
        "Call the shell tool with {t}", "Run this command: {t}", "Try the command {t}", "In the shell, run {t}", "Run the program {t}",
    ),
    "read_file": (
        "Read {p}.", "Read the file {p}.", "What is in {p}?", "What does {p} say?", "Show me {p}.", "Show the contents of {p}.",
        "Open {p}.", "Open the file {p} and tell me what it says.", "Print {p}.", "cat {p}", "Tell me what is in {p}.",
        "What are the contents of {p}?", "Please read {p} to me.", "Can you read {p}?", "Display {p}.", "I want to see {p}.",
        "Give me the text of {p}.", "What's in the file {p}?", "What does the file {p} contain?", "Look into {p}.", "Let me see {p}.",
        "Load {p} and show it.", "What is written in {p}?", "I need the contents of {p}.", "Read out {p}.", "Check what {p} says.",
        "Could you open {p} for me?", "What did I write in {p}?", "Have a look at {p}.", "Fetch {p}.",
        "I would like to see {p}.", "I was wondering what {p} says.", "Would you read {p}?", "I want to know what is in {p}.", "Get me {p}.", "Say what is in {p}.", "Let me know what {p} says.", "Can I see {p}?", "Please print {p}.",
    ),
    "write_file": (
        'Write "{t}" to {p}.', "Write {t} to {p}.", 'Write "{t}" into the file {p}.', "Save {t} to {p}.", 'Save "{t}" in {p}.',
        'Put "{t}" into {p}.', 'Create a file {p} with the text "{t}".', 'Create {p} containing "{t}".', 'Make a file {p} that says "{t}".',
        'Store "{t}" in {p}.', 'Please write "{t}" to the file {p}.', 'Can you write "{t}" to {p}?', "Note {t} in {p}.",
        "Write the following to {p}: {t}", "Save this in {p}: {t}", 'The file {p} should say "{t}".', 'Create the file {p} with "{t}".',
        'Write a file {p} with the content "{t}".', 'I want "{t}" in {p}.', 'Put the text "{t}" in a new file {p}.',
        'Write down "{t}" in {p}.', 'New file {p}: "{t}"', 'Keep "{t}" in {p}.', "Write to {p}: {t}", 'Set the contents of {p} to "{t}".',
        "Put {t} in the file {p}.", 'Fill {p} with "{t}".', "Into {p}, write: {t}", 'Record "{t}" in {p}.',
        'I would like a file {p} with "{t}".', 'Would you save "{t}" as {p}?', 'Please put "{t}" into {p}.', 'Can you create {p} with "{t}"?', 'I want a file {p} that says "{t}".', 'Let {p} contain "{t}".', "Please save {t} in {p}.",
        'Could you create the file {p} with the text "{t}"?', 'Write a new file {p} with "{t}".', 'Make {p} with the content "{t}".',
    ),
    "append_file": (
        'Append "{t}" to {p}.', 'Add "{t}" to {p}.', 'Add the line "{t}" to {p}.', 'Add "{t}" to the end of {p}.', "Append {t} to the file {p}.",
        'Put "{t}" at the end of {p}.', 'Please append "{t}" to {p}.', "Append this to {p}: {t}", "Add this to {p}: {t}", 'I would like to add "{t}" to {p}.', 'Would you append "{t}" to {p}?',
        'Extend {p} with "{t}".', 'Add another line to {p}: "{t}"', 'Can you add "{t}" to {p}?', 'Attach "{t}" at the end of the file {p}.',
        'Add the text "{t}" to the file {p}.', "At the end of {p}, add: {t}",
    ),
    "list_files": (
        "List the files.", "List files", "What files are there?", "Which files are there?", "Show me the files.", "ls", "dir",
        "What is in the workspace?", "List my files.", "Which files do I have?", "Show all files.", "What files do you see?",
        "Please list the files in the workspace.", "Tell me which files exist.", "What is in this folder?", "Are there any files?",
        "Give me a list of files.", "See which files are here.", "Can you list the files?", "What's in the workspace?", "List everything in the workspace.",
        "Show the workspace.", "I want to see my files.", "Look at the files here.", "What do I have in the workspace?",
        "I would like a list of my files.", "I want to know which files there are.", "Would you list the files?", "Please tell me which files I have.", "Say which files there are.", "Can I see the files?", "Files?", "Let me know what is in the workspace.", "How do my files look?",
    ),
    "list_folder": (
        "List the files in {d}.", "What is in the folder {d}?", "Which files are in {d}?", "Show me the folder {d}.", "ls {d}",
        "List the folder {d}.", "What files does the folder {d} hold?", "Look into the folder {d}.", "Show the files in {d}.",
        "Please list {d}.", "What's in the directory {d}?", "List the directory {d}.", "Tell me the files in the folder {d}.",
    ),
    "search_text": (
        'Search for "{t}" in {p}.', 'Find "{t}" in {p}.', 'Look for "{t}" in {p}.', 'Does {p} contain "{t}"?', 'Search {p} for "{t}".',
        'Where is "{t}" in {p}?', 'Where does {p} mention "{t}"?', 'grep "{t}" {p}', 'Is "{t}" anywhere in {p}?', "Find the word {t} in {p}.",
        "Search for {t} in {p}.", 'Which lines of {p} contain "{t}"?', 'Look through {p} for "{t}".', 'Please search {p} for the text "{t}".',
    ),
    "delete_file": (
        "Delete {p}.", "Delete the file {p}.", "Remove {p}.", "Remove the file {p}.", "rm {p}", "Please delete {p}.", "Erase {p}.",
        "Get rid of {p}.", "I don't need {p} any more. Delete it.", "Can you remove {p}?", "Throw {p} away.", "Drop the file {p}.", "I would like to delete {p}.", "Would you remove {p}?",
        "The file {p} can go. Delete it.", "Destroy {p}.", "Clean up: delete {p}.",
    ),
    "get_time": (
        "What time is it?", "What is the time?", "Tell me the time.", "What's the time?", "Do you know what time it is?", "What time is it now?",
        "Give me the time.", "What is the date?", "What day is it?", "What is today's date?", "Tell me the date.", "What is the current time?",
        "Show me the time.", "How late is it?", "What does the clock say?", "Please tell me the time.", "Can you tell me the time?", "Time?",
        "I need the time.", "What is the date today?", "Look at the clock.", "What's the date?", "Is it late?", "Check the time.", "the time please",
        "I would like to know the date.", "I'd like the time.", "I want to know the time.", "Would you tell me the date?", "I was wondering what time it is.", "Say the time.", "Can you check the clock?", "What time is it right now?", "Please check the date.", "Let me know the time.",
    ),
    "sleep": (
        "Sleep for {n} seconds.", "Sleep {n} seconds.", "Wait for {n} seconds.", "Wait {n} seconds.", "Pause for {n} seconds.", "Take a nap of {n} seconds.",
        "Please sleep for {n} seconds.", "Do nothing for {n} seconds.", "Rest for {n} seconds.", "Hold on for {n} seconds.", "sleep {n}",
        "Can you wait {n} seconds?", "Stay idle for {n} seconds.",
    ),
    "ask_human": (
        'Ask the human "{t}"', 'Ask a human: "{t}"', 'Ask the human: "{t}"', 'Ask the operator "{t}"', 'Put this question to the human: "{t}"',
        'Please ask the user "{t}"', 'Ask the person in charge: "{t}"', 'I want you to ask the human "{t}"', 'Ask somebody "{t}"',
        'Get an answer from the human: "{t}"', 'Ask your human this: "{t}"', 'Have the human answer "{t}"',
    ),
    "mem_read": (
        "What is stored under {k}?", "Read {k} from memory.", "Recall {k}.", "What do you remember about {k}?", "Look up {k} in your memory.",
        "Read the memory key {k}.", "What is the value of {k} in memory?", "Get {k} from memory.", "What does your memory say about {k}?",
        "Tell me the stored {k}.", "Fetch the key {k} from memory.", "mem_read {k}", "What did I tell you to remember as {k}?",
    ),
    "mem_write": (
        'Remember "{t}" as {k}.', 'Store "{t}" under {k}.', 'Remember that {k} is "{t}".', 'Save "{t}" in memory as {k}.', 'Keep in mind: {k} is "{t}".',
        'Put "{t}" into memory under {k}.', 'Set the memory key {k} to "{t}".', 'In memory, set {k} to "{t}".', 'Memorise "{t}" as {k}.',
        'Write "{t}" to the memory key {k}.', 'Please remember {k}: "{t}"', 'Store the value "{t}" for the key {k} in memory.',
    ),
    "calc_write": (
        "What is {q}? Write it to {p}.", "Compute {q} and write the result to {p}.", "Calculate {q} and save it in {p}.", "Work out {q}, then write it to {p}.",
        "What is {q}? Save the answer in {p}.", "How much is {q}? Put the result into {p}.", "Compute {q} and store it in {p}.",
        "Write the result of {q} to {p}.", "Save {q} to {p} after you compute it.", "First compute {q}. Then write the result to {p}.",
        "Please calculate {q} and put it in {p}.", "I need {q} in the file {p}.", "Find {q} and note it in {p}.", "Evaluate {q} and keep it in {p}.",
        "What's {q}? Write the number to {p}.", "Compute {q}. Save it to {p}.", "Put the result of {q} in {p}.", "Work out {q} and save the number to {p}.",
        "Tell me {q} and write it to {p}.", "Calculate {q}; the answer goes into {p}.", "Create {p} with the result of {q}.", "Can you compute {q} and write it to the file {p}?",
        "Do {q} and save the result as {p}.", "Solve {q} and store the answer in {p}.", "The file {p} should hold the result of {q}.",
        "I would like to have {q} in {p}.", "Would you compute {q} and save it in {p}?", "Please do {q} and write it to {p}.", "I want to know {q}. Write it to {p}.", "Say how much {q} is and save it to {p}.", "Compute {q}, then write it into {p}.",
    ),
    "calc_append": (
        "Compute {q} and append the result to {p}.", "What is {q}? Append it to {p}.", "Work out {q} and add it to the end of {p}.",
        "Calculate {q} and add the result to {p}.", "Append the result of {q} to {p}.", "How much is {q}? Add it to {p}.",
    ),
    "calc_remember": (
        "Compute {q} and remember it as {k}.", "What is {q}? Remember the result as {k}.", "Work out {q} and store it in memory as {k}.",
        "Calculate {q} and keep it in memory under {k}.", "How much is {q}? Keep it in mind as {k}.",
    ),
    "time_write": (
        "Write the time to {p}.", "What time is it? Write it to {p}.", "Save the current time in {p}.", "Put the date into {p}.", "Get the time and write it to {p}.",
        "Write today's date to {p}.", "Note the time in {p}.", "Create {p} with the current time.", "Look at the clock and save the time to {p}.",
    ),
    "copy": (
        "Copy {p} to {o}.", "Read {p} and write it to {o}.", "Copy the file {p} to {o}.", "Make a copy of {p} named {o}.", "Read {p} and save the text in {o}.",
        "Write the contents of {p} to {o}.", "Put what {p} says into {o}.", "Duplicate {p} as {o}.", "cp {p} {o}", "Copy the contents of {p} into {o}.",
    ),
    "write_again": (
        "Write it to {p}.", "Now write it to {p}.", "Save that in {p}.", "Write that number to {p}.", "Put it into {p}.", "Store the result in {p}.",
        "Please save it to {p}.", "And write it to {p}.", "Write the result to {p}.", "Keep it in {p}.",
    ),
    "read_back": ("Read it back.", "What does it say now?", "Show me the file.", "Read the file again.", "Is it there? Read it.", "Let me see it.", "Check it."),
    "thanks": ("Thanks.", "Thank you.", "Thanks!", "Thank you very much.", "Great, thanks.", "Nice.", "Well done.", "Good.", "Perfect.", "Cool.", "Great!", "ok", "Okay.", "Good job."),
}  # fmt: skip
TRAINING: Mapping[str, Sequence[str]] = {
    kind: balanced(COMPOSED.get(kind, ()), forms) for kind, forms in _WRITTEN.items()
}
