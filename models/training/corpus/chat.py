# ruff: noqa: E501, RUF001  (tables of sentences read better as blocks)
"""Talk that needs no tool: greetings, questions about the model, what it does not know, foreign or senseless input."""

from __future__ import annotations

from random import Random

from models.training.corpus import words
from models.training.corpus.composed import balanced, joined
from models.training.corpus.dress import dress
from models.training.corpus.turns import Task
from models.training.corpus.verb_facts import VERBS
from models.training.corpus.verbs import Forms

HELLO = "Hello! I can tell a story, explain the kernel's verbs, calculate, and work with files. What would you like?"
WHO = "I am agentkernel-tiny, a very small language model that runs as a process of the kernel."
CAN = "I can tell short stories, explain the kernel's verbs, and use tools: calculate, read, write and list files, and tell the time."
UNKNOWN = (
    "I am a very small model and I do not know that. Ask me for a story, a verb, a calculation or a file."
)
LANGUAGE = "I only know English. Ask me for a story, a verb, a calculation or a file."
NO_TOOL = "I have no such tool. I can calculate, work with files, tell the time, and run Python or a command."
SENSE = "I did not understand that. Ask me for a story, a verb, a calculation or a file."
WELCOME = "You are welcome."
BYE = "Goodbye!"
FINE = "I am fine, thank you. What can I do for you?"
NOTED = "All right. Tell me what I should do with it."
AGENTKERNEL = "agentkernel is a kernel for language-model processes: it runs many prompts at once and gives them tools, memory and limits."
PROCESS = "A process is a running prompt. It has a PID, a state, a priority and limits."
VERBS_ARE = f"There are {len(VERBS)} verbs, such as EXEC, STATUS, WAIT and KILL. Send HELP to see them all."
PORT = "The kernel listens on port 6380. A request is VERB, agent, length, then the payload."

TRAINING_CHAT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (HELLO, ("Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Hello there!", "Good morning", "Good morning!", "Good evening", "Good afternoon", "Hey there", "Greetings", "Good day to you", "A good day to you!", "A very good day, kernel", "Good to see you", "hello kernel", "Hello, model!", "Hi, how can you help me?", "Is anybody there?", "Are you there?", "Hello?", "", "", "", "")),
    (WHO, ("Who are you?", "What are you?", "What is your name?", "Tell me who you are.", "Are you a human?", "Are you a robot?", "Are you an AI?", "Which model are you?", "Who am I talking to?", "What's your name?", "Introduce yourself.", "What kind of model are you?", "Are you a language model?", "How big are you?", "Who made you?", "Do you have a name?", "Who is there?", "Say something about yourself.")),
    (CAN, ("What can you do?", "How can you help me?", "What are you able to do?", "Which tools do you have?", "What tools can you use?", "What can I ask you?", "Show me what you can do.", "What are you good at?", "What should I ask?", "Can you help me?", "Do you have tools?", "How can I use you?", "What do you know?", "Can you use tools?", "Give me some ideas.", "Help!", "I need help.")),
    (WELCOME, ("Thanks.", "Thank you.", "Thanks a lot!", "Thank you very much.", "Great, thanks.", "Nice.", "Well done.", "Good.", "Perfect.", "Cool.", "Great!", "ok", "Okay.", "Good job.", "I like that.", "That was helpful.", "Wonderful.", "Very good.", "Excellent!")),
    (BYE, ("Bye", "Goodbye.", "See you.", "See you soon.", "See you again.", "See you next week.", "Later!", "Talk to you later.", "Until later.", "We meet later.", "Have a good day.", "Have a nice evening.", "Bye bye!", "Good night.", "See you tomorrow.", "I have to go.", "That's all, bye.", "Farewell.", "Until next time.")),
    (FINE, ("How are you?", "How are you doing?", "How do you feel?", "Are you well?", "How is it going?", "What's up?", "How are you today?", "Everything all right?", "How do you do?", "Are you happy?")),
    (AGENTKERNEL, ("What is agentkernel?", "What is this?", "What does the kernel do?", "Explain agentkernel.", "What is the kernel?", "Tell me about the kernel.", "What is this program?", "Where am I?", "What is this system?", "Describe the kernel.", "What is a kernel for language models?")),
    (PROCESS, ("What is a process?", "Explain processes.", "What is a PID?", "What does process mean here?", "Tell me about processes.", "What's a process in the kernel?", "Define process.", "What do you call a process?")),
    (VERBS_ARE, ("How many verbs are there?", "What verbs are there?", "What is a verb?", "Which verbs does the kernel know?", "Tell me some verbs.", "Name a few verbs.", "What are the kernel's verbs?", "Give me the verbs.")),
    (PORT, ("Which port do you use?", "What is the port?", "How do I connect?", "How does a request look?", "What is the format of a request?", "On which port does the kernel listen?", "What does the protocol look like?", "How do I send a verb?")),
    (UNKNOWN, (
        "What is the capital of {x}?", "Who wrote {x}?", "How old is {x}?", "How far is {x} from here?", "What do you think about {x}?", "Who won the {x}?", "What is the meaning of {x}?", "Why is the {x} {y}?", "Is {x} better than {y}?",
        "Where is {x}?", "How do I cook {x}?", "Do you like {x}?", "What colour is a {x}?", "When was {x} born?", "Explain {x} to me.", "What is {x}?", "Who was {x}?", "Which is the best {x}?", "Tell me a fact about {x}.", "What does {x} mean?",
        "Why do people like {x}?", "How many {x} are there?", "Can {x} fly?", "Should I buy {x}?", "What is love?", "Why is the sky blue?", "Who is the president?", "What is the weather like?", "Will it rain tomorrow?", "What is your opinion on {x}?",
        "How does a {x} work?", "Recommend a {x}.", "Do you believe in {x}?", "What happened in {n}?", "How tall is the {x}?", "Give me advice about {x}.", "Who invented the {x}?", "What is the best {x} in {y}?", "Are {x} and {y} friends?", "Which {x} do you prefer?",
        "Write an essay about {x}.", "Write a song about {x}.", "Translate {x} to French.", "Do you know {x}?", "What is the history of {x}?", "How heavy is a {x}?", "Where can I buy {x}?", "Is {x} dangerous?", "Solve the {x} problem.", "Do you speak German?",
    )),
    (NO_TOOL, (
        "Use the {x} tool.", "Call {x} with {y}.", "Run the {x} tool on {y}.", "Use the tool {x} for {y}.", "Send an email to {x}.", "Search the web for {x}.", "Book a {x}.", "Open the browser.", "Take a picture of {x}.", "Play {x}.",
        "Turn on the {x}.", "Order {x}.", "Look up {x} on the internet.", "Download {x}.", "Call my {x} on the phone.", "Use your {x} tool to get {y}.", "Send a message to {x}.", "Please invoke {x}.", "Can you use the {x} tool?", "Start the tool named {x}.", "Show me a picture of {x}.",
    )),
    (NOTED, (
        "I have a file called {p}.", "My file is {p}.", "There are {n} {x} in my {y}.", "I have {n} {x}.", "The number is {n}.", "I like the number {n}.", "I wrote {p} yesterday.", "My {x} is {y}.", "I saw a {x} today.", "The {x} is {y}.", "I bought {n} {x}.",
        "It was {n} o'clock.", "My friend has a {x}.", "I work with {x} and {y}.", "I am {n} years old.", "The file {p} is mine.", "I am happy today.", "I am tired.", "My day was long.", "I have nothing to do.", "Yesterday I read {p}.", "I called the file {p}.", "There is a file {p}.", "{p} is an old file.", "The file is named {p}.", "I keep {x} in {p}.", "{p} was written by {m}.", "I think of {n} and {n}.", "Our number is {n}.", "We have {p} and {x}.", "My name is {m}.", "{m} is my friend.", "We had {x} for dinner.",
    )),
)  # fmt: skip
_WHO = (
    "I",
    "We",
    "My {x}",
    "The {x}",
    "Our {x}",
    "A {x}",
    "She",
    "He",
    "They",
    "{m}",
    "{m} and {o}",
    "My friend {m}",
    "The {y} {x}",
    "Everybody",
    "Your {x}",
)
_DID = (
    "saw", "bought", "lost", "painted", "found", "sold", "visited", "remembered", "needed", "liked", "broke", "cleaned", "drew", "took", "made", "heard of", "thought about", "talked about", "forgot", "wants", "likes", "carries",
    "is near", "was behind", "came with", "had", "has", "lives near", "hates", "dreams of", "went to", "has been to", "had been to", "travelled to", "walked to", "looked for", "is named after", "grew up with", "is older than", "is made of", "fell on", "sleeps beside", "is bigger than",
    "kept", "keeps", "counted", "borrowed", "collects", "gave away", "paid for", "hid", "earned", "washed", "brought", "stole", "holds", "grows", "fed", "caught", "sent", "read", "wrote", "opened", "{z}ed", "{z}s", "{z}es", "was {z}ing",
)  # fmt: skip
_WHAT = (
    "{x}",
    "a {x}",
    "the {x}",
    "{n} {x}",
    "a {y} {x}",
    "{p}",
    "the number {n}",
    "{m}",
    "my {x}",
    "{x} and {y}",
    "number {n}",
    "the {y} {x}",
    "{n}",
    "the file {p}",
)
_OFTEN = (
    "",
    "",
    "",
    " once",
    " three times",
    " again",
    " last year",
    " every day",
    " many times",
    " before",
    " in {m}",
)
_ASKS = (
    "Who {d} {t}?", "Why does {s} like {t}?", "Where did {s} find {t}?", "When did {s} see {t}?", "How did {s} get {t}?", "What is {t} like?", "How much does {t} cost?", "How many {x} has {s}?", "Is {t} old?", "Was {t} expensive?", "Does {s} like {t}?",
    "What would {s} do with {t}?", "Which {x} is near {t}?", "Whose {x} is it?", "Can {s} see {t}?", "Should {s} buy {t}?", "What does {s} think of {t}?", "Where does {s} live?", "Why is {t} so {y}?", "How long is {t}?", "How fast is {t}?",
    "What is the name of {t}?", "Are there any {x} in {m}?", "Who is {m}?", "Do you remember {t}?", "What kind of {x} is that?", "Since when does {s} have {t}?", "Has {s} ever seen {t}?", "Do {x} like {y}?", "Is {m} a {x}?", "What is inside the {x}?",
)  # fmt: skip
BUSY = joined(
    ("We are ", "She is ", "He is ", "{m} is ", "They are ", "I was ", "I'm ", "My friend is ", "You are ", "Somebody was "),
    ("reading ", "writing ", "opening ", "editing ", "looking at ", "printing ", "copying ", "checking ", "working on ", "waiting for ", "done with ", "proud of ", "tired of ", "holding "),
    ("{p}", "the file {p}", "{p} and {o}", "my {x} {p}", "{n} {x}", "the {x}"),
    (".", "", " again.", " this week.", " these days.", " with {m}.", " all day.", " as we speak."),
)  # fmt: skip
TOOL_CALLS = (
    *joined(("Use ", "Call ", "Invoke ", "Run ", "Start ", "Try ", "Employ ", "Make use of "), ("the {x} tool", "your {x} tool", "a tool named {x}", "the tool that is named {x}", "some {x} tool", "the {y} {x} tool"), (".", "", " now.", " on {p}.", " for {y}.", " with {n}.", " for me.")),
    *joined(("Use ", "Run ", "Start ", "Try ", "Employ ", "Execute "), ("the tool {x}", "your tool {x}", "the function {x}", "the plugin {x}"), (".", "", " now.", " with {y}.", " on {p}.")),
    *joined(("Please make a call to ", "I want a call of ", "Let us call ", "Have a go with ", "I need ", "Can you call "), ("the tool {x}", "your tool {x}", "the {x} tool"), (".", "", " for {y}.", " now.")),
)  # fmt: skip
_FOREIGN_PARTS = (
    *joined(("Lies ", "Öffne ", "Zeige mir ", "Lösche ", "Kopiere ", "Nimm ", "Gib mir ", "Suche ", "Schreib mir ", "Mach ", "Wo ist ", "Was ist ", "Wie ist "), ("das Buch", "den Brief", "ein Bild", "die Zeit", "einen Ordner", "das Haus", "{p}", "deine Stadt"), (".", "", "?")),
    *joined(("Lis ", "Ouvre ", "Montre-moi ", "Efface ", "Copie ", "Prends ", "Donne-moi ", "Cherche ", "Je veux ", "Quel est "), ("le livre", "la lettre", "une image", "ton pays", "le dossier", "la maison"), (".", "", " ?")),
    *joined(("Lee ", "Abre ", "Muéstrame ", "Borra ", "Copia ", "Toma ", "Dame ", "Busca ", "Quiero ", "¿Cuál es "), ("el libro", "la carta", "una foto", "tu ciudad", "la carpeta", "la casa"), (".", "", "?")),
    *joined(("Leggi ", "Apri ", "Mostrami ", "Cancella ", "Copia ", "Prendi ", "Dammi ", "Cerca ", "Voglio ", "Dov'è ", "Come è ", "Quanto costa "), ("il libro", "la lettera", "una foto", "la tua casa", "la cartella"), (".", "", "?")),
    *joined(("Leia ", "Abra ", "Mostre-me ", "Apague ", "Copie ", "Pegue ", "Quero ", "Onde está "), ("o livro", "a carta", "uma foto", "a pasta", "a casa", "{p}"), (".", "", "?")),
    *joined(("Lees ", "Open ", "Toon mij ", "Verwijder ", "Neem ", "Geef mij ", "Zoek ", "Waar is "), ("het boek", "de brief", "een foto van mij", "de map van jou", "het huis"), (".", "", "?")),
    *joined(("Läs ", "Öppna ", "Visa mig ", "Ta bort ", "Czytaj ", "Otwórz ", "Pokaż mi ", "Lue ", "Avaa ", "Näytä ", "Oku ", "Göster ", "Čti ", "Otevři "), ("boken", "książkę", "kirja", "kitabı", "knihu"), (".", "")),
    *joined(("Прочитай ", "Открой ", "Покажи ", "Удали ", "Где "), ("книгу", "письмо", "дом", "{p}"), (".", "", "?")),
)  # fmt: skip
FOREIGN_TRAINING = (
    "Hola, ¿qué tal?", "¿Cómo estás?", "¿Qué hora es?", "Cuéntame una historia.", "Buenos días", "Bonjour", "Bonjour, comment ça va ?", "Quelle heure est-il ?", "Raconte-moi une histoire.", "Merci beaucoup", "Guten Tag", "Wie geht es dir?",
    "Wie spät ist es?", "Erzähl mir eine Geschichte.", "Was ist 3 plus 4?", "Kannst du mir helfen?", "Ciao, come stai?", "Che ore sono?", "Raccontami una storia.", "Olá, tudo bem?", "Que horas são?", "Conte uma história.", "Hoe gaat het?", "Vertel me een verhaal.",
    "Hur mår du?", "Berätta en saga.", "Jak się masz?", "Która godzina?", "Привет", "Как дела?", "Который час?", "Расскажи сказку.", "Привіт, як справи?", "こんにちは", "元気ですか", "今何時ですか", "你好", "你好吗?", "现在几点?", "讲一个故事", "안녕하세요", "지금 몇 시예요?",
    "مرحبا", "كيف حالك؟", "שלום", "נמסטה", "नमस्ते", "आप कैसे हैं?", "Γειά σου", "Τι ώρα είναι;", "Merhaba, nasılsın?", "Saat kaç?", "Mitä kuuluu?", "Kerro tarina.", "Ahoj, jak se máš?", "Xin chào", "สวัสดี", "Zdravo, kako si?", "Labas, kaip sekasi?", "Sveiki",
    "Bună ziua", "Ce mai faci?", "Hvordan går det?", "Tere, kuidas läheb?", "Jó napot", "Dia dhuit", "Salve, quid agis?", "Selamat pagi", "Habari yako?", "Je voudrais lire le fichier.", "Liste die Dateien auf.", "Escribe un archivo.",
    "Wie heißt du?", "Wie alt bist du?", "Was machst du?", "Ich heiße {m}.", "Wo wohnst du?", "Ich verstehe das nicht.", "Danke schön", "Comment tu t'appelles ?", "Où habites-tu ?", "Que fais-tu ?", "Je ne comprends pas.", "S'il vous plaît",
    "¿Cómo te llamas?", "¿Quién eres?", "¿Qué haces?", "No entiendo.", "Me llamo {m}.", "Come va?", "Dove sei?", "Cosa fai?", "Chi sei?", "Mi chiamo {m}.", "Non capisco.", "Grazie mille", "Como você se chama?", "O que você faz?", "Não entendo.", "Obrigado",
    "Hoe heet je?", "Wat doe je?", "Ik begrijp het niet.", "Vad heter du?", "Vad gör du?", "Tack så mycket", "Jak masz na imię?", "Co robisz?", "Dziękuję", "Mikä sinun nimesi on?", "Adın ne?", "Ne yapıyorsun?", "Jak se jmenuješ?", "Děkuji", "Как тебя зовут?", "Что ты делаешь?",
)  # fmt: skip
FOREIGN = balanced(_FOREIGN_PARTS, FOREIGN_TRAINING)
_EMOJI = "😀😂😍🤔👍🙏🎉🔥❤️🚀🐱🐶🦊🌍🌙⭐🍕🍎⚽🎵💡📁🕒🤖👋😢😡🥳🧠✨"
_NOISE = "abcdefghijklmnopqrstuvwxyz?!.,;:#+*<>=()[]{}/\\|~^%$&@ 0123456789"
_SCRIPTS = (
    (0x0410, 0x044F),
    (0x4E00, 0x5FFF),
    (0x3041, 0x3093),
    (0x0391, 0x03C9),
    (0x0627, 0x064A),
    (0xAC00, 0xB000),
    (0x0905, 0x0939),
)


def _filled(random: Random, form: str) -> str:
    """A chat form with its slots filled from random words."""
    return form.format(
        x=words.word(random), y=words.word(random), n=words.number(random), p=words.file_name(random), m=random.choice(words.FIRST_NAMES), o=random.choice(words.FIRST_NAMES), z=words.syllables(random, 1, 1)
    )  # fmt: skip


def remark(random: Random) -> Task:
    """A statement, a question or a call of a tool that the model knows nothing about, composed from parts."""
    draw = random.random()
    if draw < 0.28:
        forms, answer = (BUSY, NOTED) if draw < 0.1 else (TOOL_CALLS, NO_TOOL)
        return Task("chat", dress(random, _filled(random, random.choice(forms))), (), answer)
    who, what = random.choice(_WHO), random.choice(_WHAT)
    if draw < 0.66:
        return Task(
            "chat",
            dress(random, _filled(random, f"{who} {random.choice(_DID)} {what}{random.choice(_OFTEN)}.")),
            (),
            NOTED,
        )
    who = who if who == "I" else who[0].lower() + who[1:]
    form = random.choice(_ASKS).replace("{s}", who).replace("{t}", what).replace("{d}", random.choice(_DID))
    return Task("chat", dress(random, _filled(random, form)), (), UNKNOWN)


def noise(random: Random) -> str:
    """Emoji, keyboard noise, or letters of a foreign script."""
    draw = random.random()
    if draw < 0.35:
        return "".join(random.choice(_EMOJI) for _ in range(random.randint(1, 6)))
    if draw < 0.6:
        return "".join(random.choice(_NOISE) for _ in range(random.randint(3, 30))).strip() or "?"
    if draw < 0.7:
        return random.choice(_NOISE[26:47]) * random.randint(1, 6)
    low, high = random.choice(_SCRIPTS)
    text = "".join(chr(random.randint(low, high)) for _ in range(random.randint(2, 12)))
    return text if random.random() < 0.6 else f"{text[: len(text) // 2]} {text[len(text) // 2 :]}"


def chat(random: Random, table: tuple[tuple[str, tuple[str, ...]], ...] = TRAINING_CHAT) -> Task:
    """A question and its fixed answer, from the given table."""
    answer, questions = random.choice(table)
    return Task("chat", dress(random, _filled(random, random.choice(questions))), (), answer)


def odd(random: Random, foreign: tuple[str, ...] = FOREIGN) -> Task:
    """Input that is no English request."""
    if random.random() < 0.5:
        return Task("odd", _filled(random, random.choice(foreign)), (), LANGUAGE)
    text = noise(random)
    foreign_letters = any(letter.isalpha() and ord(letter) > 0x2FF for letter in text)
    return Task("odd", text, (), LANGUAGE if foreign_letters else SENSE)


def forbidden(task: Task) -> Task:
    """The same request where tools are forbidden: an answer in words."""
    thing = {"calc": "calculate that", "get_time": "look at the clock"}.get(task.kind, "do that")
    return Task("forbidden", task.request, (), f"I may not use tools here, so I cannot {thing}.")


def thanks(random: Random, forms: Forms) -> Task:
    """A word of thanks, as it comes after other turns."""
    return Task("chat", random.choice(forms["thanks"]), (), WELCOME)
