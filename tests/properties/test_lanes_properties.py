"""Waiting lists under any order of arrivals, departures and turns."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from agentkernel.lanes import Waitlist

acts = st.lists(
    st.tuples(st.just("add"), st.integers(1, 4))
    | st.tuples(st.just("take"), st.just(0))
    | st.tuples(st.just("remove"), st.integers(0, 50)),
    max_size=80,
)


@given(acts)
def test_each_owners_are_taken_as_they_came_and_in_the_order_that_was_foretold(acts) -> None:
    waitlist: Waitlist[int] = Waitlist()
    theirs: defaultdict[int, list[int]] = defaultdict(list)
    for item, (act, number) in enumerate(acts):
        if act == "add":
            waitlist.add(number, item)
            theirs[number].append(item)
        elif act == "remove":
            owner = next((owner for owner, items in theirs.items() if number in items), 1)
            waitlist.remove(owner, number)
            theirs[owner] = [each for each in theirs[owner] if each != number]
        elif len(waitlist):
            first = waitlist.order()[0]
            assert waitlist.take() == first
            assert any(items and items.pop(0) == first for items in theirs.values() if first in items)
        assert sorted(waitlist.order()) == sorted(item for items in theirs.values() for item in items)
        assert len(waitlist) == len(waitlist.order())
    foretold = waitlist.order()
    assert [waitlist.take() for _ in foretold] == foretold


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60), st.integers(1, 5))
def test_between_two_turns_of_an_owner_every_other_that_waits_has_one(arrivals, late) -> None:
    waitlist: Waitlist[tuple[int, int]] = Waitlist()
    for number, owner in enumerate(arrivals):
        waitlist.add(owner, (owner, number))
    waiting = set(arrivals)
    since: dict[int, int] = dict.fromkeys(waiting, 0)
    for taken in range(len(arrivals)):
        owner, _ = waitlist.take()
        assert taken - since[owner] <= 2 * len(waiting)
        since[owner] = taken


def test_its_repr_shows_its_load() -> None:
    waitlist: Waitlist[int] = Waitlist()
    waitlist.add(1, 7)
    waitlist.add(2, 8)
    assert repr(waitlist) == "<Waitlist owners=2 waiting=2>"
