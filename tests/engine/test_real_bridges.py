"""On real models a row that nobody needs leaves a slot's context as it was, to the bit."""

from __future__ import annotations

import pytest

from agentkernel.engine import port
from agentkernel.engine.worker import llama
from agentkernel.engine.worker.batcher import Batcher
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sampler import Sampler
from agentkernel.engine.worker.sequence import reopen
from agentkernel.plan import Sampling
from tests.conftest import LLAMA, MISTRAL, QWEN2

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, repeat_penalty=1.0, seed=1)


@pytest.mark.parametrize("name", [LLAMA, QWEN2, MISTRAL])
def test_a_held_context_and_an_empty_slot_are_what_they_were(models_dir, name):
    llama.set_up()
    model = llama.Model(str(models_dir / f"{name}.gguf"), 0, lambda _fraction: None)
    context = llama.Context(model, 6, 64, 64, 1)
    load = port.Load("", 6, 64, 64, 1, 0, max_step_ms=1000)
    batcher = Batcher(model, context, Images(context, None, lambda _event: None), load)
    for slot in (0, 1, 2, 4, 5):
        request = port.Open(slot, sampling=GREEDY, budget=40)
        batcher.add(reopen(model, request, list(range(5, 25 + slot)), Sampler(model, GREEDY, "")))
        batcher.apply(port.Grant(slot, slot))
    while any(batcher.sequence(pid).pending > 1 for pid in (0, 1, 2, 4, 5)):
        batcher.step()
    batcher.apply(port.Hold(2))
    before, empty = bytes(context.state(2)), bytes(context.state(3))
    decoded, decode = [], context.decode
    context.decode = lambda rows: decoded.append([row.slot for row in rows]) or decode(rows)
    batcher.step()
    assert decoded == [[0, 1, 2, 3, 4, 5]]
    assert bytes(context.state(2)) == before
    assert bytes(context.state(3)) == empty
    context.close()
    model.close()
