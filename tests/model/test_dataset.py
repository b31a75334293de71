"""Packing: every token of every conversation once, nothing across a boundary, loss on the assistant only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.training import dataset
from models.training.corpus.turns import END, MARKERS, Turn


class Letters:
    """A tokenizer with a token for each character and marker."""

    bos: int | None = 1

    def size(self):
        return 1000

    def encode(self, text):
        return [20 + ord(letter) for letter in text]

    def marker(self, name):
        return 2 + MARKERS.index(name)


TURNS = (Turn("user", "Hi"), Turn("assistant", "Yes"), Turn("tool", "5"))
NEWLINE = 20 + ord("\n")


def test_the_loss_counts_the_assistants_words_and_its_end_marker():
    letters = Letters()
    tokens, counted = dataset.encode_chat(letters, dataset.LLAMA_CHAT, TURNS)
    learnt = [token for token, flag in zip(tokens, counted, strict=True) if flag]
    assert learnt == [*letters.encode("Yes"), letters.marker(END)]


def test_a_turn_is_marker_newline_text_end_newline():
    letters = Letters()
    tokens, _ = dataset.encode_chat(letters, dataset.LLAMA_CHAT, TURNS[:1])
    user, end = letters.marker("<|user|>"), letters.marker(END)
    assert tokens == [1, user, NEWLINE, *letters.encode("Hi"), end, NEWLINE]


def test_a_prompt_is_the_turns_and_an_open_answer():
    assert dataset.LLAMA_CHAT.prompt(TURNS[:1]) == "<|user|>\nHi<|end|>\n<|assistant|>\n"
    assert dataset.CHATML.prompt(TURNS[:1]) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


SAMPLES = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@given(SAMPLES)
def test_packing_keeps_every_sample_whole(lengths):
    samples = [([100 + i] * length, [i % 2 == 0] * length) for i, length in enumerate(lengths)]
    rows = dataset.pack(samples, 64)
    found = {}
    for tokens, positions, documents, counted in zip(
        rows.tokens, rows.positions, rows.documents, rows.counted, strict=True
    ):
        for number in range(1, documents.max() + 1):
            here = documents == number
            assert list(positions[here]) == list(range(here.sum()))
            assert len(set(tokens[here])) == 1
            found[tokens[here][0] - 100] = (int(here.sum()), bool(counted[here].all()))
        assert not tokens[documents == 0].any()
        assert not counted[documents == 0].any()
    assert found == {i: (length, i % 2 == 0) for i, length in enumerate(lengths)}


def test_packing_wastes_little():
    lengths = [17, 40, 9, 31, 55, 23, 12] * 60
    rows = dataset.pack((([1] * n, [True] * n) for n in lengths), 64)
    assert (rows.documents > 0).mean() > 0.9


def test_long_conversations_go_to_long_rows_and_are_cut_at_the_context():
    turns = [(Turn("assistant", "x" * size),) for size in (10, 500, 5000)]
    short, long = dataset.build(Letters(), dataset.LLAMA_CHAT, iter(turns))
    assert short.tokens.shape == (1, dataset.SHORT)
    assert long.tokens.shape == (2, dataset.LONG)
    assert (long.documents > 0).sum(1).max() == dataset.LONG
