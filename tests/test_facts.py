"""Answers in, facts out: what is read, what is refused, and what is assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from advisor.answers import read_answers, write_answers
from advisor.facts import Assuming, Fact, Facts, assume, load_vocabulary, parse_value, parse_vocabulary
from executors.base import UserError


def refused(answers: object) -> UserError:
    with pytest.raises(UserError) as caught:
        read_answers(answers)  # type: ignore[arg-type]
    return caught.value


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "answers.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_answers_become_asked_facts(tmp_path: Path) -> None:
    facts = read_answers(written(tmp_path, "labelled_examples: 800\nknowledge_change: weekly\nstyle: true\n"))
    assert facts["labelled_examples"] == Fact("labelled_examples", 800, "asked")
    assert facts.value("knowledge_change") == "weekly"
    assert facts.value("style") is True


def test_null_and_missing_are_unknown() -> None:
    facts = read_answers({"labelled_examples": None, "version": 1, "schema_version": 1})
    assert len(facts) == 0
    assert facts.value("labelled_examples") is None


def test_zero_is_an_answer() -> None:
    assert read_answers({"labelled_examples": 0}).value("labelled_examples") == 0


def test_a_bare_no_is_the_option_no(tmp_path: Path) -> None:
    assert read_answers(written(tmp_path, "citations: no\n")).value("citations") == "no"


def test_every_fault_is_told_at_once() -> None:
    error = refused(
        {
            "labeled_examples": 3,
            "task": "clasification",
            "classes": -1,
            "style": "maybe",
            "target_score": 1.2,
            "requests_per_day": 2.5,
            "evaluation_examples": True,
            "serving_budget": float("nan"),
        }
    )
    assert error.message.startswith("8 problems:")
    for part in (
        "labeled_examples: unknown fact (did you mean 'labelled_examples'?)",
        "task: 'clasification' is not an option (did you mean 'classification'?): classification, regression",
        "classes: cannot be below 1, got -1",
        "style: expected true or false, got 'maybe'",
        "target_score: cannot be above 1, got 1.2",
        "requests_per_day: expected a whole number, got 2.5",
        "evaluation_examples: expected a whole number, got True",
        "serving_budget: must be finite",
    ):
        assert part in error.message
    assert "task: one of classification" in error.hint


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"classes": 1}, "classes"),
        ({"baseline_score": 0.8, "evaluation_examples": 0}, "baseline_score"),
        ({"gpu_memory_gb": 0, "gpu_count": 2}, "gpu_count"),
        ({"labelled_examples": -5}, "labelled_examples"),
    ],
)
def test_absurd_answers_are_refused_with_the_field(answers: dict[str, Any], field: str) -> None:
    error = refused(answers)
    assert error.message.startswith(f"{field}: ")
    assert error.hint


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "holds a list"),
        (b"a: [1\n", "is not YAML"),
        (b"task: classification\ntask: regression\n", "'task' is there twice"),
        ("task: 分类\n".encode("gb18030"), "is not UTF-8"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    assert part in refused(written(tmp_path, content)).message


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "no file" in refused(tmp_path / "none.yaml").message
    assert "is a folder" in refused(tmp_path).message


def test_an_empty_mapping_means_that_nothing_is_known(tmp_path: Path) -> None:
    assert len(read_answers(written(tmp_path, "{}\n"))) == 0


@pytest.mark.parametrize(
    ("fact", "raw", "value"),
    [
        ("labelled_examples", "10k", 10_000),
        ("labelled_examples", "3万", 30_000),
        ("labelled_examples", "1,200", 1200),
        ("labelled_examples", "1e4", 10_000),
        ("labelled_examples", 2000.0, 2000),
        ("unlabelled_tokens", "1.5B", 1_500_000_000),
        ("unlabelled_tokens", "3亿", 300_000_000),
        ("target_score", "85%", 0.85),
        ("target_score", 1, 1),
        ("serving_budget", "$0.50", 0.5),
        ("style", "yes", True),
        ("style", "否", False),
        ("task", "Question answering", "question_answering"),
        ("task", "问答", "question_answering"),
        ("privacy", "on-premises", "on_premises"),
    ],
)
def test_values_are_read_as_people_write_them(fact: str, raw: object, value: object) -> None:
    assert parse_value(load_vocabulary()[fact], raw) == value


def test_written_answers_are_read_back_without_assumptions(tmp_path: Path) -> None:
    facts = Facts(
        {
            "citations": Fact("citations", "no", "asked"),
            "style": Fact("style", False, "asked"),
            "labelled_examples": Fact("labelled_examples", 12, "measured"),
            "task": Fact("task", "generation", "assumed"),
        }
    )
    write_answers(tmp_path / "answers.yaml", facts)
    back = read_answers(tmp_path / "answers.yaml")
    assert back.believed() == {"citations": "no", "style": False, "labelled_examples": 12}


# -- assumptions -------------------------------------------------------------------------------------


def test_every_fact_with_a_meaning_is_assumed_with_its_reason() -> None:
    filled = assume(read_answers({"task": "translation"}))
    assert set(filled) == set(load_vocabulary()) - {"classes"}  # a translation has none
    assert filled["task"].origin == "asked"
    assert filled["model_parameters"].value == 8_000_000_000
    assert filled["model_parameters"].origin == "assumed"
    assert "8 B" in filled["model_parameters"].evidence["en"]


def test_what_is_known_shapes_what_is_assumed() -> None:
    assert assume(read_answers({"low_resource_language": True})).value("base_competence") == "low"
    assert assume(read_answers({"knowledge_tokens": 0})).value("knowledge_change") == "static"
    assert assume(read_answers({"citations": "required"})).value("failure") == "facts"
    assert assume(read_answers({"classes": 4})).value("task") == "classification"


def test_an_unknown_number_of_labels_is_not_zero() -> None:
    assert assume(Facts()).value("labelled_examples") != 0


def test_a_fact_without_a_meaning_has_no_value_even_if_given() -> None:
    view = Assuming(read_answers({"task": "extraction", "classes": 4}).believed())
    assert view.value("classes") is None
    assert not view.open("classes")


def test_an_assumed_fact_is_assumed_anew_when_others_change() -> None:
    facts = assume(read_answers({"task": "structured_output"}))
    assert facts.value("format_strict") is True
    again = assume(facts.with_(Fact("task", "generation", "asked")))
    assert again.value("format_strict") is False


# -- the vocabulary's own faults -----------------------------------------------------------------------


def test_faults_of_the_vocabulary_are_told_at_once() -> None:
    texts = {"en": "x", "zh": "x"}
    broken = {
        "facts": {
            "size": {
                "type": "integer",
                "question": {"en": "How large?"},
                "why": texts,
                "doubt": 2,
                "default": [{"when": {"fact": "sise", "at_least": 1}, "value": -1, "reason": texts}],
            },
        }
    }
    with pytest.raises(ValueError, match=r"facts\.yaml") as caught:
        parse_vocabulary(broken)
    for part in ("question: no text in 'zh'", "unknown fact 'sise'", "doubt", "below 0", "must have no 'when'"):
        assert part in str(caught.value)
