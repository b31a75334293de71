"""A hostile model file gives its metadata or a GGUFError, and never more than it holds."""

from __future__ import annotations

import io

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.catalog import ModelCard, describe
from agentkernel.gguf import GGUFError, read_metadata
from tests.gguf_files import LLAMA, encode

GOOD = encode(LLAMA)


class InMemory:
    """As much of a path as `read_metadata` needs."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def open(self, mode: str) -> io.BytesIO:
        return self.file


def read(data: bytes) -> dict[str, object] | None:
    try:
        return read_metadata(InMemory(data))
    except GGUFError:
        return None


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_metadata_or_a_gguf_error(data: bytes, begun: bool) -> None:
    values = read(GOOD[:24] + data if begun else data)
    assert values is None or len(values) <= 1 + len(data)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=12), st.integers(0, len(GOOD)))
def test_damaged_files_are_described_in_values_that_can_be_sent(at: int, patch: bytes, end: int) -> None:
    data = GOOD[:at] + patch + GOOD[at + len(patch) :]
    for damaged in (data, data[:end]):
        values = read(damaged)
        if values is not None:
            check(describe("x", "x.gguf", len(damaged), values))


keys = st.sampled_from([key.replace("llama.", "{}.") for key in LLAMA] + ["{}.attention.key_length"])
numbers = st.integers(-(2**63), 2**64 - 1)
architectures = st.text(max_size=8)


@given(architectures, st.dictionaries(keys, numbers | st.floats() | st.booleans() | st.text()))
def test_any_values_make_a_card_that_can_be_sent(architecture: str, values: dict[str, object]) -> None:
    metadata = {key.replace("{}", architecture): item for key, item in values.items()}
    check(describe("x", "x.gguf", 1, metadata | {"general.architecture": architecture}))


def check(card: ModelCard) -> None:
    assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card
    assert card.family
    assert card.kv_bytes_per_token >= 0
    slots, context = 256, 4096
    msgspec.json.encode({"needed_bytes": card.file_bytes + slots * context * card.kv_bytes_per_token})
