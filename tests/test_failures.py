"""What the chosen candidate gets wrong, in groups told apart from chance, and labels worth checking."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from advisor.prove.failures import FILE, KEPT, Failures, disagreements, find, read_failures, told, write_labels, wrongs
from advisor.prove.records import FOLDER, Choice, Pilot, Race, Standing
from advisor.texts import LANGUAGES
from executors.base import DataSpec, Input, Plan, Prediction, Row, Score, to_dict, write_json
from executors.run import run_plan

LABELS = ("card", "cash", "loan")


def labelled(*labels: str, texts: dict[int, str] | None = None) -> list[Row]:
    return [Row(f"r{n}", Input((texts or {}).get(n, f"text {n:03d}")), (label,)) for n, label in enumerate(labels)]


def said(rows: list[Row], **changes: str) -> dict[str, Prediction]:
    """The right answers, but for the rows named."""
    return {row.id: Prediction(changes.get(row.id, row.target)) for row in rows}


def kinds(found: Failures) -> list[str]:
    return [group.kind for group in found.groups]


# -- groups --------------------------------------------------------------------------------------------


def test_a_confusion_is_named_from_three_rows_on_with_both_directions_counted() -> None:
    rows = labelled(*["card"] * 10, *["cash"] * 10, *["loan"] * 10)
    given = said(rows, r0="cash", r1="cash", r2="cash", r10="card", r20="card", r21="card")
    found = find("classification", "accuracy", rows, {"probe": given}, "probe")
    (group,) = found.groups
    assert (found.rows, found.wrong, found.graded) == (30, 6, False)
    assert (group.kind, group.wrong, group.examples) == ("confusion", 4, ("r0", "r1", "r2", "r10"))
    assert group.elsewhere == 2 / 26
    assert group.name == {"en": "“card” and “cash” taken for each other", "zh": "“card”与“cash”互相误判"}
    assert "3 of the 10" in group.action["en"]
    assert "1 of the 10 the other way round" in group.action["en"]
    given |= {"r10": Prediction("cash"), "r22": Prediction("card")}
    found = find("classification", "accuracy", rows, {"probe": given}, "probe")
    assert [one.name["en"] for one in found.groups] == ["“card” taken for “cash”", "“loan” taken for “card”"]


def test_labels_confused_as_often_both_ways_are_one_group() -> None:
    rows = labelled(*["card"] * 4, *["cash"] * 4)
    given = said(rows, r0="cash", r1="cash", r4="card", r5="card")
    (group,) = find("classification", "accuracy", rows, {"probe": given}, "probe").groups
    assert (group.wrong, group.name["en"]) == (4, "“card” and “cash” taken for each other")


def test_lengths_that_go_wrong_more_often_are_told_and_chance_is_not() -> None:
    rows = labelled(*["card"] * 80, texts={n: "x" * (n + 1) for n in range(80)})
    late = said(rows, **{f"r{n}": "cash" if n % 2 else "loan" for n in range(60, 72)})
    found = find("classification", "accuracy", rows, {"probe": late}, "probe")
    (longest,) = (group for group in found.groups if group.kind == "length")
    assert (longest.rows, longest.wrong, longest.elsewhere) == (20, 12, 0.0)
    assert "61" in longest.name["en"]
    assert longest.adjusted is not None
    assert longest.adjusted < 1e-6
    spread = said(rows, **{f"r{n}": ("cash", "loan")[n % 2] for n in (3, 25, 47, 66, 78)})
    assert "length" not in kinds(find("classification", "accuracy", rows, {"probe": spread}, "probe"))


def test_random_failures_make_no_group_more_often_than_the_level_allows() -> None:
    """Holm over four lengths and two scripts: at most 5 of 100 such sets may show a group."""
    chance = random.Random(0)
    texts = {n: ("价格" if chance.random() < 0.4 else "ab") * chance.randint(1, 40) for n in range(120)}
    rows, shown = labelled(*["card"] * 120, texts=texts), 0
    for _ in range(100):
        wrong = {f"r{n}": f"other {n}" for n in range(120) if chance.random() < 0.3}
        shown += bool(find("classification", "accuracy", rows, {"probe": said(rows, **wrong)}, "probe").groups)
    assert shown <= 9  # the 97.5th percentile of 100 draws at 5 %


def test_a_language_that_goes_wrong_is_told_by_its_script() -> None:
    texts = dict.fromkeys(range(15), "信用卡在哪里申请")
    rows = labelled(*["card"] * 60, texts=texts | dict.fromkeys(range(15, 60), "where can I"))
    found = find("classification", "accuracy", rows, {"p": said(rows, **{f"r{n}": f"no {n}" for n in range(12)})}, "p")
    (group,) = (one for one in found.groups if one.kind == "language")
    assert (group.name["en"], group.rows, group.wrong) == ("Chinese", 15, 12)
    assert any("Chinese: 12 of 15 go wrong (80 %)" in line for line in told(found, "en"))


def test_causes_of_the_triage_come_with_the_command_of_most_of_them() -> None:
    rows = labelled(*["a long answer"] * 8)
    why = {"en": "look deeper", "zh": "多检索一些"}
    failures = [{"id": f"r{n}", "kind": "not_retrieved", "why": why, "command": "advisor run x --k 20"} for n in (0, 1)]
    failures += [{"id": "r2", "kind": "not_retrieved", "why": why, "command": "other"}]
    failures += [{"id": "r3", "kind": "ignored", "why": why, "command": "more"}]
    given = said(rows, r0="?", r1="?", r2="?", r3="?")
    found = find("question_answering", "f1", rows, {"rag": given}, "rag", {"failures": failures})
    (group,) = found.groups  # one that was ignored is too few
    assert (group.kind, group.wrong, group.command) == ("triage", 3, "advisor run x --k 20")
    assert group.name["en"] == "in the index, not found"
    assert group.elsewhere == 1 / 5


def test_rows_that_are_wrong_are_kept_with_what_was_answered() -> None:
    rows = labelled(*["card"] * 60)
    given = {**said(rows, **{f"r{n}": "loan" for n in range(50)}), "r1": Prediction("card", abstained=True)}
    found = find("classification", "accuracy", rows, {"p": given}, "p")
    assert (found.wrong, len(found.wrongs)) == (49, KEPT)
    assert (found.wrongs[0].id, found.wrongs[0].label, found.wrongs[0].answer) == ("r0", "card", "loan")


def test_what_the_floor_gets_wrong_is_grouped_by_nothing_it_does_not_look_at() -> None:
    rows = labelled(*["card"] * 20, *["loan"] * 20)
    given = said(rows, **{f"r{n}": "card" for n in range(20, 40)})
    assert [group.kind for group in find("classification", "accuracy", rows, {"p": given}, "p").groups] == ["confusion"]
    found = find("classification", "accuracy", rows, {"baseline": given}, "baseline")
    assert (found.wrong, found.groups) == (20, ())


def test_a_cause_that_each_row_tells_of_in_its_own_words_is_told_of_one_as_an_example() -> None:
    rows = labelled(*["a long answer"] * 8)
    failures = [
        {
            "id": f"r{n}",
            "kind": "ignored",
            "why": {"en": f"found in place {n}", "zh": f"第 {n} 位"},
            "command": "c --set k=1",
        }
        for n in range(3)
    ]
    given = said(rows, r0="?", r1="?", r2="?")
    found = find("question_answering", "f1", rows, {"rag": given}, "rag", {"failures": failures})
    assert found.groups[0].action["en"] == "e.g. r0: found in place 0"
    assert told(found, "en")[1].endswith("e.g. r0: found in place 0: `c --set k=1`")  # what to do, on the screen too


def test_wrong_is_what_is_no_target_holds_none_and_is_not_near_one() -> None:
    rows = labelled("paris france", "seven", "blue", "red")
    given = [Prediction("paris"), Prediction("it is seven"), Prediction("green"), Prediction("red", abstained=True)]
    wrong, graded = wrongs("question_answering", "f1", rows, given)
    assert (wrong.tolist(), graded) == ([False, False, True, True], False)
    exact, _ = wrongs("structured_output", "exact_match", rows, given)
    assert exact.tolist() == [True, True, True, True]


def test_of_numbers_the_quarter_furthest_off_is_looked_at() -> None:
    rows = labelled(*["1.0"] * 8)
    given = said(rows, r3="9", r5="4", r6="1.5")
    found = find("regression", "mae", rows, {"probe": given}, "probe")
    assert (found.wrong, found.graded) == (2, True)
    assert wrongs("regression", "mae", rows, list(said(rows).values()))[0].sum() == 0


# -- labels to check -----------------------------------------------------------------------------------


def test_rows_where_most_agree_against_the_label_come_first() -> None:
    """r0: all three say cash; r1: two say cash, one is right; r2: each says something else; r3..: all are right."""
    rows = labelled("card", "card", "card", *["loan"] * 7)
    answers = {
        "a": said(rows, r0="cash", r1="cash", r2="cash"),
        "b": said(rows, r0="cash", r1="cash", r2="loan"),
        "c": said(rows, r0="cash", r2="other"),
        "baseline": said(rows, r0="loan", r1="loan", r9="card"),
    }
    found = disagreements("classification", rows, answers)
    assert [one.id for one in found] == ["r0", "r1", "r2"]
    assert [one.suspicion for one in found] == [
        1.0,
        round(1.4 / 2.2, 4),
        round(0.8 / 2.2, 4),
    ]  # .7, .7 and .8 are right
    assert [(one.against, one.of, one.other) for one in found[:2]] == [(3, 3, "cash"), (2, 3, "cash")]
    assert found[0].says == {"a": "cash", "b": "cash", "c": "cash"}


def test_a_wrong_label_stands_at_the_top() -> None:
    """Ten labels of 200 are changed; three candidates, each right in 85 of 100 rows, point to them."""
    chance = random.Random(1)
    truth = [chance.choice(LABELS) for _ in range(200)]
    changed = set(chance.sample(range(200), 10))
    rows = labelled(*(chance.choice([o for o in LABELS if o != t]) if n in changed else t for n, t in enumerate(truth)))
    answers = {
        name: {f"r{n}": Prediction(t if chance.random() < 0.85 else chance.choice(LABELS)) for n, t in enumerate(truth)}
        for name in "abc"
    }
    top = disagreements("classification", rows, answers)[:10]
    assert sum(int(one.id[1:]) in changed for one in top) >= 7


def test_numbers_are_suspect_where_all_lie_on_one_side_of_the_label() -> None:
    rows = labelled("0", "0", "10", "10")
    answers = {"a": said(rows, r0="8", r2="12"), "b": said(rows, r0="9", r2="4")}
    found = disagreements("regression", rows, answers)
    assert [(one.id, one.against) for one in found] == [("r0", 2), ("r2", 0)]
    assert found[0].suspicion == round(8 / (8 + 5), 4)  # the nearer one is 8 off, the labels' deviation is 5
    assert found[0].other == "8.5"


def test_one_candidate_and_the_floor_disagree_on_nothing() -> None:
    rows = labelled("card", "cash")
    wrong = said(rows, r0="cash")
    assert disagreements("classification", rows, {"a": wrong, "baseline": wrong}) == ()
    assert disagreements("summarisation", rows, {"a": wrong, "b": wrong}) == ()


def test_answers_in_other_words_are_the_same_answer() -> None:
    rows = labelled("the moon")
    answers = {"a": {"r0": Prediction("Mars.")}, "b": {"r0": Prediction("the mars")}, "c": {"r0": Prediction("Moon")}}
    (one,) = disagreements("question_answering", rows, answers)
    assert (one.against, one.suspicion) == (2, 0.0)  # nobody who says so is ever right, so their word weighs nothing


def test_the_file_of_labels_can_be_read_back_and_goes_with_its_race(tmp_path: Path) -> None:
    rows = labelled("卡", "cash", texts={0: 'a "quoted", text'})
    answers = {"a": said(rows, r0="现金"), "b": said(rows, r0="现金")}
    write_labels(tmp_path / FILE, disagreements("classification", rows, answers))
    with (tmp_path / FILE).open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    expected = {"id": "r0", "text": 'a "quoted", text', "label": "卡", "suspicion": "1.000", "a": "现金", "b": "现金"}
    assert row == expected
    write_labels(tmp_path / FILE, ())
    assert not (tmp_path / FILE).exists()


# -- of a race -----------------------------------------------------------------------------------------


@pytest.fixture
def raced(tmp_path: Path) -> Path:
    """A race of the floor and two candidates that answered like files say, on a real floor's run."""
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\n" + "".join(f"t{n},{LABELS[n % 3]}\n" for n in range(30)), encoding="utf-8")
    test.write_text("text,label\n" + "".join(f"u{n},{LABELS[n % 3]}\n" for n in range(12)), encoding="utf-8")
    place = tmp_path / "run" / FOLDER
    data = DataSpec(str(train), str(test), {"text": "text", "label": "label"}, scored=6)
    floor = run_plan(Plan("baseline", "classification", data), place / "baseline" / "full")
    assert floor.status == "done"
    lines = (place / "baseline" / "full" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert len(ids) == 6
    for name in ("probe", "peft"):
        (place / name / "full").mkdir(parents=True)
        with (place / name / "full" / "predictions.jsonl").open("w", encoding="utf-8") as out:
            for row in ids:
                out.write(json.dumps({"id": row, **to_dict(Prediction("cash"))}) + "\n")
    why, command = {"en": "w", "zh": "w"}, "advisor run full --set k=20"
    cause = {"kind": "k", "why": why, "command": command, "answer": "", "targets": [], "question": ""}
    record = {"rows": 6, "wrong": 3, "counts": {"k": 3}, "failures": [{**cause, "id": row} for row in ids[:3]]}
    write_json(place / "peft" / "full" / "triage.json", record)
    score = Score(0.5, 0.3, 0.7, 6)
    pilots = [Pilot(name, 30, 1.0, 6, f"{name}/full", "accuracy", score) for name in ("baseline", "probe", "peft")]
    race = Race(
        task="classification", metric="accuracy", train=30, test=12, margin=0.02, target=None, budget=1, spent=1,
        full=1, status="done", choice=Choice("peft", "peft"), pilots=tuple(pilots),
        standings=tuple(Standing(p.candidate, (p.candidate,), "viable", "finished", p) for p in pilots),
    )  # fmt: skip
    write_json(place / "race.json", race)
    return tmp_path / "run"


def test_a_race_is_read_from_its_folder_and_leaves_the_labels_to_check(raced: Path) -> None:
    found = read_failures(raced)
    assert found is not None
    assert (found.name, found.rows, found.wrong) == ("peft", 6, 4)
    (cause,) = (group for group in found.groups if group.kind == "triage")
    assert cause.command == "advisor run run --method peft --set k=20"  # not the pilot's folder, nor another method
    assert len(found.disagreements) == 4
    assert found.disagreements[0].says == {"probe": "cash", "peft": "cash"}
    assert (raced / FOLDER / FILE).is_file()
    for lang in LANGUAGES:
        lines = told(found, lang)
        assert "check_labels.csv" in lines[-1]
        assert not any("{" in line for line in lines)


def test_no_race_has_no_failures(tmp_path: Path) -> None:
    assert read_failures(tmp_path) is None
