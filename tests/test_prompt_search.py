"""The search for a prompt: what it may see, what it asks, when it stops, and what its guards keep from being chosen."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row, to_dict
from executors.models import Chat, LanguageModel, load_language_model
from executors.prompt import build_prompt
from executors.prompt.build import Builder, parsed
from executors.prompt.candidates import candidates
from executors.prompt.demonstrations import Demonstrations
from executors.prompt.params import PromptParams, given_names, param_problems
from executors.prompt.predictor import PromptPredictor
from executors.prompt.record import Seen, guard_notes, mark_collapse, trap_flags
from executors.prompt.search import FILE, FIRST_ROWS, Search, development_rows, search_notes
from executors.trials import SearchRecord, Trial
from tests.fakes import Acting
from tests.test_demonstrations import Compass

WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
    "nook",
    "oasis",
    "pond",
    "quay",
    "reef",
]
STILL: Callable[[], float] = lambda: 0.0  # noqa: E731 (a clock that stands)


def text(n: int, topic: str = "") -> str:
    """Words no two of which rows share in order, so that no row nearly equals another."""
    drawn = random.Random(n).sample(WORDS, 6)
    return " ".join([*drawn, topic]).strip()


def rows(count: int, labels: Sequence[str] = ("bad", "good")) -> list[Row]:
    return [Row(f"r{n}", Input(text(n, labels[n % len(labels)])), (labels[n % len(labels)],)) for n in range(count)]


def job(folder: Path, given: Sequence[Row], task: str = "classification", seed: int = 0, **params: Any) -> Job:
    labels = tuple(sorted({r.target for r in given})) if task == "classification" else ()
    params = {"search_seconds": 1000.0, **params}
    return Job(Plan("prompt", task, DataSpec("x.csv"), params=params, seed=seed), tuple(given), labels, folder)


class Embedded(Builder):
    """Rows that lie about a circle, each where its number says."""

    @property
    def pool(self) -> Demonstrations:
        if self._pool is None:
            shown = [row for row in self.job.rows if row.id not in self.job.leaks(self.job.rows)]
            embedder = Compass({row.input.text: int(row.id[1:]) * 3.0 for row in self.job.rows})
            self._pool = Demonstrations(shown, embedder.embed([r.input.text for r in shown]), embedder)
        return self._pool


def search(made: Job, model: LanguageModel, clock: Callable[[], float] = STILL) -> Search:
    return Search(Embedded(made, model), parsed(made), given_names(made.plan.params), clock)


def run(made: Job, model: LanguageModel, clock: Callable[[], float] = STILL) -> tuple[PromptPredictor, SearchRecord]:
    return search(made, model, clock).run()


def sees_topic(chat: Chat, label: str) -> float:
    """Finds the label that the text names, the better the more demonstrations stand before it."""
    return (1.0 + 0.1 * len(chat)) * (label in chat[-1]["content"])


# -- what it may see -----------------------------------------------------------------------------------


def test_development_rows_are_half_of_the_training_rows_with_labels_by_turns() -> None:
    given = [*rows(30), *(replace(r, id=f"rare{r.id}", targets=("rare",)) for r in rows(2))]
    chosen = development_rows(Builder(job(Path(), given), Acting()))
    assert len(chosen) == 16
    assert sum(row.target == "rare" for row in chosen) == 2
    assert {row.target for row in chosen[:3]} == {"bad", "good", "rare"}
    assert len(development_rows(Builder(job(Path(), rows(2000)), Acting()))) == 256


def test_no_development_row_is_a_fixed_demonstration_while_prompts_are_compared(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    made = search(job(tmp_path, rows(40)), model)
    own = {row.input.text for row in made.development}
    made.run()
    asked = {chat[-1]["content"].removesuffix("\nLabel:") for chat in model.asked}
    assert asked <= own
    fixed = [chat for chat in model.asked if len(chat) > 2]
    assert fixed
    shown = {turn["content"].removesuffix("\nLabel:") for chat in fixed for turn in chat[1:-1:2]}
    assert not shown & own


def test_a_row_is_never_retrieved_for_itself(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    run(job(tmp_path, rows(60), selection="nearest"), model)
    assert any(len(chat) > 2 for chat in model.asked)
    for chat in model.asked:
        turns = {turn["content"].removesuffix("\nLabel:") for turn in chat[1:-1:2]}
        assert chat[-1]["content"].removesuffix("\nLabel:") not in turns


def test_near_copies_are_not_shown_to_each_other_on_whichever_side_they_stand(tmp_path: Path) -> None:
    given = rows(100)
    twins = [replace(row, id=f"r{n + 120}", input=Input(row.input.text.upper() + "!")) for n, row in enumerate(given)]
    model = Acting(likes=sees_topic)
    made = search(job(tmp_path, [*given, *twins], selection="nearest", shots=3), model)
    own = {row.input.text.casefold().strip("!") for row in made.development}
    assert len(own) < len(made.development), "the draw has both of some pair"
    assert made.near, "and one of another"
    made.run()
    for chat in model.asked:
        turns = {turn["content"].removesuffix("\nLabel:").casefold().strip("!") for turn in chat[1:-1:2]}
        assert chat[-1]["content"].removesuffix("\nLabel:").casefold().strip("!") not in turns


def test_rows_that_leak_neither_judge_prompts_nor_are_shown(tmp_path: Path) -> None:
    given = rows(120)
    leaking = frozenset(row.id for row in given[:20])
    model = Acting(likes=sees_topic)
    made = replace(job(tmp_path, given), leaks=lambda asked: leaking & {row.id for row in asked})
    predictor, _ = run(made, model)
    told = {row.input.text for row in given[:20]}
    for chat in model.asked:
        assert not told & {turn["content"].removesuffix("\nLabel:") for turn in chat[1::2]}
    assert any("20 training rows equal or nearly equal" in note["en"] for note in predictor.notes)


# -- what it asks --------------------------------------------------------------------------------------


def test_the_better_half_goes_on_to_twice_the_rows(tmp_path: Path) -> None:
    _, record = run(job(tmp_path, rows(300)), Acting(likes=sees_topic))
    by_rung: dict[int, list[Trial]] = {}
    for trial in record.trials:
        by_rung.setdefault(trial.rung, []).append(trial)
    sizes = [len(trials) for trials in by_rung.values()]
    assert sizes[0] == record.candidates > 8
    for before, after in itertools.pairwise(sizes):
        assert after == max((before + 1) // 2, min(before, 8))  # enough for an ensemble go on
    assert [trials[0].rows for trials in by_rung.values()] == [16, 32, 64, 128, 150][: len(sizes)]
    for rung, trials in by_rung.items():
        kept = [t for t in trials if t.kept]
        dropped = [t for t in trials if not t.kept and not t.flags]
        assert min((t.score, t.tie) for t in kept) >= max(((t.score, t.tie) for t in dropped), default=(0.0, -1e9))
        if rung + 1 in by_rung:
            assert len(kept) == len(by_rung[rung + 1])
    assert record.stopped == "finished"
    assert sum(t.kept for t in by_rung[max(by_rung)]) == 1


def test_no_prompt_is_asked_twice_about_a_row(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    searching = search(job(tmp_path, rows(256)), model)
    searching.run()
    assert len(model.asked) == sum(len(runner.outcomes) for runner in searching.runners) > 500


def test_the_plans_own_prompt_is_judged_on_the_rows_that_decided(tmp_path: Path) -> None:
    model = Acting(likes=lambda chat, label: 3.0 * (label in chat[-1]["content"] and "Label:" in chat[-1]["content"]))
    _, record = run(job(tmp_path, rows(200)), model)
    assert record.score == 1.0
    assert record.plain == 0.5  # it has no cue, so the fake knows nothing
    assert any("(0.500 before)" in note["en"] for note in search_notes(record))


# -- ensembles -----------------------------------------------------------------------------------------


def errs(chat: Chat, label: str) -> float:
    """Right more often than not, and with every prompt wrong about other rows."""
    chance = random.Random(json.dumps(chat))
    return (1.0 + 2.0 * chance.gauss(0, 1)) * (label in chat[-1]["content"])


def test_prompts_that_err_differently_are_averaged_where_that_helps(tmp_path: Path) -> None:
    made = job(tmp_path, rows(300), selection="balanced")
    predictor, record = run(made, Acting(likes=errs))
    alone, alone_record = run(replace(made, plan=replace(made.plan, params={**made.plan.params, "ensemble": 1})),
                              Acting(likes=errs))  # fmt: skip
    assert 1 <= len(record.members) <= 7
    assert len(predictor.others) == len(record.members)
    assert not alone_record.members
    assert not alone.others
    assert record.score >= alone_record.score - 0.08  # two standard errors of 150 rows
    assert any(f"mean of {len(record.members) + 1} prompts" in note["en"] for note in predictor.notes)
    inputs = [row.input for row in rows(40)]
    together = [p.text for p in Embedded(made, Acting(likes=errs)).calibrate(predictor).predict(inputs)]
    single = [p.text for p in predictor.joined([]).predict(inputs)]
    right = [row.target for row in rows(40)]
    count = [sum(a == b for a, b in zip(given, right, strict=True)) for given in (together, single)]
    assert count[0] >= count[1]


def test_an_ensemble_draws_its_demonstrations_from_all_rows(tmp_path: Path) -> None:
    searching = search(job(tmp_path, rows(300), selection="balanced"), Acting(likes=errs))
    predictor, record = searching.run()
    assert record.members
    shown = {row.id for member in (predictor, *predictor.others) for row in member.prompt.demonstrations}
    assert shown & {row.id for row in searching.development}


def test_an_ensemble_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    made = job(tmp_path, rows(300), selection="balanced")
    predictor, _ = run(made, Acting(likes=errs))
    predictor = Embedded(made, Acting(likes=errs)).calibrate(predictor)
    folder = tmp_path / "saved"
    folder.mkdir()
    predictor.save(folder)
    loaded = PromptPredictor.load(folder, model=Acting(likes=errs))
    assert loaded.prompt == predictor.prompt
    assert any(other.prompt.offsets for other in loaded.others)
    inputs = [row.input for row in rows(20)]
    assert loaded.predict(inputs) == predictor.predict(inputs)


def test_the_better_prompt_wins(tmp_path: Path) -> None:
    """The label is read off only where a cue asks for it."""

    def likes(chat: Chat, label: str) -> float:
        return float(label in chat[-1]["content"] and chat[-1]["content"].endswith("Label:"))

    predictor, record = run(job(tmp_path, rows(60), selection="balanced"), Acting(likes=likes))
    assert predictor.prompt.params.wording in ("cued", "bare")
    assert record.score == 1.0
    assert {t.score for t in record.trials if t.rung == 0 and "wording" not in t.changes} == {0.5}  # one label alone


def test_given_parameters_are_never_varied(tmp_path: Path) -> None:
    given = {"selection": "balanced", "shots": 6, "calibration": "none", "cue": "Kind"}
    predictor, record = run(job(tmp_path, rows(120), **given), Acting(likes=sees_topic))
    for trial in record.trials:
        assert not set(trial.changes) & set(given)
    resolved = to_dict(predictor.prompt.params)
    assert {name: resolved[name] for name in given} == given


@pytest.mark.parametrize(
    "given",
    [
        {"selection": "balanced"},
        {"selection": "nearest"},
        {"candidates": "shown", "selection": "nearest"},
        {"calibration": "training"},
        {"neighbours": 1.0, "selection": "diverse"},
        {"shots": 0},
        {"wording": "bare", "order": "shuffled"},
    ],
)
def test_every_candidate_could_be_a_plan_of_its_own(given: dict[str, Any]) -> None:
    base = PromptParams(**given)
    found = candidates(base, frozenset(given), "classification", 77, 770, False, True)
    assert len(found) > 1
    assert len({repr(params) for params in found}) == len(found)
    plan = Plan("prompt", "classification", DataSpec("x.csv"))
    for params in found:
        assert param_problems(params, plan) == []
        assert {name: getattr(params, name) for name in given} == given
        if given.get("calibration", "none") != "none":
            assert params.candidates == "all", "of labels shown alone no prior is known: 'training' would be ignored"


def test_demonstrations_given_by_hand_are_not_raced_under_other_names(tmp_path: Path) -> None:
    base = PromptParams(demonstrations="mine.csv")
    found = candidates(base, frozenset({"demonstrations"}), "classification", 4, 200, False, True)
    assert {params.wording for params in found} == {"plain", "cued", "bare"}
    assert len(found) == 3


def test_the_same_seed_makes_the_same_choice(tmp_path: Path) -> None:
    found = [run(job(tmp_path / str(n), rows(120)), Acting(likes=sees_topic)) for n in range(2)]
    assert found[0][0].prompt == found[1][0].prompt
    assert found[0][1] == found[1][1]
    other = search(job(tmp_path / "other", rows(120), seed=1), Acting())
    assert other.development != search(job(tmp_path / "same", rows(120)), Acting()).development


def test_the_chosen_prompt_shows_the_demonstrations_it_was_judged_with(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    predictor, _ = run(job(tmp_path, rows(60), selection="balanced", ensemble=1), model)
    shown = [row.input.text for row in predictor.prompt.demonstrations]
    assert shown
    last = model.asked[-1]
    judged = [[m["content"].split("\n")[0] for m in chat[1:-1:2]] for chat in model.asked]
    assert shown in judged
    assert len(last) > 2


# -- the record ----------------------------------------------------------------------------------------


def test_the_record_is_whole_and_can_be_read_back(tmp_path: Path) -> None:
    predictor, record = run(job(tmp_path, rows(120)), Acting(likes=sees_topic))
    folder = tmp_path / "saved"
    folder.mkdir()
    predictor.save(folder)
    read = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(to_dict(record)))
    assert len(read["trials"]) == len(record.trials)
    assert {"wording", "shots"} <= {name for trial in read["trials"] for name in trial["changes"]}
    assert read["training_rows"] == 120
    assert read["development_rows"] == max(trial["rows"] for trial in read["trials"])
    kept = [t for t in read["trials"] if t["kept"] and t["changes"] == read["chosen"]]
    assert kept[-1]["score"] == read["score"]
    resolved = to_dict(predictor.prompt.params)
    assert read["chosen"] == {k: v for k, v in resolved.items() if k in read["chosen"]}


def test_the_floor_is_what_copying_the_nearest_answer_scores(tmp_path: Path) -> None:
    given = [replace(r, targets=("bad" if n < 60 else "good",)) for n, r in enumerate(rows(120))]  # halves of a circle
    predictor, record = run(job(tmp_path, given), Acting(likes=lambda chat, label: 0.0))
    assert record.floor is not None
    assert record.floor > 0.9
    beaten = record.score > record.floor
    told = any("copying the answer of the nearest training row" in note["en"] for note in predictor.notes)
    assert told != beaten


def test_where_the_floor_wins_it_is_said(tmp_path: Path) -> None:
    given = [replace(r, targets=("bad" if n < 60 else "good",)) for n, r in enumerate(rows(120))]
    made = job(tmp_path, given, selection="nearest", shots=2, neighbours=0.0, candidates="all")
    predictor, record = run(made, Acting(likes=lambda chat, label: 0.0))
    assert record.score < 0.7 < 0.9 < (record.floor or 0)
    (note,) = [note for note in predictor.notes if f"does as well there: {record.floor:.3f}" in note["en"]]
    assert "照抄" in note["zh"]


def test_nearness_is_given_weight_where_the_model_knows_nothing(tmp_path: Path) -> None:
    given = [replace(r, targets=("bad" if n < 60 else "good",)) for n, r in enumerate(rows(120))]
    predictor, record = run(job(tmp_path, given, selection="nearest"), Acting(likes=lambda chat, label: 0.0))
    assert predictor.prompt.params.neighbours > 0
    assert record.score > 0.9


# -- time ----------------------------------------------------------------------------------------------


class Clock:
    """One second passes with every chat that `model` is asked."""

    def __init__(self, model: Acting) -> None:
        self.model = model

    def __call__(self) -> float:
        return float(len(self.model.asked))


def test_it_stops_when_its_time_is_up_and_says_so(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    made = job(tmp_path, rows(120), selection="balanced", search_seconds=100.0)
    predictor, record = run(made, model, Clock(model))
    assert record.stopped == "budget"
    assert len(model.asked) <= 100
    assert len({repr(t.changes) for t in record.trials}) == 100 // FIRST_ROWS < record.candidates
    assert "stopped by its budget" in predictor.notes[1]["en"]
    assert "时间预算" in predictor.notes[1]["zh"]


def test_a_later_round_is_not_begun_without_time_for_it(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    made = job(tmp_path, rows(200), selection="balanced", shots=4, search_seconds=9.0 * 16)
    _, record = run(made, model, Clock(model))
    assert record.candidates == 9  # 3 wordings, 3 orders: the first round takes all the time there is
    assert len(model.asked) == 144
    assert record.stopped == "budget"
    assert {trial.rung for trial in record.trials} == {0}


def test_however_short_the_time_the_plans_own_prompt_is_tried(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    predictor, record = run(job(tmp_path, rows(120), search_seconds=0.001), model, Clock(model))
    assert len(record.trials) == 1
    assert len(model.asked) == FIRST_ROWS
    assert record.score == record.plain
    assert predictor.prompt.params.wording == "plain"


# -- interruptions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_an_interrupted_search_asks_only_what_is_missing_and_chooses_the_same(tmp_path: Path, task: str) -> None:
    given = rows(60)
    options: dict[str, Any] = {"selection": "balanced"}

    def model(breaks_at: int | None = None) -> Acting:
        return Acting(likes=sees_topic, says=lambda chat: chat[-1]["content"].split()[0], breaks_at=breaks_at)

    whole = model()
    predictor, record = run(job(tmp_path / "whole", given, task, **options), whole)
    for broken in (model(breaks_at=70), model(breaks_at=40)):
        with pytest.raises(KeyboardInterrupt):
            run(job(tmp_path / "broken", given, task, **options), broken)
    lines = (tmp_path / "broken" / FILE).read_text(encoding="utf-8").splitlines()
    asked_before = sum(len(json.loads(line)["outcomes"]) for line in lines)
    assert asked_before >= 64
    rest = model()
    again, record_again = run(job(tmp_path / "broken", given, task, **options), rest)
    assert len(rest.asked) == len(whole.asked) - asked_before
    assert again.prompt.params == predictor.prompt.params
    assert again.prompt.demonstrations == predictor.prompt.demonstrations
    assert record_again.score == record.score
    assert [(t.changes, t.score, t.tie) for t in record_again.trials] == [
        (t.changes, t.score, t.tie) for t in record.trials
    ]


def test_a_line_cut_off_by_a_kill_is_asked_again_and_spoils_nothing_after_it(tmp_path: Path) -> None:
    made = job(tmp_path, rows(60), selection="balanced")
    with pytest.raises(KeyboardInterrupt):
        run(made, Acting(likes=sees_topic, breaks_at=70))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(KeyboardInterrupt):
        run(made, Acting(likes=sees_topic, breaks_at=40))
    predictor, _ = run(made, Acting(likes=sees_topic))
    assert all(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    whole, _ = run(job(tmp_path / "new", rows(60), selection="balanced"), Acting(likes=sees_topic))
    assert predictor.prompt.params == whole.prompt.params


# -- small and other tasks -----------------------------------------------------------------------------


def test_with_few_rows_nothing_is_searched_and_it_is_said_why(tmp_path: Path) -> None:
    model = Acting(likes=sees_topic)
    predictor = build_prompt(job(tmp_path, rows(15), shots=2), model)
    assert predictor.record is None
    assert any("no search: 15 training rows" in note["en"] for note in predictor.notes)
    assert any("未搜索" in note["zh"] for note in predictor.notes)
    searched = build_prompt(job(tmp_path, rows(16), shots=2, selection="balanced"), model)
    assert searched.record is not None
    assert not any("no search" in note["en"] for note in searched.notes)


def test_a_single_label_is_searched_without_complaint(tmp_path: Path) -> None:
    predictor, record = run(job(tmp_path, rows(40, ("only",))), Acting(likes=sees_topic))
    assert record.score == 1.0
    assert record.guards == ()
    assert predictor.predict([Input("x")])[0].text == "only"


def test_of_errors_the_lower_is_the_better(tmp_path: Path) -> None:
    given = [Row(f"r{n}", Input(text(n, f"{n % 7}")), (str(n % 7),)) for n in range(40)]

    def says(chat: Chat) -> str:  # right where a cue asks, else one too many
        content = chat[-1]["content"]
        cued = content.endswith("Number:")
        number = int(content.removesuffix("\nNumber:").split()[-1])
        return str(number if cued else number + 1)

    predictor, record = run(job(tmp_path, given, "regression"), Acting(says=says))
    assert (record.metric, record.higher_is_better) == ("mae", False)
    assert predictor.prompt.params.wording == "cued"
    assert record.score == 0.0
    assert {t.score for t in record.trials if t.changes.get("wording", "plain") == "plain"} == {1.0}


def test_of_texts_equally_good_the_shorter_prompt_is_chosen(tmp_path: Path) -> None:
    given = [Row(f"r{n}", Input(text(n)), (f"answer {n}",)) for n in range(40)]
    predictor, record = run(job(tmp_path, given, "generation", selection="random"), Acting(says=lambda chat: "answer"))
    assert record.metric == "f1"
    assert predictor.prompt.params.shots == 0
    assert record.floor is None  # no embeddings were made
    temperatures = {trial.changes.get("temperature", 0.0) for trial in record.trials}
    assert temperatures == {0.0, 0.7}


def test_rows_with_passages_try_few_demonstrations(tmp_path: Path) -> None:
    given = [Row(f"r{n}", Input(text(n), f"It is {n}."), (f"{n}",)) for n in range(60)]
    model = Acting(says=lambda chat: "It is")
    predictor, record = run(job(tmp_path, given, "question_answering", selection="random"), model)
    assert {trial.changes.get("shots", 0) for trial in record.trials} == {0, 1, 2, 4}
    assert "Take the answer from the passages" in predictor.prompt.instruction


# -- guards --------------------------------------------------------------------------------------------


def copies_last(chat: Chat, label: str) -> float:
    """With demonstrations the last one's label, else what the text says."""
    last = chat[-2]["content"] if len(chat) > 2 else ""
    return float(label == last) if last else 0.6 * (label in chat[-1]["content"])


def test_a_model_that_copies_the_last_label_is_found_out(tmp_path: Path) -> None:
    made = job(tmp_path, rows(60), selection="balanced", calibration="none")
    predictor, record = run(made, Acting(likes=copies_last))
    first = [trial for trial in record.trials if trial.rung == 0]
    assert all(("last_label" in t.flags) == (t.changes.get("shots", 8) != 0) for t in first)
    assert predictor.prompt.params.shots == 0
    assert record.score == 1.0
    (note,) = [g for g in record.guards if "label-order trap" in g["en"]]
    count = sum(t.changes.get("shots", 8) != 0 for t in first)
    assert note["en"].startswith(f"{count} of the prompts tried fell")
    assert "均未选用" in note["zh"]
    assert note in predictor.notes


def test_where_every_prompt_falls_into_the_trap_it_is_not_said_that_none_was_chosen(tmp_path: Path) -> None:
    made = job(tmp_path, rows(60), selection="balanced", calibration="none", shots=4, wording="plain", order_seed=0)
    _, record = run(made, Acting(likes=copies_last))
    assert record.candidates == 1
    assert "last_label" in record.trials[-1].flags
    (note,) = [g for g in record.guards if "label-order trap" in g["en"]]
    assert "none of them was chosen" not in note["en"]
    assert "chosen prompt is one of them" in note["en"]
    assert "均未选用" not in note["zh"]


def test_a_collapse_beyond_what_a_model_can_read_is_told_with_its_tokens(tmp_path: Path) -> None:
    def likes(chat: Chat, label: str) -> float:
        beyond = sum(len(m["content"].split()) for m in chat) > 100
        return float(label == "bad") if beyond else float(label in chat[-1]["content"])

    made = job(tmp_path, rows(60), selection="balanced", calibration="none", wording="plain", order_seed=0)
    predictor, record = run(made, Acting(likes=likes))
    fallen = [trial for trial in record.trials if "collapse" in trial.flags]
    assert {trial.changes["shots"] for trial in fallen} == {16}
    assert all(trial.tokens > 100 for trial in fallen)
    assert predictor.prompt.params.shots not in (16,)
    (note,) = [g for g in record.guards if "fell to chance" in g["en"]]
    assert note["en"].startswith(f"with 16 demonstrations ({fallen[-1].tokens:,.0f} tokens) accuracy fell to chance")
    assert "16 个" in note["zh"]


def trial(score: float, shots: int, rows: int = 64, **changes: Any) -> Trial:
    return Trial({"shots": shots, **changes}, 0, rows, score, 0.0, 1.0, 10.0 * shots)


def test_a_collapse_is_seen_whichever_way_the_answers_were_read() -> None:
    marked = mark_collapse([trial(0.9, 4, calibration="none"), trial(0.5, 16), trial(0.9, 16, wording="bare")], 0.5)
    assert [t.flags for t in marked] == [(), ("collapse",), ()]


def test_nothing_collapses_that_never_stood() -> None:
    assert [t.flags for t in mark_collapse([trial(0.55, 4), trial(0.5, 16)], 0.5)] == [(), ()]
    assert [t.flags for t in mark_collapse([trial(0.9, 4), trial(0.7, 16)], 0.5)] == [(), ()]


def test_one_label_whatever_is_asked_is_a_trap_unless_the_rows_are_so() -> None:
    even = [Row(str(n), Input("x"), ("ab"[n % 2],)) for n in range(10)]
    seen = Seen(["a"] * 9 + ["b"], even, "b", 0.0, ("a", "b"))
    assert trap_flags(seen) == ("one_label",)
    assert trap_flags(replace(seen, last="a")) == ("last_label",)
    assert trap_flags(replace(seen, answers=["a"] * 8 + ["b"] * 2)) == ()
    skewed = [Row(str(n), Input("x"), ("a" if n < 8 else "b",)) for n in range(10)]
    assert trap_flags(replace(seen, rows=skewed)) == ()
    assert trap_flags(replace(seen, labels=("a",))) == ()
    assert trap_flags(replace(seen, answers=["a", "b"] * 5, cut=0.6)) == ("cut",)


def test_how_far_orders_move_the_score_is_told() -> None:
    trials = [trial(0.6, 4, wording="cued"), trial(0.85, 4, wording="cued", order_seed=1), trial(0.2, 8)]
    (note,) = guard_notes(trials, "accuracy", {})
    assert "from 0.60 to 0.85" in note["en"]
    assert guard_notes([trial(0.6, 4), trial(0.65, 4, order_seed=1)], "accuracy", {}) == ()


def test_chance_is_that_of_the_rows_a_round_was_judged_on(tmp_path: Path) -> None:
    """First rounds have labels by turns, so that on skewed rows chance is lower there than on all of them."""
    given = [replace(r, targets=("bad" if n % 16 else "good",)) for n, r in enumerate(rows(200))]

    def likes(chat: Chat, label: str) -> float:
        beyond = sum(len(m["content"].split()) for m in chat) > 100
        right = "good" if chat[-1]["content"] in good else "bad"
        return float(label == "bad") if beyond else float(label == right)

    good = {row.input.text for row in given if row.target == "good"}
    made = job(tmp_path, given, selection="balanced", calibration="none", wording="plain", order_seed=0)
    _, record = run(made, Acting(likes=likes))
    first = [t for t in record.trials if t.rung == 0 and t.changes.get("shots") == 16]
    assert Counter(flag for t in first for flag in t.flags)["collapse"] == len(first) == 1


def test_the_real_model_is_searched_and_answers_with_what_was_found(tmp_path: Path) -> None:
    praise = ["a wonderful film", "moving and great", "truly delightful", "brilliant and funny"]
    blame = ["a boring mess", "dull and terrible", "truly awful", "stupid and tedious"]
    ends = ["", " from start to end"]
    given = [Row(f"g{t}{e}", Input(t + e), ("good",)) for t in praise for e in ends]
    given += [Row(f"b{t}{e}", Input(t + e), ("bad",)) for t in blame for e in ends]
    made = job(tmp_path, given, selection="balanced", shots=2, order_seed=0)
    predictor = build_prompt(made, load_language_model("smollm2-135m-instruct"))
    assert predictor.record is not None
    assert predictor.record.candidates == 3  # one a wording
    assert predictor.record.stopped == "finished"
    assert predictor.record.score >= predictor.record.chance
    answers = predictor.predict([Input("a great and wonderful story"), Input("an awful, boring film")])
    assert [a.text for a in answers] == ["good", "bad"]
