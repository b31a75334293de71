"""A picture of a machine's claims: how far each is on its target's side, and both sides of ratios.

Rules
1. It is made from the same figures as the index's tables, and holds nothing that is not in them.
2. Without matplotlib none is made, and one that is there stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, shown

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture
except ImportError:
    HAVE_MATPLOTLIB = False
else:
    HAVE_MATPLOTLIB = True

_WIDTH, _BAR, _MARGIN = 9.0, 0.28, 1.0  # inches
_MOST = 100.0
_ROOM = 0.2  # share of the axis that a bar needs to have its value written in it
_MET, _MISSED, _OURS, _OTHERS = "#2a7f62", "#b3442c", "#2a5f9e", "#9a9a9a"


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write the picture of these claims as PNG; nothing without matplotlib or without claims."""
    claims = [figure for figure in figures if figure.target]
    compared = [figure for figure in claims if figure.sides]
    if not (HAVE_MATPLOTLIB and claims):
        return
    heights = [len(claims), max(1, sum(len(figure.sides) for figure in compared))]
    picture = Picture(figsize=(_WIDTH, _BAR * sum(heights) + 2 * _MARGIN), layout="constrained")
    FigureCanvasAgg(picture)
    above, below = picture.subplots(2, 1, height_ratios=heights)
    _margins(above, claims)
    _sides(below, compared)
    picture.savefig(path, dpi=90, metadata={"Software": None})


def margin(figure: Figure, value: float) -> float:
    """How many times as good as its target a claim's value is, 100 at most; 1 just meets it."""
    if figure.at_least is not None:
        return min(_MOST, value / figure.at_least)
    return min(_MOST, (figure.at_most or 0.0) / value) if value else _MOST


def _margins(axes: Axes, claims: Sequence[Figure]) -> None:
    """A bar a claim: times as good as its target, with the interval."""
    names = [figure.name for figure in claims]
    values = [margin(figure, figure.value) for figure in claims]
    ends = [sorted(margin(figure, end) for end in figure.interval) for figure in claims]
    errors = [
        [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
    ]
    colours = [_MET if figure.met else _MISSED for figure in claims]
    axes.barh(names, values, xerr=errors, color=colours, height=0.7, capsize=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_title("times as good as the target", fontsize=10)
    _finish(axes)


def _sides(axes: Axes, compared: Sequence[Figure]) -> None:
    """A bar a side of each ratio, as a share of the longer one."""
    names: list[str] = []
    for figure in compared:
        longest = max(side.value for side in figure.sides)
        for side in figure.sides:
            share, at = side.value / longest, len(names)
            axes.barh(at, share, color=_OURS if side.who == "agentkernel" else _OTHERS, height=0.7)
            inside = share > _ROOM
            where, colour = (0.01, "white") if inside else (share + 0.01, "black")
            axes.text(where, at, f"{shown(side.value)} {side.unit}", va="center", fontsize=7, color=colour)
            names.append(f"{figure.name}: {side.who}")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    axes.set_title("side by side, the longer one full", fontsize=10)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
