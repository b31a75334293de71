"""The trainer: documents stay apart, a resumed run is the unbroken one, llama.cpp computes the same."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the bindings of sentencepiece warn at import
    pytest.importorskip("sentencepiece")
    pytest.importorskip("tokenizers")
    from models.training import export, recipe, train
    from models.training.network import Decoder
    from models.training.shape import Family, Shape

SMALL = Shape(Family.LLAMA, vocabulary=600, width=32, layers=2, heads=2, kv_heads=1, feed_forward=64)

PASSES = (recipe.Pass(1, 400, 4), recipe.Pass(2, 300, 2, peak=0.5))


@pytest.fixture(params=[Family.LLAMA, Family.QWEN2])
def small(request, monkeypatch, tmp_path):
    """A recipe that trains in seconds, in a folder of its own."""
    monkeypatch.setattr(recipe, "BUILD", tmp_path)
    monkeypatch.setattr(recipe, "BUILTIN", tmp_path)
    monkeypatch.setattr(train, "TOKENIZER_SAMPLES", 300)
    monkeypatch.setattr(train, "VALIDATION", replace(recipe.VALIDATION, samples=60))
    monkeypatch.setattr(train, "SAVE_EVERY", 3)
    monkeypatch.setattr(train, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(export, "CHECKED_CONVERSATIONS", 6)
    base = recipe.TINY if request.param is Family.LLAMA else recipe.CHATML_TINY
    shape = replace(SMALL, family=request.param)
    return replace(base, shape=shape, passes=PASSES, batch_tokens=2048, long_every=3, blank_words=20)


def hidden(model, tokens, documents):
    positions = torch.arange(tokens.shape[1]).unsqueeze(0)
    with torch.no_grad():
        return model(tokens, positions, documents)


@pytest.mark.parametrize("family", list(Family))
def test_a_document_does_not_see_its_neighbour(family):
    torch.manual_seed(1)
    model = Decoder(replace(SMALL, family=family))
    tokens = torch.randint(0, 600, (1, 20))
    documents = torch.tensor([[1] * 8 + [2] * 12])
    before = hidden(model, tokens, documents)
    tokens[0, :8] = 5
    after = hidden(model, tokens, documents)
    assert torch.equal(before[0, 8:], after[0, 8:])
    assert not torch.equal(before[0, :8], after[0, :8])


@pytest.mark.parametrize("family", list(Family))
def test_a_token_sees_its_past_and_not_its_future(family):
    torch.manual_seed(1)
    model = Decoder(replace(SMALL, family=family))
    tokens = torch.randint(0, 600, (1, 20))
    documents = torch.ones_like(tokens)
    before = hidden(model, tokens, documents)
    tokens[0, 10] = (tokens[0, 10] + 1) % 600
    after = hidden(model, tokens, documents)
    assert torch.allclose(before[0, :10], after[0, :10])
    assert not torch.allclose(before[0, 11:], after[0, 11:])


def test_the_rate_rises_stays_and_falls_to_nothing():
    source = recipe.Pass(seed=1, samples=1, steps=1000)
    factors = [train.rate_factor(step, source) for step in range(1000)]
    assert factors[0] < 0.05
    assert max(factors) == 1.0
    assert factors[-1] < 0.01
    assert factors[train.WARM_UP_STEPS] == 1.0
    assert train.rate_factor(300, replace(source, peak=0.25)) == 0.25


def test_a_busy_core_costs_one_thread_for_a_while():
    pace = train.Pace(2)
    pace.after(1.0)
    assert torch.get_num_threads() == 2
    pace.after(1.0 * train.SLOW + 1)
    assert torch.get_num_threads() == 1
    for _ in range(train.ALONE_STEPS):
        pace.after(9.0)
    assert torch.get_num_threads() == 2


def test_training_lowers_the_loss_and_export_agrees_with_llama(small):
    train.train(small, threads=1)
    curve = torch.load(small.folder / "checkpoint.pt", weights_only=True)["curve"]
    assert curve[-1]["step"] == 6
    rows = train.rows_of(small, train.vocabulary_of(small), train.VALIDATION)
    first = Decoder(replace(small.shape, vocabulary=train.vocabulary_of(small).size()))
    assert curve[-1]["check"] < train._measure(first, rows)
    exact, shipped = export.export(small)
    assert exact.largest < 0.002
    assert shipped.kind == "Q8_0"
    assert shipped.same_choice > 0.9


def test_an_interrupted_run_ends_where_an_unbroken_one_does(small, monkeypatch):
    train.train(small, threads=1)
    path = small.folder / "checkpoint.pt"
    unbroken = torch.load(path, weights_only=True)["model"]
    path.unlink()
    done = train._step
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return done(*arguments)

    monkeypatch.setattr(train, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.train(small, threads=1)
    assert torch.load(path, weights_only=True)["step"] == 3
    train.train(small, threads=1)
    resumed = torch.load(path, weights_only=True)["model"]
    assert all(torch.allclose(unbroken[name], resumed[name], atol=1e-5) for name in unbroken)
    assert len(calls) == 5 + 3


def test_a_file_that_llama_computes_otherwise_is_refused(small, monkeypatch):
    train.train(small, threads=1)
    write, load = export.write, export.load

    def louder(chosen):
        model, vocabulary = load(chosen)
        with torch.no_grad():
            model.norm.weight *= 1.5
        return model, vocabulary

    def spoilt(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(export, "load", louder)
            write(*arguments)

    monkeypatch.setattr(export, "write", spoilt)
    with pytest.raises(ValueError, match="disagrees"):
        export.export(small)
    assert not small.output.exists()
