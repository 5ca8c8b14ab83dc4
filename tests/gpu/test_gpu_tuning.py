"""Training on a GPU: half precision, memory that really runs out, 4-bit weights. Skipped, saying so, without one."""

from __future__ import annotations

import importlib.util
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

import executors
from executors.base import DataSpec, Input, Job, Plan, Row
from executors.models import choose_device, load_causal
from executors.tuning.batches import Collator, collator_of, completion_loss
from executors.tuning.material import Material
from executors.tuning.params import FullParams
from executors.tuning.rows import TokenRow

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'charged twice' if n % 2 else 'send it back'} {n}"), (LABELS[1 - n % 2],)) for n in range(12)
)


def rows_of(lengths: list[int]) -> list[TokenRow]:
    chance = random.Random(0)
    return [TokenRow(tuple(chance.randrange(3, 900) for _ in range(n)), (5, 6)) for n in lengths]


def trained(tiny: str, folder: Path, collator: Collator | None = None, **params: Any) -> tuple[Any, Any]:
    from executors.tuning.engine import train

    model, tokenizer = load_causal(tiny)
    given = {"epochs": 1, "min_steps": 4, "batch_size": 8, "learning_rate": 1e-3, **params}
    rows = rows_of([40, 60, 300, 300, 300, 300, 310, 320])
    material = Material(rows, [], collator or collator_of(model, tokenizer), completion_loss)
    log = train(model.float(), material, FullParams(**given), choose_device(), 0, folder, lambda event: None)
    return model, log


def test_losses_are_numbers_and_fall_in_half_precision(tiny: str, tmp_path: Path) -> None:
    _, log = trained(tiny, tmp_path, min_steps=20, learning_rate=1e-2)
    losses = [entry["loss"] for entry in log]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def test_lines_and_padded_rows_give_the_same_losses(tiny: str, tmp_path: Path) -> None:
    found = [
        trained(tiny, tmp_path / str(shares), Collator(0, shares=shares))[1][0]["loss"] for shares in (True, False)
    ]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_memory_that_really_runs_out_halves_the_passes(tiny: str, tmp_path: Path) -> None:
    import torch

    class Greedy(Collator):
        """Asks the GPU for more than any has, where a pass has more than two rows."""

        def __call__(self, items: Any) -> dict[str, Any]:
            if sum(map(len, items)) > 2:
                torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
            return super().__call__(items)

    _, plenty = trained(tiny, tmp_path / "plenty")
    _, little = trained(tiny, tmp_path / "little", Greedy(0, shares=True))
    assert "in passes of at most 2" in little.notes[0]["en"]
    assert [e["loss"] for e in little] == pytest.approx([e["loss"] for e in plenty], rel=0.02)


def test_activations_computed_again_take_less_memory(tiny: str, tmp_path: Path) -> None:
    import torch

    peaks = []
    for checkpointing in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trained(tiny, tmp_path / str(checkpointing), checkpointing=checkpointing)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0]


def test_a_model_in_four_bits_is_tuned_and_predicts(tmp_path: Path) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed: pip install 'adaptation-advisor[gpu]'")
    params = {"variant": "qlora", "epochs": 1, "min_steps": 30, "batch_size": 4, "learning_rate": 5e-4}
    plan = Plan("peft", "classification", DataSpec("x.csv"), params=params)
    predictor = executors.method("peft").build(Job(plan, ROWS, LABELS, tmp_path))
    found = [p.text for p in predictor.predict([row.input for row in ROWS])]
    assert sum(text == row.target for text, row in zip(found, ROWS, strict=True)) >= 10
    lines = (tmp_path / "tuned" / "training.jsonl").read_text().splitlines()
    assert all(math.isfinite(json.loads(line)["loss"]) for line in lines)


def launched(tiny: str, folder: Path, method: str, **params: Any) -> Any:
    given = {"epochs": 1, "min_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_steps": 2, **params}
    folder.mkdir()
    plan = Plan(method, "classification", DataSpec("x.csv"), model=tiny, params=given)
    predictor = executors.method(method).build(Job(plan, ROWS, LABELS, folder))
    assert len(predictor.predict([row.input for row in ROWS[:2]])) == 2
    lines = (folder / "tuned" / "training.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines], [note["en"] for note in predictor.about.notes]


@pytest.mark.parametrize("method", ["peft", "full"])
def test_a_process_of_a_training_in_shards_has_the_losses_of_one_without(
    method: str, tiny: str, tmp_path: Path
) -> None:
    """One process holds the only shard: what is tried is the way that several would take."""
    plain, _ = launched(tiny, tmp_path / "plain", method)
    sharded, notes = launched(tiny, tmp_path / "sharded", method, launch="torchrun", processes=1, shard=True)
    assert any("in shards (FSDP2)" in note for note in notes)
    assert sharded == pytest.approx(plain, rel=0.02)


@pytest.mark.parametrize("method", ["peft", "full"])
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_gpus_hold_half_of_the_model_each(launcher: str, method: str, tiny: str, tmp_path: Path) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip(f"two GPUs are needed, {torch.cuda.device_count()} is here")
    plain, _ = launched(tiny, tmp_path / "plain", method)
    sharded, notes = launched(tiny, tmp_path / "sharded", method, launch=launcher, processes=2, shard=True)
    assert any("by 2 processes: none held more than 50% of its weights" in note for note in notes)
    assert sharded == pytest.approx(plain, rel=0.02)
