"""What models are good at, as a file says, and who is chosen by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentkernel.errors import KernelError
from agentkernel.routing import Routes, ranking, rationale, read

SCORES = {"small": {"fast": 9.0, "general": 3.0}, "large": {"fast": 2.0, "reasoning": 8.0, "general": 3.0}}


def test_the_best_is_first_and_who_has_no_score_is_not_there() -> None:
    assert ranking(SCORES, "fast") == [("small", 9.0), ("large", 2.0)]
    assert ranking(SCORES, "reasoning") == [("large", 8.0)]
    assert ranking(SCORES, "code") == []
    assert ranking({"none": {"code": 0.0}}, "code") == []


def test_of_equals_the_order_is_that_of_their_ids() -> None:
    assert [id_ for id_, _ in ranking(SCORES, "general")] == ["large", "small"]


def test_the_reason_names_the_class_who_said_so_the_score_and_the_next() -> None:
    ranked = ranking(SCORES, "fast")
    assert rationale(ranked, "fast", asked=True) == "fast as asked: scored 9, before large 2"
    assert rationale(ranked[1:], "fast", asked=False) == "fast by its words: scored 2"


def test_a_file_that_changes_is_read_again_and_one_that_breaks_or_goes_changes_nothing_else(tmp_path) -> None:
    file = tmp_path / "catalog.yaml"
    routes = Routes(tmp_path)
    assert routes.scores() == {}
    file.write_text("models:\n  a: {fast: 1}\n")
    assert routes.scores() == {"a": {"fast": 1.0}}
    file.write_text("models:\n  a: {fast: 11}\n")
    assert routes.scores() == {"a": {"fast": 1.0}}
    file.write_text("models:\n  a: {fast: 2.5}\n")
    os.utime(file, ns=(1, 1))
    assert routes.scores() == {"a": {"fast": 2.5}}
    file.unlink()
    assert routes.scores() == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("models:\n  a: {fast: 11}\n", r"`\$\.models"),
        ("models:\n  a: {quick: 1}\n", "quick"),
        ("scores: {}\n", "scores"),
        ("models: [\n", "line 2"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault_when_the_kernel_starts(tmp_path, text, fault) -> None:
    (tmp_path / "catalog.yaml").write_text(text)
    with pytest.raises(KernelError, match=f"LOAD_FAILED: .*catalog.yaml: .*{fault}"):
        Routes(tmp_path)


def test_the_scores_that_come_with_the_project_are_read(tmp_path) -> None:
    shipped = Path(__file__).parent.parent / "models"
    for id_ in read(shipped / "catalog.yaml"):
        assert (shipped / f"{id_}.gguf").is_file()
