"""Model files from the Hugging Face Hub into the models directory.

Rules
1. The hub's own client fetches: its cache, resumption, token and HF_HUB_OFFLINE hold.
2. A file appears whole or not at all, as `<models>/hf/ORG/REPO/FILE`; it is a link to the cache's
   file where the file system allows.
3. Without a network, what the cache holds can still be pulled.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

DEFAULT_QUANTIZATION = "Q4_K_M"
_REFERENCE = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<quantization>[\w.-]+))?")
_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:I|T)?Q[0-9](?:_[0-9A-Z]+)*|B?F16|F32|FP16|FP32|MXFP4(?:_MOE)?)\.gguf$", re.IGNORECASE
)
_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}\.gguf$")

# sysexits.h
_USAGE, _NO_INPUT, _UNAVAILABLE = 64, 66, 69


class PullError(Exception):
    """A model that can't be had; `exit_code` is what the command line ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Reference:
    """What to pull: a repository, and a quantisation or empty for the default one."""

    repo: str
    quantization: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `hf://ORG/REPO[:QUANT]`. Raises PullError."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise PullError(f"{text}: a reference is hf://ORG/REPO or hf://ORG/REPO:QUANT", _USAGE)
        return cls(match["repo"], match["quantization"] or "")


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model file that is in place, and its catalogue id."""

    id: str
    path: Path
    size: int


class Hub(Protocol):
    """Where files come from."""

    def files(self, repo: str) -> list[str]:
        """The repository's file names. Raises PullError."""

    def download(self, repo: str, file: str) -> Path:
        """The file in the cache, fetched if it isn't there. Raises PullError."""


def pull(reference: Reference, models: Path, hub: Hub) -> Pulled:
    """Fetch the reference's model file and put it into the models directory. Raises PullError."""
    file = choose(reference, hub.files(reference.repo))
    relative = Path("hf", reference.repo, *PurePosixPath(file).parts)
    if ".." in relative.parts or PurePosixPath(file).is_absolute():
        raise PullError(f"{reference.repo}: refusing the file name {file!r}", _NO_INPUT)
    target = models / relative
    _place(hub.download(reference.repo, file), target)
    return Pulled(str(relative.with_suffix("")), target, target.stat().st_size)


def choose(reference: Reference, files: list[str]) -> str:
    """The one model file that the reference means. Raises PullError."""
    found = {f: _quantization(f) for f in files if f.endswith(".gguf") and "mmproj" not in f.lower()}
    whole = {f: quantization for f, quantization in found.items() if not _PART.search(f)}
    if not whole:
        why = "only files split into parts, which can't be loaded" if found else "no GGUF file"
        raise PullError(f"{reference.repo}: {why}", _NO_INPUT)
    wanted = (reference.quantization or DEFAULT_QUANTIZATION).upper()
    matching = sorted(f for f, quantization in whole.items() if quantization == wanted)
    if not matching and not reference.quantization and len(whole) == 1:
        matching = list(whole)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise PullError(f"{reference.repo}: several files are {wanted}: {', '.join(matching)}", _NO_INPUT)
    there = ", ".join(sorted({quantization or f for f, quantization in whole.items()}))
    raise PullError(f"{reference.repo}: no {wanted}; there is: {there}", _NO_INPUT)


def _quantization(file: str) -> str:
    match = _QUANTIZATION.search(file)
    return match[1].upper() if match else ""


def _place(source: Path, target: Path) -> None:
    """Link or copy the file to its place in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            unfinished.hardlink_to(source.resolve())
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


class HuggingFace:
    """The hub at huggingface.co, or where HF_ENDPOINT says. Needs the `server` extra."""

    def files(self, repo: str) -> list[str]:
        """List the repository; without network, its files in the cache (`Hub`)."""
        import huggingface_hub as hub  # noqa: PLC0415 - slow to import, and only of the server extra

        try:
            return list(hub.HfApi().list_repo_files(repo))
        except (hub.errors.RepositoryNotFoundError, hub.errors.HFValidationError) as error:
            raise PullError(f"{repo}: {_first_line(error)}", _NO_INPUT) from error
        except (hub.errors.HTTPError, OSError) as error:
            cached = self._cached(repo)
            if not cached:
                message = f"{repo} is not in the cache, and the hub gives no list: {_first_line(error)}"
                raise PullError(message, _UNAVAILABLE) from error
            return cached

    def download(self, repo: str, file: str) -> Path:
        """Fetch with a progress bar on standard error (`Hub`)."""
        import huggingface_hub as hub  # noqa: PLC0415 - as above

        try:
            return Path(hub.hf_hub_download(repo, file))
        except (hub.errors.HTTPError, OSError) as error:
            raise PullError(f"{repo}/{file}: {_first_line(error)}", _UNAVAILABLE) from error

    def _cached(self, repo: str) -> list[str]:
        import huggingface_hub as hub  # noqa: PLC0415 - as above

        try:
            repos = hub.scan_cache_dir().repos
        except hub.errors.CacheNotFound:
            return []
        mine = [found for found in repos if (found.repo_id, found.repo_type) == (repo, "model")]
        snapshots = [snapshot for found in mine for snapshot in found.revisions]
        return sorted({str(f.file_path.relative_to(s.snapshot_path)) for s in snapshots for f in s.files})


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
