"""What a step takes on: within the batch, everybody in turn, and no row where none may be."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentkernel.engine.worker.composing import bridges, compose

pending_lists = st.lists(st.integers(1, 40), max_size=30)


@given(pending_lists, st.integers(1, 64), st.integers(0, 64), st.integers(0, 1000))
def test_a_step_is_within_the_batch_and_gives_decoding_sequences_their_token(
    pending: list[int], batch: int, chunk: int, turn: int
) -> None:
    rows = compose(pending, batch, chunk, turn)
    assert len({i for i, _ in rows}) == len(rows)
    assert all(1 <= n <= pending[i] for i, n in rows)
    assert sum(n for _, n in rows) <= batch
    decoding = [i for i, n in enumerate(pending) if n == 1]
    served = [i for i, _ in rows if pending[i] == 1]
    assert len(served) == min(len(decoding), batch)
    prompts = [n for i, n in rows if pending[i] > 1]
    wanted = sum(n for n in pending if n > 1)
    room = min(chunk, batch - len(served))
    assert min(wanted, room) - room // 3 <= sum(prompts) <= min(wanted, room)
    assert bool(prompts) == bool(wanted and room)


@given(st.integers(1, 40), st.integers(1, 16), st.integers(0, 100))
def test_over_turns_nobody_starves(count: int, batch: int, begin: int) -> None:
    rounds = -(-count // batch)
    served = set()
    for step in range(begin, begin + rounds):
        served |= {i for i, _ in compose([1] * count, batch, 0, turn=step * batch)}
    assert served == set(range(count))


slots = st.integers(0, 40)


@given(st.dictionaries(slots, st.integers(1, 3), min_size=1), st.sets(slots))
def test_bridges_stand_where_nobody_does_and_never_make_more_runs(
    sizes: dict[int, int], free: set[int]
) -> None:
    found = bridges(sorted(sizes.items()), free - set(sizes))
    assert len(set(found)) == len(found)
    assert set(found) <= free - set(sizes)
    assert len(found) <= 3 * len(sizes)
    assert runs({*sizes, *found}) <= runs(set(sizes))


def runs(slots: set[int]) -> int:
    """Stretches of neighbouring slots."""
    return 1 + sum(after - before > 1 for before, after in pairwise(sorted(slots)))
