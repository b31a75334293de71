"""`python -m benchmarks [NAME …] [--smoke]`: run benchmarks, write a report, renew the index.

Rules
1. A benchmark that fails is named in the report and in the exit status; the others still run.
2. A smoke run only shows that everything works; it reports beside its models, not among the reports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import index, machine, report
from benchmarks.bench import Bench
from benchmarks.table import BENCHMARKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, or all; the exit status is 1 when one of them failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    revision, dirty = machine.commit()
    options.models.mkdir(parents=True, exist_ok=True)
    sections = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="agentkernel-bench-") as scratch:
            section = _run(name, Bench(options.smoke, options.models.resolve(), Path(scratch)))
        sections.append(section)
        _show(section)
    result = report.Report(
        date=started,
        commit=revision,
        dirty=dirty,
        smoke=options.smoke,
        command=["python", "-m", "benchmarks", *names, *["--smoke"] * options.smoke],
        machine=machine.describe(),
        versions=machine.versions(),
        sections=sections,
    )
    out = options.out or (options.models / "smoke" if options.smoke else machine.ROOT / "reports")
    print(f"report: {report.write(result, out).name}", file=sys.stderr)
    index.renew(out)
    return int(any(section.failed for section in sections))


def _run(name: str, bench: Bench) -> report.Section:
    benchmark, doc = BENCHMARKS[name]
    claim = " ".join((doc or "").partition("\n\n")[0].split())
    print(f"{name}: {claim}", file=sys.stderr, flush=True)
    figures, failed = [], ""
    meter = machine.Meter()
    try:
        figures = benchmark(bench)
    except Exception as error:  # noqa: BLE001 - the others still run, and the status tells
        traceback.print_exc()
        failed = type(error).__name__
    return report.Section(name, claim, meter.read(), figures, failed)


def _show(section: report.Section) -> None:
    """What was measured, on standard output."""
    for figure in section.figures:
        low, high = figure.interval
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        measured = f"{figure.value:.4g} {figure.unit} ({low:.4g} to {high:.4g})"
        print(f"  {figure.name}: {measured} {figure.target} {verdict}".rstrip(), flush=True)
        for side in figure.sides:
            print(f"    {side.who}: {side.value:.4g} {side.unit}".rstrip(), flush=True)
    if section.usage.loaded:
        print(f"  others used {section.usage.others_cores} cores meanwhile", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--smoke", action="store_true", help="a minute's run with few samples")
    parser.add_argument("--out", type=Path, help="folder of the report; default: reports/")
    parser.add_argument("--models", type=Path, default=machine.ROOT / "benchmarks/build", help="their folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
