"""The two recipes: every number that decides what a trained model is, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.training.corpus.mix import EVERYTHING, MORE_REQUESTS, Mixture
from models.training.dataset import CHATML, LLAMA_CHAT, ChatFormat
from models.training.shape import Family, Shape

HERE = Path(__file__).parent
BUILD = HERE / "build"
BUILTIN = HERE.parent / "builtin"
TOKENIZER_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a training: what it draws, for how many steps, at which share of the recipe's rates."""

    seed: int
    samples: int
    steps: int
    mixture: Mixture = EVERYTHING
    peak: float = 1.0
    cool_down: float = 0.6  # share of the steps over which the rates fall to 0


VALIDATION = Pass(seed=999_983, samples=1_500, steps=0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model's training; rates are those at the peak, a batch counts `batch_tokens` token positions."""

    name: str
    shape: Shape
    chat: ChatFormat
    passes: tuple[Pass, ...]
    batch_tokens: int
    matrix_rate: float
    vector_rate: float
    long_every: int  # one batch in so many is made of long rows
    blank_words: int  # pieces that join a blank and a word (llama only)

    @property
    def seed(self) -> int:
        """Of the first weights and of the tokenizer's texts."""
        return self.passes[0].seed

    @property
    def steps(self) -> int:
        """Of all passes together."""
        return sum(each.steps for each in self.passes)

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
    shape=Shape(Family.LLAMA, vocabulary=2048, width=192, layers=5, heads=6, kv_heads=6, feed_forward=512),
    chat=LLAMA_CHAT,
    passes=(
        Pass(seed=20_310, samples=400_000, steps=3_000),
        Pass(seed=20_312, samples=48_000, steps=600, mixture=MORE_REQUESTS, peak=0.35, cool_down=1.0),
    ),
    batch_tokens=8_192,
    matrix_rate=4e-3,
    vector_rate=2e-3,
    long_every=6,
    blank_words=350,
)
CHATML_TINY = Recipe(
    name="agentkernel-chatml",
    shape=Shape(
        Family.QWEN2,
        vocabulary=1024,
        width=128,
        layers=4,
        heads=4,
        kv_heads=4,
        feed_forward=320,
        norm_epsilon=1e-6,
    ),
    chat=CHATML,
    passes=(Pass(seed=7_411, samples=80_000, steps=600),),
    batch_tokens=8_192,
    matrix_rate=4e-3,
    vector_rate=2e-3,
    long_every=6,
    blank_words=0,
)
RECIPES = {recipe.name: recipe for recipe in (TINY, CHATML_TINY)}
