"""The order in which a batch names its slots."""

from __future__ import annotations

from agentkernel.engine import port
from agentkernel.engine.worker.batcher import Batcher
from agentkernel.engine.worker.images import Images
from agentkernel.engine.worker.sequence import Sequence
from agentkernel.engine.worker.text import TextStream


class _Context:
    """Notes what it is given to decode."""

    context = 64

    def __init__(self):
        self.decoded = []

    def decode(self, rows):
        self.decoded.append([(row.slot, len(row.tokens)) for row in rows])
        return 0

    def drop(self, slot, start=0):
        return True

    def set_threads(self, threads):
        pass


class _Model:
    def ends(self, token):
        return True


class _Sampler:
    draws = 0

    def draw(self, context, index):
        return 1


def test_rows_go_by_slot_whatever_order_the_processes_came_in_and_whether_they_read_or_decode():
    context = _Context()
    load = port.Load("", 4, 256, batch=64, threads=1, gpu_layers=0, max_step_ms=250)
    batcher = Batcher(_Model(), context, Images(context, None, lambda _event: None), load)
    for pid, (slot, tokens) in enumerate(((2, 1), (0, 5), (3, 1), (1, 1)), start=1):
        text = TextStream()
        batcher.add(Sequence(pid, [7] * tokens, _Sampler(), text, (), raw=False, budget=9))
        batcher.apply(port.Grant(pid, slot))
    batcher.step()
    assert context.decoded == [[(0, 5), (1, 1), (2, 1), (3, 1)]]
