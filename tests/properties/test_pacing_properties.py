"""What a step reads of prompts: within the batch, and never nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentkernel.engine.worker.pacing import Pacer


@given(
    st.integers(1, 500),
    st.integers(16, 4096),
    st.lists(st.tuples(st.integers(1, 4096), st.floats(0.001, 1e6)), max_size=20),
    st.integers(0, 5000),
)
def test_a_chunk_always_fits_and_never_stalls(
    target: int, batch: int, measured: list[tuple[int, float]], decoding: int
) -> None:
    pacer = Pacer(target, batch)
    for tokens, ms in measured:
        pacer.observe(tokens, ms)
    chunk = pacer.chunk(decoding)
    assert min(8, max(0, batch - decoding)) <= chunk <= max(0, batch - decoding)
