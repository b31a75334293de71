"""The catalogue: ids, what a file says of itself, and that nothing outside the directory is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentkernel import catalog as module
from agentkernel.catalog import Catalog, ModelCard, describe
from agentkernel.errors import KernelError
from agentkernel.gguf import read_metadata
from benchmarks import shapes
from tests.gguf_files import LLAMA, write_model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def refused(catalog: Catalog, selector: str, *, paths: bool = True) -> str:
    with pytest.raises(KernelError) as caught:
        catalog.resolve(selector, paths=paths)
    return caught.value.code


def test_ids_are_paths_without_the_suffix_in_order(root: Path) -> None:
    for name in ("b/qwen.gguf", "a/llama-Q8_0.v2.gguf", "z.gguf", "a/notes.txt", "a/b.gguf/inside.gguf"):
        write_model(root / name)
    cards = Catalog(root).list()
    assert [card.id for card in cards] == ["a/b.gguf/inside", "a/llama-Q8_0.v2", "b/qwen", "z"]
    assert cards[3].path == str(root / "z.gguf")


def test_an_empty_or_missing_directory_holds_no_models(root: Path) -> None:
    assert Catalog(root).list() == []
    assert Catalog(root / "none").list() == []


def test_a_model_is_found_by_id_by_name_and_by_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(root / "a/llama.gguf")
    monkeypatch.chdir(root.parent)
    catalog = Catalog(root)
    for selector in ("a/llama", "a/llama.gguf", str(path), "models/a/llama.gguf", "a/../a/llama"):
        card = catalog.resolve(selector)
        assert (card.id, card.path) == ("a/llama", str(path))
    assert catalog.get("a/llama") == card


def test_an_id_is_no_path(root: Path) -> None:
    path = write_model(root / "llama.gguf")
    catalog = Catalog(root)
    for selector in (str(path), "llama.gguf"):
        assert refused(catalog, selector, paths=False) == "MODEL_NOT_FOUND"


@pytest.fixture
def outside(root: Path) -> Path:
    return write_model(root.parent / "outside.gguf")


def test_nothing_outside_the_directory_is_named(
    root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    (root / "link.gguf").symlink_to(outside)
    (root / "deep").symlink_to(outside.parent)
    catalog = Catalog(root)
    selectors = ["../outside", "../outside.gguf", "outside.gguf", str(outside), str(outside.with_suffix(""))]
    selectors += ["link", "link.gguf", "deep/outside", "deep/outside.gguf", "..", "/", "/etc"]
    for selector in selectors:
        assert refused(catalog, selector) == "MODEL_NOT_FOUND", selector
        assert refused(catalog, selector, paths=False) == "MODEL_NOT_FOUND", selector
    assert catalog.list() == []


def test_a_link_inside_the_directory_is_followed(root: Path) -> None:
    target = write_model(root / "real.gguf")
    (root / "alias.gguf").symlink_to(target)
    assert Catalog(root).resolve("alias").id == "real"


@pytest.mark.parametrize("selector", ["", "none", "a\0b", "x" * 5000, "a/" * 3000, "\ud800", "*", "loop"])
def test_a_name_of_nothing_is_not_found(root: Path, selector: str) -> None:
    (root / "loop.gguf").symlink_to(root / "loop.gguf")
    assert refused(Catalog(root), selector, paths=False) == "MODEL_NOT_FOUND"
    if selector:
        assert refused(Catalog(root), selector) == "MODEL_NOT_FOUND"


def test_a_name_of_many_parts_is_not_found(root: Path) -> None:
    with pytest.raises(KernelError, match="MODEL_NOT_FOUND"):
        Catalog(root).get("+/" * 1500)


def test_a_path_to_something_else_is_a_failed_load(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder.gguf").mkdir()
    (root / "notes.txt").write_text("no model")
    write_model(root / "notes.gguf")
    catalog = Catalog(root)
    for selector in ("folder", "notes.txt", str(root / "folder"), ""):
        assert refused(catalog, selector) == "LOAD_FAILED", selector
    assert catalog.resolve("notes").id == "notes"


def test_a_damaged_file_is_listed_with_its_fault(root: Path) -> None:
    (root / "text.gguf").write_text("Once upon a time")
    cut = write_model(root / "cut.gguf")
    cut.write_bytes(cut.read_bytes()[:100])
    cards = Catalog(root).list()
    assert [(card.id, card.family) for card in cards] == [("cut", "Unknown"), ("text", "Unknown")]
    assert cards[1].error == "not a GGUF file"
    assert "cut short" in cards[0].error
    assert cards[0].file_bytes == 100


def test_a_file_that_may_not_be_read_is_listed_with_its_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "read_metadata", denied)
    write_model(root / "secret.gguf")
    (card,) = Catalog(root).list()
    assert card.error == "[Errno 13] Permission denied"


def test_the_directory_is_read_anew_and_files_only_when_they_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path):
        read.append(path.name)
        return read_metadata(path)

    monkeypatch.setattr(module, "read_metadata", counted)
    first, catalog = write_model(root / "a.gguf"), Catalog(root)
    assert [card.name for card in catalog.list() + catalog.list()] == ["tiny", "tiny"]
    write_model(root / "b.gguf")
    write_model(first, general__name="other name")
    assert [card.name for card in catalog.list()] == ["other name", "tiny"]
    first.unlink()
    assert [card.id for card in catalog.list()] == ["b"]
    write_model(first)
    catalog.list()
    assert read == ["a.gguf", "a.gguf", "b.gguf", "a.gguf"]


def card(**changes: object) -> ModelCard:
    metadata = LLAMA | {key.replace("__", "."): value for key, value in changes.items()}
    return describe("x", "x.gguf", 99, metadata)


def test_a_card_says_what_the_file_says() -> None:
    assert card(tokenizer__ggml__tokens__length=3) == ModelCard(
        id="x",
        path="x.gguf",
        family="Llama",
        architecture="llama",
        name="tiny",
        quantization="Q8_0",
        tokenizer="llama",
        context_train=256,
        embedding=64,
        vocabulary=3,
        kv_bytes_per_token=2 * 2 * 2 * (16 + 16),
        file_bytes=99,
        chat_template="{{ messages }}",
    )


def test_key_and_value_width_are_the_files_where_it_has_them() -> None:
    wide = card(llama__attention__key_length=32)
    assert wide.kv_bytes_per_token == 2 * 2 * 2 * (32 + 32)
    uneven = card(llama__attention__key_length=32, llama__attention__value_length=8)
    assert uneven.kv_bytes_per_token == 2 * 2 * 2 * (32 + 8)


def test_without_kv_heads_every_head_has_its_own() -> None:
    metadata = {key: item for key, item in LLAMA.items() if not key.endswith("_kv")}
    assert describe("x", "x.gguf", 1, metadata).kv_bytes_per_token == 2 * 2 * 4 * (16 + 16)


@pytest.mark.parametrize(
    ("architecture", "name", "template", "family"),
    [
        ("llama", "SmolLM", "", "Llama"),
        ("llama", "Mistral 7B", "", "Mistral"),
        ("llama", "any", "[INST] x [/INST]", "Mistral"),
        ("llama", "any", "[INST] <<SYS>> x [/INST]", "Llama"),
        ("qwen2", "any", "", "Qwen"),
        ("qwen3moe", "any", "", "Qwen"),
        ("mistral3", "any", "", "Mistral"),
        ("gemma2", "any", "", "Gemma"),
        ("phi3", "any", "", "Phi"),
        ("mamba", "any", "", "Mamba"),
        ("", "any", "", "Unknown"),
    ],
)
def test_families(architecture: str, name: str, template: str, family: str) -> None:
    metadata = {
        "general.architecture": architecture,
        "general.name": name,
        "tokenizer.chat_template": template,
    }
    assert describe("x", "x.gguf", 1, metadata).family == family


def test_the_three_shapes_belong_to_their_families(models_dir: Path) -> None:
    cards = {card.id: card for card in Catalog(models_dir).list()}
    assert {id_: card.family for id_, card in cards.items()} == {
        "llama-1m": "Llama",
        "mistral-1m": "Mistral",
        "qwen2-1m": "Qwen",
    }
    shape = shapes.SHAPES["qwen2-1m"]
    per_head = shape.width // shape.heads
    assert cards["qwen2-1m"].kv_bytes_per_token == 2 * shape.layers * shape.kv_heads * 2 * per_head
    assert cards["qwen2-1m"].quantization == "Q8_0"


def test_values_of_the_wrong_type_or_size_count_as_missing() -> None:
    odd = card(
        general__name=5,
        general__file_type=True,
        llama__context_length=2**63,
        llama__embedding_length="many",
        llama__attention__head_count=0,
    )
    assert (odd.name, odd.quantization, odd.context_train, odd.embedding) == ("", "unknown", 0, 0)


def test_names_are_one_printable_line_each() -> None:
    odd = card(general__name="a\nid=b\x1b[2J", general__architecture="x\ry")
    assert (odd.name, odd.architecture, odd.family) == ("a\ufffdid=b\ufffd[2J", "x\ufffdy", "X\ufffdy")


def test_a_file_whose_name_is_no_printable_text_is_no_model_and_told_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(module._log, "warning", lambda _event, path: warned.append(path))
    write_model(root / "right name-ä.gguf")
    for name in (b"new\nline.gguf", b"latin-\xe4.gguf", b"\x1b[2J.gguf"):
        write_model(root / os.fsdecode(name))
    catalog = Catalog(root)
    for _ in range(2):
        assert [card.id for card in catalog.list()] == ["right name-ä"]
    assert len(warned) == 3
    assert all(path.isascii() for path in warned)
    for selector in ("new\nline", "new\nline.gguf", "latin-\udce4"):
        with pytest.raises(KernelError):
            catalog.resolve(selector)


def test_a_file_that_vanishes_while_the_directory_is_read_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(root / "gone.gguf")
    write_model(root / "here.gguf")
    seen = Catalog._files

    def vanish(catalog: Catalog):
        paths = list(seen(catalog))
        (root / "gone.gguf").unlink()
        return iter(paths)

    monkeypatch.setattr(Catalog, "_files", vanish)
    assert [card.id for card in Catalog(root).list()] == ["here"]


def test_a_long_name_is_shortened_in_what_is_said_of_it(root: Path) -> None:
    (root / "folder").mkdir()
    for selector in ("x" * 5000, "y/" * 100, "./" * 2000 + "folder"):
        with pytest.raises(KernelError) as caught:
            Catalog(root).resolve(selector)
        assert len(caught.value.message) < 150
