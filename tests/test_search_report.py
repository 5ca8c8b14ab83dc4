"""The report of a search for a prompt: the choice, on which rows, the guards, and every trial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from advisor import report
from advisor.commands.shared import save_decision
from advisor.report.search import FIRST, describe, read_search, section
from advisor.texts import LANGUAGES, say
from executors.base import UserError, to_dict, write_json
from executors.prompt.candidates import candidates
from executors.prompt.params import PromptParams
from executors.trials import SearchRecord, Trial, changes
from tests.samples import DECISION, FLOOR, RESULT
from tests.test_errors import check

NEAR = {"shots": 3, "selection": "nearest", "candidates": "shown", "calibration": "none", "neighbours": 0.5}
TRIALS = (
    *(Trial({"shots": n, "wording": "cued"}, 0, 16, n / 100, -1.0, 2.0, 300.0 + n, kept=n > 4) for n in range(8)),
    Trial({"shots": 9, "order_seed": 1}, 0, 16, 0.9, -1.0, 2.0, 400.0, flags=("last_label",)),
    Trial(NEAR, 1, 32, 0.75, -0.5, 12.5, 240.0, kept=True),
)
RECORD = to_dict(
    SearchRecord(
        metric="accuracy",
        higher_is_better=True,
        development_rows=32,
        training_rows=210,
        chance=0.0938,
        budget_seconds=120.0,
        seconds=91.4,
        stopped="budget",
        candidates=37,
        trials=TRIALS,
        chosen=NEAR,
        score=0.75,
        plain=0.375,
        floor=0.625,
        guards=({"en": "with 48 demonstrations it fell", "zh": "48 个示例时下降"},),
    )
)


def page(form: str = "md", lang: str = "en", **changed: object) -> str:
    return report.render(DECISION, RESULT, FLOOR, form, lang, {**RECORD, **changed})


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_the_choice_stands_with_its_scores_before_and_after(form: str, lang: str) -> None:
    told = page(form, lang)
    assert say("report.search", lang) in told
    for figure in ("0.750", "0.375", "0.625", "0.094", "210", "32"):
        assert figure in told
    assert RECORD["guards"][0][lang] in told
    assert describe(NEAR, lang) in told


def test_it_says_that_the_rows_are_of_the_training_side_and_that_the_score_flatters() -> None:
    told = page()
    assert "9 of 37 prompts were compared, the best of them on 32 development rows." in told
    assert "taken from the 210 training rows; no held-out row was used. It took 91 s" in told
    assert "flatters it" in told


@pytest.mark.parametrize(("floor", "higher", "warned"), [(0.8, True, True), (0.7, True, False), (0.8, False, False)])
def test_a_floor_that_does_as_well_is_a_warning(floor: float, higher: bool, warned: bool) -> None:
    assert ("Copying the answer of the nearest training row" in page(floor=floor, higher_is_better=higher)) is warned


def test_no_floor_was_measured_where_nothing_was_embedded() -> None:
    told = page(floor=None, plain=None, chance=0.0)
    assert "nearest training row" not in told
    assert "before the search" not in told


@pytest.mark.parametrize("form", ["md", "html"])
def test_every_trial_is_there_and_the_later_ones_are_folded(form: str) -> None:
    told = page(form)
    shown, folded = told.split("<summary>2 more trials</summary>" if form == "html" else "<details><summary>2 more")
    assert len(TRIALS) - 2 == FIRST
    for trial in TRIALS:
        assert f"{trial.tokens:,.0f}" in told
    assert "240" in shown  # the last round's
    assert "always the label of the last demonstration" in folded  # a trap, however well it scored
    assert "</details>" in folded


def test_prompts_are_told_in_words_of_both_languages() -> None:
    nearness = describe(NEAR, "en")
    assert nearness == "3 demonstrations · nearest · labels of the demonstrations compared · nearness counts 0.5 times"
    assert describe({"shots": 0, "wording": "cued"}, "zh") == "无示例 · 措辞 cued"
    assert describe({}, "en") == "the plan's own prompt"
    assert describe({"repairs": 3}, "en") == "`repairs=3`"


def test_every_change_of_a_search_has_words() -> None:
    base = PromptParams()
    labelled = [("classification", labels, False) for labels in (3, 80)]
    for task, labels, grounded in (*labelled, ("generation", 0, False), ("question_answering", 0, True)):
        for one in candidates(base, frozenset(), task, labels, 500, grounded, True):
            for lang in LANGUAGES:
                assert "=" not in describe(changes(one, base), lang)


def test_the_record_is_read_from_the_artifact_and_stands_in_the_json(tmp_path: Path) -> None:
    assert read_search(tmp_path) is None
    assert section(None, "en") == []
    (tmp_path / "artifact").mkdir()
    write_json(tmp_path / "artifact" / "search.json", RECORD)
    save_decision(tmp_path, DECISION)
    from advisor.commands.report import render

    assert json.loads(render(tmp_path, "json", "en"))["search"] == json.loads(json.dumps(RECORD))
    assert "How the prompt was chosen" in render(tmp_path, "md", "en")
    assert "search" not in json.loads(report.render(DECISION, None, None, "json", "en"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"trials": [{"rung": 0}]}'])
def test_a_damaged_record_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "search.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_search(tmp_path)
    check(refused.value.problem, "search.json")


def test_one_trial_has_nothing_to_fold() -> None:
    alone = to_dict(replace(TRIALS[0], kept=True))
    assert "<details" not in page("md", trials=[alone], chosen={})
