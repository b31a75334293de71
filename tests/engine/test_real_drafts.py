"""Drafts on real models: the tokens are those that come without, greedy or drawn, free or bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentkernel.engine import port
from agentkernel.engine.worker import grammars, llama, prompt, sampler
from agentkernel.engine.worker.batcher import Batcher
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sequence import reopen
from agentkernel.plan import Message, Sampling
from tests.conftest import LLAMA, MISTRAL, QWEN2
from tests.engine.fakes import Always, joined

BUILTIN = Path(__file__).parent.parent.parent / "models" / "builtin"
TINY, CHATML = "agentkernel-tiny", "agentkernel-chatml"
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, repeat_penalty=1.0, seed=1)
DRAWN = Sampling(temperature=0.9, top_p=0.95, top_k=40, min_p=0.0, repeat_penalty=1.1, seed=7)
LETTERS = "root ::= [ab] root"  # by which a model soon says again what it has said


class Bench:
    """One model whose batcher drafts always so many tokens."""

    def __init__(self, path: Path, length: int) -> None:
        llama.set_up()
        self.model = llama.Model(str(path), 0, lambda _fraction: None)
        self.context = llama.Context(self.model, 2, 512, 512, 1)
        load = port.Load("", 2, 512, 512, 1, 0, max_step_ms=1000)
        images = Images(self.context, None, lambda _event: None)
        self.batcher = Batcher(self.model, self.context, images, load)
        self.batcher._drafter._lengths = Always(length)
        self.outputs: dict[int, list[port.Output]] = {}
        self.said: list[int] = []  # tokens of steps that decoded no prompt

    def open(self, pid: int, text: str, said: Sequence[int] = (), **asked: object) -> None:
        """A process in the slot before its PID, which has said so much."""
        turns = {"sampling": GREEDY, "budget": 120 - len(said), "messages": (Message("user", text),)}
        request = port.Open(pid, **{**turns, **asked})  # type: ignore[arg-type]
        made = prompt.first_turn(self.model, request, 512)
        held = grammars.grammar(request, self.model.forms)
        chain = sampler.Sampler(self.model, request.sampling, held)
        self.batcher.add(reopen(self.model, request, [*made.tokens, *said], chain, made.closing))
        self.batcher.apply(port.Grant(pid, pid - 1))
        self.outputs[pid] = []

    def run(self) -> None:
        while self.batcher.busy:
            step = self.batcher.step()
            for output in step.outputs:
                self.outputs[output.pid].append(output)
            if not step.prompt:
                self.said.append(len(step.outputs))


@contextmanager
def bench(path: Path, length: int) -> Iterator[Bench]:
    made = Bench(path, length)
    try:
        yield made
    finally:
        made.context.close()
        made.model.close()


def said(path: Path, text: str, length: int, **asked: object) -> tuple[list[port.Output], list[int]]:
    """What a process says, and tokens by step, when it drafts so many; with none it does not draft."""
    with bench(path, length) as made:
        made.open(1, text, prompt_lookup=bool(length), **asked)
        made.run()
        return made.outputs[1], made.said


ASKED = ("What does KILL do?", "What is 417 plus 268?", "Tell me a short story about a fox")


@pytest.mark.parametrize("length", [1, 15])
@pytest.mark.parametrize("name", [TINY, CHATML])
def test_a_trained_model_takes_the_likeliest_tokens_with_drafts_as_without(name: str, length: int) -> None:
    path, more = BUILTIN / f"{name}.gguf", 0
    for text in ASKED:
        plain, _ = said(path, text, 0)
        drafted, steps = said(path, text, length)
        assert drafted == plain
        more += len(plain) - len(steps)
    assert more > 3  # steps that were spared


@pytest.mark.parametrize("name", [LLAMA, QWEN2, MISTRAL])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_models_of_any_family_do_under_a_grammar_too(models_dir: Path, name: str, sampling: Sampling) -> None:
    path, asked = models_dir / f"{name}.gguf", {"grammar": LETTERS, "sampling": sampling}
    plain, single = said(path, "hello", 0, **asked)
    drafted, steps = said(path, "hello", 7, **asked)
    assert drafted == plain
    assert max(steps) > 1 == max(single)


@pytest.mark.parametrize("name", [TINY, CHATML])
def test_a_trained_model_draws_the_same_with_drafts_as_without(name: str) -> None:
    path = BUILTIN / f"{name}.gguf"
    for text in ASKED:
        assert said(path, text, 7, sampling=DRAWN)[0] == said(path, text, 0, sampling=DRAWN)[0]


def test_who_drafts_changes_nothing_for_who_does_not() -> None:
    path = BUILTIN / f"{TINY}.gguf"
    with bench(path, 3) as made:
        made.open(1, ASKED[2], prompt_lookup=True)
        made.open(2, ASKED[0])
        made.run()
        texts = [joined(made.outputs[pid]) for pid in (1, 2)]
    assert texts == [joined(said(path, ASKED[n], 0)[0]) for n in (2, 0)]


def test_as_many_may_be_drafted_as_there_is_memory_for(models_dir: Path) -> None:
    with bench(models_dir / f"{LLAMA}.gguf", 8) as made:
        for pid in (1, 2):
            made.open(pid, "hello", prompt_lookup=True, grammar='root ::= "ab" root')
        made.run()
        assert max(made.said) == 18
        assert made.outputs[1][-1].end == made.outputs[2][-1].end == "length"


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_who_is_opened_again_amid_a_draft_goes_on_as_it_would_have(sampling: Sampling) -> None:
    path, text = BUILTIN / f"{TINY}.gguf", ASKED[0]
    outputs, _ = said(path, text, 15, sampling=sampling)
    with bench(path, 15) as made:
        for position in range(1, len(outputs), 2):
            shown, tokens, _ = joined(outputs[:position])
            turn = port.Turn(position, len(shown.encode()), outputs[position - 1].draws)
            made.open(1, text, sampling=sampling, prompt_lookup=True, turn=turn, said=tokens)
            made.run()
            assert made.outputs[1] == outputs[position:]
            made.batcher.apply(port.Close(1))
