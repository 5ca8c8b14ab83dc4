"""What measured answers say of the base model, and what becomes of a decision by them. All answers are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from advisor.commands.ask import complete
from advisor.decision import Inputs
from advisor.facts import Fact, Facts
from advisor.flowchart import load_chart
from advisor.prove import revision
from advisor.prove.evidence import Answered, Ground, base_competence, behaviour_wrong, facts_missing, sort
from advisor.prove.records import FOLDER
from advisor.prove.revision import measure, merge, read_revision, revised
from advisor.texts import LANGUAGES, read_knowledge
from executors.base import Input, Prediction, Row, UserError, write_json

N = 100


def label_rows(n: int = N) -> tuple[Row, ...]:
    return tuple(Row(str(i), Input(f"text {i}"), ("a" if i % 2 else "b",)) for i in range(n))


def text_rows(n: int = N, context: str = "") -> tuple[Row, ...]:
    return tuple(Row(str(i), Input(f"question {i}", context), (f"answer number{i}",)) for i in range(n))


def labelled(name: str, right: int, rows: Sequence[Row], **more: object) -> Answered:
    """Right on the first `right` rows."""
    wrong = {"a": "b", "b": "a"}
    given = {r.id: Prediction(r.target if i < right else wrong[r.target]) for i, r in enumerate(rows)}
    return Answered(name, tuple(name.partition("@")[0].split("+")), given, **more)  # type: ignore[arg-type]


def answered(name: str, texts: Mapping[str, str], **more: object) -> Answered:
    given = {key: Prediction(value) for key, value in texts.items()}
    return Answered(name, tuple(name.split("+")), given, **more)  # type: ignore[arg-type]


def labels(target: float | None = None, n: int = N, **right: int) -> Ground:
    rows = label_rows(n)
    found = {name: labelled(name, count, rows) for name, count in right.items()}
    return Ground("classification", "accuracy", rows, found, target)


def questions(
    mended: int, unsupplied: int, misread: int, *, form: int = 0, rest_right: bool = True, target: float | None = None
) -> Ground:
    """Rows by what retrieval makes of plain prompting's wrong answers; in all others both are right."""
    rows = text_rows()
    plain, looked, causes = {}, {}, {}
    for number, row in enumerate(rows):
        wrong = number < mended + unsupplied + misread
        plain[row.id] = "nothing" if wrong else row.target if rest_right else "nothing"
        looked[row.id] = row.target if number < mended or not wrong else "else"
        if mended <= number < mended + unsupplied:
            causes[row.id] = "not_retrieved"
        elif wrong and number >= mended:
            causes[row.id] = "ignored"
    for number in range(N - form, N):
        plain[str(number)] = f"well, as far as I can see it must be the {rows[number].target}, or so people often say"
    given = {
        "prompt": answered("prompt", plain),
        "rag": answered("rag", looked, causes=causes),
        "baseline": answered("baseline", dict.fromkeys(plain, "none")),
    }
    return Ground("question_answering", "f1", rows, given, target, documents=True)


def value(ground: Ground, fact: str, believed: Mapping[str, Fact] | None = None) -> object:
    return next((one.value for one in measure(ground, believed) if one.id == fact), None)


# -- what is wrong -------------------------------------------------------------------------------------------


def test_answers_that_documents_mend_lack_facts() -> None:
    assert value(questions(mended=60, unsupplied=0, misread=2), "failure") == "facts"


def test_answers_that_stay_wrong_with_their_passage_are_behaviour() -> None:
    assert value(questions(mended=1, unsupplied=0, misread=60), "failure") == "behaviour"


def test_both_where_each_cause_has_its_share() -> None:
    found = sort(questions(mended=20, unsupplied=10, misread=30))
    assert found is not None
    assert (found.wrong, found.facts, found.behaviour) == (60, 30, 30)
    assert value(questions(mended=20, unsupplied=10, misread=30), "failure") == "both"


def test_a_passage_that_was_not_found_leaves_a_fact_missing() -> None:
    assert value(questions(mended=0, unsupplied=50, misread=0), "failure") == "facts"


def test_right_words_in_the_wrong_form_are_behaviour() -> None:
    found = sort(questions(mended=0, unsupplied=0, misread=0, form=40))
    assert found is not None
    assert (found.facts, found.behaviour) == (0, 40)


def test_rows_that_bring_their_passage_lack_no_facts() -> None:
    rows = tuple(replace(row, input=Input(row.input.text, f"It is the {row.target}.")) for row in text_rows())
    given = {"prompt": answered("prompt", {row.id: "nothing" for row in rows})}
    ground = Ground("question_answering", "f1", rows, given)
    assert facts_missing(ground).there is False
    assert value(ground, "failure") == "behaviour"


def test_of_labels_it_is_behaviour_where_examples_teach_them() -> None:
    assert value(labels(prompt=40, probe=80, baseline=50), "failure") == "behaviour"


def test_a_small_difference_leaves_it_open() -> None:
    ground = labels(prompt=60, probe=62, baseline=50)
    assert behaviour_wrong(ground).there is None
    assert value(ground, "failure") is None


def test_nothing_is_wrong_only_where_the_whole_interval_is_at_the_target() -> None:
    assert value(labels(0.8, prompt=95, baseline=50), "failure") == "none"
    assert value(labels(0.94, prompt=95, baseline=50), "failure") is None


def test_what_was_not_tried_stays_as_it_was_believed() -> None:
    believed = {"failure": Fact("failure", "both", "asked")}
    fact = next(one for one in measure(labels(prompt=40, probe=80), believed) if one.id == "failure")
    assert fact.value == "both"
    assert "facts: not tried" in fact.evidence["en"]


def test_what_was_tried_in_vain_is_ruled_out() -> None:
    believed = {"failure": Fact("failure", "both", "asked")}
    assert value(questions(mended=1, unsupplied=0, misread=80), "failure", believed) == "behaviour"


def test_eight_rows_tell_nothing() -> None:
    ground = labels(n=8, prompt=1, probe=8, baseline=1)
    assert [fact.id for fact in measure(ground)] == ["baseline_score"]


def test_labels_permuted_at_random_tell_of_no_failure() -> None:
    assert value(labels(prompt=50, probe=51, peft=49, baseline=50), "failure") is None


def test_a_cure_tried_on_a_part_of_the_rows_rules_nothing_out() -> None:
    rows = label_rows(2000)
    given = {"prompt": labelled("prompt", 1000, rows), "probe": labelled("probe", 1000, rows)}
    whole = Ground("classification", "accuracy", rows, given)
    part = replace(whole, answered={**given, "probe": replace(given["probe"], whole=False)})
    assert (behaviour_wrong(whole).there, behaviour_wrong(part).there) == (False, None)


# -- what the model can do -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "level"), [(55, "low"), (75, "medium"), (90, "high")])
def test_competence_is_the_share_of_the_way_from_the_floor(right: int, level: str) -> None:
    assert value(labels(prompt=right, baseline=50), "base_competence") == level  # shares .1, .5, .8


def test_a_model_surely_at_the_target_is_competent() -> None:
    assert value(labels(0.55, prompt=72, baseline=50), "base_competence") == "high"


def test_with_documents_it_is_told_from_rows_whose_passage_was_there() -> None:
    found = base_competence(questions(mended=40, unsupplied=50, misread=0))
    assert found is not None
    assert found.level == "high"
    assert "50 rows" in found.why["en"]


def test_open_text_without_a_target_tells_nothing() -> None:
    rows = text_rows()
    given = {name: answered(name, {row.id: "a b" for row in rows}) for name in ("prompt", "baseline")}
    assert base_competence(Ground("generation", "f1", rows, given)) is None


# -- said against measured ---------------------------------------------------------------------------------------


def test_what_was_said_stays_unless_the_interval_excludes_it() -> None:
    ground = labels(prompt=60, baseline=50)  # Wilson: .50 to .69
    kept = {}
    for said in (0.65, 0.9):
        facts, told = merge(measure(ground), {"baseline_score": Fact("baseline_score", said, "asked")}, ground)
        kept[said] = ("baseline_score" in {fact.id for fact in facts}, len(told))
    assert kept == {0.65: (False, 0), 0.9: (True, 1)}


def test_an_assumption_gives_way_without_a_word() -> None:
    ground = labels(prompt=60, baseline=50)
    facts, told = merge(measure(ground), {"baseline_score": Fact("baseline_score", 0.5, "assumed")}, ground)
    assert "baseline_score" in {fact.id for fact in facts}
    assert told == ()


def test_good_enough_is_not_overruled_by_a_better_method() -> None:
    ground = labels(prompt=60, probe=90, baseline=50)
    _, told = merge(measure(ground), {"failure": Fact("failure", "none", "asked")}, ground)
    assert told == ()


# -- the decision --------------------------------------------------------------------------------------------------


ANSWERS: Mapping[str, object] = {
    "task": "classification", "classes": 2, "labelled_examples": 80, "training_budget": "small",
    "knowledge_tokens": 0, "knowledge_change": "static", "target_score": 0.9,
}  # fmt: skip


def decision(**more: object):  # type: ignore[no-untyped-def]
    said = {**ANSWERS, **more}
    return complete(Facts({name: Fact(name, value, "asked") for name, value in said.items()}), Inputs(), "r")  # type: ignore[arg-type]


def test_a_prompt_that_meets_the_target_moves_the_decision() -> None:
    before = decision()
    assert before.methods == ("probe",)
    found = revised(before, labels(0.9, prompt=99, probe=70, baseline=50), "prompt")
    assert found.after.methods == ("prompt",)
    assert not found.difference.stands
    assert found.difference.parting is not None
    assert "The recommendation changes" in " ".join(one["en"] for one in found.told)


def test_a_rule_that_rows_contradict_is_named_with_its_source() -> None:
    found = revised(decision(), labels(prompt=95, probe=70, baseline=50))
    one = next(one for one in found.contradictions if one.node == "labels_say_it_all")
    assert (one.one, one.other, one.source, one.strength) == ("prompt", "probe", "embeddings_vs_prompting", "moderate")
    assert one.difference.value == pytest.approx(0.25)
    assert one.p < 0.001


def test_a_rule_is_not_contradicted_by_what_was_cut_short_or_is_not_told_apart() -> None:
    ground = labels(prompt=95, probe=70, baseline=50)
    cut = {**ground.answered, "probe": replace(ground.answered["probe"], whole=False)}
    assert revised(decision(), replace(ground, answered=cut)).contradictions == ()
    assert revised(decision(), labels(prompt=73, probe=70, baseline=50)).contradictions == ()


def test_a_floor_above_all_contradicts_no_rule() -> None:
    assert revised(decision(), labels(prompt=50, probe=50, baseline=90)).contradictions == ()


def test_at_the_floor_the_race_advises_nothing_against_the_rules() -> None:
    ground = labels(prompt=50, probe=50, baseline=50)
    told = revised(decision(), ground, "baseline", "floor").told[-1]["en"]
    assert "nothing is above the floor yet" in told
    assert "the race advises" not in told
    taken = revised(decision(), ground, "baseline", "cheapest_at_target").told[-1]["en"]
    assert "the race advises Baseline" in taken  # all that the target asks for


def test_a_revision_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = revised(decision(), labels(0.9, prompt=95, probe=70, baseline=50))
    (tmp_path / FOLDER).mkdir()
    write_json(tmp_path / FOLDER / revision.FILE, {"schema_version": 1, **revision._plain(found)})
    assert read_revision(tmp_path) == found
    assert read_revision(tmp_path / "other") is None


def test_a_damaged_record_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / revision.FILE).write_text(json.dumps({"before": {}}), encoding="utf-8")
    with pytest.raises(UserError) as raised:
        read_revision(tmp_path)
    assert "advisor prove" in raised.value.hint
    assert raised.value.told("zh").message


def test_everything_is_told_in_both_languages() -> None:
    found = revised(decision(failure="facts"), labels(0.9, prompt=40, probe=95, baseline=50), "probe")
    for told in (*found.told, *(fact.evidence for fact in found.facts)):
        assert set(told) == set(LANGUAGES)
        assert all(told.values())


# -- the claims ------------------------------------------------------------------------------------------------------


def test_every_claim_names_an_edge_of_the_chart() -> None:
    for claim in read_knowledge("claims.yaml")["claims"]:
        edges = load_chart().nodes[claim["node"]].edges
        taken = [
            edge for edge in edges if edge.to == claim["to"] and ("adds" not in claim or claim["adds"] in edge.add)
        ]
        assert taken, claim
