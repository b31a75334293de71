"""A process, its states, its times, its marker, and the table of processes."""

from __future__ import annotations

import pytest

from agentkernel.errors import KernelError
from agentkernel.plan import Plan, Sampling
from agentkernel.process import TRANSITIONS, Event, Owner, Process, State, Wait
from agentkernel.table import ProcessTable

ENDS = {State.DONE, State.FAILED, State.TERMINATED, State.KILLED}
END_EVENTS = {Event.FINISH, Event.FAIL, Event.TERMINATE, Event.KILL}
SAMPLING = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, repeat_penalty=1.0, seed=1)


def process(pid: int = 1, created: float = 0.0, max_tokens: int = 10, quota: int = 100) -> Process:
    plan = Plan(messages=(), prompt="hello", raw=False, sampling=SAMPLING, max_tokens=max_tokens)
    return Process(pid, Owner(1, "me"), plan, "model", "normal", quota, 8, created)


def test_the_table_of_transitions_covers_every_state_and_event() -> None:
    assert TRANSITIONS.keys() == set(State)
    used = {event for moves in TRANSITIONS.values() for event in moves}
    assert used == set(Event)
    reached = {target for moves in TRANSITIONS.values() for target in moves.values()}
    assert reached == set(State)


def test_every_live_state_can_end_in_every_way_and_an_end_is_final() -> None:
    for state, moves in TRANSITIONS.items():
        assert state.ended == (state in ENDS)
        assert moves == {} if state in ENDS else moves.keys() >= END_EVENTS


def test_every_live_state_can_be_suspended() -> None:
    live = set(State) - ENDS - {State.SUSPENDED}
    assert {state for state in live if TRANSITIONS[state].get(Event.SUSPEND) is State.SUSPENDED} == live


def test_a_move_that_the_table_lacks_changes_nothing() -> None:
    each = process()
    each.move(Event.GRANT, 1.0)
    before = (each.state, each.phase, each.since, dict(each.spent))
    with pytest.raises(KernelError, match="PID 1 is Running: no resume") as caught:
        each.move(Event.RESUME, 2.0)
    assert caught.value.code == "WRONG_STATE"
    assert (each.state, each.phase, each.since, each.spent) == before


def test_what_it_waited_for_is_kept_while_suspended() -> None:
    each = process()
    each.move(Event.WAIT, 1.0, Wait.OUTPUT)
    each.move(Event.SUSPEND, 2.0)
    assert (each.wait, each.waiting_before) == (None, Wait.OUTPUT)


def test_a_reason_stays_until_there_is_another() -> None:
    each = process()
    each.move(Event.GRANT, 1.0)
    each.move(Event.WAIT, 2.0, Wait.INPUT, "length")
    each.move(Event.WAKE, 3.0)
    assert each.reason == "length"
    each.move(Event.KILL, 4.0, reason="killed")
    assert each.reason == "killed"


def test_the_budget_is_what_turn_and_quota_leave() -> None:
    each = process(max_tokens=10, quota=14)
    assert each.budget == 10
    each.generated = each.turn_tokens = 6
    assert each.budget == 4
    each.begin_turn(0.0)
    assert (each.turn_tokens, each.budget) == (0, 8)


def test_a_new_turn_forgets_the_last_ones_counters_and_limit() -> None:
    each = process(max_tokens=10)
    each.turn_tokens, each.turn_bytes, each.turn_limit, each.turn_over = 10, 44, 20, True
    each.begin_turn(0.0)
    assert (each.turn_tokens, each.turn_bytes, each.turn_limit, each.turn_over) == (0, 0, 10, False)


def test_an_extended_turn_may_go_as_far_again_and_counts_its_text_anew() -> None:
    each = process(max_tokens=10)
    each.turn_tokens, each.turn_bytes, each.turn_over = 10, 44, True
    each.extend_turn()
    assert (each.turn_limit, each.turn_bytes, each.turn_cut, each.turn_over) == (20, 0, 10, False)
    each.begin_turn(0.0)
    assert each.turn_cut == 0


def test_times_are_split_by_phase() -> None:
    each = process(created=10.0)
    each.move(Event.GRANT, 11.0)
    each.enter("decode", 13.0)
    each.move(Event.WAIT, 17.0, Wait.INPUT)
    assert each.times(25.0) == {"queued": 1.0, "prefill": 2.0, "decode": 4.0, "waiting": 8.0}
    each.move(Event.SUSPEND, 25.0)
    each.move(Event.KILL, 41.0)
    expected = {"queued": 1.0, "prefill": 2.0, "decode": 4.0, "waiting": 8.0, "suspended": 16.0}
    assert each.times(99.0) == expected
    assert each.elapsed(99.0) == 31.0


def test_the_marker_is_what_clients_match() -> None:
    each = process(pid=12, created=0.5)
    each.generated = 345
    expected = b"\n[PROCESS_FINISHED pid=12 tokens_generated=345 elapsed_secs=3.402]\n"
    assert each.marker(3.902) == expected
    each.move(Event.KILL, 3.902)
    assert each.marker(77.0) == expected


def test_an_owner_may_touch_its_own_and_an_administrator_everything() -> None:
    each = process()
    assert Owner(1, "me").may(each)
    assert not Owner(2, "me").may(each)
    assert Owner(2, "root", admin=True).may(each)


def add(table: ProcessTable) -> Process:
    each = process(table.new_pid())
    table.add(each)
    return each


def code(table: ProcessTable, pid: int) -> str:
    with pytest.raises(KernelError) as caught:
        table.find(pid)
    return str(caught.value)


def test_a_full_table_refuses_and_the_refused_pid_is_not_lost() -> None:
    table = ProcessTable(live_limit=2, ended_limit=2)
    first, second = add(table), add(table)
    with pytest.raises(KernelError) as caught:
        table.new_pid()
    assert (caught.value.code, caught.value.details) == ("SPAWN_FAILED", {"limit": 2})
    table.retire(first)
    assert add(table).pid == 3
    assert [each.pid for each in table] == [second.pid, 3]


def test_the_last_that_ended_are_kept_and_older_ones_forgotten() -> None:
    table = ProcessTable(live_limit=9, ended_limit=2)
    ended = [add(table) for _ in range(3)]
    for each in ended:
        each.tokens = [1, 2]
        table.retire(each)
    assert code(table, 1) == "PID_NOT_FOUND: PID 1 is unknown"
    assert [table.find(pid) for pid in (2, 3)] == ended[1:]
    assert [(each.tokens, each.sink) for each in ended] == [([], None)] * 3
    assert len(table) == 0


def refused(table: ProcessTable, pid: int) -> str:
    with pytest.raises(KernelError) as caught:
        table.claim(pid)
    return caught.value.code


def test_a_pid_comes_back_when_nobody_has_it_and_later_ones_are_above() -> None:
    table = ProcessTable(live_limit=3, ended_limit=2)
    first, second = add(table), add(table)
    table.retire(first)
    assert refused(table, second.pid) == "RESTORE_BUSY"
    assert [table.claim(1), table.claim(7)] == [1, 7]
    assert refused(table, 1) == "RESTORE_BUSY"  # promised
    assert refused(table, 9) == "SPAWN_FAILED"
    table.abandon(7)
    again = process(1)
    table.add(again)
    assert table.find(1) is table.live(1) is again
    assert (table.new_pid(), table.next_pid) == (8, 9)
    assert refused(table, 7) == "SPAWN_FAILED"


def test_an_ended_process_is_not_live() -> None:
    table = ProcessTable(live_limit=9, ended_limit=2)
    table.retire(add(table))
    with pytest.raises(KernelError, match="PID_NOT_FOUND: PID 1 has ended"):
        table.live(1)


def test_the_table_may_change_while_it_is_walked() -> None:
    table = ProcessTable(live_limit=9, ended_limit=9)
    for _ in range(3):
        add(table)
    for each in table:
        table.retire(each)
    assert len(table) == 0
