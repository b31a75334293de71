"""The training curve as a picture for the model card."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

from models.training.recipe import Recipe

mpl.use("Agg")
import matplotlib.pyplot as plt


def plot(recipe: Recipe) -> Path:
    """Draw loss against tokens seen, for training and unseen conversations; returns the picture's path."""
    curve = json.loads((recipe.folder / "curve.json").read_text())
    millions = [point["step"] * recipe.batch_tokens / 1e6 for point in curve]
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    axes.plot(millions, [point["train"] for point in curve], label="training batch", linewidth=1)
    axes.plot(millions, [point["check"] for point in curve], label="another seed", linewidth=2)
    axes.set(
        xlabel="tokens seen, in millions", ylabel="loss, in nats a token", title=recipe.name, yscale="log"
    )
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    figure.savefig(recipe.curve_picture, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return recipe.curve_picture
