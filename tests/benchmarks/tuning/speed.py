"""How fast a training is, and how much memory it takes, beside TRL's `SFTTrainer` and the CPU's matrix rate.

Both sides train LoRA of rank 16 on every linear layer of the same weights, on the same tokens of the same rows
(XQuAD-en, each question with its paragraph), eight rows a step, by the loss on the answers alone, in float32, each in a
process of its own, one after the other, twice. TRL runs with its defaults but for `gradient_checkpointing`, which is
off. The first step is not timed. Tokens are counted as if each row stood alone, on both sides.
TRL lives in an environment of its own: see the Makefile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from executors.base import Event, Input, Row
from executors.models import resolve
from executors.run import peak_memory_mb
from executors.tuning.rows import TokenRow
from tests.benchmarks.harness import OUT, ROOT, Figure
from tests.benchmarks.prompting.limit import Limit

PEERS = OUT / "peers-tuning"
PEER = "trl 1.16.0"
PYTHON = PEERS / "bin" / "python"
INSTALL = f"python -m venv {PEERS} && {PYTHON} -m pip install -c constraints.txt {PEER.replace(' ', '==')} peft"
COMMAND = "python -m tests.benchmarks.bench_tuning --only speed"
MODEL = "smollm2-135m-instruct"
ROWS, BATCH, RANK, RATE, LENGTH = 96, 8, 16, 5e-4, 1024
TURNS = 2  # of each side, in turn: other work on the machine meets both
SECONDS = 3600  # of one side


def speed() -> list[Figure]:
    """Ours beside TRL, in turn, and beside the matrix rate; the best turn of each side counts."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    for _ in range(TURNS):
        for side, turns in found.items():
            turns.append(_run(side))
    best = {side: max(turns, key=lambda turn: turn["tokens"] / turn["seconds"]) for side, turns in found.items()}
    rates = {side: one["tokens"] / one["seconds"] for side, one in best.items()}
    memory = {side: min(turn["peak"] for turn in turns) for side, turns in found.items()}
    ours, limit = best["ours"], max(turn["rate"] for turn in found["ours"])
    operations = 4 * ours["weights"] * ours["tokens"] / ours["seconds"]
    about: dict[str, Any] = {"n": ROWS, "peer_version": PEER, "command": COMMAND}
    return [
        Figure("speed: times TRL's tokens a second", rates["ours"] / rates["trl"], 2.5, ">=", **about),
        Figure("speed: of TRL's peak memory", memory["ours"] / memory["trl"], 0.8, "<=", **about),
        Figure("speed: of the float32 matrix rate, by 4·N·tokens", operations / limit, 0.75, ">=", **about),
        *(Figure(f"speed: {side}: tokens a second", rates[side], **about) for side in found),
        *(Figure(f"speed: {side}: peak memory, MB", memory[side], **about) for side in found),
        *(Figure(f"speed: {side}: mean loss of the steps", best[side]["loss"], **about) for side in found),
        Figure("speed: tokens computed, of those of rows alone", ours["computed"] / ours["tokens"], **about),
        Figure("speed: this CPU's matrix rate, GFLOP/s", limit / 1e9, **about),
    ]


def _run(side: str) -> dict[str, Any]:
    python = sys.executable
    if side == "trl":
        python = str(PYTHON)
        if not PYTHON.is_file():
            raise SystemExit(f"{PEER} is absent; put it into an environment of its own:\n  {INSTALL}")
    command = [python, "-W", "ignore", "-m", __name__, side, str(resolve(MODEL))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, timeout=SECONDS)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


# -- in a process of its own -----------------------------------------------------------------------------


def _token_rows(tokenizer: Any) -> list[TokenRow]:
    """The first rows of the set, which are all questions of its first paragraphs."""
    from executors.tuning.rows import encode_rows
    from tests.benchmarks.prompting.data import public_data

    record = json.loads((public_data() / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))
    rows = [
        Row(question["id"], Input(question["question"], paragraph["context"]), (question["answers"][0]["text"],))
        for article in record["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return list(encode_rows(tokenizer, "question_answering", (), rows[:ROWS], LENGTH).rows)


def _ours(model: Any, tokenizer: Any, rows: Sequence[TokenRow], folder: Path) -> dict[str, Any]:
    from executors.models import choose_device
    from executors.tuning import PeftExecutor, PeftParams
    from executors.tuning.batches import collator_of, completion_loss, plan_steps
    from executors.tuning.engine import train
    from executors.tuning.material import Material

    params = PeftParams(epochs=1, min_steps=0, learning_rate=RATE, batch_size=BATCH, rank=RANK, checkpoint_steps=10**6)
    limit = Limit(model)
    limit.measure()
    model = PeftExecutor().prepare(model, params)
    collator = collator_of(model, tokenizer)
    ends: list[float] = []

    def note(event: Event) -> None:
        if event.stage == "train":
            ends.append(time.perf_counter())

    log = train(model, Material(rows, [], collator, completion_loss), params, choose_device(), 0, folder, note)
    limit.measure()
    steps = plan_steps(rows, BATCH, ROWS // BATCH, 0)[1:]
    passes = [collator([part])["input_ids"].numel() for step in steps for part in collator.parts(step, BATCH)]
    return {
        "seconds": ends[-1] - ends[1],
        "tokens": sum(len(row) for step in steps for row in step),
        "computed": sum(passes),
        "loss": mean(entry["loss"] for entry in log),
        "rate": limit.rate,
        "weights": limit.weights,
    }


def _trl(model: Any, tokenizer: Any, rows: Sequence[TokenRow], folder: Path) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    seen: list[int] = []

    class Counting(SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *arguments: Any, **settings: Any) -> Any:
            seen.append(int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else 0)
            return super().training_step(model, inputs, *arguments, **settings)

    data = Dataset.from_list(
        [
            {"input_ids": list(row.tokens), "completion_mask": [0] * len(row.prompt) + [1] * len(row.answer)}
            for row in rows
        ]
    )
    settings = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        gradient_checkpointing=False,
        completion_only_loss=True,
        bf16=False,  # a CPU computes in it, slower by orders of magnitude
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear")
    trainer = Counting(
        model=model,
        args=settings,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[Clock()],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(seen) == sum(map(len, rows))  # the same tokens, none cut or left out
    return {"seconds": ends[-1] - ends[0], "tokens": sum(seen[1:]), "loss": mean(losses)}


SIDES = {"ours": _ours, "trl": _trl}


def main(side: str, weights: str) -> dict[str, Any]:
    from executors.models import load_causal

    model, tokenizer = load_causal(weights)
    rows = _token_rows(tokenizer)
    with tempfile.TemporaryDirectory() as name:
        found = SIDES[side](model, tokenizer, rows, Path(name) / "work")
    return {**found, "peak": peak_memory_mb()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
