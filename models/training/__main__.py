# ruff: noqa: PLC0415  (each step imports what it needs: the evaluation runs without PyTorch)
"""`python -m models.training`: `make` builds both models from nothing, `evaluate` measures what is shipped.

Every step resumes: what the build folder holds already is not made again.
"""

from __future__ import annotations

import argparse
import os

from models.training.recipe import RECIPES


def _corpus(count: int) -> None:
    """Print the first conversations of the training set."""
    from models.training.corpus.mix import conversation
    from models.training.dataset import LLAMA_CHAT
    from models.training.recipe import TINY

    for index in range(count):
        print("".join(LLAMA_CHAT.text(turn.role, turn.text) for turn in conversation(TINY.seed, index)))


def _make(names: list[str], threads: int) -> None:
    """Corpus, tokenizer, training, export and check, for each named recipe."""
    from models.training.export import export
    from models.training.plot import plot
    from models.training.train import train

    for name in names:
        recipe = RECIPES[name]
        train(recipe, threads)
        for agreement in export(recipe):
            told = f"largest difference {agreement.largest:.4f} nats, same choice {agreement.same_choice:.4f}"
            print(f"{name} {agreement.kind}: {told}")
        plot(recipe)


def main() -> None:
    """Parse the command line and run one step."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    corpus = steps.add_parser("corpus", help="print samples of the training set")
    corpus.add_argument("count", type=int, nargs="?", default=20)
    make = steps.add_parser("make", help="train, export and check")
    make.add_argument("names", nargs="*", default=list(RECIPES), metavar="MODEL")
    make.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    steps.add_parser("evaluate", help="measure the shipped models and write the report")
    chosen = parser.parse_args()
    if chosen.step == "corpus":
        _corpus(chosen.count)
    elif chosen.step == "make":
        unknown = set(chosen.names) - set(RECIPES)
        if unknown:
            parser.error(f"no such model: {', '.join(sorted(unknown))}")
        _make(chosen.names, chosen.threads)
    else:
        from models.training.evaluation.report import evaluate

        evaluate()


if __name__ == "__main__":
    main()
