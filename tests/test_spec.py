"""protocol_spec.md says what the program does: its tables are the program's, its sessions run."""

import re

import pytest

from tests import spec
from tests.fake_jail import FakeJail
from tests.harness import Exchange, parse_session, play, run, scripted_server

TEXT = spec.SPEC.read_text()
SESSIONS = re.findall(r"```session(.*?)\n(.*?)```", TEXT, re.DOTALL)


def test_every_table_is_the_programs_own():
    assert {name for name, _ in spec.tables(TEXT)} == spec.TABLES.keys()
    assert spec.rewritten(TEXT) == TEXT


@pytest.mark.parametrize("chunk", [1 << 20, 7, 1], ids=["whole", "sevens", "bytes"])
@pytest.mark.parametrize(("words", "session"), SESSIONS, ids=range(len(SESSIONS)))
def test_session_runs_as_written(words, session, chunk, demo):
    settings = {}
    given = words.split()
    for key, value in (word.split("=") for word in given if word != "jail"):
        section, name = key.split(".")
        settings.setdefault(section, {})[name] = value

    async def main():
        jail = FakeJail() if "jail" in given else None
        async with scripted_server(demo, settings=settings, jail=jail) as bench:
            await play(bench.port, parse_session(session), chunk)

    run(main())


def test_a_session_that_differs_is_noticed(demo):
    """The runner itself can fail."""

    async def main():
        async with scripted_server(demo) as bench:
            with pytest.raises(AssertionError, match="expected 'PANG'"):
                await play(bench.port, [Exchange(["PING me 0"], ["+OK PING 4", "PANG"])])

    run(main())


def test_every_error_code_is_explained():
    assert re.findall(r"^\| ([A-Z_]+) \| (?:client|resource|kernel)", TEXT, re.MULTILINE) == list(spec.ERRORS)
