"""Which model a process gets that names none: by what it is asked for, and what models are good at.

Rules
1. `catalog.yaml` in the models directory says how good a model is at a class of work, from 0 to 10. Only
   models that it names are chosen for anybody, and only in place of one that it names.
2. The file is read again when it has changed; one that can't be read leaves what was known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from agentkernel import log
from agentkernel.errors import KernelError
from agentkernel.plan import Workload
from agentkernel.syscalls.document import Document, Fault

Score = Annotated[float, msgspec.Meta(ge=0, le=10)]
Scores = dict[str, dict[Workload, Score]]

_log = log.get("routing")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    models: Scores = {}


class Routes:
    """The scores of a models directory."""

    def __init__(self, folder: Path) -> None:
        """Raises LOAD_FAILED for a file that can't be read."""
        self._path = folder / "catalog.yaml"
        self._stamp: tuple[int, int] | None = None
        self._scores: Scores = {}
        self._renew()

    def scores(self) -> Scores:
        """By model id and class of work."""
        try:
            self._renew()
        except KernelError as error:
            _log.error("the scores of models stay as they were", error=error.message)
        return self._scores

    def _renew(self) -> None:
        try:
            status = self._path.stat()
        except OSError:
            self._stamp, self._scores = None, {}
            return
        stamp = status.st_mtime_ns, status.st_size
        if stamp != self._stamp:
            self._stamp = stamp
            self._scores = read(self._path)


def read(path: Path) -> Scores:
    """The scores in a file. Raises LOAD_FAILED."""
    try:
        return msgspec.convert(Document(path.read_bytes()).value, _File).models
    except (OSError, Fault, msgspec.ValidationError) as error:
        raise KernelError("LOAD_FAILED", f"{path}: {error}") from error


def ranking(scores: Scores, workload: Workload) -> list[tuple[str, float]]:
    """Models that can do such work, the best first."""
    able = [(id_, classes[workload]) for id_, classes in scores.items() if classes.get(workload)]
    return sorted(able, key=lambda item: (-item[1], item[0]))


def rationale(ranked: list[tuple[str, float]], workload: Workload, *, asked: bool) -> str:
    """In one line, why the first of these was chosen; `asked` says that the class of work was named."""
    (_, score), *others = ranked
    why = f"{workload} {'as asked' if asked else 'by its words'}: scored {score:g}"
    return why + "".join(f", before {id_} {other:g}" for id_, other in others[:1])
