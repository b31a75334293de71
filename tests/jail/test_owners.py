"""Which user a jail is, by the ids that the machine has to give."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkernel.jail import owners


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """The map is looked up again, and again behind the test."""
    owners.ours.cache_clear()
    yield
    owners.ours.cache_clear()


@pytest.mark.parametrize(
    ("uid_map", "expected"),
    [
        ("0 0 4294967295\n", (1_900_000_000, 1 << 24)),
        ("0 100000 65536\n", (20_000, 10_000)),
        ("0 1000 1\n1 100000 65535\n", (20_000, 10_000)),
        ("0 1000 1\n", None),
        ("", None),
    ],
)
def test_the_range_of_ids_is_one_that_the_namespace_maps(
    uid_map: str, expected: tuple[int, int] | None
) -> None:
    assert owners.base(uid_map) == expected


def test_owners_have_ids_of_their_own_that_mean_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "read_text", lambda _path: "0 0 4294967295\n")
    ids = [owners.jail_uid(owner) for owner in (0, 1, 2, 5000, -1)]
    assert len(set(ids)) == 5
    assert all(uid is not None and uid >= 1_900_000_000 for uid in ids)


def test_a_runtime_is_no_owner_and_no_other_owners_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    for mapped in ("0 0 4294967295\n", "0 100000 65536\n"):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(Path, "read_text", lambda _path, mapped=mapped: mapped)
        owners.ours.cache_clear()
        few = [0, 1, 2, 4000, -1]
        users = [of(owner) for owner in few for of in (owners.jail_uid, owners.runtime_uid)]
        assert len(set(users)) == 2 * len(few)
        start, count = owners.base(mapped) or (0, 0)
        assert all(uid is not None and start <= uid < start + count for uid in users)


def test_a_kernel_that_is_not_root_has_no_ids_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert owners.jail_uid(1) is None
    assert owners.runtime_uid(1) is None
