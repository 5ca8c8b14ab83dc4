"""What a training changes and what it makes a model forget: rules by hand, and both sides of a real training."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, UserError, silent
from executors.messages import TASKS
from executors.models import GREEDY, Chat, Completion, LanguageModel, Sampling, load_causal
from executors.run import read_result, run_plan
from executors.tuning.aftermath import BEFORE, Brief, Watch, asked_rows
from executors.tuning.cleaning import training_sides
from executors.tuning.executor import PeftExecutor
from executors.tuning.forgetting import LOSS, RULES, SKILL, Forgetting, General, general_items, meets
from executors.tuning.params import PeftParams
from executors.tuning.predictor import Tuned
from executors.tuning.replay import replay_pairs, replay_rows
from tests.tiny import write_tiny

WORDS = [f"word{n}" for n in range(400)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def rows(count: int) -> tuple[Row, ...]:
    """Requests no two of which are near-duplicates."""
    chance = random.Random(1)
    labels = ("billing", "login")
    texts = [" ".join(chance.sample(WORDS, 8)) for _ in range(count)]
    return tuple(Row(f"r{n}", Input(f"{labels[n % 2]} {text}"), (labels[n % 2],)) for n, text in enumerate(texts))


def job(tiny: str, folder: Path, count: int = 80, **params: Any) -> Job:
    plan = Plan(
        "peft", "classification", DataSpec("rows.csv"), model=tiny, params={"min_steps": 4, "epochs": 0.1, **params}
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Job(plan, rows(count), ("billing", "login"), folder)


# -- rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "wanted", "right", "wrong"),
    [
        ("number", ["9"], ["9", "3 times 3 is 9.", "3 × 3 = 9\nAnd so on 7"], ["3", "nine", "", "9 or 8"]),
        ("holds", ["7", "seven"], ["A week has Seven days.", "7"], ["17", "sevenfold", ""]),
        ("holds", ["北京"], ["中国的首都是北京。"], ["南京"]),
        ("equals", ["The cat sleeps."], ["the cat sleeps", "“The cat sleeps.”"], ["The cat sleeps well.", ""]),
        ("starts", ["hello", "hi"], ["Hello there!", "hi"], ["Oh hello", "history", ""]),
        ("lines", ["3"], ["a\nb\n\nc"], ["a b c", "a\nb", ""]),
        ("asks", [], ["How is the weather?", "天气怎么样？"], ["Nice weather.", ""]),
        (
            "speaks",
            ["6"],
            ["Cats are small and very quiet animals."],
            ["Sorry, I cannot say a word on this", "yes yes yes"],
        ),
    ],
)
def test_rules_judge_answers_exactly(rule: str, wanted: list[str], right: list[str], wrong: list[str]) -> None:
    assert [meets(rule, wanted, answer) for answer in right] == [True] * len(right)
    assert [meets(rule, wanted, answer) for answer in wrong] == [False] * len(wrong)


def test_the_general_set_is_whole() -> None:
    items = general_items()
    assert len({item["id"] for item in items}) == len(items) == 60
    skills = [item["skill"] for item in items if "skill" in item]
    assert {skill: skills.count(skill) for skill in skills} == dict.fromkeys(
        ("arithmetic", "knowledge", "instructions", "copying", "conversation"), 8
    )
    assert {item["rule"] for item in items if "skill" in item} == set(RULES)
    assert {item["lang"] for item in items} == {"en", "zh"}


def test_what_is_replayed_is_not_what_forgetting_is_measured_on() -> None:
    asked = {item["prompt"] for item in general_items() if "skill" in item}
    said = {item["text"] for item in general_items() if "text" in item}
    assert len(replay_pairs()) >= 60
    assert not asked & {request for request, _ in replay_pairs()}
    assert not said & {answer for _, answer in replay_pairs()}


# -- thresholds ----------------------------------------------------------------------------------------


def general(loss: float, **skills: float) -> General:
    return General(loss, {"en": loss}, skills)


def test_forgetting_is_warned_of_from_the_stated_thresholds_on() -> None:
    before = general(3.0, copying=0.875, arithmetic=0.5)
    little = Forgetting(before, general(3.0 + LOSS - 0.01, copying=0.75, arithmetic=0.625))
    assert (little.forgot, little.fallen, little.notes()) == (False, (), ())
    worse = Forgetting(before, general(3.0 + LOSS + 0.01, copying=0.75, arithmetic=0.625))
    assert (worse.forgot, worse.fallen) == (True, ())
    assert "0.11 nats" in worse.notes()[0]["en"]
    fallen = Forgetting(before, general(2.9, copying=0.875 - SKILL, arithmetic=0.5))
    assert (fallen.forgot, fallen.fallen) == (True, ("copying",))
    assert "copying" in fallen.notes()[0]["zh"]
    assert fallen.record()["thresholds"] == {"loss": 0.1, "skill": 0.2}


def test_a_model_that_learns_forgets_nothing() -> None:
    assert not Forgetting(general(3.0, copying=0.0), general(2.0, copying=1.0)).forgot


# -- replay --------------------------------------------------------------------------------------------


def test_replay_is_the_stated_share_of_all_rows_and_the_same_for_a_seed(tiny: str) -> None:
    _, tokenizer = load_causal(tiny)
    found = replay_rows(tokenizer, 80, 0.2, seed=3)
    assert len(found) == 20  # of 100
    assert found == replay_rows(tokenizer, 80, 0.2, seed=3)
    assert found != replay_rows(tokenizer, 80, 0.2, seed=4)
    assert len(set(replay_rows(tokenizer, 10 * len(replay_pairs()), 0.5, seed=3))) == len(replay_pairs())
    assert replay_rows(tokenizer, 80, 0.0, seed=3) == []
    assert all(row.answer[-1] == tokenizer.eos_token_id for row in found)


def test_general_rows_are_trained_on_and_said_to_be(tiny: str, tmp_path: Path) -> None:
    executor = PeftExecutor()
    model, tokenizer = load_causal(tiny)
    plain, mixed = job(tiny, tmp_path / "a"), job(tiny, tmp_path / "b", replay=0.2)
    made = [
        executor.material(one, replace(PeftParams(), replay=share), model, tokenizer)
        for one, share in ((plain, 0.0), (mixed, 0.2))
    ]
    assert len(made[1].rows) == round(len(made[0].rows) / 0.8)
    assert list(made[1].watched) == list(made[0].watched)  # the development side stays the user's own
    assert any("general rows were mixed" in note["en"] for note in made[1].notes)
    assert not any("general rows were mixed" in note["en"] for note in made[0].notes)


# -- before and after ----------------------------------------------------------------------------------


def test_the_rows_asked_are_development_rows(tiny: str, tmp_path: Path) -> None:
    found, trained_on = asked_rows(job(tiny, tmp_path), PeftParams())
    sides = training_sides(job(tiny, tmp_path), PeftParams())
    assert not trained_on
    assert found
    assert {row.id for row in found} <= {row.id for row in sides.development}
    assert not {row.id for row in found} & {row.id for row in sides.train}
    assert asked_rows(job(tiny, tmp_path), PeftParams())[0] == found
    assert len(asked_rows(job(tiny, tmp_path), PeftParams(compare=3))[0]) == 3
    assert asked_rows(job(tiny, tmp_path), PeftParams(compare=0)) == ([], False)


def test_with_few_rows_some_that_are_trained_on_are_asked_and_marked(tiny: str, tmp_path: Path) -> None:
    found, trained_on = asked_rows(job(tiny, tmp_path, count=20), PeftParams())
    assert trained_on
    assert len(found) == 8


def test_long_rows_and_long_answers_are_asked_less(tiny: str, tmp_path: Path) -> None:
    few = job(tiny, tmp_path)
    long = tuple(replace(row, input=Input(f"{row.input.text} {'far ' * 2000}")) for row in few.rows)
    assert len(asked_rows(replace(few, rows=long), PeftParams())[0]) == 5
    assert (
        len(asked_rows(replace(few, labels=tuple(f"label {'x' * 3000} {n}" for n in range(9))), PeftParams())[0]) == 5
    )
    told = replace(few.plan, task="translation")
    spoken = tuple(replace(row, targets=(f"{row.id} {'and so on ' * 40}",)) for row in few.rows)
    assert len(asked_rows(replace(few, plan=told, rows=spoken), PeftParams())[0]) == 5
    assert "translation" in TASKS


def test_a_training_leaves_both_sides_beside_the_weights(tiny: str, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    lines = [{"text": row.input.text, "label": row.target} for row in rows(120)]
    data.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    params = {"min_steps": 8, "epochs": 0.1, "learning_rate": 0.05}
    plan = Plan("peft", "classification", DataSpec(str(data)), model=tiny, params=params)
    events: list[Event] = []
    result = run_plan(plan, tmp_path / "run", events.append)
    record = json.loads((tmp_path / "run/artifact/aftermath.json").read_text())
    assert (record["metric"], record["trained_on"]) == ("accuracy", False)
    assert record["before"]["score"]["n"] == record["rows"] > 5
    assert record["after"]["loss"] < record["before"]["loss"] - 0.1  # it learns what the answers are
    assert len(record["samples"]) == 5
    assert {sample["tuned"] for sample in record["samples"]} <= {"billing", "login"}
    forgetting = json.loads((tmp_path / "run/artifact/forgetting.json").read_text())
    assert set(forgetting["before"]["skills"]) == {item["skill"] for item in general_items() if "skill" in item}
    assert {"look", "general"} <= {event.stage for event in events}
    assert forgetting["forgot"] == any("the model forgot" in note["en"] for note in result.notes)
    done = read_result(tmp_path / "run")
    assert done is not None
    assert set(done.classes) <= {"billing", "login"}


def test_what_was_seen_before_is_kept_for_a_training_that_goes_on(tiny: str, tmp_path: Path) -> None:
    model, tokenizer = load_causal(tiny)
    asked, about = job(tiny, tmp_path), Tuned("peft", "classification", ("billing", "login"), tiny, "", {})
    first = Watch(asked, PeftParams(), about)
    first.begin(model, tokenizer)
    kept = json.loads((tmp_path / BEFORE).read_text())
    kept["general"]["loss"] = 1.0
    (tmp_path / BEFORE).write_text(json.dumps(kept))
    again = Watch(asked, PeftParams(), about)
    again.begin(model, tokenizer)
    found = again.end(model, tokenizer)
    assert found.forgetting is not None
    assert found.forgetting["before"]["loss"] == 1.0
    assert found.forgetting["forgot"]
    assert found.aftermath is not None
    assert found.aftermath["before"]["loss"] == found.aftermath["after"]["loss"]  # nothing was trained


def test_nothing_is_looked_at_where_nothing_is_asked_for(tiny: str, tmp_path: Path) -> None:
    params = PeftParams(compare=0, forgetting=False)
    watch = Watch(job(tiny, tmp_path), params, Tuned("peft", "classification", ("a", "b"), tiny, "", {}))
    model, tokenizer = load_causal(tiny)
    watch.begin(model, tokenizer)
    looked = watch.end(model, tokenizer)
    assert (looked.aftermath, looked.forgetting, looked.notes) == (None, None, ())
    looked.write(tmp_path)
    assert not (tmp_path / "aftermath.json").exists()


def test_only_the_process_that_writes_looks(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    model, tokenizer = load_causal(tiny)
    watch = Watch(
        job(tiny, tmp_path), PeftParams(), Tuned("peft", "classification", ("billing", "login"), tiny, "", {})
    )
    watch.begin(model, tokenizer)
    assert not (tmp_path / BEFORE).exists()
    assert watch.end(model, tokenizer).notes == ()


def test_a_comparison_that_fails_costs_no_training(tiny: str, tmp_path: Path) -> None:
    model, tokenizer = load_causal(tiny)
    watch = Watch(
        job(tiny, tmp_path), PeftParams(), Tuned("peft", "classification", ("billing", "login"), tiny, "", {})
    )
    watch.begin(model, tokenizer)
    watch.rows = [replace(watch.rows[0], input=Input("x", context="y"))]
    model.config.max_position_embeddings = 8  # nothing fits any more
    looked = watch.end(model, tokenizer)
    assert looked.aftermath is None
    assert "was not compared" in looked.notes[0]["en"]


class Rambling(LanguageModel):
    """Writes as much as it may."""

    name, window = "rambling", 1000

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        raise UserError(f"{max_tokens} tokens")

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        return [[-1.0] * len(continuations) for _ in chats]

    def count(self, text: str) -> int:
        return len(text)

    def count_chat(self, chat: Chat) -> int:
        return sum(len(message["content"]) for message in chat)


def test_answers_are_cut_and_all_else_is_the_models_own() -> None:
    brief = Brief(Rambling(), 12)
    with pytest.raises(UserError, match="12 tokens"):
        brief.generate([[]], 128)
    with pytest.raises(UserError, match="5 tokens"):
        brief.generate([[]], 5)
    assert brief.score([[]], ["a", "b"]) == [[-1.0, -1.0]]
    assert (brief.count("abc"), brief.count_chat([{"role": "user", "content": "ab"}]), brief.window) == (3, 2, 1000)


def test_parameters_out_of_range_are_refused() -> None:
    from executors.tuning.params import check_params

    told = [p.message for p in check_params(PeftParams(replay=1.0, compare=-1))]
    assert any(message.startswith("params.replay: must be from 0 to below 1") for message in told)
    assert any(message.startswith("params.compare: must not be negative") for message in told)
