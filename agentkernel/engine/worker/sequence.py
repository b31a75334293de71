"""One process inside the engine: its tokens, its sampler, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Any, Protocol

from agentkernel.calls import Detector
from agentkernel.engine import port
from agentkernel.engine.worker.lookup import Lookup
from agentkernel.engine.worker.text import TextStream


class Model(Protocol):
    """A vocabulary."""

    forms: tuple[str, ...]  # of the calls that it can make

    def piece(self, token: int) -> bytes:
        """The token's bytes; nothing for control tokens."""

    def marked(self, token: int) -> bytes:
        """The token's bytes, those of control tokens too."""

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""


class Sampler(Protocol):
    """Draws one process's tokens; `draws` random numbers were used so far."""

    draws: int

    def begin_turn(self) -> None:
        """A new turn: what holds for one turn only starts again."""

    def see(self, tokens: Tokens[int]) -> None:
        """Count tokens that were not drawn here (a prompt) towards the repetition penalty."""

    def restore(self, turn: Tokens[int], draws: int) -> None:
        """Stand where the sampler stood after these tokens of the turn and so many draws."""

    def draw(self, context: Any, index: int) -> int:
        """The next token after a row's logits."""

    def close(self) -> None:
        """Free it."""


@dataclass(slots=True)
class Sequence:
    """One process inside the engine."""

    pid: int
    tokens: list[int]
    sampler: Sampler
    text: TextStream
    stop: tuple[str, ...]
    raw: bool
    budget: int  # tokens left in this turn
    closing: int = 0  # tokens of a next turn that close the answer before
    soft: Any = None  # embeddings of the first tokens, a row each
    said: int = 0  # tokens of this turn
    filled: int = 0
    slot: int | None = None
    held: bool = True
    over: bool = False
    grace: int | None = None
    exact: bool = False  # every decode of it has one token, one thread, and nobody else
    weight: float = 1.0
    credit: float = 0.0  # of a step, towards its next token
    hasty: bool = False  # its first token waits for nobody
    arriving: port.Grant | None = None  # until its image is fetched
    detector: Detector | None = None  # of the calls in this turn, where calls may be made
    fed: int = 0  # bytes of this turn that it has seen
    lookup: Lookup | None = None  # where drafts are verified

    @property
    def pending(self) -> int:
        """Tokens that its slot lacks: one when it decodes, more while it reads a prompt."""
        return len(self.tokens) - self.filled

    @property
    def patient(self) -> bool:
        """Whether it has not begun its answer, and may wait for others to have their prompts read."""
        return not (self.said or self.hasty)

    @property
    def runnable(self) -> bool:
        """Whether the next step should serve it."""
        return not (self.held or self.over or self.arriving) and self.slot is not None

    def begin_turn(self, budget: int, forms: tuple[str, ...]) -> None:
        """What belongs to one turn starts again."""
        self.sampler.begin_turn()
        self.text = TextStream(self.stop)
        self.budget, self.said, self.over, self.grace = budget, 0, False, None
        if self.detector is not None:
            self.detector, self.fed = Detector(forms), 0


def reopen(
    model: Model, request: port.Open, tokens: list[int], sampler: Sampler, closing: int = 0
) -> Sequence:
    """A sequence from its request; one that goes on stands exactly where its turn stood."""
    text = TextStream(request.stop)
    sampler.see(tokens)
    turn = tokens[len(tokens) - request.turn.tokens :]
    shown = "".join(text.feed(model.piece(token)) for token in turn[request.turn.cut :])
    if len(shown.encode()) < request.turn.emitted:
        text.flush()  # the turn had been over, and goes on
    sampler.restore(turn, request.turn.draws)
    detector, fed = Detector(model.forms) if request.calls else None, 0
    if detector is not None:
        said = b"".join(model.marked(token) for token in turn)
        detector.feed(said)
        fed = len(said)
    return Sequence(
        pid=request.pid,
        tokens=tokens,
        sampler=sampler,
        text=text,
        stop=request.stop,
        raw=request.raw,
        budget=request.budget,
        closing=closing,
        exact=request.exact,
        weight=request.weight,
        hasty=request.hasty,
        said=request.turn.tokens,
        over=request.turn_over,
        detector=detector,
        fed=fed,
        lookup=Lookup() if request.prompt_lookup else None,
    )
