"""Who gets which slot; the state machine in properties/ covers every order of calls."""

from __future__ import annotations

import pytest

from agentkernel.process import Priority
from agentkernel.scheduler import Grant, Revoke, Scheduler


def scheduler(slots: int, *pids: int) -> Scheduler:
    made = Scheduler(slots)
    for pid in pids:
        made.add(pid, "normal")
    return made


def granted(made: Scheduler) -> list[int]:
    changes = made.assign()
    assert all(isinstance(change, Grant) for change in changes)
    return [change.pid for change in changes]


def test_slots_go_out_in_order_of_arrival() -> None:
    made = scheduler(2, 7, 8, 9)
    assert made.assign() == [Grant(7, 0), Grant(8, 1)]
    assert made.assign() == []
    assert [made.slot(pid) for pid in (7, 8, 9)] == [0, 1, None]


def test_the_lowest_free_slot_goes_out_first_whatever_order_they_were_freed_in() -> None:
    made = scheduler(4, 1, 2, 3, 4)
    made.assign()
    for pid in (2, 4, 1):
        made.remove(pid)
    for pid in (5, 6, 7):
        made.add(pid, "normal")
    assert made.assign() == [Grant(5, 0), Grant(6, 1), Grant(7, 3)]


def test_priority_goes_before_arrival() -> None:
    made = Scheduler(4)
    for pid, priority in enumerate(("low", "normal", "critical", "high", "critical"), 1):
        made.add(pid, priority)
    assert granted(made) == [3, 5, 4, 2]


def say(made: Scheduler, pid: int, tokens: int) -> None:
    """The process says so many tokens, a step each."""
    for _ in range(tokens):
        made.commit({pid: 1}, [pid])


def test_a_running_holder_has_its_quantum_before_a_higher_priority_displaces_it() -> None:
    made = scheduler(1, 1)
    granted(made)
    made.add(2, "high")
    assert made.assign() == []
    say(made, 1, 31)
    assert made.assign() == []
    say(made, 1, 1)
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]
    assert made.position(1) == 1


def test_what_was_read_of_a_prompt_is_charged_and_is_no_part_of_the_quantum() -> None:
    made = scheduler(1, 1, 2)
    granted(made)
    made.commit({1: 500}, [])
    assert made.assign() == []
    say(made, 1, 32)
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]
    say(made, 2, 200)
    assert made.assign() == []


def test_a_critical_process_displaces_others_at_once_but_none_of_its_kind() -> None:
    made = scheduler(1, 1)
    granted(made)
    made.add(2, "critical")
    made.add(3, "critical")
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]
    say(made, 2, 31)
    assert made.assign() == []


def test_without_preemption_a_holder_keeps_its_slot_as_long_as_it_can_run() -> None:
    made = Scheduler(1, preempt=False)
    made.add(1, "low")
    granted(made)
    made.add(2, "critical")
    say(made, 1, 500)
    assert made.assign() == []
    made.set_runnable(1, runnable=False)
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]


def test_a_preempted_holder_settles_first() -> None:
    made = scheduler(1, 1, 2)
    made.assign(now=1.0)
    say(made, 1, 99)
    assert made.assign(now=1.5, settle=1.0) == []
    assert made.assign(now=2.0, settle=1.0) == [Revoke(1, 0), Grant(2, 0)]


def test_owners_come_before_their_processes() -> None:
    """One owner's many processes get no more than another's one."""
    made = Scheduler(1)
    for pid in (1, 2, 3):
        made.add(pid, "critical", owner=1)
    made.add(4, "low", owner=2)
    granted(made)
    say(made, 1, 33)
    assert made.assign() == [Revoke(1, 0), Grant(4, 0)]


def test_what_was_said_by_a_process_that_has_ended_counts_for_nobody() -> None:
    made = scheduler(1, 1, 2)
    granted(made)
    made.remove(1)
    made.commit({1: 5}, [1])
    assert made.assign() == [Grant(2, 0)]


def test_a_change_of_priority_moves_a_waiting_process() -> None:
    made = scheduler(1, 1, 2, 3)
    granted(made)
    made.set_priority(3, "high")
    assert [made.position(pid) for pid in (1, 2, 3)] == [0, 2, 1]
    made.set_priority(3, "normal")
    assert [made.position(pid) for pid in (1, 2, 3)] == [0, 1, 2]
    made.remove(1)
    assert made.assign() == [Grant(2, 0)]


def test_a_step_of_nice_is_a_fifth_less_and_one_below_zero_a_quarter_more() -> None:
    made = scheduler(1)
    assert made.weight("normal") == 2
    assert made.weight("normal", 1) == pytest.approx(1.6)
    assert made.weight("normal", -1) == pytest.approx(2.5)
    assert made.weight("high", 19) / made.weight("high", -20) == pytest.approx(1.25**-39)


def test_the_less_nice_of_a_class_is_first_and_so_is_one_that_becomes_so() -> None:
    made = scheduler(1, 1, 2)
    granted(made)
    made.add(3, "normal", nice=-5)
    made.add(4, "normal", nice=5)
    assert [made.position(pid) for pid in (2, 3, 4)] == [2, 1, 3]
    made.set_priority(4, "normal", -6)
    assert [made.position(pid) for pid in (2, 3, 4)] == [3, 2, 1]


def dated(made: Scheduler, pid: int, deadline: float, priority: Priority = "normal") -> None:
    made.add(pid, priority)
    made.set_deadline(pid, deadline)


def test_a_deadline_goes_before_later_ones_and_before_none_but_not_before_another_class() -> None:
    made = scheduler(1, 1, 2)
    dated(made, 3, 50.0)
    dated(made, 4, 40.0)
    dated(made, 5, 1.0, "low")
    made.add(6, "high")
    assert [made.position(pid) for pid in (6, 4, 3, 1, 2, 5)] == [1, 2, 3, 4, 5, 6]
    assert (made.earlier(3), made.earlier(4), made.earlier(2)) == (1, 0, 2)
    assert granted(made) == [6]
    made.remove(6)
    assert granted(made) == [4]


def test_a_deadline_that_is_over_counts_no_more() -> None:
    made = scheduler(1, 1)
    dated(made, 2, 50.0)
    assert (made.position(2, now=49.0), made.position(2, now=50.0)) == (1, 2)
    assert (made.earlier(1, now=49.0), made.earlier(1, now=50.0)) == (1, 0)
    assert made.assign(now=50.0) == [Grant(1, 0)]


def test_a_deadline_that_is_changed_counts_as_it_is() -> None:
    made = scheduler(1, 1)
    dated(made, 2, 50.0)
    made.set_deadline(1, 40.0)
    assert made.position(1) == 1
    made.set_deadline(1, float("inf"))
    assert granted(made) == [2]


def test_a_holder_with_a_later_deadline_or_none_gives_way_after_its_quantum() -> None:
    made = scheduler(1, 1)
    granted(made)
    dated(made, 2, 50.0)
    say(made, 1, 31)
    assert made.assign() == []
    say(made, 1, 1)
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]
    dated(made, 3, 40.0)
    say(made, 2, 32)
    assert made.assign() == [Revoke(2, 0), Grant(3, 0)]


def test_a_holder_with_the_earliest_deadline_goes_on_until_another_has_waited_for_long() -> None:
    made = scheduler(1)
    dated(made, 1, 50.0)
    granted(made)
    made.add(2, "normal")
    dated(made, 3, 60.0)
    said = 0
    while not (changes := made.assign()):
        say(made, 1, 1)
        said += 1
    assert changes == [Revoke(1, 0), Grant(2, 0)]
    assert 3 * 2 * 32 < said <= 3 * 2 * 32 + 2 * 32
    say(made, 2, 32)
    assert made.assign() == [Revoke(2, 0), Grant(3, 0)]  # which has waited as long
    say(made, 3, 32)
    assert made.assign() == [Revoke(3, 0), Grant(1, 0)]


def test_a_holder_with_a_deadline_gives_way_to_another_class_as_without() -> None:
    made = scheduler(1)
    dated(made, 1, 50.0)
    granted(made)
    made.add(2, "low")
    while not (changes := made.assign()):
        say(made, 1, 1)
    assert changes == [Revoke(1, 0), Grant(2, 0)]


def test_a_holder_that_cannot_run_keeps_its_slot_until_it_is_needed() -> None:
    made = scheduler(1, 1)
    granted(made)
    made.set_runnable(1, runnable=False)
    assert made.assign() == []
    assert made.slot(1) == 0
    made.add(2, "low")
    assert made.assign() == [Revoke(1, 0), Grant(2, 0)]
    assert made.slot(1) is None


def test_the_holder_idle_longest_gives_way_first() -> None:
    made = scheduler(3, 1, 2, 3)
    granted(made)
    for pid in (2, 3, 1, 2):
        made.set_runnable(pid, runnable=False)
    made.add(4, "normal")
    made.add(5, "normal")
    assert made.assign() == [Revoke(2, 1), Grant(4, 1), Revoke(3, 2), Grant(5, 2)]


def test_a_holder_that_can_run_again_is_granted_the_slot_it_holds() -> None:
    made = scheduler(2, 1, 2)
    granted(made)
    made.set_runnable(1, runnable=False)
    made.set_runnable(1, runnable=True)
    made.add(3, "high")
    assert made.assign() == [Grant(1, 0)]
    assert made.assign() == []


def test_a_process_that_lost_its_slot_queues_anew_when_it_can_run() -> None:
    made = scheduler(1, 1)
    granted(made)
    made.set_runnable(1, runnable=False)
    made.add(2, "normal")
    made.assign()
    made.add(3, "normal")
    made.set_runnable(1, runnable=True)
    assert (made.position(3), made.position(1)) == (1, 2)


def test_saying_twice_that_it_can_run_does_not_cost_the_place() -> None:
    made = scheduler(1, 1, 2, 3)
    granted(made)
    made.set_runnable(2, runnable=True)
    assert (made.position(2), made.position(3)) == (1, 2)
    made.remove(1)
    assert granted(made) == [2]


def test_a_process_that_cannot_run_has_no_place_and_gets_no_slot() -> None:
    made = scheduler(1, 1)
    made.set_runnable(1, runnable=False)
    assert made.position(1) == 0
    assert made.assign() == []


def test_a_removed_process_frees_its_slot() -> None:
    made = scheduler(1, 1, 2)
    granted(made)
    made.remove(1)
    made.remove(1)
    assert made.assign() == [Grant(2, 0)]


def test_after_a_reset_everybody_who_can_run_is_granted_again_in_the_old_order() -> None:
    made = scheduler(2, 1, 2, 3)
    granted(made)
    made.set_runnable(1, runnable=False)
    made.reset()
    assert [made.slot(pid) for pid in (1, 2, 3)] == [None, None, None]
    assert made.assign() == [Grant(2, 0), Grant(3, 1)]


def test_a_leaked_slot_is_noticed() -> None:
    made = scheduler(2, 1)
    granted(made)
    made.check_integrity()
    made._free.append(0)
    with pytest.raises(ValueError, match="slots leaked"):
        made.check_integrity()


def test_its_repr_shows_its_load() -> None:
    made = scheduler(2, 1, 2, 3)
    granted(made)
    assert repr(made) == "<Scheduler slots=2 free=0 tasks=3>"


def test_a_slot_settles_before_it_changes_hands_and_says_when_it_has() -> None:
    made = scheduler(2, 1, 2)
    made.assign(now=10.0, settle=0.5)
    made.set_runnable(1, runnable=False)
    made.add(3, "high")
    assert made.assign(now=10.4, settle=0.5) == []
    assert made.due == 10.5
    assert made.assign(now=10.5, settle=0.5) == [Revoke(1, 0), Grant(3, 0)]
    assert made.due is None


def test_a_critical_process_does_not_wait_for_slots_to_settle() -> None:
    made = scheduler(1, 1)
    made.assign(now=10.0)
    made.set_runnable(1, runnable=False)
    made.add(3, "critical")
    assert made.assign(now=10.1, settle=0.5) == [Revoke(1, 0), Grant(3, 0)]


def test_of_idle_holders_one_that_has_settled_gives_way() -> None:
    made = scheduler(2, 1)
    made.assign(now=1.0)
    made.add(2, "normal")
    made.assign(now=2.0)
    made.set_runnable(2, runnable=False)
    made.set_runnable(1, runnable=False)
    made.add(3, "normal")
    assert made.assign(now=2.1, settle=1.0) == [Revoke(1, 0), Grant(3, 0)]


def test_nothing_is_due_while_nobody_waits_or_everybody_runs() -> None:
    made = scheduler(1, 1)
    made.assign(now=1.0, settle=9.0)
    made.set_runnable(1, runnable=False)
    made.assign(now=1.1, settle=9.0)
    assert made.due is None
    made.set_runnable(1, runnable=True)
    made.add(2, "normal")
    made.assign(now=1.2, settle=9.0)
    assert made.due is None


def test_it_knows_how_many_wait() -> None:
    made = scheduler(1, 1, 2, 3)
    assert made.waiting == 3
    made.assign()
    assert made.waiting == 2
    made.set_runnable(2, runnable=False)
    assert made.waiting == 1
    made.set_runnable(2, runnable=True)
    made.remove(3)
    made.set_runnable(1, runnable=False)
    assert made.waiting == 1
    made.assign()
    assert made.waiting == 0
    made.reset()
    assert made.waiting == 1
