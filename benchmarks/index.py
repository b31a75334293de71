"""The index of a folder of reports: what each claim has come to, in tables.

Rules
1. It and its pictures are made from the reports beside it, and what bounds a claim from `bounds`.
2. It shows a machine's newest measurement of each figure, and what takes from its worth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import plots
from benchmarks.bounds import told
from benchmarks.figures import Figure, shown
from benchmarks.report import Report, Section, read

_HEAD = """# Benchmarks

Made by `python -m benchmarks` from the reports in this folder; each has its raw samples, machine, versions
and command. Models are random weights in real shapes: speed doesn't depend on what weights mean. *Measured*
is the median of the samples or, for latencies, their 99th percentile; the interval is its 95 % bootstrap.
*Side by side* are the medians of what a ratio compares, taken in turns in one run.
*met, close* and *missed, close*: the interval holds the target. Marks: *loaded*, others used the cores
meanwhile; *dirty*, the tree had uncommitted changes; *smoke*, too few samples on too small a model.
"""
_TABLE = re.compile(r"(<!-- table measured -->\n).*?(<!-- end -->)", re.DOTALL)
_CLAIMS = (
    "| claim | measured | 95 % interval | side by side | target | verdict | samples | run |\n"
    "|---|---|---|---|---|---|---|---|"
)
_OTHERS = "| figure | measured | 95 % interval | side by side | samples | run |\n|---|---|---|---|---|---|"


class Row(msgspec.Struct, frozen=True):
    """A figure and where it comes from."""

    figure: Figure
    section: Section
    report: Report


def renew(folder: Path) -> None:
    """Make the folder's `index.md` anew, and the table of the README beside the folder if it has one."""
    reports = read(folder)
    for name, mine in _by_machine(reports).items():
        plots.draw([row.figure for row in _newest(mine)], folder / f"{name}.png")
    pictures = [path.stem for path in folder.glob("*.png")]
    (folder / "index.md").write_text(render(reports, pictures), encoding="utf-8")
    readme = folder.parent / "README.md"
    if readme.exists():
        text = _TABLE.sub(lambda marks: f"{marks[1]}{summary(reports)}{marks[2]}", readme.read_text("utf-8"))
        readme.write_text(text, encoding="utf-8")


def summary(reports: list[Report]) -> str:
    """Every claim in a line: what was measured, and what was aimed at."""
    lines = ["| | measured | side by side | target | |", "|---|---|---|---|---|"]
    for row in _newest(reports):
        figure = row.figure
        if figure.target:
            verdict = "met" if figure.met else f"missed by {figure.miss:.0%}"
            marks = row.report.marks(row.section)
            target = f"{figure.target} {figure.unit}".rstrip()
            cells = _measured(figure)[0], _sides(figure), target, f"{verdict} {marks}".rstrip()
            lines.append(_line(figure.name, *cells))
    return "\n".join(lines) + "\n"


def render(reports: list[Report], pictures: Sequence[str] = ()) -> str:
    """The newest measurement of each figure on each machine, claims first, and the machine's picture."""
    parts = [_HEAD]
    for name, mine in _by_machine(reports).items():
        machine = mine[-1].machine
        parts.append(f"## {name}\n\n{machine['processor']}, {machine['cores']} cores\n")
        parts += [f"![Claims, and both sides of what they compare]({name}.png)\n"] * (name in pictures)
        rows = _newest(mine)
        claims = [_claim(row) for row in rows if row.figure.target]
        others = [_other(row) for row in rows if not row.figure.target]
        parts.append("\n".join([_CLAIMS, *claims]) + "\n")
        missed = [row.figure.name for row in rows if row.figure.met is False]
        parts += ["\n".join(["What bounds those that are missed:\n", *told(missed)]) + "\n"] * bool(missed)
        parts.append("\n".join([_OTHERS, *others]) + "\n")
        parts += [f"Failed when it was last run: {failure}\n" for failure in _failures(mine)]
    return "\n".join(parts)


def _by_machine(reports: list[Report]) -> dict[str, list[Report]]:
    """Each machine's reports, oldest first."""
    names = sorted({report.machine["name"] for report in reports})
    return {name: [report for report in reports if report.machine["name"] == name] for name in names}


def _newest(reports: list[Report]) -> list[Row]:
    found: dict[str, Row] = {}
    for report in reports:
        for section in report.sections:
            for figure in section.figures:
                found[figure.name] = Row(figure, section, report)
    return list(found.values())


def _failures(reports: list[Report]) -> list[str]:
    """Benchmarks whose newest run ended with an error, each with the error and its report."""
    newest = {section.name: (section, report) for report in reports for section in report.sections}
    return [
        f"{section.name}, {section.failed}, {_link(report)}"
        for section, report in newest.values()
        if section.failed
    ]


def _claim(row: Row) -> str:
    figure = row.figure
    verdict = "met" if figure.met else f"missed by {figure.miss:.0%}"
    verdict += ", close" if figure.close else ""
    target = f"{figure.target} {figure.unit}".rstrip()
    return _line(figure.name, *_measured(figure), _sides(figure), target, verdict, *_source(row))


def _other(row: Row) -> str:
    return _line(row.figure.name, *_measured(row.figure), _sides(row.figure), *_source(row))


def _measured(figure: Figure) -> tuple[str, str]:
    low, high = figure.interval
    return f"{shown(figure.value)} {figure.unit}".rstrip(), f"{shown(low)} to {shown(high)}"


def _sides(figure: Figure) -> str:
    """Those that the figure compares, each with its median."""
    return ", ".join(f"{side.who} {shown(side.value)} {side.unit}".rstrip() for side in figure.sides)


def _source(row: Row) -> tuple[str, str]:
    report = row.report
    marks = report.marks(row.section)
    return str(len(row.figure.samples)), f"{_link(report)} {marks}".rstrip()


def _link(report: Report) -> str:
    return f"[{report.date[:10]} {report.commit}]({report.stem}.json)"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
