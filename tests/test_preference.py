"""Preference tuning: the loss to the last digit, what the reference is, what is measured, and that it can go on."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Row, UserError
from executors.data import load_dataset
from executors.data.pairs import Pair
from executors.models import load_causal
from executors.run import check_plan, run_plan
from executors.tuning.paired import PairBatcher, PairLoss, TokenPair, encode_pairs
from executors.tuning.params import rate_of
from executors.tuning.predictor import TunedPredictor
from executors.tuning.preference import PreferenceExecutor, PreferenceParams, measured, pair_sides
from tests.tiny import write_tiny

QUICK = {"min_steps": 6, "epochs": 0.1, "batch_size": 4, "checkpoint_steps": 2, "max_length": 128, "rank": 8}
QUICK |= {"learning_rate": 5e-3, "compare": 0, "forgetting": False}
PLACES = ("Arden", "Bexley", "Corby", "Dover", "Ely", "Frome", "Goole", "Hexham", "Ilkley", "Jarrow", "Kendal", "Leeds")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    lines = [
        json.dumps({"prompt": f"How is {place}?", "chosen": f"{place} is fine.", "rejected": "I do not care at all!"})
        for place in PLACES
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tiny: str) -> Any:
    return load_causal(tiny)


def plan_of(tiny: str, data: Path, **params: object) -> Plan:
    return Plan("preference", "generation", DataSpec(str(data)), model=tiny, params={**QUICK, **params})


def build(plan: Plan, folder: Path, **more: Any) -> TunedPredictor:
    folder.mkdir(exist_ok=True)
    rows = load_dataset(plan.data, plan.task, plan.seed).train
    return PreferenceExecutor().build(Job(plan, tuple(rows), (), folder, **more))


def record(tuned: TunedPredictor) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((tuned.folder / "preference.json").read_text(encoding="utf-8"))
    return found


PAIRS = (
    TokenPair(0, "a", (1, 50, 60, 70), (80, 81, 2), (90, 2)),
    TokenPair(1, "b", (1, 50, 61), (82, 2), (91, 92, 93, 94, 2)),
    TokenPair(2, "c", (1, 51, 62, 71, 72, 73), (83, 2), (95, 2)),
)


def alone(model: Any, pair: TokenPair) -> tuple[Any, Any]:
    """Log-probabilities of both answers, each as a sequence of its own."""
    import torch

    found = []
    for answer in pair.answers:
        steps = model(input_ids=torch.tensor([pair.prompt + answer])).logits[0].log_softmax(-1)
        at = len(pair.prompt) - 1
        found.append(sum(steps[at + n, token] for n, token in enumerate(answer)))
    return found[0], found[1]


# -- the loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("per_token", [False, True])
def test_the_loss_is_that_of_dpo_with_every_answer_alone(shares: bool, per_token: bool, model: Any) -> None:
    """By hand: -log sigmoid(beta ((log pi(c) - ref(c)) - (log pi(r) - ref(r)))), its mean, and its gradients."""
    import torch

    reference = {0: (-31.0, -19.5), 1: (-20.25, -52.0), 2: (-21.0, -22.0)}
    losses: list[Any] = []
    for pair in PAIRS:
        chosen, rejected = alone(model[0], pair)
        if per_token:
            chosen, rejected = chosen / len(pair.chosen), rejected / len(pair.rejected)
        margin = (chosen - reference[pair.number][0]) - (rejected - reference[pair.number][1])
        losses.append(torch.log(1 + torch.exp(-0.3 * margin)))
    expected: Any = sum(losses) / 3
    model[0].zero_grad()
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model[0].named_parameters()}

    loss = PairLoss(PAIRS, shares, PreferenceParams(beta=0.3, per_token=per_token))
    loss.reference = reference
    model[0].zero_grad()
    batch = PairBatcher(0, shares, apart=False)([PAIRS])
    labels = batch.pop("labels")
    found: Any = loss(model[0](**batch), labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    found.backward()
    for name, p in model[0].named_parameters():
        assert float((p.grad - gradients[name]).abs().max()) < 1e-5


def test_a_step_in_passes_has_the_loss_of_the_whole(model: Any) -> None:
    loss = PairLoss(PAIRS, True, PreferenceParams())
    loss.reference = {0: (-31.0, -19.5), 1: (-20.25, -52.0), 2: (-21.0, -22.0)}
    batcher = PairBatcher(0, True, apart=True)
    parts = batcher.parts(PAIRS, 3)
    assert [len(part) for part in parts] == [1, 1, 1]

    def value(pairs: Sequence[TokenPair], count: int) -> float:
        batch = batcher([pairs])
        labels = batch.pop("labels")
        assert int((labels != -100).sum()) == len(pairs)  # what a step counts
        return float(loss(model[0](**batch), labels, num_items_in_batch=count).detach())

    assert sum(value(part, 3) for part in parts) == pytest.approx(value(PAIRS, 3), abs=1e-5)


def test_a_prompt_is_read_once_for_both_answers() -> None:
    pairs = [TokenPair(0, "a", tuple(range(100)), (1, 2), (3, 4))]
    assert PairBatcher(0, True, apart=False)([pairs])["input_ids"].shape == (1, 104)
    assert PairBatcher(0, False, apart=False)([pairs])["input_ids"].shape == (2, 102)


def test_figures_are_those_of_the_margins() -> None:
    now = {0: (-10.0, -12.0), 1: (-9.0, -8.0), 2: (-5.0, -9.0)}
    reference = {0: (-11.0, -12.0), 1: (-10.0, -8.5), 2: (-4.0, -9.0)}
    found = measured(now, reference, beta=0.5)  # margins: .5 (1 - 0), .5 (1 - .5), .5 (-1 - 0)
    assert (found.pairs, found.likelier, found.accuracy) == (3, 0.6667, 0.6667)
    assert found.margin == pytest.approx((0.5 + 0.25 - 0.5) / 3, abs=1e-4)


def test_long_prompts_are_cut_and_long_answers_counted(model: Any) -> None:
    given = [
        Pair("a", Input("word " * 300), "yes", "no"),
        Pair("b", Input("short"), "word " * 300, "no"),
        Pair("c", Input("short"), "yes", "no"),
    ]
    found = encode_pairs(model[1], "generation", given, 100, start=5)
    assert ([pair.id for pair in found.pairs], found.cut, found.too_long) == (["a", "c"], 1, 1)
    assert [pair.number for pair in found.pairs] == [5, 6]
    assert max(len(p.prompt) + max(map(len, p.answers)) for p in found.pairs) <= 100


# -- training ------------------------------------------------------------------------------------------


def test_held_out_pairs_come_to_be_preferred(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    tuned = build(plan_of(tiny, pairs_file, min_steps=12), tmp_path / "work")
    found = record(tuned)
    assert found["after"]["accuracy"] == 1.0
    assert found["after"]["margin"] > 0
    held = len(load_dataset(DataSpec(str(pairs_file)), "generation", 0).test)
    assert found["before"]["pairs"] == found["after"]["pairs"] == held
    assert any("the chosen answer has the higher reward in 100%" in note["en"] for note in tuned.notes)
    log = [json.loads(line) for line in (tuned.folder / "training.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # nothing is preferred to the reference yet
    assert log[-1]["loss"] < log[0]["loss"]
    [answer] = tuned.predict([Input("How is York?")])
    tuned.save(tmp_path / "artifact")
    assert TunedPredictor.load(tmp_path / "artifact").predict([Input("How is York?")]) == [answer]


def test_the_reference_is_the_model_without_what_is_trained(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    kept: dict[str, list[float]] = {}

    def look(event: Event) -> None:
        if event.stage == "train" and event.done == 5:
            kept.update(json.loads((tmp_path / "work" / "reference.json").read_text(encoding="utf-8")))

    plan = plan_of(tiny, pairs_file)
    build(plan, tmp_path / "work", report=look)
    base, tokenizer = load_causal(tiny)
    rows = load_dataset(plan.data, plan.task, plan.seed).train
    sides = pair_sides(Job(plan, tuple(rows), (), tmp_path), PreferenceParams())
    for pair in encode_pairs(tokenizer, "generation", sides.train, 128).pairs:
        assert kept[str(pair.number)] == pytest.approx([float(x.detach()) for x in alone(base, pair)], abs=1e-3)


@pytest.mark.parametrize("sft_first", [False, True])
def test_an_interrupted_training_ends_the_same(sft_first: bool, tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, pairs_file, sft_first=sft_first, min_steps=4)
    straight = build(plan, tmp_path / "straight")
    stops = [3, 3] if sft_first else [3]  # in the imitation, then in the training on pairs

    def stop(event: Event) -> None:
        if event.stage == "train" and stops and event.done == stops[0]:
            stops.pop(0)
            signal.raise_signal(signal.SIGINT)

    for _ in list(stops):
        with pytest.raises(KeyboardInterrupt):
            build(plan, tmp_path / "broken", report=stop)
    resumed = build(plan, tmp_path / "broken")
    assert record(resumed) == record(straight)
    assert (resumed.folder / "training.jsonl").read_text() == (straight.folder / "training.jsonl").read_text()


def test_what_is_imitated_first_is_the_reference(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    """The loss on pairs begins at log 2 again, and the chosen answers have become likelier before it."""
    references = {}
    for sft_first in (False, True):
        folder = tmp_path / str(sft_first)

        def look(event: Event, folder: Path = folder) -> None:
            if (folder / "reference.json").is_file():
                references[folder.name] = json.loads((folder / "reference.json").read_text(encoding="utf-8"))

        tuned = build(plan_of(tiny, pairs_file, sft_first=sft_first, min_steps=4), folder, report=look)
        log = [json.loads(line) for line in (tuned.folder / "training.jsonl").read_text().splitlines()]
        assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    chosen = {name: sum(c for c, _ in found.values()) for name, found in references.items()}
    assert chosen["True"] > chosen["False"]


def test_a_run_scores_what_is_written_against_the_chosen_answer(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, pairs_file, min_steps=1)
    assert check_plan(plan) == []
    result = run_plan(plan, tmp_path / "run")
    assert result.status == "done"
    assert "f1" in result.scores


def test_the_rate_is_a_tenth_of_imitations() -> None:
    assert rate_of(PreferenceParams(), 135_000_000) == pytest.approx(5e-5)


def test_pairs_of_rows_outside_a_fold_are_measured_with(pairs_file: Path, tmp_path: Path) -> None:
    plan = plan_of("x", pairs_file)
    rows = load_dataset(plan.data, plan.task, plan.seed).train
    sides = pair_sides(Job(plan, tuple(rows[:5]), (), tmp_path), PreferenceParams())
    trained = {pair.input.text for pair in (*sides.train, *sides.watched)}
    assert trained == {row.input.text for row in rows[:5]}
    assert {pair.input.text for pair in sides.held} == {f"How is {place}?" for place in PLACES} - trained


# -- faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"beta": 0}, "params.beta: must be above 0, got 0"),
        ({"variant": "ia3", "rank": 16}, "params.variant: preference tuning does lora, rslora, dora, qlora, not ia3"),
        ({"sft_first": True, "search": "range"}, "params.sft_first: not in several processes, nor with a search"),
        ({"replay": 0.1}, "params.replay: has no meaning where pairs are trained on"),
    ],
)
def test_faults_are_told_before_any_work(params: dict[str, object], said: str, tiny: str, pairs_file: Path) -> None:
    assert said in [problem.message for problem in PreferenceExecutor().check(plan_of(tiny, pairs_file, **params))]


def test_a_file_without_worse_answers_is_told(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": f"How is {place}?", "chosen": f"{place} is fine."}) for place in PLACES]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="no column recognised as the worse answer"):
        build(plan_of(tiny, path), tmp_path / "work")


def test_pairs_too_long_for_the_window_are_told(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no pair to train on"):
        build(plan_of(tiny, pairs_file, max_length=16), tmp_path / "work")


def test_pairs_near_a_held_out_prompt_are_left_out(tiny: str, pairs_file: Path, tmp_path: Path) -> None:
    def leaks(rows: Sequence[Row]) -> frozenset[str]:
        return frozenset(row.id for row in rows[:2])

    tuned = build(plan_of(tiny, pairs_file, min_steps=1), tmp_path / "work", leaks=leaks)
    assert any("2 pairs were left out, as their prompt nearly equals" in note["en"] for note in tuned.notes)
