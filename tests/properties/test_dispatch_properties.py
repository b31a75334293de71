"""Whatever payload any verb gets: an answer that can be sent, or one of the errors that the table names."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import structlog.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkernel.auth import LOCAL
from agentkernel.dispatch import Dispatch, Session
from agentkernel.errors import KernelError
from agentkernel.protocol.connection import ServerConnection
from agentkernel.protocol.framing import Command, Reply, ReplyParser
from agentkernel.protocol.verbs import VERBS
from tests.by_hand import ME, Bench, Screen, boot, counting, run, settle
from tests.fake_jail import FakeJail
from tests.gguf_files import write_model

ANY_VERB = {"BAD_PAYLOAD", "AUTH_REQUIRED", "FORBIDDEN", "SHUTTING_DOWN"}  # §2.6, as far as dispatch goes
WORDS = (
    "1|2|3|99|0|-1|+1|1e9|18446744073709551616|high|URGENT|max_tokens=3|max_syscalls=0|temp=0.5|top_p=nan"
    "|seed=-1|max_tokens=99999999999999999999|top_k=2147483648|=|;|,|demo|demo.gguf|../x|/etc|big/other|big"
    "|notes.txt|cut|all|{}|null|capability=fast;|capability=x;|from=tale;|share=public;|tale|\0|ü|\\|\n"
    '|{"pid":1}|{"pid":"2","prompt":"more"}|{"session_id":"session-1"}|{"prompt":"hi"}'
    "|4|5|calc|greet|a.txt|in/a.txt|..|tools=calc;|approve=*;|trust=untrusted;"
    "|name: greet\ndescription: x\nschema: {type: object}\ncommand: [echo]"
)
KEYS = (
    "prompt messages raw max_tokens temperature top_p top_k min_p repeat_penalty seed stop grammar limits "
    "json_schema capability priority on_disconnect interactive tools max_syscalls pid session_id role "
    "content from share context_strategy memory_prefix allowed_tools paths read write approve trust "
    "constrain_tools tool_limits wall_s name description schema command"
)
words = st.lists(st.sampled_from(WORDS.split("|")), max_size=4).map(" ".join).map(str.encode)
keys = st.sampled_from(KEYS.split())
leaves = st.none() | st.booleans() | st.integers(-5, 10) | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2)
)
objects = st.dictionaries(keys, values, max_size=4).map(msgspec.json.encode)
payloads = words | objects | st.binary(max_size=20)
DEEP = b'{"other":' + b"[" * 100_000


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("demo", "big/other"):
        write_model(root / f"{name}.gguf")
    (root / "notes.txt").write_text("no model")
    (root / "cut.gguf").write_bytes((root / "demo.gguf").read_bytes()[:99])
    return root


def script(text: str) -> str:
    """It repeats a call, and else counts."""
    return text if text.startswith("[[") else counting(text)


@contextlib.asynccontextmanager
async def populated(folder: Path) -> AsyncIterator[Bench]:
    """A kernel with processes that run, wait for input, an answer and an approval, and are suspended."""
    with tempfile.TemporaryDirectory() as own:
        folders = {"state": f"{own}/state", "workspace": f"{own}/workspace"}
        bench = await boot(folder, script, jail=FakeJail(), engine={"slots": 5}, **folders)
        await bench.exec("hello")
        await bench.exec("hello", interactive=True, max_tokens=1)
        await bench.exec("hello")
        await bench.exec("[[ASK: ?]]")
        await bench.exec("[[CALC: 1]]", approve=["calc"])
        bench.step(3)
        await settle()
        bench.kernel.suspend(ME, 3)
        assert [bench.kernel.gate.people.of(pid) is not None for pid in (4, 5)] == [True, True]
        yield bench
        await bench.kernel.drain(0)
        await bench.kernel.close()


async def ask(bench: Bench, session: Session, command: Command) -> KernelError | None:
    """Check that the command is answered with bytes of a reply; its error, if it is one."""
    connection, error, answer = session.connection, None, None
    try:
        answer = Dispatch(bench.kernel, lambda _token: LOCAL).run(session, command)
        if inspect.isawaitable(answer):
            async with asyncio.timeout(3600 if command.verb == "WAIT" else None):
                answer = await answer
    except TimeoutError:
        return None  # it would be answered at the end of the process
    except KernelError as caught:
        error = caught
    if error is not None:
        data = connection.failure("a:1", error)
    else:
        data = connection.success(command.verb, "a:1", answer)
    (reply,) = ReplyParser().receive(data)
    assert isinstance(reply, Reply)
    if command.verb not in ("MEMR", "GET_FILE") or connection.v1:
        reply.payload.decode()
    return error


def session(*, v1: bool) -> Session:
    connection = ServerConnection()
    if v1:
        connection.hello(b'{"required_capabilities":["event_stream_v1"]}')
    return Session(connection, Screen(), LOCAL)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(VERBS)), payloads), max_size=4), st.booleans())
def test_any_payload_of_any_verb_is_answered(
    folder: Path, commands: list[tuple[str, bytes]], v1: bool
) -> None:
    async def main() -> None:
        client = session(v1=v1)
        async with populated(folder) as bench:
            for verb, payload in commands:
                error = await ask(bench, client, Command(verb, "a", payload))
                assert error is None or error.code in ANY_VERB | set(VERBS[verb].errors)

    run(main())


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("payload", [DEEP, b"\xff", b"1\0"], ids=["deep", "not utf-8", "NUL"])
def test_what_no_verb_takes_is_an_error_of_the_verb(folder: Path, verb: str, payload: bytes) -> None:
    async def main() -> None:
        async with populated(folder) as bench:
            error = await ask(bench, session(v1=True), Command(verb, "a", payload))
        if verb != "AUTH":  # without authentication any token will do
            assert error is not None
            assert error.code in ANY_VERB | set(VERBS[verb].errors)

    run(main())


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("end", [b"", b"x", b"|", b"\n"], ids=["blanks", "word", "bar", "line"])
def test_a_long_payload_is_read_once(folder: Path, verb: str, end: bytes) -> None:
    """Read once for each of its bytes, these blanks would take hours."""

    async def main() -> None:
        async with populated(folder) as bench:
            error = await ask(bench, session(v1=False), Command(verb, "a", b"1" + b" " * 1_000_000 + end))
        assert error is None or error.code in ANY_VERB | set(VERBS[verb].errors)

    run(main())
