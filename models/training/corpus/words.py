# ruff: noqa: SIM905  (lists of words read better as blocks)
"""Random material that must be copied, not remembered: words, names, numbers, file names, sentences."""

from __future__ import annotations

from random import Random

COMMON = tuple(
    """apple autumn backup badge balance banana basket battery beach bell bicycle bird blue board boat
    book bottle box branch bread bridge bright broken brown bucket budget build butter button cable cake
    calm camera candle carpet castle chair chapter cheese chess circle city clean clock cloud coffee
    cold colour copper corner cotton cream crowd crystal dance data deep delta desk diary dinner door
    draft dream drum early east eight empty engine error evening event example export fast feather field
    final fire first fish five flag flat flour flower forest four frame fresh friend garden gate gentle
    glass gold grape grass green grey group guest guitar hammer happy harbour heavy hello hill honey
    house idea index invoice iron island jacket journal juice july june kettle key kitchen ladder lake
    lamp large latest leaf lemon letter light line list little log long lunch machine main maple march
    market master meeting memory menu metal middle milk minute mirror model monday money morning
    mountain music narrow new night nine north note notes number oak ocean office old olive orange order
    orbit paper party path pencil people pepper phone piano picture plan planet plate pocket poem point
    pond potato price print profile project purple quick quiet rain readme record red report result rice
    river road rock roof room rope round salt sample sand school score second secret seven shadow sharp
    ship shopping short silent silver simple six small smooth snow soft south spoon spring square stable
    star station status stone storm story street strong sugar summary summer sun table task tea team
    temperature ten test text three ticket tiger time today total tower town train travel tree two
    umbrella user valley value velvet version video village violet wagon wall warm water week weekly
    west wheel white wide wind window winter wood word work world yellow yesterday zero zone buy call
    clean fix learn meet open pay read send start stop turn visit wash write todo tomato token tool
    topic theory theme then there these another anchor above about into inside inbox input output item
    items again against agenda agent album alarm always amount animal answer archive area arrow article
    asset atlas away award config client server settings system service script setup source sum summit
    target temp tmp thing thought usage using website wishes names numbers ideas plans tasks results
    records reports letters words lines files docs document folder message mail chat prompt model kernel
    process person personal inform income indeed isbn onion once only other others often offer asking
    together tonight tomorrow toward today them they theirs that forth format formula former meal mean
    member media method myself mystic weight wedding itself itinerary""".split()
)
# Words of the rest of the corpus, parts of invented names: a token that is never copied is not copied well.
FREQUENT = tuple(
    """about add added after again all allow allows alone also always am an and answer any append are
    argument arrived as ask asked assistant at auth back bad be bear because bed been began best better
    big boat body both brave brief brother brought build but by calc call called calls came can cat chat
    check child children choose clear close come compute content context copy could count crow cut dark
    day dear deep deny did do does done dragon drop each ear earth echo end ended engine events every exec
    fail fair fall family far fear feed felt few file files find fine finish fish flew for fork found fox
    free friend from full gave get girl give go gone good grew had half hand hang happy hard has have he
    head hear heart held help her here hide high him his hold home how hunt ice if image in into is it its
    job joy jump just keep kept kid kill kind king knew know known land last late learn left let lie life
    light like limit line list live load log logs lonely long look lost loud love made make man many map
    may me mem mind mine miss moon more most mouse much must my name near need never next nice no nobody
    none not now of off ok on once one or other our out over own owl page part pass past patient person
    ping place plan play please poor proud ps put queen quit ran rat reached read replay rest restore
    resume rich right robot run sad safe said same sat save saved saw say says sea seed seen self send set
    shall she ship show shut shy side sing sister sit sky sleep slow snap so some song soon spoke stand
    star stay step still stop story such sure sus swam tail take tale talk tall tell term than thank that
    the their them they thin this tiny tired to told too took top tree tried true turn two type uncle
    under until up upon us use used verb very voice wait walk want war was way we well went were what when
    where which while white who whole why wild will win wise wish with wolf word work would write year yes
    yet you your zip""".split()
)
FIRST_NAMES = tuple(
    """Ada Alma Amir Anna Ben Bo Carla Cleo Dan Dora Elif Emma Enzo Eva Felix Fritz Gita Hana Hugo Ida
    Igor Ines Iris Ivan Jack Jana Jon Kai Kim Lars Lea Leo Lila Lina Luca Lucy Luis Mara Max Maya Mia
    Milo Mina Nico Nina Noah Nora Olga Omar Oscar Otto Pablo Paul Pia Rasa Rita Rosa Ruby Sam Sara Sofia
    Sven Tara Theo Tilda Tim Tom Uma Vera Yara Yuki Zoe""".split()
)
EXTENSIONS = tuple("txt md csv json log py yaml ini dat html cfg tsv xml rst toml sh bak out list".split())
_ONSETS = (
    "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr ph pl pr qu sh sk sl sp st th tr x y"
).split()
_VOWELS = "a e i o u a e i o u ai ea ee oo ou ia y".split()
_CODAS = ["", "", "", "", *"b d g k l m n p r s t x ck ll nd ng nk nt rd rk rn rt sh ss st z".split()]
_SMALL = (
    "a an and are at by do don't for from go has I I'm in is it it's me my not of on our that the this to "
    "was we with you"
).split()
_PREPOSITIONS = "to in into as at on from of".split()
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"


def syllables(random: Random, low: int = 1, high: int = 2) -> str:
    """An invented word that can be spoken, of low to high syllables."""
    parts = (
        random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS)
        for _ in range(random.randint(low, high))
    )
    return "".join(parts)


def gibberish(random: Random, low: int = 2, high: int = 7) -> str:
    """Letters and digits in no order."""
    return "".join(random.choice(_ALPHANUMERIC) for _ in range(random.randint(low, high)))


def word(random: Random) -> str:
    """A common word, or, in two of five cases, an invented one; some of these hold a known one."""
    draw = random.random()
    if draw < 0.6:
        return random.choice(COMMON)
    if draw < 0.88:
        return syllables(random)
    known = random.choice(FREQUENT)
    return known + syllables(random, 1, 1) if draw < 0.97 else syllables(random, 1, 1) + known


def number(random: Random, digits: int = 5) -> int:
    """A whole number of one to `digits` digits, every length equally likely."""
    length = random.randint(1, digits)
    return random.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1)


def stem(random: Random) -> str:
    """A file name without its extension."""
    shape = random.random()
    if shape < 0.40:
        return word(random)
    if shape < 0.60:
        return word(random) + random.choice("_-") + word(random)
    if shape < 0.70:
        return word(random) + random.choice(("", "_", "-")) + str(number(random, 4))
    if shape < 0.80:
        return word(random).capitalize() if random.random() < 0.7 else word(random).upper()
    if shape < 0.92:
        return gibberish(random)
    return "_".join(word(random) for _ in range(3))


def file_name(random: Random) -> str:
    """A path, mostly of a file in the workspace, at most one folder deep."""
    name = f"{stem(random)}.{random.choice(EXTENSIONS if random.random() < 0.6 else EXTENSIONS[:4])}"
    draw = random.random()
    if draw < 0.03:
        return stem(random)
    if draw < 0.06:
        return random.choice(("/etc/", "/tmp/", "../", "/", "./", "/home/")) + (
            name if draw < 0.045 else stem(random)
        )
    return f"{word(random)}/{name}" if draw < 0.17 else name


def folder(random: Random) -> str:
    """The name of a folder."""
    return stem(random)


def _said(random: Random) -> str:
    """A word, a name or a number, as it stands in a sentence."""
    draw = random.random()
    if draw < 0.13:
        return str(number(random))
    if draw < 0.2:
        return word(random).capitalize() if draw < 0.17 else random.choice(FIRST_NAMES)
    return word(random) if draw < 0.9 else random.choice(_SMALL)


def sentence(random: Random, low: int = 1, high: int = 7) -> str:
    """Low to high words or numbers in a row, without quotes."""
    parts = [_said(random) for _ in range(random.randint(low, high))]
    if parts and random.random() < 0.04:
        parts.insert(random.randint(1, len(parts)), random.choice(_PREPOSITIONS))
    text = " ".join(parts)
    if random.random() < 0.25:
        text = text.capitalize() + random.choice((".", ".", "!", ""))
    elif random.random() < 0.1:
        text = f"{word(random)}: {text}"
    elif random.random() < 0.08:
        text = text.replace(" ", ", ", 1)
    return text


def document(random: Random) -> str:
    """What a file may hold: mostly one line, sometimes several, sometimes a bare number."""
    draw = random.random()
    if draw < 0.2:
        return str(number(random))
    if draw < 0.8:
        return sentence(random, 1, 10)
    return "\n".join(sentence(random, 1, 5) for _ in range(random.randint(2, 4)))
