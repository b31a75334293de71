"""Reports: one JSON file a run, with every raw sample.

Rules
1. A report is never changed once it is written.
2. Nothing in it names the machine or its folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.figures import Figure
from benchmarks.machine import Usage


class Section(msgspec.Struct, frozen=True):
    """One benchmark of a run: its claim in its own words, its figures, who else used the machine."""

    name: str
    claim: str
    usage: Usage
    figures: list[Figure]
    failed: str = ""


class Report(msgspec.Struct, frozen=True):
    """One run."""

    date: str
    commit: str
    dirty: bool
    smoke: bool
    command: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    sections: list[Section]
    schema: Literal["agentkernel-bench-1"] = "agentkernel-bench-1"

    @property
    def stem(self) -> str:
        """The report's file name without its ending: date, commit, machine."""
        return f"{self.date.replace(':', '')}-{self.commit}-{self.machine['name']}"

    def marks(self, section: Section) -> str:
        """What takes from a section's worth."""
        marks = {"smoke": self.smoke, "dirty": self.dirty, "loaded": section.usage.loaded}
        return ", ".join(word for word, holds in marks.items() if holds)


def write(report: Report, folder: Path) -> Path:
    """Put the report into the folder; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.stem}.json"
    path.write_bytes(msgspec.json.encode(report) + b"\n")
    return path


def read(folder: Path) -> list[Report]:
    """Every report of the folder, oldest first. Raises msgspec.ValidationError for a damaged one."""
    paths = sorted(folder.glob("[0-9]*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Report) for path in paths]
