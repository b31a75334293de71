"""What a process may do: what is named, never more than its parent."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.jail.port import Limits
from agentkernel.permits import Less, Permits

names = st.sampled_from(["calc", "python", "shell", "spawn"])
some = st.none() | st.lists(names, unique=True).map(tuple)
numbers = st.integers(1, 500)


@given(own=some, asked=some, again=some)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_generations_only_lose_tools(own, asked, again) -> None:
    parent = Permits(tools=own, approve=("python",), trust="untrusted", read=("r",), write=())
    child = parent.narrowed(asked)
    grandchild = child.narrowed(again)
    for tool in ("calc", "python", "shell", "spawn"):
        named = asked is None or tool in asked
        assert child.allows(tool) == (parent.allows(tool) and named)
        assert not grandchild.allows(tool) or child.allows(tool)
    assert msgspec.structs.replace(grandchild, tools=own) == parent


def test_no_tool_named_is_none_and_none_named_at_all_is_every_one() -> None:
    assert Permits().allows("anything")
    assert not Permits(tools=()).allows("calc")
    assert Permits(tools=("calc",)).allows("calc")
    assert not Permits(tools=("calc",)).allows("cal")


def test_a_star_asks_about_every_tool() -> None:
    assert [Permits(approve=("*",)).asks(tool) for tool in ("calc", "python")] == [True, True]
    assert [Permits(approve=("python",)).asks(tool) for tool in ("calc", "python")] == [False, True]
    assert not Permits().asks("python")


@given(
    tool=st.dictionaries(st.sampled_from(["memory_mb", "pids", "files"]), numbers),
    every=st.dictionaries(st.sampled_from(["memory_mb", "pids", "wall_s"]), numbers),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_limits_are_never_above_those_there_are(tool: dict, every: dict) -> None:
    permits = Permits(limits={"python": Less(**tool), "*": Less(**every), "calc": Less(memory_mb=1)})
    bounded = permits.bounds("python", Limits())
    for name, value in msgspec.structs.asdict(Limits()).items():
        least = min([value, *(asked[name] for asked in (tool, every) if name in asked)])
        assert getattr(bounded, name) == least


@pytest.mark.parametrize("asked", [{"wall_s": 0}, {"pids": -1}, {"memory_mb": 2**31}, {"disk": 1}])
def test_limits_that_make_no_sense_are_refused(asked: dict) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(asked, Less)
