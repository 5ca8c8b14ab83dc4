"""Small encoders: what each variant trains and saves, what survives an interruption, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import executors
from executors.base import DataSpec, Event, Input, Job, Plan, Prediction, Row, UserError, parse_params
from executors.tuning.encoder import EncoderParams, EncoderPredictor, SmallEncoderExecutor
from executors.tuning.encoder.params import check_encoder_params, chosen_variant, resolved
from executors.tuning.encoder.rows import TextRow, groups, masked
from tests.tiny import write_tiny_encoder

SUBJECTS = ("card", "account", "loan", "transfer", "branch", "fee", "rate", "form")
KINDS = {"anger": "I hate this awful {}", "joy": "I love this great {}", "doubt": "Is there any {} at all?"}
ROWS = tuple(
    Row(f"{label} {n}", Input(text.format(subject)), (label,))
    for label, text in KINDS.items()
    for n, subject in enumerate(SUBJECTS)
)
LABELS = tuple(sorted(KINDS))
QUICK: dict[str, Any] = {"epochs": 1, "min_steps": 6, "batch_size": 8, "contrast_epochs": 2, "contrast_rows": 8}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny"))


Build = Callable[..., EncoderPredictor]


@pytest.fixture
def build(tmp_path: Path, tiny: str) -> Build:
    def call(rows: Sequence[Row] = ROWS, task: str = "classification", work: str = "work", **params: Any) -> Any:
        report = params.pop("report", lambda event: None)
        method = params.pop("method", "small_encoder")
        (tmp_path / work).mkdir(exist_ok=True)
        labels = tuple(sorted({row.target for row in rows})) if task == "classification" else ()
        given = {**(QUICK if method == "small_encoder" else {"epochs": 1, "min_steps": 4}), **params}
        plan = Plan(method, task, DataSpec("x.csv"), embedder=tiny, model=tiny, params=given)
        return executors.method(method).build(Job(plan, tuple(rows), labels, tmp_path / work, report))

    return call


def answers(predictor: EncoderPredictor, rows: Sequence[Row] = ROWS) -> list[Prediction]:
    return predictor.predict([row.input for row in rows])


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "encoder" / "model.safetensors"))


def moved(predictor: EncoderPredictor, tiny: str) -> set[str]:
    """Names of the weights that training changed."""
    from safetensors.torch import load_file

    before, after = load_file(Path(tiny) / "model.safetensors"), weights(predictor.folder)
    return {name for name, tensor in after.items() if not bool((tensor == before[name]).all())}


# -- what each variant trains ----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["setfit", "head_and_all", "continued", "scratch"])
def test_all_of_the_encoder_moves(build: Build, tiny: str, variant: str) -> None:
    predictor = build(variant=variant)
    changed = moved(predictor, tiny)
    assert {f"encoder.layer.{n}.output.dense.weight" for n in range(4)} <= changed
    assert "embeddings.word_embeddings.weight" in changed
    assert predictor.about.params["variant"] == variant


@pytest.mark.parametrize(
    ("variant", "given", "layers"),
    [
        ("last_layers", {}, {3}),
        ("last_layers", {"trained_layers": 2}, {2, 3}),
        ("first_frozen", {}, {2, 3}),
        ("first_frozen", {"frozen_layers": 3}, {3}),
    ],
)
def test_only_the_upper_layers_move(
    build: Build, tiny: str, variant: str, given: dict[str, int], layers: set[int]
) -> None:
    changed = moved(build(variant=variant, **given), tiny)
    assert {int(name.split(".")[2]) for name in changed if name.startswith("encoder.layer.")} == layers
    assert not [name for name in changed if name.startswith("embeddings.")]


@pytest.mark.parametrize("variant", ["lora", "ia3", "bottleneck_adapters", "prompt_tuning"])
def test_adapters_change_the_answers_and_are_saved(build: Build, tmp_path: Path, variant: str) -> None:
    predictor = build(variant=variant, learning_rate=0.01)
    before = answers(predictor)
    untouched = build(work="other", variant=variant, learning_rate=1e-12)
    assert [p.scores for p in answers(untouched)] != [p.scores for p in before]
    (tmp_path / "copy").mkdir()
    predictor.save(tmp_path / "copy")
    assert answers(EncoderPredictor.load(tmp_path / "copy")) == before


def test_training_teaches(build: Build) -> None:
    predictor = build(variant="head_and_all", min_steps=40, learning_rate=2e-3)
    assert sum(p.text == row.target for p, row in zip(answers(predictor), ROWS, strict=True)) >= 22
    losses = [json.loads(line) for line in (predictor.folder / "training.jsonl").read_text().splitlines()]
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_contrast_brings_a_class_together(build: Build, tiny: str) -> None:
    predictor = build(variant="setfit", contrast_epochs=10, learning_rate=2e-3)

    def apart(vectors: Any) -> float:  # mean similarity within classes above that between them
        alike, same = vectors @ vectors.T, np.array([[a.target == b.target for a in ROWS] for b in ROWS])
        return float(alike[same].mean() - alike[~same].mean())

    from executors.tuning.encoder.network import encode, open_network

    network = open_network(Path(tiny), "cpu")
    ids, _ = encode(network, [row.input.text for row in ROWS], 32)
    assert apart(predictor.network.run(ids, "vectors")) > apart(network.run(ids, "vectors")) + 0.2


def test_a_number_is_learnt_in_its_own_units(build: Build) -> None:
    values = {"anger": "100", "joy": "300", "doubt": "200"}
    rows = tuple(replace(row, targets=(values[row.target],)) for row in ROWS)
    predictor = build(rows, "regression", min_steps=30, learning_rate=1e-3)
    found = np.array([float(p.text) for p in answers(predictor, rows)])
    wanted = np.array([float(row.target) for row in rows])
    assert np.mean((found - wanted) ** 2) < 0.3 * wanted.var()
    assert found.min() >= 100
    assert found.max() <= 300


def test_activations_computed_again_change_nothing(build: Build) -> None:
    kept, again = build(variant="head_and_all"), build(work="again", variant="head_and_all", checkpointing=True)
    before, after = weights(kept.folder), weights(again.folder)
    assert all(bool((before[name] - after[name]).abs().max() < 1e-5) for name in before)


# -- by another method's name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "given", "variant"),
    [
        ("peft", {}, "lora"),
        ("peft", {"variant": "ia3"}, "ia3"),
        ("full", {}, "head_and_all"),
        ("full", {"layers": "last"}, "last_layers"),
    ],
)
def test_an_encoder_as_the_model_of_peft_and_full(
    build: Build, tmp_path: Path, method: str, given: dict[str, str], variant: str
) -> None:
    predictor = build(method=method, **given)
    assert predictor.about.params["variant"] == variant
    (tmp_path / "artifact").mkdir()
    predictor.save(tmp_path / "artifact")
    again = executors.method(method).Predictor.load(tmp_path / "artifact")
    assert again.predict([row.input for row in ROWS]) == answers(predictor)


# -- what the rows decide ------------------------------------------------------------------------------------


def test_the_variant_follows_the_rows_a_class() -> None:
    few, many = ["a"] * 7 + ["b"] * 7, ["a"] * 8 + ["b"] * 8
    assert chosen_variant(EncoderParams(), "classification", few) == "setfit"
    assert chosen_variant(EncoderParams(), "classification", many) == "head_and_all"
    assert chosen_variant(EncoderParams(), "regression", few) == "head_and_all"
    assert chosen_variant(EncoderParams(variant="lora"), "classification", few) == "lora"


def test_rows_are_held_out_only_where_a_class_can_spare_them() -> None:
    assert resolved(EncoderParams(), "setfit", "classification", ["a"] * 10 + ["b"] * 10).development == 0
    assert resolved(EncoderParams(), "setfit", "classification", ["a"] * 50 + ["b"] * 50).development == 0.1
    assert resolved(EncoderParams(), "head_and_all", "regression", ["1", "2"]).development == 0.1


def test_groups_hold_every_row_once_a_pass_beside_others_of_its_class() -> None:
    rows = [TextRow((n,), n % 3) for n in range(21)]  # 7 of each class: 3, 3 and one left over
    made = groups(rows, 3, 2, 0)
    assert sorted(row.ids for group in made for row in group.rows) == sorted([row.ids for row in rows] * 2)
    assert all(len({row.target for row in group.rows}) == 1 for group in made)
    assert min(len(group.rows) for group in made) == 3
    assert groups(rows, 3, 1, 0) != groups(rows, 3, 1, 1)


def test_masked_texts_ask_for_what_was_hidden() -> None:
    row = TextRow((1, *range(10, 30), 2), 0)
    made = masked([row], 0.25, 40, mask=99, words=50, special=frozenset({1, 2}), seed=0)
    for text in made:
        asked = [n for n, label in enumerate(text.labels) if label != -100]
        assert len(asked) == 5
        assert all(text.labels[n] == row.ids[n] for n in asked)
        assert all(text.ids[n] == row.ids[n] for n in range(len(row)) if n not in asked)
    hidden = [text.ids[n] == 99 for text in made for n, label in enumerate(text.labels) if label != -100]
    assert 0.7 < np.mean(hidden) < 0.9


def test_the_contrast_by_hand() -> None:
    import torch

    from executors.tuning.encoder.rows import ContrastLoss

    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = ContrastLoss(0.5)({"vectors": vectors}, torch.tensor([0, 0, 1]))
    each = -np.log(np.exp(2.0) / (np.exp(2.0) + np.exp(0.0)))  # rows 0 and 1; row 2 has no partner and adds nothing
    assert float(loss) == pytest.approx(2 * each / 3, abs=1e-6)


# -- the artifact ----------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
from sentence_transformers import SentenceTransformer
logits = SentenceTransformer(sys.argv[1], device="cpu").encode(json.loads(sys.argv[2]), show_progress_bar=False)
assert not [name for name in sys.modules if name.startswith(("executors", "advisor"))]
print(json.dumps(logits.tolist()))
"""


def test_the_artifact_loads_without_this_project(build: Build, tmp_path: Path) -> None:
    predictor = build(variant="lora", learning_rate=0.01)
    asked = [row.input.text for row in ROWS[::5]]
    folder = str(predictor.folder / "encoder")
    call = [sys.executable, "-c", ELSEWHERE, folder, json.dumps(asked)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    logits = np.array(json.loads(done.stdout.splitlines()[-1]))
    ours = predictor.predict([Input(text) for text in asked])
    assert [predictor.about.labels[n] for n in logits.argmax(1)] == [p.text for p in ours]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(shares.max(1), [p.score for p in ours], atol=1e-5)


# -- interruptions -----------------------------------------------------------------------------------------------


class StopAt:
    """A reporter that breaks in at one step of training, as Ctrl-C does."""

    def __init__(self, step: int, total: int | None = None) -> None:
        self.step, self.total = step, total

    def __call__(self, event: Event) -> None:
        if event.stage == "train" and event.done == self.step and self.total in (None, event.total):
            import signal

            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("variant", "step"), [("head_and_all", 3), ("setfit", 3), ("continued", 8)])
def test_an_interrupted_tuning_ends_as_the_uninterrupted_one(build: Build, variant: str, step: int) -> None:
    params = {"variant": variant, "checkpoint_steps": 1, "reading_epochs": 2, "min_steps": 9}
    whole = build(**params)
    with pytest.raises(KeyboardInterrupt):
        build(work="broken", report=StopAt(step), **params)
    resumed = build(work="broken", **params)
    before, after = weights(whole.folder), weights(resumed.folder)
    assert all(bool((before[name] == after[name]).all()) for name in before)
    assert (whole.folder / "training.jsonl").read_text() == (resumed.folder / "training.jsonl").read_text()


# -- what is refused or said ---------------------------------------------------------------------------------------


def test_long_texts_are_counted(build: Build) -> None:
    rows = (*ROWS, Row("long", Input("word " * 100), ("joy",)))
    predictor = build(rows)
    assert predictor.about.notes[0]["en"].startswith("1 of 25 training texts were cut to the 32 tokens")
    predictor.predict([Input("word " * 100), Input("short")])
    assert "1 input was cut" in predictor.notes[-1]["en"]


def test_a_target_that_is_text_in_a_regression(build: Build) -> None:
    rows = [replace(row, targets=(str(n),)) for n, row in enumerate(ROWS[:-1])]
    with pytest.raises(UserError, match="high"):
        build([*rows, replace(ROWS[-1], targets=("high",))], "regression")


def test_contrast_has_no_meaning_for_numbers(build: Build) -> None:
    with pytest.raises(UserError, match="setfit compares classes"):
        build([replace(row, targets=(str(n),)) for n, row in enumerate(ROWS)], "regression", variant="setfit")


def test_more_layers_than_there_are(build: Build) -> None:
    with pytest.raises(UserError, match="trained_layers: 9 of a model with 4 layers"):
        build(variant="last_layers", trained_layers=9)


def test_a_rank_above_the_dimension(build: Build) -> None:
    with pytest.raises(UserError, match="rank: 64 is above 32"):
        build(variant="lora", rank=64)


def test_every_fault_of_the_parameters_at_once() -> None:
    faults = check_encoder_params(EncoderParams(masked=1.5, temperature=0, group=40, rank=0, trained_layers=2))
    assert [fault.message.split(":")[0] for fault in faults] == [
        "params.rank", "params.masked", "params.temperature", "params.group", "params.trained_layers",
    ]  # fmt: skip


def test_what_has_no_meaning_for_an_encoder() -> None:
    for given, told in (
        ({"variant": "qlora"}, "qlora keeps"),
        ({"replay": 0.1}, "replay"),
        ({"launch": "torchrun"}, "launch"),
    ):
        faults = SmallEncoderExecutor().check(Plan("small_encoder", "classification", DataSpec("x.csv"), params=given))
        assert told in faults[-1].message


def test_an_encoder_writes_no_text(tiny: str) -> None:
    plan = Plan("peft", "summarisation", DataSpec("x.csv"), model=tiny)
    assert any("is an encoder" in fault.message for fault in executors.method("peft").check(plan))


def test_a_language_model_is_no_encoder() -> None:
    plan = Plan("small_encoder", "classification", DataSpec("x.csv"), embedder="smollm2-135m-instruct")
    assert "writes text" in SmallEncoderExecutor().check(plan)[0].message


def test_a_misspelt_variant_is_told_every_one_there_is() -> None:
    _, (problem,) = parse_params(EncoderParams, {"variant": "setfitt"})
    assert problem.message.startswith("params.variant: expected one of 'setfit', 'head_and_all'")
    assert "'bottleneck_adapters', got 'setfitt'" in problem.message
    assert parse_params(EncoderParams, {"learning_rate": "high"})[1][0].message.endswith("expected float, got 'high'")


# -- what it leaves for others -------------------------------------------------------------------------------------


MANY = tuple(replace(row, id=f"{n}-{row.id}", input=Input(f"{row.input.text} {n}")) for n in range(8) for row in ROWS)


@pytest.mark.parametrize("variant", ["head_and_all", "setfit"])
def test_development_rows_are_answered_before_and_after(build: Build, variant: str) -> None:
    """Nothing is learnt at this rate, so that both sides are the same; before a contrast, the frozen encoder's head."""
    predictor = build(MANY, variant=variant, learning_rate=1e-12, patience=0)
    record = json.loads((predictor.folder / "aftermath.json").read_text(encoding="utf-8"))
    assert (record["metric"], record["rows"], record["trained_on"], record["of"]) == ("accuracy", 19, False, "encoder")
    assert record["before"]["score"]["n"] == record["after"]["score"]["n"] == 19
    assert 0 < record["before"]["loss"] < 1.2  # nats; 1.1 by guessing one of three
    if variant == "head_and_all":
        assert record["before"]["loss"] == pytest.approx(record["after"]["loss"], abs=0.05)
    texts = {row.input.text: row.target for row in MANY}
    assert all(texts[one["input"]] == one["target"] for one in record["samples"])


def test_the_side_after_is_what_the_artifact_answers(build: Build) -> None:
    predictor = build(MANY, variant="head_and_all", learning_rate=1e-3)
    samples = json.loads((predictor.folder / "aftermath.json").read_text(encoding="utf-8"))["samples"]
    answered = predictor.predict([Input(one["input"], one["context"]) for one in samples])
    assert [one["tuned"] for one in samples] == [answer.text for answer in answered]


def test_numbers_are_compared_in_their_own_units(build: Build) -> None:
    values = {"anger": "100", "joy": "300", "doubt": "200"}
    rows = tuple(replace(row, targets=(values[row.target],)) for row in MANY)
    record = json.loads((build(rows, "regression").folder / "aftermath.json").read_text(encoding="utf-8"))
    assert record["before"]["score"]["value"] < 150  # mean absolute error; in spreads it would be about one
    assert all(50 < float(one[side]) < 350 for one in record["samples"] for side in ("base", "tuned"))


def test_nothing_is_compared_where_no_row_is_held_out(build: Build) -> None:
    assert not (build(ROWS, variant="head_and_all").folder / "aftermath.json").exists()
    assert not (build(MANY, work="unasked", variant="head_and_all", compare=0).folder / "aftermath.json").exists()


def code_of(card: str) -> str:
    return card.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("variant", ["head_and_all", "prompt_tuning"])
def test_the_code_in_the_card_answers_as_the_run_does(build: Build, variant: str) -> None:
    predictor = build(variant=variant, learning_rate=0.01)
    folder = predictor.folder / "encoder"
    card, chinese = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert "library_name: sentence-transformers" in card
    assert "pipeline_tag: text-classification" in card
    assert "| Rows trained on | 24 |" in card
    assert "`joy`" in card
    assert "编码器" in chinese
    text = ROWS[0].input.text
    code = code_of(card).replace("…", text)
    assert ("adaptation-advisor" in card.split("## ")[-1]) == (variant == "prompt_tuning")
    path = {"PYTHONPATH": str(Path(__file__).parents[1])} if variant == "prompt_tuning" else {}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env={**os.environ, **path}
    )
    assert done.stdout.splitlines()[-1] == predictor.predict([Input(text)])[0].text
