"""Choosing a file of a hub's repository and putting it in place, with a hub that is made up."""

from __future__ import annotations

import pytest

from agentkernel.hub import PullError, Reference, choose, pull

SEVERAL = ["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "m.IQ2_XS.gguf", "m-BF16.gguf", "mmproj-m-F16.gguf"]


class FakeHub:
    """A hub with one repository, whose files are in a folder."""

    def __init__(self, cache, files):
        self._cache, self._files = cache, files
        self.asked = []

    def files(self, repo):
        self.asked.append(repo)
        return self._files

    def download(self, repo, file):
        path = self._cache / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF of " + file.encode())
        return path


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf://org/repo", Reference("org/repo")),
        ("hf://org/repo:Q8_0", Reference("org/repo", "Q8_0")),
        ("hf://Org-1/a.b_c-GGUF:iq2_xs", Reference("Org-1/a.b_c-GGUF", "iq2_xs")),
    ],
)
def test_a_reference_names_a_repository_and_perhaps_a_quantisation(text, reference):
    assert Reference.parse(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "org/repo",
        "hf://repo",
        "hf://a/b/c",
        "hf://org/repo:",
        "hf:///b",
        "https://org/repo",
        "hf://o/r x",
    ],
)
def test_what_is_no_reference_is_refused_with_its_form(text):
    with pytest.raises(PullError, match="a reference is hf://ORG/REPO") as caught:
        Reference.parse(text)
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    ("quantization", "file"),
    [
        ("", "m-Q4_K_M.gguf"),
        ("Q8_0", "m-Q8_0.gguf"),
        ("iq2_xs", "m.IQ2_XS.gguf"),
        ("BF16", "m-BF16.gguf"),
    ],
)
def test_the_quantisation_chooses_the_file_and_q4_k_m_is_the_default(quantization, file):
    assert choose(Reference("org/repo", quantization), SEVERAL) == file


def test_the_only_file_is_the_default_whatever_it_is():
    assert choose(Reference("org/repo"), ["README.md", "odd.gguf"]) == "odd.gguf"


@pytest.mark.parametrize(
    ("quantization", "files", "message"),
    [
        ("Q5_K_M", SEVERAL, "no Q5_K_M; there is: BF16, IQ2_XS, Q4_K_M, Q8_0"),
        ("Q4_K", SEVERAL, "no Q4_K; there is"),
        ("", ["m-Q8_0.gguf", "m-Q6_K.gguf"], "no Q4_K_M; there is: Q6_K, Q8_0"),
        ("Q8_0", ["odd.gguf"], "no Q8_0; there is: odd.gguf"),
        ("", ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "several files are Q4_K_M: a-Q4_K_M.gguf, b-Q4_K_M.gguf"),
        ("", ["README.md", "mmproj-F16.gguf"], "no GGUF file"),
        ("", ["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"], "split into parts"),
    ],
)
def test_where_no_one_file_is_meant_the_error_says_what_there_is(quantization, files, message):
    with pytest.raises(PullError, match=message) as caught:
        choose(Reference("org/repo", quantization), files)
    assert caught.value.exit_code == 66


def test_a_pulled_file_is_a_link_to_the_cache_s_under_its_catalogue_id(tmp_path):
    hub = FakeHub(tmp_path / "cache", SEVERAL)
    pulled = pull(Reference("org/repo", "Q8_0"), tmp_path / "models", hub)
    assert hub.asked == ["org/repo"]
    assert pulled.id == "hf/org/repo/m-Q8_0"
    assert pulled.path == tmp_path / "models" / "hf/org/repo/m-Q8_0.gguf"
    assert pulled.path.read_bytes() == b"GGUF of m-Q8_0.gguf"
    assert pulled.size == pulled.path.stat().st_size
    assert pulled.path.samefile(tmp_path / "cache" / "m-Q8_0.gguf")


def test_a_symbolic_link_of_the_cache_is_followed(tmp_path):
    """The cache's snapshots are links; one that is moved with the models would point nowhere."""
    hub = FakeHub(tmp_path / "blobs", ["m.gguf"])
    real = hub.download("org/repo", "m.gguf")
    snapshot = tmp_path / "snapshot.gguf"
    snapshot.symlink_to(real)
    hub.download = lambda repo, file: snapshot
    pulled = pull(Reference("org/repo"), tmp_path / "models", hub)
    assert not pulled.path.is_symlink()
    assert pulled.path.samefile(real)


def test_where_links_cannot_be_made_the_file_is_copied(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    pulled = pull(Reference("org/repo"), tmp_path / "models", FakeHub(tmp_path / "cache", ["m.gguf"]))
    assert pulled.path.read_bytes() == b"GGUF of m.gguf"
    assert [path.name for path in pulled.path.parent.iterdir()] == ["m.gguf"]


def test_pulling_again_replaces_the_file(tmp_path):
    hub = FakeHub(tmp_path / "cache", ["m.gguf"])
    first = pull(Reference("org/repo"), tmp_path / "models", hub)
    first.path.unlink()
    first.path.write_bytes(b"old")
    assert pull(Reference("org/repo"), tmp_path / "models", hub).path.read_bytes() == b"GGUF of m.gguf"


def test_a_copy_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    def full(source, target):
        target.write_bytes(b"GG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    monkeypatch.setattr("agentkernel.hub.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        pull(Reference("org/repo"), tmp_path / "models", FakeHub(tmp_path / "cache", ["m.gguf"]))
    assert list((tmp_path / "models").rglob("*.gguf*")) == []


@pytest.mark.parametrize("file", ["../../../outside.gguf", "/tmp/outside.gguf"])
def test_a_file_name_that_leaves_the_models_directory_is_refused(tmp_path, file):
    with pytest.raises(PullError, match="refusing the file name"):
        pull(Reference("org/repo"), tmp_path / "models", FakeHub(tmp_path / "cache", [file]))
    assert not (tmp_path / "models").exists()


def test_a_file_in_a_folder_keeps_its_folder(tmp_path):
    hub = FakeHub(tmp_path / "cache", ["quant/m-Q4_K_M.gguf"])
    assert pull(Reference("org/repo"), tmp_path / "models", hub).id == "hf/org/repo/quant/m-Q4_K_M"
