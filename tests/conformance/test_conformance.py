"""The transcripts of this directory run as written, in memory and over TCP, and show every verb whole.

A file is a list of sessions between `---` lines. A session begins with a comment, the sentence that it
proves, and may go on with its settings: `!` and words, each a configuration key with its value or

- `auth`: clients need a token; alice's is 64 times `a`, bob's `b`, and of the administrator root `c`
- `stepped`: the engine steps only when the session says so (`! step`)
- `patient`: a load goes on until the session says that it is done (`! load`)
- `script=long`: the engine says `word0 word1 …`, 5000 words, instead of an echo; `script=calling` and
  `script=failing`: a call each time
- `jail`: models may call (`tests.fake_jail`); `jail=broken`: the jail's self-test has found a fault,
  `jail=untested`: nobody has asked for it yet

The rest is what `tests.harness.parse_session` reads.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentkernel.auth import Principals
from agentkernel.engine.scripted import echo
from agentkernel.process import Owner
from agentkernel.protocol.verbs import VERBS
from agentkernel.server import Connection
from tests.fake_jail import BROKEN, FakeJail
from tests.gguf_files import write_model
from tests.harness import (
    Exchange,
    PatientEngine,
    Peer,
    ScriptedEngine,
    memory_peer,
    parse_session,
    play,
    run,
    scripted_server,
)

HERE = Path(__file__).parent
TOKENS = {
    "a" * 64: Owner(1, "alice"),
    "b" * 64: Owner(2, "bob"),
    "c" * 64: Owner(3, "root", admin=True),
}
CHUNKS = {"whole": 1 << 20, "sevens": 7, "bytes": 1}


def long(_text: str) -> str:
    """A script that comes to no end within the limits of a process."""
    return " ".join(f"word{i}" for i in range(5000))


def calling(_text: str) -> str:
    """A script that always makes a call that works."""
    return 'TOOL:calc {"expression": "1 + 1"}'


def failing(_text: str) -> str:
    """A script that always makes a call that fails."""
    return 'TOOL:calc {"expression": "1 / 0"}'


SCRIPTS = {script.__name__: script for script in (echo, long, calling, failing)}
JAILS = {
    "jail": FakeJail,
    "jail=broken": functools.partial(FakeJail, found=BROKEN),
    "jail=untested": functools.partial(FakeJail, untested=True),
}


@dataclass(slots=True)
class Session:
    """One session of a transcript; `words` are its settings."""

    title: str
    words: list[str] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)

    def stage(self) -> dict[str, Any]:
        """The settings as `scripted_server` takes them."""
        tree: dict[str, Any] = {"server": {"port": 0}}
        for word in self.words:
            key, equals, value = word.partition("=")
            if equals and key not in ("script", "model", "jail"):
                *sections, last = key.split(".")
                functools.reduce(lambda node, name: node.setdefault(name, {}), sections, tree)[last] = value
        named = dict(word.split("=", 1) for word in self.words if "=" in word)
        return {
            "models": Path(named.get("models", "models")),
            "settings": tree,
            "script": SCRIPTS[named.get("script", "echo")],
            "auto": "stepped" not in self.words,
            "principals": Principals(TOKENS, required=True) if "auth" in self.words else None,
            "model": named.get("model", "a/llama"),
            "engine": PatientEngine if "patient" in self.words else ScriptedEngine,
            "jail": next((make() for word, make in JAILS.items() if word in self.words), None),
        }


def sessions(text: str) -> list[Session]:
    """A transcript's sessions."""
    found = []
    for part in re.split(r"^---\n", text, flags=re.MULTILINE):
        lines = part.splitlines()
        body = next(i for i, line in enumerate(lines) if line[:1] in (">", "2"))
        title = " ".join(line[2:] for line in lines[:body] if line.startswith("#"))
        words = [word for line in lines[:body] if line.startswith("!") for word in line[2:].split()]
        found.append(Session(title, words, parse_session("\n".join(lines[body:]))))
    return found


def answers(name: str) -> list[tuple[str, str, str]]:
    """What a transcript shows: a command's verb, its reply's header, and the line after that."""
    found = []
    for exchange in (exchange for session in TRANSCRIPTS[name] for exchange in session.exchanges):
        first = next((line for line in exchange.sent if isinstance(line, str)), "")
        replies = [i for i, line in enumerate(exchange.expected) if line.startswith(("+OK ", "-ERR "))]
        if first and replies:  # of commands sent at one time, the first is answered first
            lines = [*exchange.expected[replies[0] :], ""]
            found.append((first.split()[0].upper(), lines[0], lines[1]))
    return found


TRANSCRIPTS = {path.stem: sessions(path.read_text()) for path in sorted(HERE.glob("*.txt"))}
EVERY = [
    pytest.param(session, id=f"{name}-{i}")
    for name, transcript in TRANSCRIPTS.items()
    for i, session in enumerate(transcript)
]


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    """A working directory with the catalogue `models`, and `damaged` with files that are no models."""
    root = tmp_path_factory.mktemp("conformance")
    write_model(root / "models" / "a" / "llama.gguf")
    qwen = {f"qwen2__{key}": value for key, value in SHAPE.items()}
    write_model(root / "models" / "b" / "qwen.gguf", general__architecture="qwen2", **qwen)
    write_model(root / "damaged" / "good.gguf")
    (root / "damaged" / "cut.gguf").write_bytes((root / "damaged" / "good.gguf").read_bytes()[:100])
    (root / "damaged" / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield


SHAPE = {"context_length": 128, "embedding_length": 64, "block_count": 1, "attention__head_count": 4}


@pytest.mark.parametrize("session", EVERY)
def test_session_in_memory(session):
    """A connection between two ends in one event loop, without sockets."""

    async def main():
        async with scripted_server(**session.stage(), listen=False) as bench:
            await play(functools.partial(memory_peer, bench.server), session.exchanges, bench=bench)

    run(main())


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("session", EVERY)
def test_session_over_tcp(session, chunk):
    """Whatever the pieces that its bytes come in."""

    async def main():
        async with scripted_server(**session.stage()) as bench:
            await play(bench.port, session.exchanges, chunk, bench)

    run(main())


def test_every_verb_has_a_transcript_and_every_session_says_what_it_shows():
    assert TRANSCRIPTS.keys() - {"bad_input"} == {verb.lower() for verb in VERBS}
    titles = [session.title for transcript in TRANSCRIPTS.values() for session in transcript]
    assert all(title.endswith(".") for title in titles)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verbs_transcript_shows_each_of_its_errors_and_its_success_in_both_dialects(verb):
    shown = [(head, line) for name, head, line in answers(verb.name.lower()) if name == verb.name]
    failed = {head.split()[1] for head, _ in shown if head.startswith("-ERR ")}
    assert set(verb.errors) <= failed
    succeeded = [line for head, line in shown if head.startswith("+OK ")]
    schema = f'"schema_id":"agentkernel.control.{verb.name.lower()}.v1"'
    assert any(schema in line for line in succeeded)
    in_text = {head.split()[1] for head, line in shown if head.startswith("+OK ") and schema not in line}
    codes = {
        "HELLO": set(),
        "SUBSCRIBE": set(),
        "MEMW": {"MEMW", "MEMW_QUEUED"},
    }  # v1 alone has the first two
    assert in_text == codes.get(verb.name, {verb.ok_code})


def test_octets_arrive_in_the_pieces_that_they_are_sent_in(monkeypatch):
    """Without this the chunkings would be one: an event loop joins what is written in a row."""
    sizes = []
    received = Connection.data_received

    def data_received(self, data):
        sizes.append(len(data))
        received(self, data)

    async def main():
        async with scripted_server(Path("models"), model="") as bench, Peer.connect(bench.port) as peer:
            await peer.send(b"PING me 0\nPS me 0\n", 1)
            await peer.reply()
            await peer.send(b"PING me 0\nPS me 0\n", 7)
            await peer.reply()

    monkeypatch.setattr(Connection, "data_received", data_received)
    run(main())
    assert sizes == [1] * 18 + [7, 7, 4]


@pytest.mark.parametrize("listen", [True, False], ids=["tcp", "memory"])
def test_output_that_a_session_leaves_out_is_noticed(listen):
    """The runner itself can fail: the answer's frames are not in this session."""
    started = "Process Started PID: 1 workload=General priority=normal"

    async def main():
        async with scripted_server(Path("models"), model="a/llama", listen=listen) as bench:
            at = bench.port if listen else functools.partial(memory_peer, bench.server)
            with pytest.raises(AssertionError, match="said:"):
                await play(at, [Exchange(["EXEC me - hi"], ["+OK GENERIC 55", started])], bench=bench)

    run(main())


def test_a_fault_in_the_kernel_ends_one_command_alone(monkeypatch):
    session = """
> PS me 0
< -ERR INTERNAL 50
< the kernel made a mistake; its log has the details
> PING me 0
< +OK PING 4
< PONG
"""

    async def main():
        async with scripted_server(Path("models"), model="", listen=False) as bench:
            monkeypatch.setattr(bench.kernel, "visible", lambda _owner: 1 / 0)
            await play(functools.partial(memory_peer, bench.server), parse_session(session), bench=bench)

    run(main())
