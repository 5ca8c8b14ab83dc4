"""Quotes and estimates: what they are made from, what they say of it, and that measured figures lie in the ranges."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from advisor.estimate import estimate_seconds
from advisor.facts import Fact, Facts
from advisor.hardware import Figure, is_stale, own_accelerator, reference_cpu, rent
from advisor.profile.machine import Machine
from advisor.quote import QUOTES, Given, make_quote, quotes
from advisor.quote.memory import lora_parameters
from advisor.quote.shape import typical
from advisor.quote.workload import workload_of
from advisor.texts import read_knowledge
from advisor.work import Rows
from executors.base import DataSpec, Plan
from executors.messages import INSTRUCTIONS

TODAY = datetime.date(2026, 11, 21)
SMOLLM2 = 134_515_008
MACHINE = Machine(cores=2, memory_gb=8)


def facts(**values: str | int | float | bool) -> Facts:
    return Facts({name: Fact(name, value, "asked") for name, value in values.items()})


def on_cpu(**more: str | int | float | bool) -> Facts:
    return facts(model_parameters=SMOLLM2, gpu_memory_gb=0, weights_access=True, **more)


# -- hand-computed -------------------------------------------------------------------------------------


def test_full_tuning_of_8b_needs_16_bytes_a_parameter_and_more() -> None:
    low, high = make_quote(facts(model_parameters=8_000_000_000), "full", TODAY).memory_gb
    assert 128 <= low < 132  # 4 bytes each of weights, gradients and two moments; and libraries
    assert high > low + 16  # bfloat16 copies, kept activations, logits


def test_lora_of_8b_needs_two_bytes_a_parameter_and_fits_24_gb() -> None:
    quote = make_quote(facts(model_parameters=8_000_000_000, gpu_memory_gb=24), "peft", TODAY)
    assert 16 + 0.5 < quote.memory_gb[0] < 24 * 0.9
    assert "24 GB" in quote.hardware["en"]


def test_training_money_is_hours_times_rent() -> None:
    quote = make_quote(facts(model_parameters=8_000_000_000, labelled_examples=1000), "peft", TODAY)
    rented = read_knowledge("hardware.yaml")["accelerators"]["rtx-4090"]["rent"]["usd"]
    assert quote.train_usd == pytest.approx(
        [hours * usd for hours, usd in zip(quote.train_hours, rented, strict=True)], rel=0.01
    )


def test_hosted_answers_cost_tokens_times_price() -> None:
    known = facts(task="classification", labelled_examples=0)
    low, high = make_quote(known, "prompt", TODAY).per_1000_usd
    tokens = round(len(INSTRUCTIONS["classification"]) / 4) + 24 + 60  # instruction, template, a typical input
    assert low == pytest.approx(1000 * (tokens * 0.10 + 5 * 0.50) / 1e6, rel=0.01)  # the cheapest of prices.yaml
    assert high == pytest.approx(1000 * (tokens * 2 + 5 * 10) / 1e6, rel=0.01)  # the dearest


def test_lora_counts_about_the_trainable_parameters_of_known_models() -> None:
    assert lora_parameters(typical(8.03e9), 16) == pytest.approx(
        41.9e6, rel=0.2
    )  # Llama 3.1 8B, rank 16, all linear layers


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


def test_a_model_of_another_size_than_the_configurations_is_quoted_by_its_size() -> None:
    given = Given(shape=typical(SMOLLM2))
    same, other = (
        make_quote(facts(model_parameters=size), "full", TODAY, given).memory_parts["weights"]
        for size in (SMOLLM2, 8_000_000_000)
    )
    assert same == pytest.approx(4 * SMOLLM2 / 1e9, rel=0.01)
    assert other == pytest.approx(32, rel=0.01)


def test_a_batch_that_does_not_fit_where_smaller_ones_do_is_told() -> None:
    known = facts(model_parameters=8_000_000_000, gpu_memory_gb=24, task="generation")
    told = [said["en"] for said in make_quote(known, "peft", TODAY).assumptions]
    assert any("With 8 rows a step about" in said and "24: take fewer rows" in said for said in told)


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
    assert quote.memory_gb[0] <= quote.memory_point_gb <= quote.memory_gb[1]
    assert quote.train_point_hours == 0 or quote.train_hours[0] <= quote.train_point_hours <= quote.train_hours[1]
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


def test_documents_in_the_prompt_are_read_once_and_compared_with_every_answer() -> None:
    def low(tokens: int, test: int) -> float:
        rows = Rows(70, test, 15, 8, document_tokens=tokens)
        asked = Plan("long_context", "question_answering", DataSpec("qa.jsonl"), docs="docs")
        return estimate_seconds(asked, rows, MACHINE)[0]

    few, many, longer = low(4000, 50), low(4000, 500), low(8000, 50)
    assert few < longer
    assert many - few < 10 * few, "ten times the questions do not read the documents ten times"


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


def test_a_variant_and_a_search_are_quoted_and_said() -> None:
    known = on_cpu(task="classification", labelled_examples=500)
    plain = make_quote(known, "peft", TODAY)
    base = workload_of(known)
    work = replace(base, training=replace(base.training, variant="ia3", search_minutes=60))
    quote = make_quote(known, "peft", TODAY, Given(work=work))
    assert plain.train_point_hours
    assert quote.train_point_hours
    assert quote.train_point_hours == pytest.approx(plain.train_point_hours + 1, rel=0.15)
    told = [said["en"] for said in quote.assumptions]
    assert any(said.startswith("60 minutes of search") for said in told)
    assert any("IA3" in said and "trained parameters" in said for said in told)
    assert not any("LoRA of rank" in said for said in told)
