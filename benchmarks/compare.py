"""What changed between two runs beyond noise: `python -m benchmarks.compare A B`.

A figure has changed when the 95 % bootstrap interval of the ratio of its two values, B's to A's, leaves out
1. A and B are report files, or beginnings of commits: of all reports of one, the newest of each figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from benchmarks.figures import Figure, change, shown
from benchmarks.machine import ROOT
from benchmarks.report import Report, read

_Marked = dict[str, tuple[Figure, str]]


def main(first: str, second: str, folder: Path = ROOT / "reports") -> int:
    """Print a line a figure that both have; the exit status is 1 where there is none."""
    try:
        before, after = (_figures(_find(name, folder)) for name in (first, second))
    except LookupError as error:
        print(error, file=sys.stderr)
        return 1
    both = [name for name in after if name in before]
    for name in both:
        (earlier, its_marks), (later, marks) = before[name], after[name]
        print(_line(earlier, later, ", ".join(filter(None, (its_marks, marks)))))
    if not both:
        print("they have no figure in common", file=sys.stderr)
    return int(not both)


def _line(before: Figure, after: Figure, marks: str) -> str:
    low, high = change(before, after)
    verdict = "the same" if low <= 1 <= high else f"{(after.value / before.value - 1) * 100:+.0f} %"
    values = f"{shown(before.value)} → {shown(after.value)} {after.unit}".rstrip()
    return f"{verdict:>10}  {after.name}: {values} (ratio {low:.2f} to {high:.2f}) {marks}".rstrip()


def _figures(reports: list[Report]) -> _Marked:
    """The newest of each figure, with what takes from its worth."""
    return {
        f"{report.machine['name']} {figure.name}": (figure, report.marks(section))
        for report in reports
        for section in report.sections
        for figure in section.figures
    }


def _find(name: str, folder: Path) -> list[Report]:
    """The reports, oldest first. Raises LookupError."""
    path = Path(name)
    if path.is_file():
        return [msgspec.json.decode(path.read_bytes(), type=Report)]
    found = [report for report in read(folder) if report.commit.startswith(name)]
    if not found:
        raise LookupError(f"no report {name!r}: neither a file nor a commit in {folder}")
    return found


if __name__ == "__main__":
    if len(sys.argv) != len(("", "A", "B")):
        sys.exit("usage: python -m benchmarks.compare A B")
    sys.exit(main(sys.argv[1], sys.argv[2]))
