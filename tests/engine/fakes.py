"""A model whose next token depends on all that its slot holds: whatever is wrong there shows in the text."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from agentkernel.engine import port
from agentkernel.engine.worker.batcher import Batcher, Row
from agentkernel.engine.worker.drafting import Offer
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sequence import reopen
from agentkernel.plan import Sampling

SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, repeat_penalty=1.0, seed=1)
_EURO, _FACE = "€".encode(), "😀".encode()
PIECES = [
    b"a",
    b" b",
    b"ab",
    b"c.",
    b" d",
    b"e",
    _EURO,
    _EURO[:1],
    _EURO[1:],
    _FACE[:2],
    _FACE[2:],
    b"\xff",
    b"\n",
]
END = len(PIECES)


class Vocabulary:
    """Tokens of a few letters, of parts of characters, and one that ends an answer."""

    forms: tuple[str, ...] = ("tool",)

    def piece(self, token: int) -> bytes:
        return PIECES[token]

    def marked(self, token: int) -> bytes:
        return PIECES[token]

    def ends(self, token: int) -> bool:
        return token == END


class Slots:
    """KV cells by slot; a row must begin where its slot's cells end. `fail` gives decode's code."""

    def __init__(self, slots: int = 4, context: int = 64) -> None:
        self.context = context
        self.cells: dict[int, list[int]] = {slot: [] for slot in range(slots)}
        self.decoded: list[list[tuple[int, int]]] = []  # slot and number of tokens, by decode
        self.threads: list[int] = []
        self.fail: Callable[[Sequence[Row]], int] = lambda _rows: 0
        self.seen: dict[int, list[int]] = {}  # what a token whose logits are wanted saw, by its index
        self.forgets = True  # parts of a slot, too

    def decode(self, rows: Sequence[Row]) -> int:
        if code := self.fail(rows):
            return code
        assert len({row.slot for row in rows}) == len(rows)
        self.decoded.append([(row.slot, len(row.tokens)) for row in rows])
        self.seen, n = {}, 0
        for row in rows:
            cells = self.cells[row.slot]
            assert row.start == len(cells)
            assert row.tokens
            cells += row.tokens
            assert len(cells) <= self.context
            n += len(row.tokens)
            row.index = n - 1
            for place in range(row.draft + 1) if row.sample else ():
                self.seen[row.index - place] = cells[: len(cells) - place]
        return 0

    def drop(self, slot: int, start: int = 0) -> bool:
        if start and not self.forgets:
            return False
        del self.cells[slot][start:]
        return True

    def state(self, slot: int) -> bytes:
        return bytes(self.cells[slot])

    def restore(self, slot: int, state: bytes) -> bool:
        assert not self.cells[slot]
        self.cells[slot] = list(state)
        return True

    def set_threads(self, threads: int) -> None:
        self.threads.append(threads)


class Draw:
    """Draws by the seed, the number of draws, what it has seen, and the slot's cells."""

    def __init__(self, seed: int) -> None:
        self.seed, self.draws = seed, 0
        self.seen: list[int] = []
        self.turns = 0
        self.closed = False

    def begin_turn(self) -> None:
        self.turns += 1

    def see(self, tokens: Sequence[int]) -> None:
        self.seen += tokens

    def restore(self, turn: Sequence[int], draws: int) -> None:
        assert self.seen[len(self.seen) - len(turn) :] == list(turn)
        self.draws = draws

    def draw(self, context: Slots, index: int) -> int:
        self.draws += 1
        token = self.token(context.seen[index])
        if token != END:
            self.seen.append(token)
        return token

    def token(self, cells: Sequence[int]) -> int:
        said = repr((self.seed, self.draws, self.seen, cells)).encode()
        return zlib.crc32(said) % (END + 1)

    def close(self) -> None:
        self.closed = True


class Copy(Draw):
    """Says mostly what stood behind the same two tokens before."""

    def token(self, cells: Sequence[int]) -> int:
        drawn = super().token(cells)
        places = [n for n in range(2, len(cells)) if cells[n - 2 : n] == cells[-2:]]
        if not places or zlib.crc32(repr((self.seed, self.draws)).encode()) % 8 == 0:
            return drawn
        return cells[places[-1]]


class Bench:
    """A batcher over such a model, and what came of it by PID."""

    def __init__(self, slots: int = 4, context: int = 64, batch: int = 16, cores: int = 2) -> None:
        self.slots = Slots(slots, context)
        self.paged: list[port.Paged] = []
        load = port.Load("", slots, context, batch, cores, 0, max_step_ms=1000)
        images = Images(self.slots, None, self.paged.append)
        self.batcher = Batcher(Vocabulary(), self.slots, images, load)
        self.outputs: dict[int, list[port.Output]] = {}

    def open(
        self,
        pid: int,
        prompt: Sequence[int],
        seed: int = 1,
        budget: int = 20,
        draw: type[Draw] = Draw,
        **fields,
    ) -> Draw:
        """A sequence; with `turn` one that goes on."""
        request = port.Open(pid=pid, sampling=SAMPLING, budget=budget, **fields)
        sampler = draw(seed)
        self.batcher.add(reopen(Vocabulary(), request, list(prompt), sampler))
        self.outputs[pid] = []
        return sampler

    def apply(self, *commands: port.Command) -> None:
        for command in commands:
            self.batcher.apply(command)

    def step(self) -> port.Step:
        step = self.batcher.step()
        for output in step.outputs:
            self.outputs[output.pid].append(output)
        return step

    def run(self, limit: int = 1000) -> None:
        """Steps until nothing runs."""
        for _ in range(limit):
            if not self.batcher.busy:
                return
            self.step()
        raise AssertionError("endless")

    def result(self, pid: int) -> tuple[str, list[int], str]:
        """Text, tokens and end so far."""
        return joined(self.outputs[pid])


def joined(outputs: Sequence[port.Output]) -> tuple[str, list[int], str]:
    text = b"".join(output.text for output in outputs).decode()
    tokens = [token for output in outputs for token in output.tokens]
    return text, tokens, outputs[-1].end if outputs else ""


def alone(
    prompt: Sequence[int], seed: int = 1, budget: int = 20, context: int = 64, **fields
) -> list[port.Output]:
    """What a sequence says when nobody else is there."""
    bench = Bench(context=context)
    bench.open(1, prompt, seed, budget, **fields)
    bench.apply(port.Grant(1, 0))
    bench.run()
    return bench.outputs[1]


class Always:
    """Drafts of one length, whether they pay or not."""

    def __init__(self, length: int) -> None:
        self._length = length

    def choose(self, decoding: int, offers: Sequence[Offer], room: int) -> int:
        return self._length if len(offers) * self._length <= room else 0

    def observe(self, decoding: int, drafted: int, ms: float) -> None:
        pass


def always(bench: Bench, length: int) -> Bench:
    """The bench, drafting always so many tokens."""
    bench.batcher._drafter._lengths = Always(length)
    return bench


def drive(bench: Bench, acts: Sequence[tuple[str, int, int]]) -> None:
    """Do what can be done of these, each of a process (1 to 3) and a slot; then run each to its end alone."""
    holders: dict[int, int] = {}

    def do(action: str, pid: int, slot: int) -> None:
        mine = next((held for held, holder in holders.items() if holder == pid), None)
        if action == "grant" and (mine is not None or slot not in holders):
            slot = slot if mine is None else mine
            holders[slot] = pid
            bench.apply(port.Grant(pid, slot))
        elif action == "hold":
            bench.apply(port.Hold(pid))
        elif action in ("revoke", "keep"):
            holders.pop(mine, None)
            bench.apply(port.Revoke(pid, keep=action == "keep"))
        elif action == "step" and bench.batcher.busy:
            bench.step()

    for action, pid, slot in acts:
        do(action, pid, slot)
    for pid in (1, 2, 3):
        for other in (1, 2, 3):
            do("revoke", other, 0)
        do("grant", pid, 0)
        bench.run()
