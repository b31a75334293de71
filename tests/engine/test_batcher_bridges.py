"""Rows between those of scattered slots: where they may stand, and that nothing of them stays."""

from __future__ import annotations

from agentkernel.engine import port
from tests.engine.fakes import Bench, alone, joined


def decoding(*slots: int, **settings) -> Bench:
    """A process in each of these slots, its PID one more than that, each with its prompt read."""
    bench = Bench(slots=12, **settings)
    for slot in slots:
        bench.open(slot + 1, [slot], seed=slot)
        bench.apply(port.Grant(slot + 1, slot))
    return bench


def last(bench: Bench) -> list[tuple[int, int]]:
    """Slots and tokens of the next decode."""
    bench.step()
    return bench.slots.decoded[-1]


def test_scattered_slots_are_decoded_as_one_run_that_leaves_nothing_behind():
    bench = decoding(0, 1, 3, 4, 6, 7, 8, 10)
    assert last(bench) == [(slot, 1) for slot in range(12)]
    assert {slot: len(cells) for slot, cells in bench.slots.cells.items()} == {
        slot: int(slot in (0, 1, 3, 4, 6, 7, 8, 10)) for slot in range(12)
    }
    bench.run()
    assert bench.result(11) == joined(alone([10], seed=10))


def test_a_process_that_is_held_keeps_its_context():
    bench = decoding(0, 1, 2, 3, 4)
    bench.step()
    before = list(bench.slots.cells[2])
    bench.apply(port.Hold(3))
    assert last(bench) == [(slot, 1) for slot in range(5)]
    assert bench.slots.cells[2] == before
    bench.apply(port.Grant(3, 2))
    bench.run()
    assert bench.result(3) == joined(alone([2], seed=2))


def test_where_no_part_of_a_slot_can_be_forgotten_only_empty_ones_have_such_rows():
    bench = decoding(0, 1, 2, 3, 5, 6)
    bench.slots.forgets = False
    bench.batcher.sequence(6).sampler.draw = lambda context, index: 7
    bench.step()
    bench.apply(port.Hold(3))
    assert last(bench) == [(slot, 1) for slot in (0, 1, 3, 4, 5, 6)]


def test_a_batch_that_is_full_has_no_such_rows():
    assert last(decoding(0, 1, 3, 4, batch=4)) == [(0, 1), (1, 1), (3, 1), (4, 1)]


def test_where_such_rows_find_no_room_those_that_count_are_decoded_without():
    bench = decoding(0, 1, 3, 4)
    bench.slots.fail = lambda rows: int(len(rows) > 4)
    assert last(bench) == [(0, 1), (1, 1), (3, 1), (4, 1)]
    assert {pid for pid, outputs in bench.outputs.items() if outputs} == {1, 2, 4, 5}


def test_beside_who_is_decoded_alone_nobody_touches_its_slot():
    bench = decoding(0, 1, 3, 4)
    bench.open(3, [2], exact=True)
    bench.apply(port.Grant(3, 2))
    bench.step()
    assert last(bench) == [(0, 1), (1, 1), (3, 1), (4, 1)]
