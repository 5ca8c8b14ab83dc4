"""Tuning: what is trained on, that nothing is dropped unsaid, and that an interruption changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, Usage, UserError, silent
from executors.fitting import shorten
from executors.messages import chat
from executors.models import GREEDY, Completion, LanguageModel, Sampling, encode_chat, load_causal
from executors.tuning import FullExecutor, PeftExecutor, PeftParams, TunedPredictor
from executors.tuning.batches import Collator, completion_loss, padded_batch, plan_steps, shared_batch
from executors.tuning.checkpoints import check_space, is_complete, latest_checkpoint
from executors.tuning.executor import TuningExecutor
from executors.tuning.layers import choose_layers, decoder_layers
from executors.tuning.material import Material
from executors.tuning.params import FullParams, count_steps, rate_of
from executors.tuning.predictor import Tuned, write_tuned
from executors.tuning.rows import IGNORED, TokenRow, encode_rows
from tests.tiny import write_tiny

LABELS = ("billing", "returns")
ROWS = tuple(
    Row(str(n), Input(f"{'I was charged twice' if n % 2 else 'I want to send it back'} {n}"), (LABELS[1 - n % 2],))
    for n in range(12)
)
EXECUTORS: dict[str, type[TuningExecutor]] = {"peft": PeftExecutor, "full": FullExecutor}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tokenizer(tiny: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny, local_files_only=True)


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the CPU, for results to the last bit; and no handler of a signal is left behind."""
    monkeypatch.setenv("ADVISOR_DEVICE", "cpu")
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


Build = Callable[..., TunedPredictor]


@pytest.fixture
def build(tiny: str, tmp_path: Path) -> Build:
    """Train the small model; the same `name` goes on in the same folder."""

    def call(
        method: str = "peft",
        rows: Sequence[Row] = ROWS,
        task: str = "classification",
        report: Reporter = silent,
        name: str = "work",
        seed: int = 0,
        **params: object,
    ) -> TunedPredictor:
        (tmp_path / name).mkdir(exist_ok=True)
        given = {"epochs": 1, "min_steps": 6, "batch_size": 4, "checkpoint_steps": 2, "learning_rate": 1e-3, **params}
        plan = Plan(method, task, DataSpec("x.csv"), model=tiny, seed=seed, params=given)
        labels = LABELS if task == "classification" else ()
        return EXECUTORS[method]().build(Job(plan, tuple(rows), labels, tmp_path / name, report))

    return call


def weights(predictor: TunedPredictor) -> dict[str, Any]:
    from safetensors.torch import load_file

    [file] = predictor.folder.rglob("*.safetensors")
    return dict(load_file(file))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


class InterruptAt:
    """A reporter that sends a signal to this process once `step` optimizer steps are done, and keeps the events."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number, self.events = step, number, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.stage == "train" and event.done == self.step:
            self.step = -1
            signal.raise_signal(self.number)


# -- rows ----------------------------------------------------------------------------------------------


def test_a_row_is_what_the_models_own_template_makes_of_it(tokenizer: Any) -> None:
    [row] = encode_rows(tokenizer, "classification", LABELS, ROWS[:1], 512).rows
    messages = chat("classification", LABELS, ROWS[0].input)
    said = [*messages, {"role": "assistant", "content": "returns"}]
    whole = tokenizer.apply_chat_template(said)["input_ids"]
    assert list(row.tokens) == whole[: len(row)]
    assert tokenizer.decode(whole[len(row) :]).strip() == ""  # the template's line break after the end of the turn
    assert row.prompt == tuple(encode_chat(tokenizer, messages))  # what prediction starts from
    assert tokenizer.decode(row.answer) == "returns<|im_end|>"


def test_only_the_answer_and_its_end_are_trained_on(tokenizer: Any) -> None:
    rows = encode_rows(tokenizer, "classification", LABELS, ROWS[:2], 512).rows
    for batch in (padded_batch(rows, 0), shared_batch([rows])):
        trained = batch["labels"][batch["labels"] != IGNORED].tolist()
        assert sorted(tokenizer.decode(trained).split("<|im_end|>")) == ["", "billing", "returns"]


def test_a_long_input_is_cut_inside_the_template_and_counted(tokenizer: Any) -> None:
    long = replace(ROWS[0], input=Input("word " * 400))
    found = encode_rows(tokenizer, "classification", LABELS, [*ROWS[:3], long], 100)
    assert (len(found.rows), found.cut, found.too_long) == (4, 1, 0)
    assert 95 <= len(found.rows[3]) <= 100
    assert tokenizer.decode(found.rows[3].prompt).endswith("word<|im_end|>\n<|im_start|>assistant\n")
    assert found.rows[3].answer == found.rows[0].answer
    assert found.notes()[0]["en"].startswith("1 of 4 training inputs were cut to the 100 tokens")


def test_the_context_is_cut_before_the_question() -> None:
    given = Input("who?", "a b c d e f")
    assert shorten(given, 8, lambda i: len(i.text) + len(i.context)) == Input("who?", "a b")
    assert shorten(given, 3, lambda i: len(i.text) + len(i.context)) is None


def test_rows_without_a_token_to_train_on_are_counted(tokenizer: Any) -> None:
    blank = replace(ROWS[0], targets=(" ",))
    endless = replace(ROWS[0], targets=("word " * 200,))
    found = encode_rows(tokenizer, "generation", (), [*ROWS[:2], blank, endless], 100)
    assert (len(found.rows), found.empty, found.too_long) == (2, 1, 1)
    assert len(found.notes()) == 2


@pytest.mark.parametrize(
    ("target", "limit", "said"),
    [("", 512, "3 have an answer without tokens"), ("billing", 16, "3 do not fit 16 tokens")],
    ids=["empty", "too long"],
)
def test_a_training_on_nothing_is_refused(tokenizer: Any, target: str, limit: int, said: str) -> None:
    rows = [replace(row, targets=(target,)) for row in ROWS[:3]]
    with pytest.raises(UserError, match=f"no token to train on: of 3 training rows, {said}"):
        encode_rows(tokenizer, "classification", LABELS, rows, limit)


# -- batches -------------------------------------------------------------------------------------------


def _own_loss(model: Any, rows: Sequence[TokenRow]) -> Any:
    """The loss the model itself computes from all logits, row by row, weighted by trained tokens."""
    import torch

    total, tokens = 0.0, 0
    for row in rows:
        labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.answer)])
        loss = model(input_ids=torch.tensor([row.tokens]), labels=labels).loss
        total, tokens = total + loss * len(row.answer), tokens + len(row.answer)
    return total / tokens


def test_the_loss_is_the_models_own_in_both_layouts(tiny: str, tokenizer: Any) -> None:
    model, _ = load_causal(tiny)
    asked = [replace(row, targets=(f"{row.target} {'and more ' * (n % 3)}",)) for n, row in enumerate(ROWS[:5])]
    rows = encode_rows(tokenizer, "generation", (), asked, 512).rows
    expected = _own_loss(model, rows)
    expected.backward()
    gradient = {name: p.grad.clone() for name, p in model.named_parameters()}
    for batch in (padded_batch(rows, tokenizer.pad_token_id), shared_batch([rows])):
        model.zero_grad()
        labels = batch.pop("labels")
        loss = completion_loss(model(**batch), labels)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        loss.backward()
        for name, p in model.named_parameters():
            assert float((p.grad - gradient[name]).abs().max()) < 1e-5


def test_a_shared_beginning_is_read_once_where_that_is_less_work(tokenizer: Any) -> None:
    rows = encode_rows(tokenizer, "classification", LABELS, ROWS[:8], 512).rows
    shared = Collator(0, shares=True)([rows])["input_ids"]
    padded = Collator(0, shares=False)([rows])["input_ids"]
    assert shared.shape[0] == 1
    assert shared.numel() < 0.6 * padded.numel()
    assert Collator(0, shares=True)([rows[:1]])["input_ids"].shape == (1, len(rows[0]))


def test_every_row_is_trained_on_once_an_epoch_with_rows_of_like_length() -> None:
    rows = [TokenRow((n,) * (1 + n % 40), (n, 2)) for n in range(123)]
    plan = plan_steps(rows, 8, 40, seed=0)
    assert len(plan) == 40
    for epoch in (plan[:16], plan[16:32]):  # five pools of three batches, and three rows more
        assert sorted(row.answer[0] for batch in epoch for row in batch) == list(range(123))
    assert plan[:16] != plan[16:32]
    full = [batch for batch in plan if len(batch) == 8]
    assert sum(max(map(len, b)) - min(map(len, b)) for b in full) / len(full) < 12


# -- training ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 5, 6])  # within an epoch of three steps, at its end, within the next, the last
@pytest.mark.parametrize("method", ["peft", "full"])
def test_an_interrupted_training_ends_with_the_same_weights(method: str, step: int, build: Build) -> None:
    straight = weights(build(method, name="straight"))
    stop = InterruptAt(step)
    with pytest.raises(KeyboardInterrupt):
        build(method, name="broken", report=stop)
    assert [e.done for e in stop.events if e.stage == "train"][-1] == step  # the step was finished, none begun
    events: list[Event] = []
    resumed = build(method, name="broken", report=events.append)
    assert next(e.done for e in events if e.stage == "train") == step
    assert same(weights(resumed), straight)


def test_sigterm_is_kept_like_ctrl_c_and_handlers_are_put_back(build: Build) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(report=InterruptAt(1, signal.SIGTERM))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_checkpoint_cut_in_half_is_passed_over_for_the_one_before(build: Build, tmp_path: Path) -> None:
    straight = build(name="straight")
    with pytest.raises(KeyboardInterrupt):
        build(name="broken", report=InterruptAt(5))
    checkpoints = tmp_path / "broken" / "checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["checkpoint-4", "checkpoint-5"]
    file = checkpoints / "checkpoint-5" / "optimizer.pt"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    events: list[Event] = []
    resumed = build(name="broken", report=events.append)
    assert next(e.done for e in events if e.stage == "train") == 4
    assert same(weights(resumed), weights(straight))
    assert (resumed.folder / "training.jsonl").read_text() == (straight.folder / "training.jsonl").read_text()


def test_a_checkpoint_never_finished_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7" / "model.safetensors").write_bytes(b"half")
    assert not is_complete(tmp_path / "checkpoint-7")
    assert latest_checkpoint(tmp_path) is None
    assert not (tmp_path / "checkpoint-7").exists()


def test_a_finished_training_is_not_done_again(build: Build, tmp_path: Path) -> None:
    build()
    events: list[Event] = []
    build(report=events.append)
    assert not [e for e in events if e.stage == "train"]
    assert not (tmp_path / "work" / "checkpoints").exists()


def test_the_seed_decides_the_weights(build: Build) -> None:
    first, again, other = (weights(build(name=name, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert same(first, again)
    assert not same(first, other)


def test_progress_is_told_by_events_and_nothing_is_printed(build: Build, capfd: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    build(report=events.append)
    steps = [e for e in events if e.stage == "train"]
    assert [e.done for e in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert {e.total for e in steps} == {6}
    assert "loss " in steps[-1].note
    assert "tokens/s" in steps[-1].note
    assert capfd.readouterr() == ("", "")


def test_the_log_has_the_development_loss_where_rows_are_many(build: Build) -> None:
    many = [replace(ROWS[n % 12], id=str(n), input=Input(f"{ROWS[n % 12].input.text} {n}")) for n in range(60)]
    log = [json.loads(line) for line in (build(rows=many).folder / "training.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 15))  # 54 rows to train on, 4 a step
    assert {"loss", "learning_rate", "dev_loss"} <= log[-1].keys()
    assert build(rows=many).notes[0]["en"].startswith("6 of 60 training rows were held out")
    few = build(name="few")
    assert "dev_loss" not in (few.folder / "training.jsonl").read_text()


def test_training_teaches_the_labels(build: Build) -> None:
    predictor = build("full", learning_rate=1e-2, min_steps=120)
    predictions = predictor.predict([row.input for row in ROWS])
    assert [p.text for p in predictions] == [row.target for row in ROWS]
    assert all(sum(p.scores.values()) == pytest.approx(1, abs=1e-5) for p in predictions)


def test_a_tuned_model_writes_its_answers_and_ends_them(build: Build) -> None:
    asked = [replace(row, targets=(f"go to {row.target}",)) for row in ROWS]
    predictor = build("full", rows=asked, task="question_answering", learning_rate=1e-2, min_steps=120)
    predictions = predictor.predict([row.input for row in asked])
    assert [p.text for p in predictions] == [row.target for row in asked]
    assert all(p.usage is not None and p.usage.completion_tokens < 10 for p in predictions)


def test_a_loss_that_is_no_number_ends_the_training_unsaved(build: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged: at step \d+ the loss is nan") as caught:
        build("full", learning_rate=1e30, warmup=0.0, checkpoint_steps=1)
    assert "lower params.learning_rate from 1e+30" in caught.value.hint
    assert not (tmp_path / "work" / "tuned").exists()


@pytest.mark.parametrize("said", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory: you"])
def test_memory_that_runs_out_names_the_batch_size(said: str, tiny: str, tmp_path: Path) -> None:
    from executors.models import choose_device
    from executors.tuning.engine import train

    class Full(Collator):
        def __call__(self, items: Any) -> dict[str, Any]:
            raise RuntimeError(said)

    model, tokenizer = load_causal(tiny)
    rows = encode_rows(tokenizer, "classification", LABELS, ROWS, 512).rows
    params = FullParams(min_steps=1, epochs=1, learning_rate=1e-4)
    material = Material(rows, [], Full(0, False), completion_loss)
    with pytest.raises(UserError, match="out of memory in training with one row of up to 1024 tokens") as caught:
        train(model, material, params, choose_device(), 0, tmp_path, silent)
    assert "params.max_length=512" in caught.value.hint


def test_another_error_of_the_same_kind_keeps_its_traceback(tiny: str, tmp_path: Path) -> None:
    from executors.models import choose_device
    from executors.tuning.engine import train

    class Broken(Collator):
        def __call__(self, items: Any) -> dict[str, Any]:
            raise RuntimeError("a bug")

    model, tokenizer = load_causal(tiny)
    rows = encode_rows(tokenizer, "classification", LABELS, ROWS, 512).rows
    material = Material(rows, [], Broken(0, False), completion_loss)
    with pytest.raises(RuntimeError, match="a bug"):
        train(model, material, FullParams(learning_rate=1e-4), choose_device(), 0, tmp_path, silent)


def test_a_disk_too_small_for_checkpoints_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs about 5\.0 GB of disk for checkpoints, 1\.0 GB are free"):
        check_space(5 * 10**9, tmp_path, free=10**9)
    check_space(10**9, tmp_path, free=10**9)


# -- a part of the layers, and new weights -------------------------------------------------------------


def originals(tiny: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(Path(tiny) / "model.safetensors"))


def moved(predictor: TunedPredictor, tiny: str) -> set[str]:
    """Which parts of the model have other weights than before: a layer's number, or a parameter's name."""
    now, before = weights(predictor), originals(tiny)
    assert now.keys() == before.keys()
    changed = [name.split(".") for name in now if not bool((now[name] == before[name]).all())]
    return {parts[2] if parts[1] == "layers" else parts[1] for parts in changed}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"embed_tokens", "0", "1"}),
        ({"layers": "last"}, {"1"}),  # a quarter of two layers is one at least
        ({"layers": "last", "trained_layers": 2}, {"0", "1"}),
        ({"layers": "first_frozen"}, {"1"}),
        ({"layers": "scratch"}, {"embed_tokens", "0", "1"}),
    ],
    ids=["all", "last", "last two", "first frozen", "scratch"],
)
def test_only_the_chosen_layers_move(params: dict[str, Any], expected: set[str], build: Build, tiny: str) -> None:
    assert moved(build("full", **params), tiny) - {"norm"} == expected


def test_every_weight_of_a_chosen_layer_moves(build: Build, tiny: str) -> None:
    now, before = weights(build("full", layers="last")), originals(tiny)
    last = [name for name in now if ".layers.1." in name or name == "model.norm.weight"]
    assert len(last) == 10
    assert not any(bool((now[name] == before[name]).all()) for name in last)


def untied(depth: int) -> Any:
    """A model with a head of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=depth,
        num_attention_heads=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize(
    ("layers", "given", "first"),
    [("last", None, 6), ("last", 3, 5), ("first_frozen", None, 4), ("first_frozen", 7, 7)],
)
def test_a_head_of_its_own_is_trained_and_the_embeddings_are_not(layers: str, given: int | None, first: int) -> None:
    name = "trained_layers" if layers == "last" else "frozen_layers"
    model = choose_layers(untied(8), FullParams(layers=layers, **{name: given}))  # type: ignore[arg-type]
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if ".layers." not in name} == {"model.norm.weight", "lm_head.weight"}
    assert {int(name.split(".")[2]) for name in trained if ".layers." in name} == set(range(first, 8))


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_are_known_by_what_they_are_and_not_by_name(tied: bool) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=64, n_positions=8, n_embd=16, n_layer=4, n_head=2, tie_word_embeddings=tied)
    model = choose_layers(GPT2LMHeadModel(config), FullParams(layers="last"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    outside = {"transformer.ln_f.weight", "transformer.ln_f.bias", *(() if tied else ("lm_head.weight",))}
    assert {name for name in trained if ".h." not in name} == outside
    assert {name.split(".")[2] for name in trained if ".h." in name} == {"3"}


def test_a_norm_of_the_embeddings_stays_with_them() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=4, n_head=2))
    choose_layers(model, FullParams(layers="first_frozen"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if ".h." not in name} == {"transformer.ln_f.weight", "transformer.ln_f.bias"}


def test_experts_are_not_taken_for_layers() -> None:
    from torch.nn import Linear, Module, ModuleList

    class Layer(Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = ModuleList(Linear(2, 2) for _ in range(9))

    model = Module()
    model.layers = ModuleList(Layer() for _ in range(3))
    assert decoder_layers(model) is model.layers
    with pytest.raises(UserError, match="no list of equal layers"):
        decoder_layers(Linear(2, 2))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"layers": "last", "trained_layers": 3}, "trained_layers: 3 of a model with 2 layers"),
        ({"layers": "first_frozen", "frozen_layers": 2}, "frozen_layers: 2 of a model with 2 layers"),
    ],
)
def test_more_layers_than_there_are_is_refused(params: dict[str, Any], said: str, build: Build) -> None:
    with pytest.raises(UserError, match=said):
        build("full", **params)


def test_new_weights_differ_before_training_and_come_from_the_seed(tiny: str) -> None:
    from transformers import set_seed

    model, _ = load_causal(tiny)
    fresh = []
    for seed in (1, 1, 2):  # the model itself was made from 0
        set_seed(seed)
        fresh.append(choose_layers(model, FullParams(layers="scratch")).state_dict())
    own = model.state_dict()
    matrices = [name for name in own if not name.endswith("norm.weight")]
    assert matrices
    assert not any(bool((fresh[0][name] == own[name]).all()) for name in matrices)
    assert same(fresh[0], fresh[1])
    assert not same(fresh[0], fresh[2])


@pytest.mark.parametrize("layers", ["last", "scratch"])
def test_a_partly_or_newly_trained_model_resumes_and_answers_the_same(
    layers: str, build: Build, tmp_path: Path
) -> None:
    straight = build("full", name="straight", layers=layers)
    with pytest.raises(KeyboardInterrupt):
        build("full", name="broken", layers=layers, report=InterruptAt(3))
    resumed = build("full", name="broken", layers=layers)
    assert same(weights(resumed), weights(straight))
    inputs = [row.input for row in ROWS[:2]]
    (tmp_path / "artifact").mkdir()
    resumed.save(tmp_path / "artifact")
    assert TunedPredictor.load(tmp_path / "artifact").predict(inputs) == straight.predict(inputs)


def test_the_record_says_which_share_was_trained(build: Build, tiny: str) -> None:
    part = build("full", name="part", layers="last")
    own = originals(tiny)
    last = sum(w.numel() for name, w in own.items() if ".layers.1." in name or name == "model.norm.weight")
    assert part.about.trained_share == pytest.approx(last / sum(w.numel() for w in own.values()), abs=1e-6)
    assert part.notes[0]["en"].startswith("the last 1 of 2 layers were trained, ")
    assert build("full", name="whole").about.trained_share == 1
    assert "random ones" in build("full", name="anew", layers="scratch").notes[0]["en"]
    assert 0 < build("peft", name="adapter").about.trained_share < 0.5


def test_the_disk_that_checkpoints_need_counts_what_is_saved_and_what_moves() -> None:
    from executors.tuning.engine import _checkpoint_bytes

    model = untied(8)
    total = sum(p.numel() for p in model.parameters()) * 4
    assert _checkpoint_bytes(model) == 3 * total
    choose_layers(model, FullParams(layers="last"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * 4
    assert _checkpoint_bytes(model) == total + 2 * trained < 2 * total


# -- what is left --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["peft", "full"])
def test_what_is_saved_answers_the_same(method: str, build: Build, tmp_path: Path) -> None:
    predictor = build(method)
    inputs = [row.input for row in ROWS[:4]]
    before = predictor.predict(inputs)
    (tmp_path / "artifact").mkdir()
    predictor.save(tmp_path / "artifact")
    shutil.rmtree(tmp_path / "work")
    assert TunedPredictor.load(tmp_path / "artifact").predict(inputs) == before


def test_an_adapter_works_without_this_project(build: Build, tiny: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    predictor = build()
    config = json.loads((predictor.folder / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (tiny, 16, 32)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, predictor.folder / "adapter").eval()
    ids = torch.tensor([encode_chat(predictor.model.tokenizer, chat("classification", LABELS, ROWS[0].input))])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, predictor.model.model(ids).logits)


def test_an_adapter_for_other_weights_is_refused(build: Build) -> None:
    predictor = build()
    manifest = predictor.folder / "tuned.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "sha256": "0" * 64}))
    with pytest.raises(UserError, match="other weights than the ones this adapter was trained on"):
        TunedPredictor.load(predictor.folder).predict([Input("x")])


# -- prediction, with a model made for tests -----------------------------------------------------------


class SayingModel(LanguageModel):
    """Says what it is told to, one token a word."""

    name, window = "saying", 80

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def generate(
        self, chats: Any, max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        self.asked += [c[-1]["content"] for c in chats]
        return [Completion(text, Usage(1, 1), "stop") for text in self.answers[: len(chats)]]

    def score(self, chats: Any, continuations: Sequence[str], report: Reporter = silent) -> list[list[float]]:
        return [[-1000.0 - n for n, _ in enumerate(continuations)] for _ in chats]

    def count(self, text: str) -> int:
        return len(text.split())

    def count_chat(self, chat: Any) -> int:
        return sum(self.count(m["content"]) for m in chat)


def predictor_of(folder: Path, task: str, model: LanguageModel, **about: Any) -> TunedPredictor:
    labels = LABELS if task == "classification" else ()
    write_tuned(folder, Tuned("peft", task, labels, "saying", "", {}, **about), [])
    return TunedPredictor(folder, open_model=lambda *_: model)


def test_a_number_is_read_out_of_the_answer(tmp_path: Path) -> None:
    predictor = predictor_of(tmp_path, "regression", SayingModel("about 7.5 or 8", "high"), mean=3.25)
    assert [p.text for p in predictor.predict([Input("a"), Input("b")])] == ["7.5", "3.25"]
    assert predictor.notes[0]["en"].startswith("1 answers held no number")


def test_very_unlikely_labels_still_have_probabilities(tmp_path: Path) -> None:
    [prediction] = predictor_of(tmp_path, "classification", SayingModel()).predict([Input("a")])
    assert prediction.text == "billing"
    assert prediction.scores == {"billing": pytest.approx(0.731059), "returns": pytest.approx(0.268941)}


def test_an_input_beyond_the_window_is_cut_and_said(tmp_path: Path) -> None:
    model = SayingModel("yes")
    predictor = predictor_of(tmp_path, "question_answering", model)
    assert predictor.predict([Input("word " * 300)])[0].text == "yes"
    assert 10 < len(model.asked[0].split()) < 48
    assert predictor.notes[0]["en"] == "1 rows were cut at their end, to fit the model's window"


# -- parameters ----------------------------------------------------------------------------------------


def test_small_data_is_trained_for_a_hundred_steps() -> None:
    assert count_steps(PeftParams(), rows=20) == 100
    assert count_steps(PeftParams(), rows=1000) == 339  # a tenth is held out
    assert count_steps(PeftParams(min_steps=0), rows=20) == 9


def test_the_rate_follows_the_method_and_the_models_size() -> None:
    rates = [rate_of(kind(), size) for kind in (PeftParams, FullParams) for size in (135_000_000, 8_000_000_000)]
    assert rates == pytest.approx([5e-4, 2e-4, 5e-5, 2e-5])
    assert rate_of(PeftParams(learning_rate=1e-3), 1) == 1e-3


def test_the_rate_is_the_lower_the_more_of_a_pre_trained_model_is_moved() -> None:
    parts = [FullParams(layers=layers) for layers in ("all", "last", "first_frozen", "scratch")]  # type: ignore[arg-type]
    assert [rate_of(params, 135_000_000) for params in parts] == pytest.approx([5e-5, 5e-4, 2e-4, 5e-4])


def test_the_rate_that_was_used_is_recorded(build: Build) -> None:
    assert build(learning_rate=None).about.params["learning_rate"] == pytest.approx(5e-4)


def test_every_parameter_out_of_range_is_named() -> None:
    bad = {"rank": 0, "dropout": 1.0, "epochs": -1.0, "batch_size": 0, "max_length": 4, "warmup": 2.0, "min_steps": -1}
    messages = [p.message for p in PeftExecutor().check(Plan("peft", "classification", DataSpec("x"), params=bad))]
    assert len(messages) == len(bad)
    assert all(any(f"params.{name}" in message for message in messages) for name in bad)


def test_a_count_of_layers_needs_its_choice() -> None:
    bad = {"layers": "last", "trained_layers": 0, "frozen_layers": 2}
    messages = [p.message for p in FullExecutor().check(Plan("full", "classification", DataSpec("x"), params=bad))]
    assert messages == [
        "params.trained_layers: must be 1 or more, got 0",
        "params.frozen_layers: given with layers=last, where it has no meaning",
    ]
