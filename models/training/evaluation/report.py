"""The evaluation's report: `reports/model-eval.json` and `reports/model-eval.md`, written by nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from models.training.evaluation.measure import Reply, ask, shares, valid_call
from models.training.evaluation.prompts import SEED, cases
from models.training.llama import Sampling
from models.training.recipe import RECIPES, TINY, Recipe

REPORTS = Path(__file__).parents[3] / "reports"
AS_SERVED = Sampling(temperature=0.7, top_p=0.9, seed=11)
GREEDY = Sampling()
GOALS = (
    ("story", "no loop", 0.98), ("verb named", "right answer", 0.95), ("verb wished", "right answer", 0.95),
    ("verb wished anew", "right answer", 0.95),
    *((category, measure, goal) for category in ("arithmetic", "read a file", "write a file", "list files",
    "tell the time", "other tools")
      for measure, goal in (("valid call", 0.99), ("right tool and arguments", 0.95),
      ("right answer from the result", 0.95))),
    ("two steps", "whole task", 0.80), ("no tool", "no call", 0.95), ("all", "stops by itself", 0.99),
)  # fmt: skip
Table = dict[str, dict[str, tuple[int, int]]]
SHOWN_MISSES = 6


def _misses(replies: list[Reply]) -> dict[str, list[dict[str, str]]]:
    """Some replies of each category that differ from what was expected."""
    found: dict[str, list[dict[str, str]]] = {}
    for reply in replies:
        mine = found.setdefault(reply.case.category, [])
        wrong = reply.text != reply.expected if reply.expected else not reply.ended or valid_call(reply.text)
        if wrong and len(mine) < SHOWN_MISSES:
            mine.append({"request": reply.case.task.request, "expected": reply.expected, "said": reply.text})
    return {category: mine for category, mine in found.items() if mine}


def measure(recipe: Recipe, sampling: Sampling) -> tuple[Table, list[Reply]]:
    """The table of one shipped model, and the replies behind it."""
    replies = ask(recipe.output, recipe.chat, cases(), sampling)
    return shares(replies), replies


def _markdown(name: str, sha256: str, served: Table, greedy: Table) -> list[str]:
    """One model's table, a line for each measure, and the goals."""
    goals = {(category, measured): goal for category, measured, goal in GOALS}
    lines = [
        f"## {name}",
        "",
        f"SHA-256 `{sha256}`.",
        "",
        "| category | measure | prompts | as served | likeliest token | goal |",
        "|---|---|---|---|---|---|",
    ]
    for category, measures in served.items():
        for measured, (right, of) in measures.items():
            best, best_of = greedy[category][measured]
            goal = goals.get((category, measured)) if name == TINY.name else None
            mark = f"{goal:.0%} {'met' if right / of >= goal else 'missed'}" if goal else ""
            lines.append(
                f"| {category} | {measured} | {of} | {right / of:.1%} | {best / best_of:.1%} | {mark} |"
            )
    return [*lines, ""]


def evaluate() -> None:
    """Measure every shipped model and write both reports."""
    document: dict[str, object] = {
        "seed": SEED,
        "as_served": {"temperature": 0.7, "top_p": 0.9},
        "models": {},
    }
    lines = [
        "# What the built-in models can do", "",
        f"Written by `make model-eval`. Prompts come from seed {SEED} and from sentence forms that the",
        "training set lacks. 'As served' draws at temperature 0.7 and top_p 0.9; 'likeliest token' always",
        "takes the first choice. Goals hold for the answers as served.",
        "",
    ]  # fmt: skip
    models: dict[str, object] = {}
    for recipe in RECIPES.values():
        (served, replies), (greedy, _) = measure(recipe, AS_SERVED), measure(recipe, GREEDY)
        sha256 = hashlib.sha256(recipe.output.read_bytes()).hexdigest()
        agreement = recipe.folder / "agreement.json"
        checked = json.loads(agreement.read_text()) if agreement.exists() else None
        models[recipe.name] = {
            "sha256": sha256,
            "as_served": served,
            "greedy": greedy,
            "agreement": checked,
            "misses": _misses(replies),
        }
        lines += _markdown(recipe.name, sha256, served, greedy)
    document["models"] = models
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / "model-eval.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (REPORTS / "model-eval.md").write_text("\n".join(lines))
