"""What is measured of data, documents, machine and model, and what is warned of."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from advisor.decision import Inputs
from advisor.facts import Fact, Facts
from advisor.profile import measure
from advisor.profile.data import measure_data
from advisor.profile.language import count_tokens, languages_of
from advisor.profile.machine import Machine, machine_facts, measure_machine, read_accelerators, visible
from advisor.profile.model import count_parameters, measure_model, read_config, window_of
from executors.base import UserError
from tests.conftest import DEMO

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
}
QWEN25 = SMOLLM2 | {
    "model_type": "qwen2",
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151936,
}
LLAMA3 = SMOLLM2 | {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
MIXTRAL = LLAMA3 | {"model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
MINILM = {
    "model_type": "bert",
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30522,
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
}


def write_rows(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])
    return str(path)


# -- model ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SMOLLM2, 134_515_008),
        (QWEN25, 494_032_768),
        (LLAMA3, 8_030_261_248),
        (MIXTRAL, 46_702_792_704),
        (GPT2, 124_439_808),
        (MINILM, 22_713_216),
    ],
    ids=["smollm2", "qwen2.5", "llama3", "mixtral", "gpt2", "minilm"],
)
def test_parameters_follow_from_the_configuration_alone(config: dict[str, object], parameters: int) -> None:
    assert count_parameters(config) == parameters


def test_a_folder_needs_only_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2), encoding="utf-8")
    model = measure_model(str(tmp_path))
    assert (model.parameters, model.window) == (134_515_008, 8192)


def test_an_alias_is_known_without_weights() -> None:
    model = measure_model("smollm2-135m-instruct")
    assert (model.parameters, model.window, model.languages) == (134_515_008, 8192, ("en",))


def test_a_hub_id_that_is_no_alias_stays_unknown_and_says_so() -> None:
    profile = measure(Inputs(model="someone/some-model"))
    assert "model_parameters" not in profile.facts
    assert "someone/some-model" in profile.warnings[0]["en"]


@pytest.mark.parametrize("content", ["", "[1]", "{"], ids=["empty", "a list", "cut off"])
def test_a_configuration_that_cannot_be_read_is_a_users_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


def test_an_unusual_configuration_is_unknown_not_zero() -> None:
    assert count_parameters({"model_type": "strange"}) is None
    assert window_of({}) is None


def test_the_text_part_of_a_model_of_several_parts_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vlm", "text_config": SMOLLM2}), encoding="utf-8")
    assert count_parameters(read_config(tmp_path)) == 134_515_008


# -- machine -------------------------------------------------------------------------------------------


def test_accelerators_are_read_from_the_drivers_listing() -> None:
    listing = "NVIDIA H100 80GB HBM3, 81559\nNVIDIA L4, 23034\n"
    assert read_accelerators(listing) == [("NVIDIA H100 80GB HBM3", 79.6), ("NVIDIA L4", 22.5)]
    assert read_accelerators(None) == []
    assert read_accelerators("NVIDIA-SMI has failed\n") == []


def test_hidden_accelerators_do_not_count() -> None:
    two = [("a", 24.0), ("b", 80.0)]
    assert visible(two, None) == two
    assert visible(two, "1") == [("b", 80.0)]
    assert visible(two, "") == []
    assert visible(two, "GPU-8932f937") == two


def test_the_largest_accelerator_is_the_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = measure_machine(lambda command: "NVIDIA L4, 23034\nNVIDIA L4, 23034\n")
    facts = machine_facts(machine)
    assert (facts.value("gpu_memory_gb"), facts.value("gpu_count")) == (22.5, 2)
    assert facts["gpu_memory_gb"].origin == "measured"


def test_no_accelerator_is_zero_and_says_what_there_is() -> None:
    facts = machine_facts(Machine(cores=4, memory_gb=16))
    assert facts.value("gpu_memory_gb") == 0
    assert "4 processor cores, 16 GB" in facts["gpu_memory_gb"].evidence["en"]


def test_the_accelerator_of_another_machine_is_not_overwritten() -> None:
    asked = Facts().with_(Fact("gpu_memory_gb", 80.0, "asked"))
    assert "gpu_memory_gb" not in measure(Inputs(data=str(DEMO / "requests-train.csv")), asked).facts


# -- language ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is my parcel and what does it cost?", "en"),
        ("我的包裹在哪里？请帮我查一下 order 123", "zh"),
        ("荷物はどこですか", "ja"),
        ("내 소포는 어디에 있습니까", "ko"),
        ("Wo ist mein Paket und wie hoch ist der Preis, ich habe nicht bezahlt", "de"),
        ("Где моя посылка", "other"),
        ("SKU-1234 XL", "latin"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    assert list(languages_of([text])) == [language]


def test_shares_are_by_text() -> None:
    assert languages_of(["where is the parcel", "包裹在哪里", "包裹丢了", "1234"]) == {"zh": 2 / 3, "en": 1 / 3}
    assert languages_of([]) == {}


def test_tokens_are_estimated_by_script() -> None:
    assert count_tokens("a" * 400) == 100
    assert count_tokens("包" * 160) == pytest.approx(100)


# -- data ----------------------------------------------------------------------------------------------


def test_the_demo_is_counted_as_a_run_will_find_it() -> None:
    train, test = str(DEMO / "requests-train.csv"), str(DEMO / "requests-test.csv")
    profile = measure(Inputs(data=train, test=test))
    assert profile.data is not None
    assert profile.facts.value("labelled_examples") == profile.data.train
    assert profile.facts.value("evaluation_examples") == profile.data.test
    assert profile.facts.value("task") == "classification"
    assert profile.facts.value("classes") == len(profile.data.labels) >= 12
    assert profile.data.languages == {"en": 1.0}
    assert profile.warnings == ()


def test_only_rows_to_train_on_count_as_labelled(tmp_path: Path) -> None:
    rows = [(f"text number {n} of the {label}s", label) for n in range(50) for label in ("cat", "dog")]
    path = write_rows(tmp_path / "rows.csv", [*rows, rows[0], ("", "cat")])
    facts = measure(Inputs(data=path)).facts
    assert (facts.value("labelled_examples"), facts.value("evaluation_examples")) == (80, 20)
    assert "80 rows to learn from and 20 held out" in facts["labelled_examples"].evidence["en"]
    assert "after 2 were left out" in facts["labelled_examples"].evidence["en"]


def test_a_task_that_was_said_is_not_guessed() -> None:
    inputs = Inputs(data=str(DEMO / "questions-train.jsonl"), test=str(DEMO / "questions-test.jsonl"))
    assert measure(inputs).facts.value("task") == "question_answering"
    asked = Facts().with_(Fact("task", "extraction", "asked"))
    profile = measure(inputs, asked)
    assert "task" not in profile.facts
    assert profile.data is not None
    assert profile.data.task == "extraction"


def test_chinese_rows_and_english_models_are_warned_of(tmp_path: Path) -> None:
    rows = [(f"第{n}个包裹在哪里，帮我查询一下", "物流" if n % 2 else "退款") for n in range(20)]
    inputs = Inputs(data=write_rows(tmp_path / "rows.csv", rows))
    warnings = [w["en"] for w in measure(inputs).warnings if "Chinese" in w["en"]]
    assert "--model qwen" in warnings[0]
    assert "--embedder bge-small-zh" in warnings[1]
    fitting = Inputs(data=inputs.data, model="qwen2.5-0.5b-instruct", embedder="bge-small-zh-v1.5")
    assert not [w for w in measure(fitting).warnings if "Chinese" in w["en"]]


def test_columns_come_with_their_reasons() -> None:
    data = measure_data(Inputs(data=str(DEMO / "requests-train.csv"), columns={"label": "urgency"}))
    assert data.task == "regression"
    assert data.columns["label"] == "urgency"
    assert set(data.column_reasons["text"]) == {"en", "zh"}


# -- documents -----------------------------------------------------------------------------------------


def test_documents_are_sized_in_tokens_and_said_to_be_an_estimate(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\n" + "word " * 800, encoding="utf-8")
    fact = measure(Inputs(docs=str(tmp_path))).facts["knowledge_tokens"]
    assert 900 < float(fact.value) < 1100
    assert "estimated" in fact.evidence["en"]
