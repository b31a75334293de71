"""Reading metadata out of good files, cut files and hostile ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from agentkernel import gguf
from agentkernel.gguf import GGUFError, read_metadata
from benchmarks import shapes
from tests.gguf_files import LLAMA, encode, string


@pytest.fixture
def read(tmp_path: Path):
    def read(data: bytes):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return read_metadata(path)

    return read


def test_every_value_is_read_and_arrays_as_their_length(read) -> None:
    expected = {key: item for key, item in LLAMA.items() if not isinstance(item, list)}
    expected |= {"tokenizer.ggml.tokens.length": 3, "tokenizer.ggml.scores.length": 3}
    assert read(encode(LLAMA, tensors=5)) == expected | {"general.tensor_count": 5}


def test_a_model_written_by_the_reference_library_is_read(models_dir: Path) -> None:
    values = read_metadata(models_dir / "qwen2-1m.gguf")
    shape = shapes.SHAPES["qwen2-1m"]
    assert values["general.architecture"] == "qwen2"
    assert values["qwen2.block_count"] == shape.layers
    assert values["tokenizer.ggml.tokens.length"] == shape.vocabulary
    assert values["tokenizer.ggml.merges.length"] == 2
    assert values["tokenizer.chat_template"] == shape.template
    assert values["general.tensor_count"] == 2 + 12 * shape.layers


def test_scalars_of_every_type_are_read(read) -> None:
    kinds = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    parts = [b"GGUF", struct.pack("<IQQ", 3, 0, len(kinds))]
    for kind, code in kinds.items():
        parts += [string(f"k{kind}"), struct.pack(f"<I{code}", kind, 1)]
    values = read(b"".join(parts))
    assert {key: item for key, item in values.items() if key != "general.tensor_count"} == {
        f"k{kind}": 1 for kind in kinds
    }


def test_text_that_is_not_utf_8_is_replaced(read) -> None:
    assert read(encode({"general.name": b"a\xff"}))["general.name"] == "a\ufffd"


def test_an_older_version_is_read(read) -> None:
    assert read(encode({"x": 1}, version=2))["x"] == 1


def test_a_file_cut_anywhere_before_its_last_value_is_refused(read) -> None:
    data = encode(LLAMA)
    for size in range(len(data)):
        with pytest.raises(GGUFError):
            read(data[:size])


HEADER = b"GGUF" + struct.pack("<I", 3)
KEY = HEADER + struct.pack("<QQ", 0, 1) + string("k")
DAMAGED = {
    "nothing": (b"", "not a GGUF file"),
    "text": (b"Once upon a time there was a model.", "not a GGUF file"),
    "another magic": (b"GGML" + encode({})[4:], "not a GGUF file"),
    "version 1": (encode({}, version=1), "GGUF version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 50331648"),
    "absurd keys": (HEADER + struct.pack("<QQ", 0, 2**63), "9223372036854775808 keys and 0 tensors"),
    "absurd tensors": (HEADER + struct.pack("<QQ", 2**40, 0), "0 keys and 1099511627776 tensors"),
    "absurd key": (HEADER + struct.pack("<QQQ", 0, 1, 2**50), "string of 1125899906842624 bytes"),
    "unknown type": (KEY + struct.pack("<I", 13), "value of unknown type 13"),
    "absurd string": (KEY + struct.pack("<IQ", 8, 2**63), "string of 9223372036854775808 bytes"),
    "absurd array": (KEY + struct.pack("<IIQ", 9, 4, 2**62), "array of 4611686018427387904 elements"),
    "array of arrays": (KEY + struct.pack("<IIQ", 9, 9, 1), "array of unknown type 9"),
    "array of an unknown type": (KEY + struct.pack("<IIQ", 9, 99, 1), "array of unknown type 99"),
    "absurd string in an array": (
        KEY + struct.pack("<IIQQ", 9, 8, 1, 2**63),
        "string of 9223372036854775808",
    ),
    "strings that are not there": (KEY + struct.pack("<IIQ", 9, 8, 2**22), "cut short"),
    "numbers that are not there": (KEY + struct.pack("<IIQ", 9, 10, 2**22), "cut short"),
}


@pytest.mark.parametrize(("data", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(read, data: bytes, said: str) -> None:
    with pytest.raises(GGUFError) as caught:
        read(data)
    assert str(caught.value).startswith(said)


def test_metadata_has_an_end(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_METADATA", 1000)
    long = {f"key{i}": "x" * 100 for i in range(20)}
    with pytest.raises(GGUFError, match="endless metadata"):
        read(encode(long))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "none.gguf")
