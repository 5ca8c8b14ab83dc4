"""Presets: valid, translated, believed less than answers, and corrected by whatever the user says."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from advisor.answers import read_answers, write_answers
from advisor.decision import Inputs, decide, next_question
from advisor.facts import Fact, Facts, assume, presumed
from advisor.interview import run
from advisor.interview.asking import Measured, Prompt, Reply, Signal
from advisor.presets import Preset, advise, find_preset, load_presets, parse_presets
from advisor.texts import LANGUAGES, read_knowledge
from executors.base import UserError

Advisor = Callable[..., tuple[int, str, str]]

ASKED_FOR = {  # what an expert would start from, and what would be a mistake
    "customer-support": (("rag",), "peft"),
    "intent-routing": (("probe",), "rag"),
    "contract-questions": (("rag",), "long_context"),
    "text-to-sql": (("rag", "peft"), "cpt"),
    "house-style": (("peft",), "rag"),
    "medical-coding": (("small_encoder",), "prompt"),
    "content-moderation": (("small_encoder",), "prompt"),
    "low-resource-language": (("peft",), "rag"),
    "invoice-fields": (("peft",), "rag"),
    "code-assistant": (("rag",), "peft"),
    "order-status": (("rag",), "peft"),
    "meeting-summaries": (("prompt",), "peft"),
    "maths-tutor": (("preference",), "rag"),
}


def raw(name: str) -> dict[str, Any]:
    return copy.deepcopy(read_knowledge(f"presets/{name}.yaml"))  # type: ignore[no-any-return]


# -- the files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(load_presets()))
def test_the_recommendation_is_one_an_expert_would_sign(name: str) -> None:
    expected, mistake = ASKED_FOR[name]
    methods = advise(find_preset(name)).methods
    assert methods == expected
    assert mistake not in methods


def test_actions_are_answered_with_tools_and_checkable_results_with_rewards() -> None:
    assert advise(find_preset("order-status")).variants["rag"] == "tools"
    assert advise(find_preset("maths-tutor")).variants["preference"] == "verifiable_rewards"


@pytest.mark.parametrize("preset", load_presets().values(), ids=lambda preset: preset.name)
def test_every_text_is_in_both_languages(preset: Preset) -> None:
    for text in texts_of(raw(preset.name)):
        assert set(text) - {"source"} == set(LANGUAGES)
        assert not re.search(r"[\u4e00-\u9fff]", text["en"])
        assert re.search(r"[\u4e00-\u9fff]", text["zh"])
        assert not re.search(r"[\u4e00-\u9fff] ?[,;:?!]", text["zh"]), text["zh"]


def texts_of(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict) and "en" in value:
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_of(inner)


def test_presets_that_are_named_in_a_text_exist() -> None:
    for name in load_presets():
        told = json.dumps(raw(name)["not_for"])
        named = {word for word in re.findall(r"`([a-z-]+)`", told) if "_" not in word}
        assert named <= set(load_presets())


def test_every_fault_is_told_at_once() -> None:
    body = raw("intent-routing")
    body["answers"] |= {
        "clases": {"value": 3, "why": {"en": "x", "zh": "类"}},
        "latency": {"value": "quick", "why": {}},
    }
    body["answers"]["classes"]["value"] = 1
    body |= {
        "sources": ["nowhere"],
        "goes_wrong": [{"en": "only English", "source": "rumour"}],
        "titel": {},
        "not_for": [],
    }
    with pytest.raises(ValueError, match="presets") as told:
        parse_presets({"routing": body})
    for fault in (
        "routing.answers.clases: unknown fact (did you mean 'classes'?)",
        "routing.answers.latency.why: no text in 'zh'",
        "routing.answers.latency: 'quick' is not an option",
        "routing: classes: with one class there is nothing to choose",
        "routing.sources: unknown source 'nowhere'",
        "routing.goes_wrong[1]: unknown source 'rumour'",
        "routing.goes_wrong[1]: no text in 'zh'",
        "routing.not_for: empty",
        "routing: unknown key 'titel' (did you mean 'title'?)",
    ):
        assert fault in str(told.value)


# -- what a preset is worth ----------------------------------------------------------------------------


def test_a_presets_values_are_assumed_and_say_so() -> None:
    decision = advise(find_preset("intent-routing"))
    labels = decision.facts["labelled_examples"]
    assert (labels.value, labels.origin, labels.preset) == (2000, "assumed", "intent-routing")
    assert "the preset intent-routing" in labels.evidence["en"]
    assert "labelled_examples" in decision.confidence.assumed


def test_what_the_title_says_was_said_by_choosing_it() -> None:
    facts = find_preset("intent-routing").facts()
    assert [name for name, fact in facts.items() if fact.origin == "asked"] == ["task"]


@pytest.mark.parametrize("preset", load_presets().values(), ids=lambda preset: preset.name)
def test_the_same_values_are_surer_where_the_user_said_them(preset: Preset) -> None:
    said = decide(read_answers({answer.fact: answer.value for answer in preset.answers}))
    assumed = advise(preset)
    assert said.methods == assumed.methods
    assert said.confidence.level > assumed.confidence.level


@pytest.mark.parametrize("preset", load_presets().values(), ids=lambda preset: preset.name)
def test_what_would_flip_a_preset_does_flip_it(preset: Preset) -> None:
    decision = advise(preset)
    changing = {flip.fact for flip in decision.flips}
    assert decision.confidence.find_out_first in changing
    for flip in decision.flips[:3]:
        answered = preset.facts().with_(Fact(flip.fact, flip.to, "asked"))
        assert decide(answered).methods == flip.methods != decision.methods


def test_what_a_preset_assumes_other_assumptions_see() -> None:
    nothing_to_read = Facts({"knowledge_tokens": presumed("knowledge_tokens", 0, "any")})
    assert assume(nothing_to_read)["knowledge_change"].value == "static"
    assert assume(Facts())["knowledge_change"].value == "monthly"


def test_an_answer_stands_over_the_preset() -> None:
    facts = find_preset("intent-routing").facts().with_(*read_answers({"labelled_examples": 60}).values())
    decision = decide(facts)
    assert decision.facts["labelled_examples"].origin == "asked"
    assert decision.methods == ("prompt",)  # one and a half labels a class


def test_another_task_drops_what_has_no_meaning_there() -> None:
    facts = find_preset("intent-routing").facts().with_(*read_answers({"task": "summarisation"}).values())
    assert "classes" not in decide(facts).facts


def test_answers_from_a_preset_come_back_as_they_were(tmp_path: Path) -> None:
    facts = find_preset("text-to-sql").facts().with_(*read_answers({"labelled_examples": 30}).values())
    write_answers(tmp_path / "answers.yaml", facts)
    back = read_answers(tmp_path / "answers.yaml")
    assert {name: (fact.value, fact.origin) for name, fact in back.items()} == {
        name: (fact.value, fact.origin) for name, fact in facts.items()
    }
    assert back.presumed() == facts.presumed()
    assert decide(back).confidence == decide(facts).confidence


def test_an_unknown_preset_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'text-to-sql'") as told:
        find_preset("text2sql")
    assert "是不是" in told.value.told("zh").message


# -- the interview -------------------------------------------------------------------------------------


class Correcting:
    """Skips every question, and at the review corrects one fact before it agrees."""

    def __init__(self, fact: str, answer: str) -> None:
        self.asked: list[str] = []
        self.notes: list[str] = []
        self.fact, self.answer = fact, answer

    def ask(self, prompt: Prompt) -> Reply:
        self.asked.append(prompt.id)
        if prompt.id == self.fact:
            return self.answer
        if prompt.id == "review":
            return self.fact if self.fact not in self.asked else "go"
        return Signal.SKIP

    def note(self, text: str) -> None:
        self.notes.append(text)

    def fault(self, error: UserError) -> None:
        raise error

    def measured(self, lines: Sequence[Measured]) -> None:
        raise AssertionError("nothing was given to measure")

    def warn(self, text: str) -> None:
        raise AssertionError(text)

    def busy(self, text: str) -> AbstractContextManager[object]:
        return nullcontext()


def test_in_the_interview_a_preset_is_not_asked_again_but_can_be_corrected() -> None:
    preset = find_preset("intent-routing")
    asker = Correcting("classes", "12")
    session = run("en", preset.facts(), Inputs(), asker)
    before = asker.asked[: asker.asked.index("review")]
    assert not {answer.fact for answer in preset.answers} & set(before)
    assert {"knowledge_change", "data"} <= set(before)  # what the preset leaves open
    assert (session.facts["classes"].value, session.facts["classes"].origin) == (12, "asked")
    assert session.facts["labelled_examples"].origin == "assumed"
    assert len(asker.notes) == 1
    assert f"{len(preset.answers)} facts come from it" in asker.notes[0]


def test_questions_follow_from_what_the_preset_assumes() -> None:
    # whether the labels are settled is asked where labels are the task, and here only the preset says that they are
    assert "task_stable" in _questions(presumed("task", "classification", "any"))
    assert "task_stable" not in _questions(presumed("task", "summarisation", "any"))


def _questions(*assumed: Fact) -> set[str]:
    """All that is asked of someone who has answered the opening questions and knows nothing else."""
    opening = {"training_budget": "small", "labelled_examples": 2000, "knowledge_change": "yearly"}
    facts, asked = read_answers(opening).with_(*assumed), set[str]()
    while question := next_question(facts, asked):
        asked.add(question.fact)
    return asked


# -- the commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_list_names_every_preset_and_its_methods(advisor: Advisor, lang: str) -> None:
    status, out, _ = advisor("--lang", lang, "presets")
    assert status == 0
    for preset in load_presets().values():
        assert preset.name in out
        assert preset.line[lang] in out
    assert {"en": "→ Retrieval (RAG)", "zh": "→ 检索增强（RAG）"}[lang] in out


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("preset", load_presets().values(), ids=lambda preset: preset.name)
def test_a_page_says_all_of_it(advisor: Advisor, preset: Preset, lang: str) -> None:
    status, out, _ = advisor("--lang", lang, "presets", preset.name)
    assert status == 0
    shown = re.sub(r"\s", "", out)
    said = [preset.title, preset.situation, *(remark.text for remark in (*preset.goes_wrong, *preset.not_for))]
    assert all(re.sub(r"\s", "", text[lang]) in shown for text in said)
    assert re.sub(r"\s", "", advise(preset).summary[lang].split("：")[-1].split(": ")[-1])[-20:] in shown
    assert f"advisor ask --preset {preset.name} --interview" in out


def test_the_page_as_data_has_both_languages_and_todays_decision(advisor: Advisor) -> None:
    status, out, _ = advisor("presets", "text-to-sql", "--json")
    page = json.loads(out)
    assert status == 0
    assert set(page["title"]) == set(LANGUAGES)
    assert page["recommended"]["methods"] == ["rag", "peft"]
    assert page["answers"][0]["fact"] == "task"
    names = [entry["name"] for entry in json.loads(advisor("presets", "--json")[1])]
    assert names == list(load_presets())


def test_a_misspelt_preset_is_one_line_and_the_next_step(advisor: Advisor) -> None:
    expected = "error: no preset 'hose-style' (did you mean 'house-style'?)\n  → see them all with: advisor presets\n"
    assert advisor("presets", "hose-style") == (1, "", expected)
    assert advisor("ask", "--preset", "hose-style") == (1, "", expected)


def test_asking_with_a_preset_decides_and_keeps_where_its_facts_are_from(advisor: Advisor, workdir: Path) -> None:
    Path("a.yaml").write_text("labelled_examples: 60\n", encoding="utf-8")
    status, out, _ = advisor("ask", "--preset", "intent-routing", "--answers", "a.yaml", "--json")
    decision = json.loads(out)
    assert status == 0
    assert decision["methods"] == ["prompt"]
    assert decision["facts"]["labelled_examples"]["origin"] == "asked"
    assert decision["facts"]["classes"]["preset"] == "intent-routing"
    kept = (workdir / "runs" / decision["run"] / "answers.yaml").read_text(encoding="utf-8")
    assert "classes: 40  # preset intent-routing" in kept
    assert "labelled_examples: 60\n" in kept


def test_what_is_measured_stands_over_the_preset_without_a_complaint(advisor: Advisor, workdir: Path) -> None:
    rows = "".join(f"where is parcel {n},{'late' if n % 2 else 'lost'}\n" for n in range(40))
    Path("rows.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    status, out, _ = advisor("ask", "--preset", "intent-routing", "--data", "rows.csv", "--json")
    decision = json.loads(out)
    assert status == 0
    assert (decision["facts"]["classes"]["value"], decision["facts"]["classes"]["origin"]) == (2, "measured")
    assert not any("you said" in warning["en"] for warning in decision["warnings"])


def test_a_preset_is_told_of_at_the_end(advisor: Advisor, workdir: Path) -> None:
    status, out, _ = advisor("ask", "--preset", "order-status")
    assert status == 0
    assert "assumed from the preset order-status" in out
