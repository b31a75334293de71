"""Several models when things happen at once: turns of many, deaths and unloading amid moves, recovery."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.by_hand import run
from tests.gguf_files import write_model
from tests.test_several_models import asking, inside, short


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of the models `demo`, `big` and `third`, which differ by their names."""
    for name in ("demo", "big", "third"):
        write_model(tmp_path / f"{name}.gguf", general__name=name)
    return tmp_path


def test_of_three_models_for_one_place_none_is_passed_over(folder: Path) -> None:
    async def main() -> None:
        bench = await short(folder)
        await bench.exec(max_tokens=1000)
        await asyncio.sleep(1)
        for name in ("big", "third"):
            asked = await asking(bench, name, max_tokens=1000)
            while not asked.done():  # noqa: ASYNC110 - the clock jumps to where its turn begins
                await asyncio.sleep(1)
        turns: list[str] = []
        for _ in range(200):
            turns += inside(bench) - set(turns[-1:])
            await asyncio.sleep(1)
        assert len(set(turns[:3])) == 3
        assert turns[3:9] == turns[:3] * 2

    run(main())
