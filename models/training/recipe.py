"""The two recipes: every number that decides what a trained model is, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.training.dataset import CHATML, LLAMA_CHAT, ChatFormat
from models.training.shape import Family, Shape

HERE = Path(__file__).parent
BUILD = HERE / "build"
BUILTIN = HERE.parent / "builtin"
TOKENIZER_SAMPLES = 20_000
VALIDATION_SEED = 999_983
VALIDATION_SAMPLES = 1_500


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model's training; rates are those at the peak, a batch counts `batch_tokens` token positions."""

    name: str
    shape: Shape
    chat: ChatFormat
    seed: int
    samples: int
    steps: int
    batch_tokens: int
    matrix_rate: float
    vector_rate: float
    long_every: int  # one batch in so many is made of long rows
    blank_words: int  # pieces that join a blank and a word (llama only)

    @property
    def folder(self) -> Path:
        """Where checkpoints and intermediate files go (ignored by git)."""
        return BUILD / self.name

    @property
    def output(self) -> Path:
        """The GGUF that ships."""
        return BUILTIN / f"{self.name}.gguf"

    @property
    def curve_picture(self) -> Path:
        """The training curve, drawn."""
        return BUILTIN / f"{self.name}-curve.png"

    @property
    def agreement_file(self) -> Path:
        """What the export's check against llama.cpp found, as JSON."""
        return BUILTIN / f"{self.name}-agreement.json"


TINY = Recipe(
    name="agentkernel-tiny",
    shape=Shape(Family.LLAMA, vocabulary=2048, width=192, layers=5, heads=6, kv_heads=2, feed_forward=512),
    chat=LLAMA_CHAT,
    seed=20_310,
    samples=175_000,
    steps=1_900,
    batch_tokens=8_192,
    matrix_rate=4e-3,
    vector_rate=2e-3,
    long_every=6,
    blank_words=600,
)
CHATML_TINY = Recipe(
    name="agentkernel-chatml",
    shape=Shape(
        Family.QWEN2,
        vocabulary=1024,
        width=128,
        layers=4,
        heads=4,
        kv_heads=2,
        feed_forward=320,
        norm_epsilon=1e-6,
    ),
    chat=CHATML,
    seed=7_411,
    samples=60_000,
    steps=500,
    batch_tokens=8_192,
    matrix_rate=4e-3,
    vector_rate=2e-3,
    long_every=6,
    blank_words=0,
)
RECIPES = {recipe.name: recipe for recipe in (TINY, CHATML_TINY)}
