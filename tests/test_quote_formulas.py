"""Formulas of quotes, by hand on one small decoder, and against what autograd really keeps of a somewhat larger one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from advisor.hardware import cluster, reference_cpu
from advisor.quote.duration import flops_a_step, serving_seconds, step_seconds, training_seconds, watching
from advisor.quote.memory import (
    Kind,
    activation_bytes,
    answering_memory,
    copy_bytes,
    layer_bytes,
    logits_bytes,
    lora_parameters,
    state_bytes,
    training_memory,
)
from advisor.quote.shape import Shape, read_shape, typical
from advisor.quote.workload import Training, Workload, with_settings

CONFIG = {
    "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 4, "intermediate_size": 16, "vocab_size": 100, "tie_word_embeddings": True, "hidden_act": "silu",
}  # fmt: skip
ROW = Workload(
    rows=40, input_tokens=8, answer_tokens=1, instruction_tokens=0, even=True, training=Training(batch_size=1, rank=2)
)


def small() -> Shape:
    shape = read_shape(CONFIG)
    assert shape is not None
    return shape


# -- by hand -------------------------------------------------------------------------------------------


def test_a_shape_is_read_from_a_configuration() -> None:
    # embeddings 100·8; a layer: queries and output 2·8·8, keys and values 2·8·4, feed-forward 3·8·16, norms 2·8
    shape = small()
    assert shape.parameters == 800 + 2 * (128 + 64 + 384 + 16) + 8 == 1992
    assert (shape.attention, shape.groups, shape.inner) == (8, 4, 16)
    assert (shape.embeddings, shape.body) == (800, 1192)


def test_a_configuration_that_tells_too_little_is_no_shape() -> None:
    assert read_shape({"model_type": "llama", "hidden_size": 8}) is None


def test_lora_trains_rank_times_inputs_and_outputs_of_seven_matrices() -> None:
    # q 8+8, k 8+4, v 8+4, o 8+8, gate, up and down 8+16 each: 128, times rank 2, in 2 layers
    assert lora_parameters(small(), 2) == 512


def test_lora_of_known_models_has_the_parameters_that_peft_counts() -> None:
    llama = Shape(8.03e9, 32, 4096, 4096, 1024, 14336, 128256, False)
    assert lora_parameters(llama, 16) == 41_943_040  # print_trainable_parameters of Llama 3.1 8B, all-linear, rank 16
    smollm2 = Shape(134_515_008, 30, 576, 576, 192, 1536, 49152, True)
    assert lora_parameters(smollm2, 16) == 4_884_480


def test_states_are_four_bytes_a_value_on_a_cpu() -> None:
    shape = small()
    adapter = state_bytes(shape, "peft", 512, "cpu")
    assert adapter == {"weights": 4 * 1992 + 4 * 512, "gradients": 2048, "optimizer": 4096}
    assert state_bytes(shape, "full", 1992, "cpu") == {"weights": 7968, "gradients": 7968, "optimizer": 15936}


def test_a_gpu_keeps_an_adapters_base_in_two_bytes_and_trained_weights_in_four() -> None:
    shape = small()
    assert state_bytes(shape, "peft", 512, "gpu")["weights"] == 2 * 1992 + 4 * 512
    assert state_bytes(shape, "full", 1992, "gpu")["weights"] == 4 * 1992
    assert copy_bytes(shape, "gpu") == 2 * (1192 + 800)
    assert copy_bytes(shape, "cpu") == 4 * 800  # a second gradient of the shared embeddings


def test_a_layer_keeps_what_its_gradients_need() -> None:
    shape = small()
    # float32: feed-forward 4·16, norms and inputs 4·8 (6·8), queries and output 2·8, keys and values 2·4, ranks 7·2
    assert layer_bytes(shape, "peft", "cpu", rank=2) == 4 * (64 + 32 + 16 + 8 + 14) == 536
    assert layer_bytes(shape, "full", "cpu", rank=2) == 4 * (64 + 48 + 16 + 8) == 544
    # a mask over 10 tokens, and keys and values of every query
    assert layer_bytes(shape, "peft", "cpu", rank=2, masked_tokens=10) == 4 * (64 + 32 + 16 + 16 + 14 + 10)
    assert layer_bytes(shape, "peft", "gpu", rank=2) == 8 * 16 + 18 * 8 + 6 * 8 + 4 * 4 + 14 * 2 == 364
    assert layer_bytes(shape, "full", "gpu", rank=2) == 8 * 16 + 26 * 8 + 4 * 8 + 4 * 4 == 384


def test_activations_are_tokens_times_layers_and_with_checkpointing_their_inputs() -> None:
    shape = small()
    assert activation_bytes(shape, "peft", ROW, "cpu", length=10, rows=1) == 10 * 2 * 536
    recomputing = replace(ROW, training=replace(ROW.training, checkpointing=True))
    assert activation_bytes(shape, "peft", recomputing, "cpu", length=10, rows=1) == 10 * (2 * 4 * 8 + 2 * 536)


def test_logits_are_counted_at_trained_tokens() -> None:
    assert logits_bytes(small(), "cpu", tokens=3) == 12 * 3 * 100


def test_a_step_is_flops_of_weights_adapters_attention_and_logits() -> None:
    row = replace(ROW, input_tokens=8, answer_tokens=2)  # 10 tokens, 3 of them trained
    body, adapters, attention = 4 * 1192, 6 * 512, 12 * 8 * 2 * 10
    assert flops_a_step(small(), "peft", row) == pytest.approx(10 * (body + adapters + attention) + 3 * 4 * 800)
    assert flops_a_step(small(), "full", row) == pytest.approx(10 * (6 * 1192 + attention) + 3 * 6 * 800)


def test_a_step_takes_arithmetic_the_optimizer_and_the_program() -> None:
    rig = reference_cpu(2, 8, tflops=0.1)  # of which 40 to 90 % are reached, beside 4 to 16 GB/s
    flops = flops_a_step(small(), "peft", ROW)
    low, likely, high = step_seconds(small(), "peft", ROW, rig)
    assert low == pytest.approx(flops / 0.09e12 + 36 * 512 / 16e9 + 2 * 0.001)
    assert high == pytest.approx(flops / 0.04e12 + 36 * 512 / 4e9 + 2 * 0.008)
    assert low < likely < high


def test_a_training_starts_steps_watches_saves_and_touches_memory() -> None:
    rig = reference_cpu(2, 8, tflops=0.1)
    step = step_seconds(small(), "peft", ROW, rig)
    low, _, high = training_seconds(small(), "peft", ROW, rig, steps=30, peak_gb=(1.0, 2.0))
    sizes = 4 * 1992, 12 * 512  # weights are read, checkpoints written after 25 and 30 steps
    assert low == pytest.approx(3 + sizes[0] / 1.5e9 + 0.1 + 30 * step[0] + 2 * (0.1 + sizes[1] / 1.5e9))
    assert high == pytest.approx(25 + sizes[0] / 0.12e9 + 16 + 30 * step[2] + 2 * (1.5 + sizes[1] / 0.12e9))


def test_what_rows_begin_with_is_computed_once_where_it_pays() -> None:
    rows = Workload(rows=40, input_tokens=20, answer_tokens=4, instruction_tokens=46)  # 40 of them before the input
    assert rows.computed(4, 70) == (40 + 4 * 30, 160)
    assert rows.computed(1, 70) == (70, 0)
    assert rows.computed(4, 70, shares=False) == (280, 70)
    assert rows.computed(4, 1000) == (4000, 1000)  # 120 of 4,000 tokens saved: less than a tenth


def test_steps_follow_the_rows_as_a_training_counts_them() -> None:
    from executors.tuning.params import FullParams, PeftParams, count_steps, development_rows, steps_an_epoch

    for count in (7, 49, 50, 333, 5000):
        work, params = Workload(count, 10, 5), PeftParams()
        assert work.watched == development_rows(params, count)
        assert work.steps_an_epoch == steps_an_epoch(params, count)
        assert work.steps() == count_steps(params, count)
    defaults = Training()
    for kind, method in ((PeftParams, "peft"), (FullParams, "full")):
        for name in ("epochs", "min_steps", "batch_size", "max_length", "development"):
            assert getattr(kind(), name) == getattr(defaults, name)
        assert defaults.saved_every(method) == kind().checkpoint_steps
    assert defaults.rank == PeftParams().rank


def test_the_share_of_trained_layers_is_that_of_the_executor() -> None:
    from executors.tuning.layers import first_trained
    from executors.tuning.params import FullParams

    for given in ({"layers": "last"}, {"layers": "first_frozen"}, {"layers": "last", "trained_layers": 3}):
        first = first_trained(FullParams(**given), 12)  # type: ignore[arg-type]  # mixed values of a mapping
        assert Training(**given).layers_share(12) == pytest.approx((12 - first) / 12)  # type: ignore[arg-type]


def test_watching_the_loss_is_forward_only_once_an_epoch() -> None:
    work = Workload(100, 10, 5, training=Training(batch_size=10))  # 10 rows watched, 9 steps an epoch
    assert watching(work, 18) == pytest.approx(2 * 1 / 3)
    assert watching(replace(work, rows=20), 18) == 0


def test_generation_takes_reading_the_weights_for_each_token() -> None:
    low, high = serving_seconds(134_515_008, answers=8, prompt_tokens=0, answer_tokens=10, rig=reference_cpu())
    assert low == pytest.approx(4 * 134_515_008 * 10 / 16e9)  # eight together; 80 % of 20 GB/s
    assert high == pytest.approx(4 * 134_515_008 * 10 / 4e9)


# -- in order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("method", ["peft", "full"])
def test_more_is_never_cheaper(kind: Kind, method: str) -> None:
    base = Workload(1000, 100, 20)
    rig = reference_cpu() if kind == "cpu" else cluster("h100")

    def figures(shape: Shape, work: Workload) -> tuple[float, ...]:
        memory = training_memory(shape, method, work, kind)
        return (*memory.ends, *step_seconds(shape, method, work, rig), work.steps())

    start = figures(typical(1e8), base)
    more = {
        "parameters": figures(typical(2e8), base),
        "length": figures(typical(1e8), replace(base, input_tokens=200)),
        "rows": figures(typical(1e8), replace(base, rows=2000)),
        "batch": figures(typical(1e8), replace(base, training=Training(batch_size=16)))[:-1],
    }
    for what, found in more.items():
        assert all(new >= old * 0.999 for new, old in zip(found, start, strict=False)), what
    assert start[0] <= start[1] <= start[2]
    assert start[3] <= start[4] <= start[5]


def test_answering_is_bounded_by_the_batch_it_is_done_in() -> None:
    short, long = (Workload(100, tokens, 20, held_out=1000, task="generation") for tokens in (100, 10_000))
    assert answering_memory(typical(1e8), long, "cpu").point < 6 * answering_memory(typical(1e8), short, "cpu").point


def test_typical_shapes_have_the_size_they_are_typical_of() -> None:
    for size in (1e7, 1e8, 1e9, 8e9, 7e10):
        shape = typical(size)
        assert 12 * shape.layers * shape.width**2 == pytest.approx(size)
        assert 0.2 * size < shape.body <= size


def test_a_said_length_is_every_rows() -> None:
    work = with_settings(Workload(100, 60, 5, instruction_tokens=60), {"batch_size": 2}, length=128)
    assert work.length == 128
    assert work.longest == (128, 128, 128)
    assert work.training.batch_size == 2
    assert with_settings(work, {}, length=32).length == 32


# -- what autograd keeps -------------------------------------------------------------------------------


def kept_bytes(method: str, half: bool, checkpointing: bool, tokens: int) -> float:
    """Bytes a token that autograd saves for the backward pass of our executors' model, without its weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from executors.tuning import FullExecutor, FullParams, PeftExecutor, PeftParams

    config = LlamaConfig(**KEPT)
    model: Any = LlamaForCausalLM(config).to(torch.bfloat16 if half else torch.float32)
    model = (
        PeftExecutor().prepare(model, PeftParams()) if method == "peft" else FullExecutor().prepare(model, FullParams())
    )
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.shape[-2:-1] != () and tokens in (tensor.numel() // tensor.shape[-1], tokens):
            seen.setdefault(place, tensor)  # held, so that no place is used twice
        return tensor

    ids = torch.randint(0, 100, (1, tokens))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        model(input_ids=ids, use_cache=False, logits_to_keep=torch.arange(1))
    by_token = [t for t in seen.values() if t.untyped_storage().nbytes() % tokens == 0]
    return sum(t.untyped_storage().nbytes() for t in by_token) / tokens


KEPT: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 24, "tie_word_embeddings": False, "model_type": "llama",
}  # fmt: skip


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["peft", "full"])
def test_autograd_keeps_what_the_formula_counts(method: str, half: bool) -> None:
    shape, tokens = read_shape(KEPT), 509  # a prime: no weight has as many rows
    assert shape is not None
    counted = shape.layers * layer_bytes(shape, method, "gpu" if half else "cpu", rank=16)
    assert kept_bytes(method, half, False, tokens) == pytest.approx(counted, rel=0.06)
