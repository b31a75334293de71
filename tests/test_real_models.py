"""Several models on real engines: at once, in turns where memory is short, and with an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import msgspec
import numpy as np
import pytest

from agentkernel.errors import KernelError
from agentkernel.process import Process
from agentkernel.request import ExecRequest
from tests.by_hand import ADMIN, ME
from tests.harness import run, until
from tests.real_kernel import BUILTIN, CHATML, EXEC, FORK, KILL, PING, TINY, Real, real_kernel

WIDTH, RANK = 192, 4  # of the built-in model, and of the adapter


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """The built-in models, and adapters: `loud`, `none` that changes nothing, two that go with neither."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in (TINY, CHATML):
        shutil.copyfile(BUILTIN / f"{name}.gguf", folder / f"{name}.gguf")
    write_adapter(folder / "loud.gguf", 1.0)
    write_adapter(folder / "none.gguf", 0.0)
    write_adapter(folder / "other.gguf", 1.0, architecture="qwen2")
    write_adapter(folder / "wide.gguf", 1.0, width=WIDTH * 2)
    return folder


def write_adapter(path: Path, strength: float, architecture: str = "llama", width: int = WIDTH) -> None:
    """A LoRA adapter with random weights of the first layer's queries."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(RANK))
    for part, shape in (("a", (RANK, width)), ("b", (width, RANK))):
        weights = random.normal(size=shape).astype(np.float32) * strength
        writer.add_tensor(f"blk.0.attn_q.weight.lora_{part}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


async def exec_(real: Real, prompt: str, **fields: object) -> Process:
    asked = {"prompt": prompt, "temperature": 0, "max_tokens": 40, **fields}
    return await real.kernel.exec(ME, msgspec.convert(asked, ExecRequest), real.screen)


async def ended(real: Real, *processes: Process) -> list[str]:
    """What they have said, once they have ended."""
    await until(lambda: all(process.pid in real.screen.ends for process in processes))
    return [real.text(process) for process in processes]


async def alone(folder: Path, catalogue: Path, model: str, *prompts: str) -> list[str]:
    """What the model answers to each when there is no other."""
    async with real_kernel(folder, models=str(catalogue), model=model) as real:
        return [(await ended(real, await exec_(real, prompt)))[0] for prompt in prompts]


def test_two_models_answer_at_once_each_as_if_it_were_alone(tmp_path, catalogue) -> None:
    async def main() -> None:
        said = [(await alone(tmp_path, catalogue, model, KILL))[0] for model in (TINY, CHATML)]
        async with real_kernel(tmp_path, models=str(catalogue)) as real:
            both = [await exec_(real, KILL, model=model) for model in (TINY, CHATML)]
            assert await ended(real, *both) == said
            assert {served.in_memory for served in real.kernel.models.served.values()} == {True}

    run(main())


def test_models_that_do_not_fit_together_take_turns_and_nobody_says_another_word(tmp_path, catalogue) -> None:
    async def main() -> None:
        engine = {"slots": 4, "context": 256}
        prompts = {TINY: (KILL, FORK), CHATML: (EXEC, PING)}
        said = [text for m, both in prompts.items() for text in await alone(tmp_path, catalogue, m, *both)]
        async with real_kernel(tmp_path, models=str(catalogue), engine=engine | {"turn_secs": 0.01}) as real:
            models = real.kernel.models
            models._most = real.served.size + 1000
            real.kernel.events.subscribe(ADMIN, real.screen)
            asked = [
                await exec_(real, prompt, model=m, interactive=True, max_tokens=14)
                for m, both in prompts.items()
                for prompt in both
            ]
            for _ in range(2):  # a part of each answer, and then those of the other model
                await real.rest(*asked)
                for process in asked:
                    if process.reason == "length" and not process.state.ended:
                        real.kernel.continue_output(ME, process.pid)
            await real.rest(*asked)
            assert [
                real.text(process)[: len(text)] for process, text in zip(asked, said, strict=True)
            ] == said
            left = [event["model"] for event in real.screen.events if event["kind"] == "model_left"]
            assert set(left) == {TINY, CHATML}

    run(main())


def test_an_adapter_changes_what_a_model_says_and_one_of_zeros_does_not(tmp_path, catalogue) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, models=str(catalogue)) as real:
            plain, none, loud, again = [
                await exec_(real, KILL, **fields)
                for fields in ({}, {"lora": "none"}, {"lora": "loud"}, {"model": f"{TINY}+loud"})
            ]
            said = await ended(real, plain, none, loud, again)
            assert said[0] == said[1]
            assert said[2] != said[0]
            assert said[2] == said[3]
            assert [p.model_id for p in (plain, none, loud)] == [TINY, f"{TINY}+none", f"{TINY}+loud"]
            prints = {served.fingerprint for served in real.kernel.models.served.values()}
            assert len(prints) == 3

    run(main())


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"lora": "other"}, "LOAD_FAILED: other is for qwen2 models"),
        ({"lora": "wide"}, f"LOAD_FAILED: {TINY}.wide: "),
        ({"lora": CHATML}, f"LOAD_FAILED: {CHATML}: it is no adapter"),
        ({"lora": "nowhere"}, "MODEL_NOT_FOUND: 'nowhere'"),
        ({"model": "loud"}, "LOAD_FAILED: loud: it is an adapter"),
        ({"model": f"{TINY}+loud", "lora": "none"}, "only one adapter"),
    ],
)
def test_an_adapter_that_does_not_go_with_the_model_is_refused(tmp_path, catalogue, fields, fault) -> None:
    async def main() -> None:
        async with real_kernel(tmp_path, models=str(catalogue)) as real:
            with pytest.raises(KernelError, match=fault):
                await exec_(real, KILL, **fields)
            assert set(real.kernel.models.served) == {TINY}
            assert (await ended(real, await exec_(real, KILL)))[0]

    run(main())
