"""The stand-in engine keeps the port's rules, so that what is tested on it holds for the real one."""

from __future__ import annotations

import pytest

from agentkernel.engine import port
from agentkernel.engine.scripted import ScriptedEngine, echo
from agentkernel.errors import KernelError
from agentkernel.plan import Message
from tests.by_hand import run, settle
from tests.engine.fakes import SAMPLING

LOAD = port.Load("x.gguf", slots=2, context=64, batch=16, threads=1, gpu_layers=0, max_step_ms=100)


class Heard:
    """What an engine reports."""

    def __init__(self) -> None:
        self.steps: list[port.Step] = []
        self.deaths: list[str] = []
        self.progress: list[float] = []

    def text(self, pid: int) -> str:
        outputs = [output for step in self.steps for output in step.outputs if output.pid == pid]
        return b"".join(output.text for output in outputs).decode()


async def started(script=echo, *, auto: bool = False) -> tuple[ScriptedEngine, Heard]:
    engine, heard = ScriptedEngine(script, auto=auto), Heard()
    ready = await engine.start(LOAD, heard.progress.append)
    engine.on_step, engine.on_death = heard.steps.append, heard.deaths.append
    assert ready == port.Ready(64, [])
    assert heard.progress == [1.0]
    return engine, heard


def opening(pid: int = 1, prompt: str = "hi", budget: int = 9, **fields) -> port.Open:
    return port.Open(pid=pid, sampling=SAMPLING, budget=budget, prompt=prompt, **fields)


async def code(awaitable) -> str:
    with pytest.raises(KernelError) as caught:
        await awaitable
    return caught.value.code


def test_a_prompts_tokens_are_its_bytes_and_the_answer_comes_a_word_a_step() -> None:
    async def main() -> None:
        engine, heard = await started()
        assert (await engine.open(opening(prompt="hü"))).tokens == list("hü".encode())
        assert not engine.step()
        engine.send(port.Grant(1, 0))
        words = []
        while engine.step():
            words.append(heard.text(1))
        assert words == ["You", "You said:", "You said: hü", "You said: hü"]
        assert heard.steps[-1].outputs[0].end == "stop"

    run(main())


def test_by_itself_it_runs_what_is_granted() -> None:
    async def main() -> None:
        engine, heard = await started(auto=True)
        await engine.open(opening())
        await settle()
        assert heard.steps == []
        engine.send(port.Grant(1, 0))
        await settle()
        assert heard.text(1) == "You said: hi"

    run(main())


def test_the_next_turn_answers_the_next_message() -> None:
    async def main() -> None:
        engine, heard = await started(lambda text: f"<{text}>")
        tokens = (await engine.open(opening())).tokens
        engine.send(port.Grant(1, 0))
        while engine.step():
            pass
        tokens += (await engine.open(port.Append(1, Message("user", "you"), 9))).tokens
        while engine.step():
            pass
        assert heard.text(1) == "<hi><you>"

    run(main())


def test_another_engine_goes_on_from_the_tokens_of_any_turn() -> None:
    async def main() -> None:
        first, heard = await started(lambda text: f"to {text} I say no")
        tokens = (await first.open(opening())).tokens
        first.send(port.Grant(1, 0))
        first.step()
        first.step()
        tokens += (await first.open(port.Append(1, Message("user", "you"), 9))).tokens
        first.step()
        first.step()
        said = [token for step in heard.steps for output in step.outputs for token in output.tokens]
        tokens = tokens[:2] + said[:2] + tokens[2:] + said[2:]
        second, heard = await started(lambda text: f"to {text} I say no")
        turn = port.Turn(tokens=2, emitted=len("to you"), draws=2)
        assert (await second.open(opening(tokens=tokens, turn=turn))).tokens == []
        second.send(port.Grant(1, 1))
        while second.step():
            pass
        assert heard.text(1) == " I say no"

    run(main())


def test_what_does_not_fit_or_says_nothing_is_refused_as_the_real_engine_does() -> None:
    async def main() -> None:
        engine, _ = await started()
        assert await code(engine.open(opening(prompt="x" * 64))) == "MEMORY_ADMISSION"
        assert await code(engine.open(opening(prompt=""))) == "EXEC_INVALID"
        await engine.open(opening(prompt="x" * 63))
        assert await code(engine.open(port.Append(1, Message("user", "y"), 9))) == "MEMORY_ADMISSION"

    run(main())


def test_after_its_death_it_does_nothing_and_says_so_once() -> None:
    async def main() -> None:
        engine, heard = await started()
        await engine.open(opening())
        engine.send(port.Grant(1, 0))
        engine.die("signal 9")
        assert heard.deaths == ["signal 9"]
        assert not engine.step()
        engine.send(port.Grant(1, 0))
        assert await code(engine.open(opening(pid=2))) == "ENGINE_FAILED"
        await engine.stop()
        assert heard.deaths == ["signal 9"]

    run(main())


def test_stopping_it_is_no_death() -> None:
    async def main() -> None:
        engine, heard = await started()
        await engine.stop()
        assert heard.deaths == []
        assert repr(engine) == "<ScriptedEngine dead>"

    run(main())


def test_it_keeps_what_it_was_told_and_shows_its_state() -> None:
    async def main() -> None:
        engine, _ = await started()
        assert repr(engine) == "<ScriptedEngine idle>"
        await engine.open(opening())
        engine.send(port.Grant(1, 0))
        engine.send(port.Limit(1, 4))
        assert engine.sent == [port.Grant(1, 0), port.Limit(1, 4)]
        assert repr(engine) == "<ScriptedEngine busy>"

    run(main())
