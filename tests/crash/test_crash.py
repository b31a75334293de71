"""Whenever the kernel or its engine is killed, clients see all that their processes say, once.

Those that are deterministic say what they say alone and undisturbed.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crash.driver import CHATML, alone, survive
from tests.crash.dying import PLACES

COUNTS = {"after-birth": 5, "at-an-end": 3, "paging-out": 2, "engine": 10}
COUNTS |= {"saving": 8, "saved": 1, "restoring": 1, "restored": 1}
CALLS = ("before-a-call", "between-call-and-result", "behind-result")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return alone(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("place", PLACES)
def test_a_kernel_that_dies_at_a_place(tmp_path: Path, undisturbed: list[str], place: str) -> None:
    count = 2 if place in CALLS else COUNTS.get(place, 30)
    texts = survive(tmp_path, place, count, frames=300 if place == "engine" else 0)
    assert texts[-len(undisturbed) :] == undisturbed


@pytest.mark.parametrize(("number", "frames"), [*enumerate(Random(7).sample(range(1, 700), 20))])
def test_a_kernel_that_is_killed_after_so_many_frames_and_at_times_its_engine_before(
    tmp_path: Path, undisturbed: list[str], number: int, frames: int
) -> None:
    place, count = ("engine", max(1, frames // 12)) if number % 4 == 0 else ("", 0)
    assert survive(tmp_path, place, count, frames=frames)[-len(undisturbed) :] == undisturbed


def test_either_builtin_model_is_deterministic_beside_others_and_across_a_crash(tmp_path: Path) -> None:
    texts = alone(tmp_path / "alone", CHATML)
    assert survive(tmp_path / "killed", frames=150, model=CHATML)[-len(texts) :] == texts
    assert len(set(texts)) == len(texts)
