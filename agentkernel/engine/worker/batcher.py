"""The batching loop: a step advances granted sequences by a token, by a draft, or by a part of a prompt.

Rules
1. Tokens are the truth: `filled` counts how many of them the slot's KV holds, the rest is pending.
2. One sequence's failure ends that sequence alone; only a fatal code of llama_decode ends the engine.
3. Commands are applied between steps, in order; only a sequence whose image is being fetched waits for it.
4. A draft is verified: what is drawn from the logits before each of its tokens is what is said, and behind
   the first that differs nothing of the draft stays in the slot. Each token has an output of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Any, Protocol

from agentkernel.engine import port
from agentkernel.engine.worker.answer import say
from agentkernel.engine.worker.composing import Composer, bridges
from agentkernel.engine.worker.drafting import Drafter
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.pacing import Tuner, Way, ways
from agentkernel.engine.worker.sequence import Model, Sequence


class FatalDecode(Exception):  # noqa: N818 - it ends the engine, like SystemExit
    """llama_decode said that its context is beyond use."""


@dataclass(slots=True)
class Row:
    """Tokens of one slot for the next decode; logits are wanted for the last when `sample`.

    The last `draft` of them are drafted: then logits are wanted for these and for the one before.
    """

    slot: int
    tokens: Tokens[int]
    start: int
    sample: bool
    draft: int = 0
    soft: Any = None  # embeddings in place of the tokens, a row each
    index: int = -1  # of the row's last token in the batch, set by decode


class Context(Protocol):
    """KV slots of equal size; `context` is tokens a slot, `forgets` whether it can drop a part of one."""

    context: int
    forgets: bool

    def decode(self, rows: Tokens[Row]) -> int:
        """Run the rows; sets their index. Returns llama_decode's code: 0 ok, 1 no room, < 0 failed."""

    def drop(self, slot: int, start: int = 0) -> bool:
        """Forget the slot's context from a position on; False where the model can't drop a part."""

    def set_threads(self, threads: int) -> None:
        """Threads for the next decode."""


class Batcher:
    """The sequences of one context, advanced together."""

    def __init__(
        self,
        model: Model,
        context: Context,
        images: Images,
        load: port.Load,
        on_fetched: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`on_fetched` is called on another thread, and has `arrived` called between steps."""
        self._model, self._context, self._images, self._batch = model, context, images, load.batch
        self._on_fetched = on_fetched
        self._seconds = load.max_step_ms / 1e3
        self._composer = Composer(load.max_step_ms, load.batch)
        self._slots, self._cores = load.slots, load.threads
        self._tuners: dict[tuple[int, ...], Tuner[Way]] = {}  # by cores and magnitudes, see `_tuner`
        self._drafter = Drafter(context.context, load.batch)
        self._sequences: dict[int, Sequence] = {}
        self._runnable: dict[int, Sequence] = {}
        self._taken: dict[int, Any] = {}  # contexts of donors in slots, as they are since the last step
        self._alone = False  # the last step was of those that decode alone

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._runnable)

    def add(self, sequence: Sequence) -> None:
        """Take on a sequence; it runs once granted."""
        self._sequences[sequence.pid] = sequence

    def sequence(self, pid: int) -> Sequence:
        """The process's sequence. Raises KeyError."""
        return self._sequences[pid]

    def append(self, pid: int, tokens: list[int], budget: int) -> bool:
        """Begin a turn with these tokens; False when they don't fit into the context."""
        sequence = self._sequences[pid]
        if len(sequence.tokens) + len(tokens) >= self._context.context:
            return False
        sequence.tokens += tokens
        sequence.sampler.see(tokens)
        sequence.begin_turn(budget, self._model.forms)
        self._settle(sequence)
        return True

    def prefix(self, pid: int, rows: Any) -> bool:
        """Put embeddings before everything; False when they don't fit into the context."""
        sequence = self._sequences[pid]
        if len(sequence.tokens) + len(rows) >= self._context.context:
            return False
        sequence.soft = rows
        self._splice(sequence, port.Splice(pid, 0, 0, [port.SOFT] * len(rows)))
        return True

    def arrived(self, pid: int) -> None:
        """The image that a grant of the process waits for was fetched."""
        sequence = self._sequences.get(pid)
        if sequence is not None and sequence.arriving is not None:
            grant, sequence.arriving = sequence.arriving, None
            self._fetch_and_fill(sequence, grant)
            self._settle(sequence)

    def apply(self, command: port.Signal) -> None:
        """A command that changes who runs, and on what."""
        match command:
            case port.Store(pid=pid):
                self._images.store(pid)
            case port.Drop(pid=pid):
                self._images.drop(pid)
            case port.Threads(most=most):
                self._cores = most
            case _ if sequence := self._sequences.get(command.pid):
                self._apply_to(sequence, command)
                self._settle(sequence)

    def _settle(self, sequence: Sequence) -> None:
        """Know whether the next step serves it."""
        if sequence.runnable:
            self._runnable[sequence.pid] = sequence
        else:
            self._runnable.pop(sequence.pid, None)

    def _apply_to(self, sequence: Sequence, command: port.Signal) -> None:
        match command:
            case port.Grant():
                self._grant(sequence, command)
            case port.Hold():
                sequence.held = True
            case port.Revoke(keep=keep):
                self._vacate(sequence, keep=keep)
            case port.Splice():
                self._splice(sequence, command)
            case port.Keep(pid=pid, key=key):
                if sequence.slot is not None and sequence.filled:
                    self._images.save(key, sequence.slot, sequence.filled)
                else:
                    self._images.clone(pid, key)
            case port.Adopt():
                self._images.adopt(command)
            case port.Finish() | port.Limit() | port.Resume() | port.Weigh():
                self._adjust(sequence, command)
            case port.Close(keep=keep):
                self._vacate(sequence, keep=keep)
                sequence.sampler.close()
                del self._sequences[sequence.pid]

    @staticmethod
    def _adjust(sequence: Sequence, command: port.Finish | port.Limit | port.Resume | port.Weigh) -> None:
        match command:
            case port.Weigh(weight=weight):
                sequence.weight = weight
            case port.Finish(grace=grace):
                sequence.grace = grace
            case port.Limit(tokens=tokens) | port.Resume(tokens=tokens):
                sequence.budget = tokens - sequence.said
                sequence.over = sequence.over and not isinstance(command, port.Resume)

    def step(self) -> port.Step:
        """One decode; raises FatalDecode."""
        self._taken.clear()
        exact = [sequence for sequence in self._runnable.values() if sequence.exact]
        self._alone = bool(exact) and not (self._alone and len(exact) < len(self._runnable))
        if self._alone:
            return self._step_alone(exact)
        runnable = [s for s in self._runnable.values() if not s.exact]
        composed = self._composer.rows(runnable)
        drafts = self._drafter.drafts([sequence for sequence, _ in composed])
        rows = [(s, self._row(s, n, drafts.get(s.pid, ()))) for s, n in composed]
        tokens = sum(len(row.tokens) for _, row in rows)
        prompt = tokens - sum(row.sample + row.draft for _, row in rows)
        tuner = self._tuner(0 if prompt else len(rows), 0 if prompt else tokens - len(rows))
        way = tuner.next
        # llama.cpp decodes at once what lies in ascending slots, and one by one what descends
        rows.sort(key=lambda item: item[1].slot, reverse=not way.together)
        self._context.set_threads(way.threads)
        began = time.perf_counter()
        code = self._decode([row for _, row in rows], together=way.together)
        outputs = self._advanced(rows) if code == 0 else self._one_by_one(rows, code)
        ms = (time.perf_counter() - began) * 1e3
        tuner.observe(tokens, ms, trials=not prompt or self._crowded)
        self._composer.observe(tokens, ms, prompt=prompt > 0)
        self._drafter.observe(outputs, ms)
        reading = {s.pid: s.filled for s, row in rows if not row.sample}
        return port.Step(tokens, ms, way.threads, outputs, prompt, reading)

    def _decode(self, rows: list[Row], *, together: bool) -> int:
        """Decode rows in ascending slots, with others between them that are forgotten again."""
        others = self._others(rows) if together else []
        code = self._context.decode(sorted(rows + others, key=lambda row: row.slot) if others else rows)
        for row in others:
            self._context.drop(row.slot, row.start)
        return self._context.decode(rows) if code == 1 and others else code

    def _others(self, rows: list[Row]) -> list[Row]:
        """Rows that nobody needs, for slots between those of the rows."""
        if len(rows) == self._slots or any(row.soft is not None for row in rows):
            return []
        ends = dict.fromkeys(range(self._slots), 0)
        for sequence in self._sequences.values():
            if sequence.slot is not None:
                ends[sequence.slot] = sequence.filled
                keeps = sequence.filled and not self._context.forgets
                if keeps or sequence.arriving or sequence.exact:
                    del ends[sequence.slot]
        sizes = [(row.slot, len(row.tokens)) for row in rows]
        found = bridges(sizes, ends)
        if sum(n for _, n in sizes) + len(found) > self._batch:
            return []
        return [Row(slot, [0], ends[slot], sample=False) for slot in found]

    def _step_alone(self, exact: list[Sequence]) -> port.Step:
        """Advance those whose every decode has one token and one thread, in turns with all others."""
        began, outputs, count = time.perf_counter(), [], 0
        share = self._seconds / len(exact)
        until = began + share
        self._context.set_threads(1)
        for sequence in exact:
            while True:
                row = self._row(sequence, 1)
                code, count = self._context.decode([row]), count + 1
                if code:
                    outputs += self._one_by_one([(sequence, row)], code)
                    break
                outputs += self._advance(sequence, row)
                if row.sample or time.perf_counter() >= until:
                    break
            until += share
        reading = {s.pid: s.filled for s in exact if s.pending > 1}
        prompt = count - sum(bool(output.tokens) for output in outputs)
        return port.Step(count, (time.perf_counter() - began) * 1e3, 1, outputs, prompt, reading)

    def _tuner(self, decoding: int, drafted: int = 0) -> Tuner[Way]:
        """The tuner of steps of about so many sequences and drafted tokens; (0, 0) for reading prompts.

        With drafts it begins with what is best without.
        """
        kind = self._cores, decoding.bit_length(), drafted.bit_length()
        if kind not in self._tuners:
            known = self._tuner(decoding).chosen if drafted else None
            found = ways(self._cores, decoding)
            self._tuners[kind] = Tuner(sorted(found, key=lambda way: known is not None and way != known))
        return self._tuners[kind]

    @property
    def _crowded(self) -> bool:
        """Whether decoding is faster with fewer threads: only then others are tried on prompts."""
        mine = [tuner for kind, tuner in self._tuners.items() if kind[0] == self._cores]
        return any(tuner.chosen.threads < self._cores for tuner in mine)

    def _row(self, sequence: Sequence, n: int, draft: Tokens[int] = ()) -> Row:
        start, end = sequence.filled, sequence.filled + n
        slot = -1 if sequence.slot is None else sequence.slot
        soft = None if sequence.soft is None else sequence.soft[start:end]
        if soft is not None and len(soft):
            return Row(slot, sequence.tokens[start : start + len(soft)], start, sample=False, soft=soft)
        tokens = [*sequence.tokens[start:end], *draft]
        return Row(slot, tokens, start, sample=end == len(sequence.tokens), draft=len(draft))

    def _advanced(self, rows: list[tuple[Sequence, Row]]) -> list[port.Output]:
        return [output for sequence, row in rows for output in self._advance(sequence, row)]

    def _one_by_one(self, rows: list[tuple[Sequence, Row]], code: int) -> list[port.Output]:
        """The batch failed as a whole: find out whose fault it is, so that the others go on."""
        outputs: list[port.Output] = []
        for sequence, row in rows:
            if code < -1 or (len(rows) > 1 and (code := self._context.decode([row])) < -1):
                raise FatalDecode(f"llama_decode returned {code}")
            if code == 0:
                outputs += self._advance(sequence, row)
            else:
                sequence.over = True
                self._settle(sequence)
                end = "context_full" if code == 1 else "failed"
                outputs.append(port.Output(sequence.pid, [], b"", sequence.sampler.draws, end))
        return outputs

    def _advance(self, sequence: Sequence, row: Row) -> list[port.Output]:
        """What the decode means for one sequence: its next token, and more while they are those drafted."""
        if not row.sample:
            sequence.filled += len(row.tokens)
            return []
        outputs: list[port.Output] = []
        first = len(row.tokens) - row.draft  # drafted one
        sequence.filled += first - 1
        for place in range(row.draft + 1):
            sequence.filled += 1
            token = sequence.sampler.draw(self._context, row.index - row.draft + place)
            outputs.append(say(self._model, sequence, token, self._context.context))
            if sequence.over or (place < row.draft and token != row.tokens[first + place]):
                break
        if len(outputs) <= row.draft and not self._cut(sequence, row.slot, sequence.filled):
            self._drafter.give_up()
        if sequence.over:
            self._settle(sequence)
        return outputs

    def _cut(self, sequence: Sequence, slot: int, end: int) -> bool:
        """Forget what the sequence's slot holds from there on; False where that had to be everything."""
        cut = self._context.drop(slot, end)
        if not cut:
            self._context.drop(slot)
        sequence.filled = end if cut else 0
        return cut

    def _grant(self, sequence: Sequence, grant: port.Grant) -> None:
        sequence.held = False
        if sequence.slot == grant.slot:
            return
        self._context.drop(grant.slot)
        sequence.slot = grant.slot
        self._fetch_and_fill(sequence, grant)

    def _fetch_and_fill(self, sequence: Sequence, grant: port.Grant) -> None:
        """Fill the sequence's slot, once the image for it is in memory."""
        for source in (sequence.pid, grant.donor):
            if self._images.away(source):
                sequence.arriving = grant
                self._images.fetch(source, lambda: self._on_fetched(sequence.pid))
                return
        self._fill(sequence, grant)

    def _fill(self, sequence: Sequence, grant: port.Grant) -> None:
        """Fill the sequence's slot from its image or its donor, as far as that goes."""
        limit = len(sequence.tokens) - 1  # the last token's logits have to be computed in any case
        sequence.filled = self._images.load(sequence.pid, grant.slot, limit)
        prefix = min(grant.prefix, limit)
        if sequence.filled or prefix <= 0:
            return
        donor = self._sequences.get(grant.donor)
        if donor is not None and donor.slot is not None and donor.filled >= prefix:
            if donor.pid not in self._taken:  # several may begin with the same, between two steps
                self._taken[donor.pid] = self._images.take(donor.slot)
            data = self._taken[donor.pid]
            sequence.filled = self._images.copy(sequence.pid, grant.slot, prefix, data)
        else:
            sequence.filled = self._images.load(sequence.pid, grant.slot, prefix, grant.donor)

    def _vacate(self, sequence: Sequence, *, keep: bool) -> None:
        self._taken.pop(sequence.pid, None)
        if sequence.slot is not None:
            if keep and sequence.filled:
                self._images.save(sequence.pid, sequence.slot, sequence.filled)
            elif not keep:
                self._images.drop(sequence.pid)  # one that has not arrived
            self._context.drop(sequence.slot)
        sequence.slot, sequence.filled, sequence.held, sequence.arriving = None, 0, True, None

    def _splice(self, sequence: Sequence, splice: port.Splice) -> None:
        self._taken.pop(sequence.pid, None)
        sequence.tokens[splice.start : splice.end] = splice.tokens
        self._images.drop(sequence.pid)
        if sequence.lookup is not None:
            sequence.lookup.forget()
        if sequence.arriving is not None:
            sequence.arriving.prefix = min(sequence.arriving.prefix, splice.start)
        if sequence.slot is not None and sequence.filled > splice.start:
            self._cut(sequence, sequence.slot, splice.start)
        self._settle(sequence)
