"""Quotes and estimates: hand-computed values, and the figures that were measured lie in the ranges."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys

import pytest

from advisor.estimate import Rows, estimate_seconds
from advisor.facts import Fact, Facts
from advisor.hardware import Figure, is_stale, own_accelerator, reference_cpu, rent
from advisor.profile.machine import Machine
from advisor.quote import QUOTES, lora_parameters, make_quote, quotes, serving_seconds
from advisor.texts import read_knowledge
from executors.base import DataSpec, Plan

TODAY = datetime.date(2026, 11, 21)
SMOLLM2 = 134_515_008
MACHINE = Machine(cores=2, memory_gb=8)


def facts(**values: str | int | float | bool) -> Facts:
    return Facts({name: Fact(name, value, "asked") for name, value in values.items()})


def on_cpu(**more: str | int | float | bool) -> Facts:
    return facts(model_parameters=SMOLLM2, gpu_memory_gb=0, weights_access=True, **more)


# -- hand-computed -------------------------------------------------------------------------------------


def test_full_tuning_of_8b_needs_8_to_16_bytes_a_parameter_and_more() -> None:
    low, high = make_quote(facts(model_parameters=8_000_000_000), "full", TODAY).memory_gb
    assert 64 < low < 66  # 8 bytes × 8e9, and a runtime with recomputed activations
    assert 128 < high < 160  # 16 bytes × 8e9, and kept activations with logits


def test_lora_of_8b_needs_two_bytes_a_parameter_and_fits_24_gb() -> None:
    quote = make_quote(facts(model_parameters=8_000_000_000, gpu_memory_gb=24), "peft", TODAY)
    assert 16 + 0.5 < quote.memory_gb[0] < 24 * 0.9
    assert "24 GB" in quote.hardware["en"]


def test_time_is_flops_over_the_speed_reached() -> None:
    known = facts(model_parameters=8_000_000_000, gpu_memory_gb=80, task="generation", labelled_examples=1000)
    low, high = make_quote(known, "full", TODAY).train_hours
    tokens = 3 * 1000 * (60 + 100 + 200)  # three passes over instruction, input and answer
    assert low == pytest.approx(6 * 8e9 * tokens / (989e12 * 0.5) / 3600, rel=0.01)  # H100 at 50 %
    assert high == pytest.approx(8 * 8e9 * tokens / (312e12 * 0.15) / 3600, rel=0.01)  # A100 at 15 %, recomputing


def test_training_money_is_hours_times_rent() -> None:
    quote = make_quote(facts(model_parameters=8_000_000_000, labelled_examples=1000), "peft", TODAY)
    rented = read_knowledge("hardware.yaml")["accelerators"]["rtx-4090"]["rent"]["usd"]
    assert quote.train_usd == pytest.approx(
        [hours * usd for hours, usd in zip(quote.train_hours, rented, strict=True)], rel=0.01
    )


def test_hosted_answers_cost_tokens_times_price() -> None:
    known = facts(task="classification", labelled_examples=0)
    low, high = make_quote(known, "prompt", TODAY).per_1000_usd
    assert low == pytest.approx(1000 * (120 * 0.10 + 5 * 0.50) / 1e6, rel=0.01)  # the cheapest of prices.yaml
    assert high == pytest.approx(1000 * (120 * 2 + 5 * 10) / 1e6, rel=0.01)  # the dearest


def test_lora_counts_about_the_trainable_parameters_of_known_models() -> None:
    assert lora_parameters(8.03e9) == pytest.approx(41.9e6, rel=0.2)  # Llama 3.1 8B, rank 16, all linear layers


# -- what was measured lies inside -----------------------------------------------------------------------


@pytest.mark.parametrize(("k", "measured"), [(4, 180), (6, 100)], ids=["lora", "full"])
def test_measured_training_speed_on_a_cpu_lies_inside(k: int, measured: float) -> None:
    slow, fast = (flops / (k * SMOLLM2) for flops in reference_cpu().flops)
    assert slow < measured < fast


def test_measured_generation_speed_on_a_cpu_lies_inside() -> None:
    slow, fast = (rate / (4 * SMOLLM2) for rate in reference_cpu().bandwidth)
    assert slow < 14 < fast


def test_measured_embedding_speed_on_a_cpu_lies_inside() -> None:
    slow, fast = (flops / (2 * 10.6e6 * 20) for flops in reference_cpu().flops)  # short texts: 20 tokens
    assert slow < 180 < fast


# -- what is unknown is said -----------------------------------------------------------------------------


def test_an_unknown_model_is_quoted_as_8b_and_said() -> None:
    quote = make_quote(Facts(), "peft", TODAY)
    assert any("8 billion" in said["en"] for said in quote.assumptions)
    assert make_quote(facts(model_parameters=8_000_000_000), "peft", TODAY).train_hours == quote.train_hours


def test_an_unknown_accelerator_is_not_none() -> None:
    assert "rented" in make_quote(facts(model_parameters=SMOLLM2), "peft", TODAY).hardware["en"]
    assert "CPU" in make_quote(on_cpu(), "peft", TODAY).hardware["en"]


def test_a_model_too_large_for_the_accelerator_is_quoted_on_a_rented_one() -> None:
    quote = make_quote(facts(model_parameters=8_000_000_000, gpu_memory_gb=16), "full", TODAY)
    assert "rented" in quote.hardware["en"]
    assert any("16 GB are there" in said["en"] for said in quote.assumptions)


@pytest.mark.parametrize("privacy", ["on_premises", "own_cloud"])
def test_no_provider_is_quoted_where_data_must_stay(privacy: str) -> None:
    assert "provider" not in make_quote(facts(privacy=privacy), "rag", TODAY).hardware["en"]
    assert "provider" in make_quote(facts(privacy="public_api"), "rag", TODAY).hardware["en"]


def test_few_requests_a_day_make_an_own_server_dear() -> None:
    few, many = (make_quote(facts(requests_per_day=n), "peft", TODAY).per_1000_usd[1] for n in (100, 1_000_000))
    assert few > 100 * many


def test_old_prices_are_named_as_stale() -> None:
    fresh = make_quote(facts(labelled_examples=0), "prompt", TODAY)
    later = make_quote(facts(labelled_examples=0), "prompt", TODAY + datetime.timedelta(days=400))
    assert not fresh.stale
    assert later.stale
    assert "claude-haiku-5.5 (2026-10-24)" in later.assumptions[-1]["en"]
    assert is_stale(Figure("x", "2026-01-01", ()), datetime.date(2026, 7, 1))
    assert not is_stale(Figure("x", "2026-01-01", ()), datetime.date(2026, 6, 30))


# -- shape -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(QUOTES))
@pytest.mark.parametrize(
    "known",
    [Facts(), on_cpu(labelled_examples=300), facts(gpu_memory_gb=8, knowledge_tokens=0, unlabelled_tokens=0)],
    ids=["nothing known", "cpu", "zeros"],
)
def test_every_method_has_a_quote_with_ordered_ranges(method: str, known: Facts) -> None:
    quote = make_quote(known, method, TODAY)
    for low, high in (quote.memory_gb, quote.train_hours, quote.train_usd, quote.per_1000_usd, quote.per_1000_hours):
        assert 0 <= low <= high
    assert quote.formula
    assert all(set(said) == {"en", "zh"} for said in quote.assumptions)


def test_quotes_are_plain_data() -> None:
    found = quotes(facts(), list(QUOTES), TODAY)
    assert json.loads(json.dumps(found)) == found


def test_every_price_has_a_day_and_a_source() -> None:
    for entry in read_knowledge("prices.yaml")["api"].values():
        assert entry["as_of"] <= TODAY
        assert entry["source"].startswith("https://")
    hardware = read_knowledge("hardware.yaml")
    for entry in [*hardware["accelerators"].values(), hardware["cpu"]]:
        assert entry["rent"]["usd"][0] <= entry["rent"]["usd"][1]
        assert entry["rent"]["as_of"] <= TODAY
        assert entry["rent"]["sources"]


def test_quoting_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom advisor.facts import Facts\nfrom advisor.quote import QUOTES, quotes\n"
        "quotes(Facts(), QUOTES)\n"
        "print(sorted({'torch', 'numpy', 'sklearn', 'transformers', 'psutil', 'executors.models'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- machines ------------------------------------------------------------------------------------------------


def test_an_accelerator_is_known_by_its_drivers_name() -> None:
    assert own_accelerator(79.6, name="NVIDIA H100 80GB HBM3").peak_tflops == (989, 989)
    assert own_accelerator(80, name="NVIDIA A100-SXM4-80GB").peak_tflops == (312, 312)
    assert own_accelerator(24, name="Some other card").peak_tflops == (70, 165)  # L4, A10G, RTX 4090


def test_what_fits_on_no_single_accelerator_is_spread_over_several() -> None:
    assert rent(10).count == 1
    assert rent(1000).count == 8  # 1000 / (141 × 0.9)


def test_generation_takes_reading_the_weights_for_each_token() -> None:
    rig = reference_cpu()
    low, high = serving_seconds(SMOLLM2, answers=8, prompt_tokens=0, answer_tokens=10, rig=rig)
    assert low == pytest.approx(4 * SMOLLM2 * 10 / 16e9)  # eight together; 80 % of 20 GB/s
    assert high == pytest.approx(4 * SMOLLM2 * 10 / 4e9)


# -- before a run ----------------------------------------------------------------------------------------------


def plan(method: str, task: str = "classification") -> Plan:
    return Plan(method, task, DataSpec("rows.csv"))


@pytest.mark.parametrize("method", ["probe", "peft", "full", "baseline"])
def test_more_rows_take_longer(method: str) -> None:
    few = estimate_seconds(plan(method), Rows(200, 50, 30, 4, labels=12), MACHINE)
    many = estimate_seconds(plan(method), Rows(20_000, 5000, 30, 4, labels=12), MACHINE)
    assert few[0] < few[1]
    assert few <= many


def test_an_accelerator_is_faster() -> None:
    rows = Rows(1000, 200, 100, 20)
    gpu = Machine(8, 64, ("NVIDIA L4",), 22.5)
    assert estimate_seconds(plan("peft"), rows, gpu)[1] < estimate_seconds(plan("peft"), rows, MACHINE)[0]


def test_lora_on_the_default_model_is_estimated_by_its_measured_speed() -> None:
    rows = Rows(train=800, test=0, input_tokens=110, answer_tokens=10, labels=0)
    low, high = estimate_seconds(plan("peft", "question_answering"), rows, MACHINE)
    tokens = 3 * 800 * (110 + 10 + 40 + 24)
    assert low < tokens / 180 < high


def test_the_estimate_of_retrieval_counts_its_documents() -> None:
    small, large = (
        estimate_seconds(
            Plan("rag", "question_answering", DataSpec("qa.jsonl"), docs="docs"),
            Rows(70, 70, 15, 8, document_tokens=tokens),
            MACHINE,
        )
        for tokens in (20_000, 20_000_000)
    )
    assert small[1] < large[0]
