"""Why an answer is wrong: each cause from an index and an answer made for it, the command, and what a run keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import executors
from advisor import report
from advisor.commands.shared import save_decision
from advisor.report.triage import FIRST, causes, read_triage, section
from advisor.texts import LANGUAGES
from executors.base import DataSpec, Input, Passage, Plan, Prediction, Row, UserError
from executors.retriever.index import Index, build_index, open_index
from executors.retriever.params import Setup
from executors.retriever.search import Searcher, SearchSettings
from executors.retriever.triage import KINDS, Triage, examine, is_wrong
from executors.run import run_plan
from tests.fakes import FirstWordExecutor, FirstWordPredictor
from tests.samples import DECISION, FLOOR, RESULT
from tests.test_errors import check

LAMPS = Passage("A green lamp means that all is well.", "lamps.md", "Lamps")
RED = Passage("A red lamp means: call 0800 1234.", "lamps.md", "Lamps")
GUARANTEE = Passage("The guarantee lasts three years.", "guide/terms.md", "Terms")
FILLERS = [Passage(f"The lamp of floor {n} is red or green.", f"floor-{n}.md") for n in range(30)]
SETUP = Setup("question_answering", "m", 2, SearchSettings(how="lexical"), "generate", 1)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    build_index([LAMPS, RED, GUARANTEE, *FILLERS], None, None, tmp_path / "index")
    with open_index(tmp_path / "index", None) as opened:
        yield opened


def row(target: str, source: str = "", question: str = "What does a red lamp mean?") -> Row:
    return Row("q:1", Input(question), (target,), source)


def found(index: Index, row: Row, prediction: Prediction, **changed: Any) -> tuple[str, str, int | None]:
    setup = replace(SETUP, **changed)
    failure = Triage(index, Searcher(index, None, setup.search), setup, "r1").failure(row, prediction)
    check_words(failure.why)
    return failure.kind, failure.command, failure.place


def check_words(why: Any) -> None:
    assert set(why) == {"en", "zh"}
    assert all(why.values())
    assert "{" not in "".join(why.values())


# -- causes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [row("blue", "walls.md"), row("seven dwarfs")])
def test_what_no_passage_holds_is_not_indexed(wanted: Row, index: Index) -> None:
    assert found(index, wanted, Prediction("x", passages=(LAMPS,))) == ("not_indexed", "advisor index r1", None)


def test_what_stands_a_little_deeper_is_fetched_by_a_larger_k(index: Index) -> None:
    deep = Searcher(index, None, SETUP.search).search(["What does a red lamp mean?"], 50)[0]
    assert deep[0].text == RED.text
    third = row("floor 3", deep[2].source)
    third = replace(third, targets=(deep[2].text,))
    assert found(index, third, Prediction("x", passages=tuple(deep[:2]))) == (
        "not_retrieved", "advisor run r1 --set k=3", 3
    )  # fmt: skip


def test_what_stands_far_down_asks_for_another_search(index: Index) -> None:
    deep = Searcher(index, None, SETUP.search).search(["What does a red lamp mean?"], 50)[0]
    far = row(deep[24].text, deep[24].source)
    assert found(index, far, Prediction("x", passages=tuple(deep[:2]))) == (
        "not_retrieved", "advisor run r1 --set search_seconds=120", 25
    )  # fmt: skip


def test_what_the_search_does_not_find_asks_for_another_search(index: Index) -> None:
    asked = row("three years", "terms", "How long am I covered?")
    kind, command, place = found(index, asked, Prediction("x", passages=(LAMPS,)))
    assert (kind, command, place) == ("not_retrieved", "advisor run r1 --set search_seconds=120", None)


def test_the_right_page_is_not_enough_where_another_passage_of_it_holds_the_answer(index: Index) -> None:
    kind, _, place = found(index, row("0800 1234", "lamps.md"), Prediction("all is well", passages=(LAMPS,)))
    assert (kind, place) == ("not_retrieved", 1)
    in_other_words = found(index, row("ring us", "lamps.md"), Prediction("all is well", passages=(LAMPS,)))
    assert in_other_words[0] == "ignored"  # the row puts it its own way: the page must do


def test_what_was_found_and_not_used_is_read_more_closely(index: Index) -> None:
    asked, passages = row("0800 1234", "lamps"), (RED, LAMPS)
    assert found(index, asked, Prediction("green lamp", passages=passages)) == (
        "ignored", "advisor run r1 --set reader=extract", 1
    )  # fmt: skip
    copied = found(index, asked, Prediction("green lamp", passages=passages), reader="extract")
    assert copied[1] == "advisor run r1 --model qwen2.5-1.5b-instruct"


def test_a_passage_beyond_those_the_model_reads_is_shown_to_it(index: Index) -> None:
    prediction = Prediction("all is well", passages=(LAMPS, RED))
    assert found(index, row("0800 1234", "lamps"), prediction) == (
        "ignored", "advisor run r1 --set passages_read=2", 2
    )  # fmt: skip


def test_an_answer_from_memory_is_unsupported(index: Index) -> None:
    asked = row("0800 1234", "lamps")
    assert found(index, asked, Prediction("the fire brigade", passages=(RED,)))[0] == "unsupported"
    assert found(index, asked, Prediction("the lamp", passages=(RED,), support=0.4))[0] == "unsupported"
    assert found(index, asked, Prediction("fire", passages=(RED,), support=0.5))[0] == "ignored"


def test_an_answer_held_back_lowers_the_bar(index: Index) -> None:
    prediction = Prediction("I could not find this.", passages=(RED,), abstained=True)
    assert found(index, row("0800 1234", "lamps"), prediction)[:2] == (
        "ignored", "advisor run r1 --set answered=0.99"
    )  # fmt: skip


def test_chinese_passages_are_told_by_their_characters(tmp_path: Path) -> None:
    passage = Passage("门铃的保修期为三年，电池除外。", "手册.md", "保修")
    build_index([passage, Passage("安装高度为一米四。", "手册.md", "安装")], None, None, tmp_path / "zh")
    with open_index(tmp_path / "zh", None) as index:
        assert (
            found(index, row("三年", "", "保修多久？"), Prediction("一米四", passages=(passage,)))[0] == "unsupported"
        )
        assert found(index, row("五年", "", "保修多久？"), Prediction("三年", passages=(passage,)))[0] == "not_indexed"


@pytest.mark.parametrize(
    ("task", "answer", "wrong"),
    [
        ("question_answering", "It is three years.", False), ("question_answering", "three long years", False),
        ("question_answering", "two", True), ("reasoning", "Answer: three years", False), ("reasoning", "three", True),
    ],
)  # fmt: skip
def test_an_answer_that_holds_or_nearly_is_a_target_is_right(task: str, answer: str, wrong: bool) -> None:
    assert is_wrong(task, row("three years"), Prediction(answer)) is wrong


def test_wrong_answers_are_counted_by_cause(index: Index) -> None:
    rows = [row("all is well"), row("0800 1234", "lamps"), row("blue", "walls.md")]
    predictions = [Prediction("all is well"), Prediction("a green lamp", passages=(RED,)), Prediction("x")]
    record = examine(rows, predictions, index, Searcher(index, None, SETUP.search), SETUP, "r1")
    assert (record["rows"], record["wrong"]) == (3, 2)
    assert record["counts"] == {"not_indexed": 1, "not_retrieved": 0, "ignored": 1, "unsupported": 0}
    assert [one["kind"] for one in record["failures"]] == ["ignored", "not_indexed"]
    summaries = replace(SETUP, task="summarisation")
    assert examine(rows, predictions, index, Searcher(index, None, SETUP.search), summaries, "r1") == {}


# -- what a run keeps, and the report shows ------------------------------------------------------------


class Examined(FirstWordPredictor):
    def examine(self, rows: Any, predictions: Any, run: str) -> dict[str, Any]:
        wrong = [r.id for r, p in zip(rows, predictions, strict=True) if p.text != r.target]
        return {"rows": len(rows), "wrong": len(wrong), "failures": wrong, "run": run}


class ExaminedExecutor(FirstWordExecutor):
    Predictor = Examined


def test_a_run_of_any_method_keeps_what_its_predictor_says(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("train.csv").write_text("text,label\n" + "".join(f"rain {n},wet\nsun {n},dry\n" for n in range(5)))
    Path("test.csv").write_text("text,label\nrain today,wet\nsnow,wet\n")
    plan = Plan("first_word", "classification", DataSpec("train.csv", "test.csv"))
    for name, kept in (("FirstWordExecutor", False), ("ExaminedExecutor", True)):
        module = "tests.fakes" if name == "FirstWordExecutor" else "tests.test_triage"
        monkeypatch.setitem(executors.EXECUTORS, "first_word", f"{module}:{name}")
        run_plan(replace(plan, seed=int(kept)), Path("runs/r1"))
        assert Path("runs/r1/triage.json").is_file() is kept
    record = json.loads(Path("runs/r1/triage.json").read_text(encoding="utf-8"))
    assert record == {"rows": 2, "wrong": 1, "failures": ["test.csv:3"], "run": "r1"}


def failure(kind: str, command: str, n: int = 0) -> dict[str, Any]:
    return {
        "id": f"q:{n}", "question": f"Which {n}?", "targets": ["this", "that"], "answer": "neither", "kind": kind,
        "why": {"en": f"why {n}", "zh": f"原因 {n}"}, "command": command, "source": "a.md", "place": None,
    }  # fmt: skip


FAILURES = [failure("ignored", "advisor run r1 --set reader=extract", n) for n in range(7)]
FAILURES += [failure("not_indexed", "advisor index r1", 7), failure("own_kind", "advisor run r1", 8)]
RECORD = {
    "schema_version": 1, "rows": 20, "wrong": 9, "failures": FAILURES,
    "counts": {"not_indexed": 1, "not_retrieved": 0, "ignored": 7, "unsupported": 0, "own_kind": 1},
}  # fmt: skip


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_the_report_shows_causes_commands_and_answers(form: str, lang: str) -> None:
    told = report.render(DECISION, RESULT, FLOOR, form, lang, None, RECORD)
    for part in ("advisor index r1", "advisor run r1 --set reader=extract", "Which 0?", FAILURES[0]["why"][lang]):
        assert part in told
    assert {"en": "found, not used", "zh": "检索到但未用上"}[lang] in told
    shown, folded = told.split("<details>", 1) if form == "md" else told.split("<details", 1)
    assert f"Which {FIRST - 1}?" in shown
    assert "Which 7?" not in shown
    assert "Which 7?" in folded


def test_causes_come_with_the_command_of_most_the_commonest_first() -> None:
    assert causes(RECORD) == [
        ("ignored", 7, "advisor run r1 --set reader=extract"),
        ("not_indexed", 1, "advisor index r1"),
        ("own_kind", 1, "advisor run r1"),
    ]


def test_the_record_is_read_from_the_runs_folder_and_stands_in_the_json(tmp_path: Path) -> None:
    from advisor.commands.report import render

    assert read_triage(tmp_path) is None
    assert section(None, "en") == []
    save_decision(tmp_path, DECISION)
    (tmp_path / "triage.json").write_text(json.dumps(RECORD), encoding="utf-8")
    assert json.loads(render(tmp_path, "json", "en"))["triage"] == RECORD
    assert "## Why answers are wrong" in render(tmp_path, "md", "en")
    assert "## 答错的原因" in render(tmp_path, "md", "zh")
    right = {**RECORD, "wrong": 0, "failures": [], "counts": dict.fromkeys(KINDS, 0)}
    assert "None of the 20 answers" in report.render(DECISION, RESULT, FLOOR, "md", "en", None, right)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"failures": [{}], "counts": {}}', '{"failures": [], "counts": 3}']
)
def test_a_damaged_record_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "triage.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_triage(tmp_path)
    check(refused.value.problem, "triage.json")
