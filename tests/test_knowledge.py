"""The knowledge files: the published vocabulary is kept, every source exists and is used, every text is translated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor.advice.forms import CAPABLE_PARAMETERS
from advisor.cards import METHODS, load_cards, parse_card
from advisor.facts import load_vocabulary
from advisor.flowchart import load_chart
from advisor.moves import relevant
from advisor.texts import KNOWLEDGE, LANGUAGES, read_knowledge
from executors import EXECUTORS

ROOT = Path(__file__).resolve().parent.parent

# The published contract, version 1: ids, types and options are stable.
LEVELS = "low medium high"
CONTRACT = {
    "training_budget": "none small medium large vendor",
    "labelled_examples": "integer",
    "knowledge_change": "static yearly monthly weekly daily live",
    "task": "classification regression extraction question_answering summarisation translation generation dialogue"
    " structured_output reasoning",
    "classes": "integer",
    "failure": "none facts behaviour both",
    "base_competence": LEVELS,
    "baseline_score": "number",
    "target_score": "number",
    "evaluation_examples": "integer",
    "scope": "narrow general",
    "task_stable": "boolean",
    "format_strict": "boolean",
    "style": "boolean",
    "needs_actions": "boolean",
    "low_resource_language": "boolean",
    "label_quality": "clean noisy synthetic",
    "feedback": "demonstrations preferences verifiable",
    "unlabelled_tokens": "integer",
    "knowledge_private": "boolean",
    "knowledge_tokens": "integer",
    "domain_similarity": LEVELS,
    "citations": "no nice required",
    "error_cost": LEVELS,
    "latency": "batch interactive tight",
    "requests_per_day": "integer",
    "privacy": "public_api own_cloud on_premises",
    "weights_access": "boolean",
    "context_window": "integer",
    "model_parameters": "integer",
    "serving_budget": "number",
    "gpu_memory_gb": "number",
    "gpu_count": "integer",
    "team_skill": "none some expert",
}


def test_the_vocabulary_keeps_the_published_contract() -> None:
    kept = {name: " ".join(spec.options) or spec.type for name, spec in load_vocabulary().items()}
    assert {name: kept.get(name) for name in CONTRACT} == CONTRACT


def test_the_contract_here_is_the_published_one() -> None:
    data = os.environ.get("ADVISOR_BENCH_DATA")
    path = (Path(data).parent if data else ROOT.parent / "shared") / "answers-schema.yaml"
    if not path.is_file():
        pytest.skip("the published vocabulary is not on this machine")
    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {n: " ".join(f.get("options", ())) or f["type"] for n, f in published["facts"].items()} == CONTRACT
    assert set(published["methods"]) == set(METHODS)


def test_every_fact_says_what_is_assumed_and_how_doubtful_that_is() -> None:
    for spec in load_vocabulary().values():
        assert spec.default[-1].when is None
        assert 0 < spec.doubt < 1


def test_the_chart_and_the_cards_load_without_a_fault() -> None:
    assert load_chart().nodes
    assert set(METHODS) | {"baseline", "tools"} == set(load_cards())


def test_most_facts_reach_the_choice_of_methods() -> None:
    only_reported = {"evaluation_examples", "label_quality"}  # they change warnings and the ladder
    assert set(load_vocabulary()) - set(relevant()) <= only_reported


def test_what_cannot_be_run_names_what_can() -> None:
    for name in METHODS:
        assert name in EXECUTORS or load_cards()[name].nearest in EXECUTORS


def test_every_source_is_complete() -> None:
    for name, source in read_knowledge("sources.yaml")["sources"].items():
        assert source["title"], name
        assert source["authors"], name
        assert 1990 < source["year"] < 2100, name
        assert source["url"].startswith("https://"), name
        assert source["strength"] in ("strong", "moderate", "weak"), name
        assert set(source["supports"]) == set(LANGUAGES), name


def test_every_source_is_cited_and_none_stands_twice() -> None:
    sources = read_knowledge("sources.yaml")["sources"]
    texts = [path.read_text(encoding="utf-8") for path in (KNOWLEDGE / "methods").glob("*.yaml")]
    texts.append((KNOWLEDGE / "flowchart.yaml").read_text(encoding="utf-8"))
    cited = set(re.findall(r"\w+", " ".join(texts)))
    assert [name for name in sources if name not in cited] == []
    urls = [source["url"] for source in sources.values()]
    assert len(urls) == len(set(urls))


def test_no_edge_is_surer_than_its_source() -> None:
    sources = read_knowledge("sources.yaml")["sources"]
    rank = ("weak", "moderate", "strong").index
    for node in load_chart().nodes.values():
        for edge in node.edges:
            assert rank(edge.strength) <= rank(sources[edge.source]["strength"]), f"{node.id} → {edge.to}"


FORMS = {  # what the product names, and the forms it must explain
    "prompt": {"zero_shot", "few_shot", "many_shot", "retrieved", "chain_of_thought", "calibrated"},
    "rag": {"retrieval", "tuned_reader", "tools"},
    "probe": {"mean_pooling", "cls_pooling", "per_layer"},
    "small_encoder": {"setfit", "last_layers", "first_frozen", "head_and_all", "continued"},
    "peft": {
        "lora", "qlora", "rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bottleneck_adapters",
    },
    "full": {"all", "last_layers", "first_frozen", "from_scratch"},
    "cpt": {"replay", "selected", "low_rank"},
    "preference": {"dpo", "verifiable_rewards", "rejection_sampling"},
}  # fmt: skip


def test_every_form_the_product_names_has_its_card() -> None:
    assert {name: set(card.variants) for name, card in load_cards().items() if card.variants} == FORMS


@pytest.mark.parametrize("name", load_cards())
def test_every_card_says_what_it_costs_where_it_ends_and_how_it_fails(name: str) -> None:
    card = load_cards()[name]
    for part in (card.title, card.what, card.when, card.cost_training, card.cost_serving):
        assert set(part) == set(LANGUAGES)
        assert all(words.strip() for words in part.values())
    assert card.limits
    assert card.failure_signs
    assert card.sources
    assert card.risks or name == "baseline"


@pytest.mark.parametrize(("name", "form"), [(n, f) for n, c in load_cards().items() for f in c.variants])
def test_every_form_says_what_it_is_when_it_is_right_and_where_it_ends(name: str, form: str) -> None:
    variant = load_cards()[name].variants[form]
    for part in (variant.title, variant.what, variant.when, variant.limit):
        assert set(part) == set(LANGUAGES)
        assert all(words.strip() for words in part.values())
    assert variant.sources


def test_a_form_without_its_limit_is_a_fault() -> None:
    raw = {**read_knowledge("methods/full.yaml"), "variants": {"all": {"title": {"en": "all", "zh": "全部"}}}}
    faults: list[str] = []
    parse_card(raw, "full", faults)
    assert "full.variants.all.limit: no text in 'zh'" in faults
    assert "full.variants.all.when: no text in 'en'" in faults


def test_the_size_below_which_prompting_is_weak_stands_in_the_card() -> None:
    billions = int(CAPABLE_PARAMETERS / 1e9)
    said = [limit["en"] for limit in load_cards()["prompt"].limits if f"below about {billions} B" in limit["en"]]
    assert len(said) == 1
    assert "in-context learning and chain-of-thought" in said[0]
    assert f"{billions} B" in load_cards()["prompt"].variants["chain_of_thought"].when["en"]


def texts_of(value: Any, where: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Every ``{en, zh}`` in a knowledge file, with its place."""
    if isinstance(value, dict):
        if set(value) & set(LANGUAGES) and all(isinstance(v, str) for v in value.values()):
            yield where, value
        else:
            for key, inner in value.items():
                yield from texts_of(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts_of(inner, f"{where}[{number}]")


FILES = ["facts.yaml", "flowchart.yaml", "sources.yaml", *(f"methods/{name}.yaml" for name in sorted(load_cards()))]


@pytest.mark.parametrize("name", FILES)
def test_every_text_is_in_both_languages(name: str) -> None:
    found = list(texts_of(read_knowledge(name), name))
    assert found
    for where, text in found:
        assert set(text) == set(LANGUAGES), where
        assert re.search(r"[\u4e00-\u9fff]", text["zh"]) or len(text["zh"]) < 40, where
        assert not re.search(r"[\u4e00-\u9fff]", text["en"]), where
        assert not re.search(r"[\u4e00-\u9fff] ?[,;:?!]", text["zh"]), f"{where}: half-width mark in Chinese"
