"""The batching loop where calls may be made: a turn ends with a call, at the very byte it ends at."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agentkernel.calls import SYNTAXES, Call
from agentkernel.engine import port
from agentkernel.engine.worker.batcher import Batcher
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sequence import reopen
from tests.engine.fakes import SAMPLING, Slots, joined

END = "<end>"
SUM = ["TOOL:ca", 'lc {"a', '": "}"', ', "b": [1', "]", "}"]
CALC = Call("calc", '{"a": "}", "b": [1]}', "tool")


class Words:
    """A vocabulary of what is said; of a control token, in `{}`, only `marked` tells."""

    def __init__(self, forms: Sequence[str]) -> None:
        self.forms = tuple(forms)
        self.pieces = ["p", END]

    def token(self, piece: str) -> int:
        if piece not in self.pieces:
            self.pieces.append(piece)
        return self.pieces.index(piece)

    def piece(self, token: int) -> bytes:
        piece = self.pieces[token]
        return b"" if piece.startswith("{<") else piece.encode()

    def marked(self, token: int) -> bytes:
        piece = self.pieces[token]
        return piece[1:-1].encode() if piece.startswith("{<") else piece.encode()

    def ends(self, token: int) -> bool:
        return self.pieces[token] == END


class Lines:
    """A sampler that says its pieces, turn by turn."""

    def __init__(self, words: Words, turns: Sequence[Sequence[str]]) -> None:
        self.turns = [[words.token(piece) for piece in turn] for turn in turns]
        self.draws = self.turn = self.said = 0

    def begin_turn(self) -> None:
        self.turn, self.said = self.turn + 1, 0

    def see(self, tokens: Sequence[int]) -> None:
        pass

    def restore(self, turn: Sequence[int], draws: int) -> None:
        assert self.turns[self.turn][: len(turn)] == list(turn)
        self.said, self.draws = len(turn), draws

    def draw(self, context: object, index: int) -> int:
        self.draws += 1
        self.said += 1
        return self.turns[self.turn][self.said - 1]

    def close(self) -> None:
        pass


class One:
    """A batcher whose one process says these turns; `said` are the tokens of the first that are there."""

    def __init__(self, *turns: Sequence[str], forms: Sequence[str] = tuple(SYNTAXES), **asked) -> None:
        self.words = Words(forms)
        self.lines = Lines(self.words, turns)
        self.outputs: list[port.Output] = []
        slots = Slots(1, asked.pop("context", 256))
        load = port.Load("", 1, slots.context, 16, 1, 0, max_step_ms=1000)
        self.batcher = Batcher(self.words, slots, Images(slots, None, lambda _: None), load)
        said = asked.pop("said", 0)
        tokens = [0, 0, *self.lines.turns[0][:said]]
        fields = {"budget": 100 - said, "calls": True, **asked}
        self.batcher.add(reopen(self.words, port.Open(1, SAMPLING, **fields), tokens, self.lines))
        self.apply(port.Grant(1, 0))

    def apply(self, *commands: port.Signal) -> None:
        for command in commands:
            self.batcher.apply(command)

    def steps(self, count: int = 1000) -> One:
        for _ in range(count):
            if self.batcher.busy:
                self.outputs += self.batcher.step().outputs
        return self

    def answer(self, budget: int = 50) -> One:
        """Append a result, and say what follows."""
        self.outputs.clear()
        assert self.batcher.append(1, [0, 0], budget)
        self.apply(port.Grant(1, 0))
        return self.steps()

    @property
    def result(self) -> tuple[str, str, list[Call]]:
        """Text, end and calls so far."""
        calls = [call for output in self.outputs for call in output.calls]
        return (*joined(self.outputs)[::2], calls)


def test_a_turn_ends_with_its_call() -> None:
    one = One(["See:\n", *SUM, "never"]).steps()
    assert one.result == (f"See:\n{''.join(SUM)}", "call", [CALC])
    assert not one.batcher.busy
    assert [len(output.tokens) for output in one.outputs] == [1] * 7


@pytest.mark.parametrize("tail", ["", " ", "\n\nThe result", "é", '{"a": 1}\nTOOL:other {}'])
def test_what_the_last_token_says_beyond_the_call_is_not_shown(tail: str) -> None:
    one = One([*SUM[:-1], "}" + tail]).steps()
    assert one.result == ("".join(SUM), "call", [CALC])


def test_without_calls_a_call_is_text() -> None:
    assert One([*SUM, END], calls=False).steps().result == ("".join(SUM), "stop", [])


@pytest.mark.parametrize(
    ("form", "said", "shown", "arguments"),
    [
        ("hermes", ["<tool_call>", '{"name": "calc", "arguments": {"a": 1}}'], None, '{"a": 1}'),
        ("llama", ['{"name": "calc", "parameters": ', '{"a": 1}}'], None, '{"a": 1}'),
        ("llama", ["{<|python_tag|>}", '{"name": "calc", "parameters": {}}'], 1, "{}"),
    ],
)
def test_a_call_that_only_the_end_completes(form: str, said: list[str], shown: int | None, arguments) -> None:
    one = One([*said, END], forms=[form]).steps()
    text = "".join(said if shown is None else said[shown:])
    assert one.result == (text, "call", [Call("calc", arguments, form)])
    assert one.outputs[-1].tokens == []


def test_control_tokens_count_and_are_not_shown() -> None:
    said = ["{<tool_call>}", '{"name": "calc", ', '"arguments": {}}', "{</tool_call>}", "never"]
    one = One(said, forms=["hermes"]).steps()
    assert one.result == ('{"name": "calc", "arguments": {}}', "call", [Call("calc", "{}", "hermes")])


def test_several_calls_come_together() -> None:
    said = ['[TOOL_CALLS][{"name": "a", "arguments": {}}, ', '{"name": "b", "arguments": {}}]']
    one = One(said, forms=["mistral"]).steps()
    assert one.result[1:] == ("call", [Call("a", "{}", "mistral"), Call("b", "{}", "mistral")])


def test_what_only_looks_like_a_call_is_text_to_the_turns_end() -> None:
    said = ["TOOL:calc {", "nothing}", "\nNow TOOL:calc {}", END]
    assert One(said).steps().result == ("".join(said[:-1]), "stop", [])


def test_a_stop_string_inside_a_call_ends_the_turn_before_it() -> None:
    one = One(SUM, stop=('": "',)).steps()
    assert one.result == ('TOOL:calc {"a', "stop", [])


def test_a_stop_string_that_the_call_ends_with_is_no_call() -> None:
    one = One(SUM, stop=("]}",)).steps()
    assert one.result == ("".join(SUM)[:-2], "stop", [])


def test_a_stop_string_behind_a_call_comes_too_late() -> None:
    one = One([*SUM[:-1], "} STOP"], stop=("STOP",)).steps()
    assert one.result == ("".join(SUM), "call", [CALC])


def test_text_that_may_begin_a_stop_string_is_shown_with_the_call() -> None:
    one = One(SUM, stop=("}nothing",)).steps()
    assert one.result == ("".join(SUM), "call", [CALC])


@pytest.mark.parametrize(("budget", "end"), [(len(SUM), "call"), (len(SUM) - 1, "length")])
def test_a_call_with_the_last_token_is_one_and_half_a_call_is_none(budget: int, end: str) -> None:
    one = One(SUM, budget=budget).steps()
    assert one.result == ("".join(SUM[:budget]), end, [CALC] if end == "call" else [])


@pytest.mark.parametrize(("grace", "end"), [(3, "call"), (2, "terminated")])
def test_a_call_with_the_last_token_of_grace(grace: int, end: str) -> None:
    one = One(SUM).steps(3)
    one.apply(port.Finish(1, grace))
    assert one.steps().result[1] == end


@pytest.mark.parametrize(("context", "end"), [(len(SUM) + 2, "call"), (len(SUM) + 1, "context_full")])
def test_a_call_with_the_last_token_of_the_context(context: int, end: str) -> None:
    assert One(SUM, context=context).steps().result[1] == end


def test_a_result_begins_a_new_part_of_the_turn() -> None:
    one = One(SUM, ["It is 1.\n", *SUM], ["Done.", END]).steps()
    assert one.answer().result == (f"It is 1.\n{''.join(SUM)}", "call", [CALC])
    assert one.answer().result == ("Done.", "stop", [])


def test_the_budget_counts_anew_behind_a_result() -> None:
    one = One(SUM, ["a"] * 9, budget=len(SUM)).steps()
    assert one.answer(budget=4).result == ("aaaa", "length", [])


def test_half_a_call_is_not_completed_by_what_follows_a_new_message() -> None:
    one = One(SUM, [*SUM[3:], "?", END], budget=3).steps()
    assert one.result[1] == "length"
    assert one.answer().result == ("".join(SUM[3:]) + "?", "stop", [])


def test_half_a_call_is_completed_when_its_turn_goes_on() -> None:
    one = One(SUM, budget=3).steps()
    assert one.result[1:] == ("length", [])
    one.apply(port.Resume(1, 100), port.Grant(1, 0))
    assert one.steps().result == ("".join(SUM), "call", [CALC])


TURN = ["€ See:\n", *SUM]


@pytest.mark.parametrize("said", range(len(TURN)))
def test_a_new_engine_finds_the_call_that_the_old_one_had_begun_to_read(said: int) -> None:
    shown = "".join(TURN[:said])
    turn = port.Turn(said, len(shown.encode()), said)
    one = One([*TURN, "never"], said=said, turn=turn).steps()
    assert one.result == ("".join(TURN)[len(shown) :], "call", [CALC])


@pytest.mark.parametrize("cut", [0, 2])
def test_a_new_engine_trims_the_last_token_at_the_calls_end(cut: int) -> None:
    """Also when a limit had cut the text of the turn off meanwhile."""
    said = [*SUM[:-1], "} beyond"]
    shown = "".join(said[cut:3]).encode()
    one = One(said, said=3, turn=port.Turn(3, len(shown), 3, cut)).steps()
    assert one.result == ("".join(SUM[3:]), "call", [CALC])


def test_a_new_engine_waits_for_the_result_of_a_call_that_was_made() -> None:
    turn = port.Turn(len(SUM), len("".join(SUM)), len(SUM))
    one = One(SUM, ["Done.\n", *SUM], said=len(SUM), turn=turn, turn_over=True).steps()
    assert one.outputs == []
    assert one.answer().result == (f"Done.\n{''.join(SUM)}", "call", [CALC])


def test_a_new_engine_finds_the_next_call_behind_a_result() -> None:
    """The turn's tokens are those behind the result: the call before it is not found again."""
    one = One(["x", *SUM], said=1, turn=port.Turn(0), budget=50)
    one.lines.turns[0] = one.lines.turns[0][1:]
    assert one.steps().result == ("".join(SUM), "call", [CALC])
