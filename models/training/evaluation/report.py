"""The evaluation's report: `reports/model-eval.json` and `.md`, and the card's measured parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from models.training.evaluation.card import with_measured
from models.training.evaluation.measure import Reply, ask, shares, story_holds, verb_right
from models.training.evaluation.prompts import PER_CATEGORY, SEED, cases
from models.training.llama import Sampling
from models.training.recipe import BUILTIN, RECIPES, TINY, Recipe

REPORTS = Path(__file__).parents[3] / "reports"
CARD = BUILTIN / "README.md"
AS_SERVED = Sampling(temperature=0.7, top_p=0.9, seed=11)
GREEDY = Sampling()
TOOL_CATEGORIES = (
    "arithmetic",
    "read a file",
    "write a file",
    "list files",
    "tell the time",
    "other tools",
)
TOOL_GOALS = (
    ("valid call", 0.99),
    ("right tool and arguments", 0.95),
    ("right answer from the result", 0.95),
)
_ALL_TOOLS = "all these tools"
GOALS = {
    ("story", "no loop"): 0.98,
    ("verb named", "right answer"): 0.95,
    ("verb wished", "right answer"): 0.95,
    ("verb wished anew", "right answer"): 0.95,
    **{(category, measured): goal for category in TOOL_CATEGORIES for measured, goal in TOOL_GOALS},
    **{(_ALL_TOOLS, measured): goal for measured, goal in TOOL_GOALS},
    ("two steps", "whole task"): 0.80,
    ("no tool", "no call"): 0.95,
    ("all", "stops by itself"): 0.99,
}
Table = dict[str, dict[str, tuple[int, int]]]
SHOWN_MISSES = 6


def _wrong(reply: Reply) -> bool:
    """Whether a reply belongs among the misses."""
    if reply.case.category == "story":
        return not story_holds(reply)
    if reply.case.category.startswith("verb"):
        return not verb_right(reply)
    if reply.case.category in ("no tool", "odd input"):
        return reply.calls or not reply.ended
    return reply.text != reply.expected


def _misses(replies: list[Reply]) -> list[dict[str, str]]:
    """The first misses of each category, as they were said."""
    found = []
    for category in dict.fromkeys(reply.case.category for reply in replies):
        wrong = [reply for reply in replies if reply.case.category == category and _wrong(reply)]
        found += [
            {
                "category": category,
                "request": each.case.task.request,
                "expected": each.expected,
                "said": each.text,
            }
            for each in wrong[:SHOWN_MISSES]
        ]
    return found


def with_all_tools(table: Table) -> Table:
    """The table with what the tool categories come to together."""
    together = {
        measured: (
            sum(table[category][measured][0] for category in TOOL_CATEGORIES),
            sum(table[category][measured][1] for category in TOOL_CATEGORIES),
        )
        for measured, _ in TOOL_GOALS
    }
    out: Table = {}
    for category, measures in table.items():
        out[category] = measures
        if category == TOOL_CATEGORIES[-1]:
            out[_ALL_TOOLS] = together
    return out


def measure(recipe: Recipe, sampling: Sampling) -> tuple[Table, list[Reply]]:
    """The table of one shipped model, and the replies behind it."""
    replies = ask(recipe.output, recipe.chat, cases(), sampling)
    return with_all_tools(shares(replies)), replies


def rows(name: str, served: Table, greedy: Table) -> list[str]:
    """One model's table in Markdown, a line for each measure; only the built-in model has goals."""
    lines = [
        "| category | measure | prompts | as served | likeliest token | goal |",
        "|---|---|---|---|---|---|",
    ]
    for category, measures in served.items():
        for measured, (right, of) in measures.items():
            best, best_of = greedy[category][measured]
            goal = GOALS.get((category, measured)) if name == TINY.name else None
            verdict = f"{goal:.0%}, {'met' if right / of >= goal else 'missed'}" if goal else ""
            shown = f"{right / of:.1%} | {best / best_of:.1%}"
            lines.append(f"| {category} | {measured} | {of} | {shown} | {verdict} |")
    return lines


def _agreement(recipe: Recipe) -> list[dict[str, object]]:
    """What the export's check found; raises FileNotFoundError before `make model` has run."""
    found: list[dict[str, object]] = json.loads(recipe.agreement_file.read_text())
    return found


def _facts(recipe: Recipe, sha256: str) -> list[str]:
    """Size, hash and agreement, a line each."""
    lines = [f"{recipe.output.stat().st_size:,} bytes, SHA-256 `{sha256}`.", ""]
    lines += [
        f"{found['kind']} against the trainer, {found['positions']} positions: largest difference of log "
        f"probabilities {found['largest']:.4f} nats, same likeliest token {found['same_choice']:.2%}."
        for found in _agreement(recipe)
    ]
    return [*lines, ""]


def evaluate() -> None:
    """Measure every shipped model; write both reports and the card's measured parts."""
    models: dict[str, object] = {}
    card = CARD.read_text()
    lines = [
        "# What the built-in models can do",
        "",
        f"Written by `make model-eval`: {PER_CATEGORY} prompts a category or more, from seed {SEED} and from",
        "sentence forms that the training set lacks. 'As served' draws at temperature 0.7 and top_p 0.9;",
        "'likeliest token' takes the first choice. Goals hold for the answers as served.",
        "",
    ]
    for recipe in RECIPES.values():
        (served, replies), (greedy, _) = measure(recipe, AS_SERVED), measure(recipe, GREEDY)
        sha256 = hashlib.sha256(recipe.output.read_bytes()).hexdigest()
        models[recipe.name] = {
            "sha256": sha256,
            "as_served": served,
            "greedy": greedy,
            "agreement": _agreement(recipe),
            "misses": _misses(replies),
        }
        measured = [*_facts(recipe, sha256), *rows(recipe.name, served, greedy)]
        lines += [f"## {recipe.name}", "", *measured, ""]
        card = with_measured(card, recipe.name, measured)
    document = {"seed": SEED, "as_served": {"temperature": 0.7, "top_p": 0.9}, "models": models}
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / "model-eval.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (REPORTS / "model-eval.md").write_text("\n".join(lines))
    CARD.write_text(card)
