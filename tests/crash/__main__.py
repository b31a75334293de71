"""Kill kernels at many moments: `python -m tests.crash [moments] [report]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.crash.driver import ROOT, alone, first_token, survive
from tests.crash.dying import PLACES

_CALLS, _EACH, _ONCE = (1, 9), (1, 12), (1, 1)
_COUNTS = {
    **dict.fromkeys(("before-a-call", "between-call-and-result", "behind-result"), _CALLS),
    **dict.fromkeys(("after-birth", "at-an-end", "paging-out", "saving"), _EACH),
    **dict.fromkeys(("saved", "restoring", "restored"), _ONCE),
}
_FRAMES = 700


def main(moments: int, *, report: bool) -> None:
    """Raises AssertionError at the first byte that is lost or comes twice."""
    random, began = Random(1), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = alone(Path(folder) / "alone")
        tried = dict.fromkeys((*PLACES, "frames"), 0)
        for number in range(moments):
            place = list(tried)[number % len(tried)]
            count = random.randint(*_COUNTS.get(place, (20, 90)))
            here, frames = Path(folder) / str(number), random.randint(1, _FRAMES)
            if place == "frames":
                texts = survive(here, frames=frames)
            else:
                texts = survive(here, place, count, frames=frames if place == "engine" else 0)
            assert texts[-len(undisturbed) :] == undisturbed
            tried[place] += 1
            sys.stderr.write(f"{number + 1}/{moments} {place} {count}\n")
        after, cold = first_token(Path(folder) / "first")
    if report:
        _write(tried, after, cold, time.monotonic() - began)


def _write(tried: dict[str, int], after: float, cold: float, seconds: float) -> None:
    rows = "".join(f"| {place} | {count} | 0 |\n" for place, count in tried.items())
    (ROOT / "reports" / "recovery.md").write_text(
        "# Recovery\n\nTwelve processes of the built-in model stream from a kernel that gets SIGKILL (at "
        "`engine`: its engine does), and from the next one on the same state. "
        "The client joins what it saw of both, and "
        "compares that with LOGS; at `frames` death comes after so many frames. Processes that are "
        "deterministic have said what they say alone. By `make crash report=1`: "
        f"{sum(tried.values())} moments in {seconds:.0f} s.\n\n"
        f"| killed at | moments | bytes lost or doubled |\n|---|---:|---:|\n{rows}\n"
        f"First new token of a process after the restarted kernel is ready: {after * 1e3:.0f} ms after it "
        f"accepts clients; of the same context sent anew as a prompt: {cold * 1e3:.0f} ms.\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, report="report" in sys.argv)
