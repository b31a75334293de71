"""Any sequence of events: only the table's moves, times that add up, PIDs that are never reused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkernel.errors import KernelError
from agentkernel.plan import Plan, Sampling
from agentkernel.process import TRANSITIONS, Event, Owner, Process, State, Wait
from agentkernel.table import ProcessTable

PLAN = Plan(
    messages=(), prompt="x", raw=False, max_tokens=9, sampling=Sampling(0.0, 1.0, 0, 0.0, 1.0, seed=1)
)
# Whole seconds, so that sums are exact.
steps = st.tuples(
    st.integers(0, 50).map(float), st.sampled_from([*Event, "decode"]), st.sampled_from([*Wait])
)


def process(pid: int, created: float) -> Process:
    return Process(pid, Owner(1, "me"), PLAN, "model", "normal", 10, 1, created)


@given(st.integers(0, 1000).map(float), st.lists(steps, max_size=40))
def test_only_the_tables_moves_happen_and_the_times_add_up(
    created: float, sequence: list[tuple[float, Event | str, Wait]]
) -> None:
    each, now = process(1, created), created
    for seconds, event, wait in sequence:
        now += seconds
        before = each.state
        if isinstance(event, str):
            if each.phase == "prefill":
                each.enter(event, now)
            continue
        target = TRANSITIONS[before].get(event)
        if target is None:
            with pytest.raises(KernelError, match="WRONG_STATE"):
                each.move(event, now, wait)
        else:
            each.move(event, now, wait if target is State.WAITING else None)
        assert each.state is (target or before)
        assert (each.wait is not None) == (each.state is State.WAITING)
        later = now + 7
        assert sum(each.times(later).values()) == each.elapsed(later)
        assert "ended" not in each.times(later)


@given(
    st.lists(
        st.sampled_from(["spawn", "refuse", "end first", "end last", "come back", "come from elsewhere"]),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_pids_grow_and_none_is_two_processes_at_once(actions: list[str], limit: int) -> None:
    table, given_out = ProcessTable(limit, 2), [0]
    for action in actions:
        live = list(table)
        assert len(live) == len(table) <= limit
        if action.startswith("end") and live:
            table.retire(live[0 if action.endswith("first") else -1])
        elif action.startswith("come"):
            pid = given_out[-1] + 3 if action.endswith("elsewhere") else given_out[len(given_out) // 2]
            if not pid:
                continue
            if len(live) == limit or pid in [each.pid for each in live]:
                with pytest.raises(KernelError):
                    table.claim(pid)
                continue
            table.add(process(table.claim(pid), 0.0))
            given_out = sorted({*given_out, pid})
            assert table.next_pid == given_out[-1] + 1
        elif not action.startswith("end"):
            try:
                pid = table.new_pid()
            except KernelError:
                assert len(live) == limit
                continue
            assert pid > given_out[-1]
            given_out.append(pid)
            if action == "spawn":
                table.add(process(pid, 0.0))
            else:
                table.abandon(pid)
