"""`advisor what-if`, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.answers import read_answers
from advisor.commands.what_if import apply
from advisor.conditions import Value
from advisor.decision import decide
from advisor.facts import Fact, Facts, load_vocabulary
from advisor.texts import LANGUAGES, say

Advisor = Callable[..., tuple[int, str, str]]

ANSWERS = """
training_budget: small
labelled_examples: 200
knowledge_change: weekly
task: question_answering
failure: both
knowledge_tokens: 2000000
"""


@pytest.fixture
def run(advisor: Advisor) -> str:
    Path("a.yaml").write_text(ANSWERS, encoding="utf-8")
    status, out, _ = advisor("ask", "--answers", "a.yaml", "--json")
    assert status == 0
    name: str = json.loads(out)["run"]
    return name


def compared(advisor: Advisor, *arguments: str) -> dict[str, Any]:
    status, out, err = advisor("what-if", *arguments, "--json")
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_new_decision_stands_beside_the_old_one(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("what-if", run, "labelled_examples=2k")
    assert status == 0
    assert "Labelled examples: 200 examples → 2,000 examples" in out
    assert "Retrieval (RAG) → Retrieval (RAG) + Parameter-efficient tuning (LoRA)" in out
    assert "Where the paths part" in out
    assert "Is the behaviour wrong as well, with examples to tune it?" in out
    assert "not yet → recommended" in out
    assert "– labelled_examples = 200 < 500" in out
    assert "The steps would be" in out
    assert f"$ advisor run {run} --method rag+peft --data FILE" in out


def test_the_same_in_chinese(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("what-if", run, "labelled_examples=2千", "--lang", "zh")
    assert status == 0
    assert "标注样例：200 条 → 2,000 条" in out
    assert "推导路径的分岔处" in out
    assert "尚早 → 推荐" in out
    assert "Retrieval" not in out


def test_what_the_json_holds_is_what_ask_would_decide(run: str, advisor: Advisor) -> None:
    found = compared(advisor, run, "labelled_examples=2000", "gpu_memory_gb=24")
    fresh = decide(
        read_answers(Path("a.yaml")).with_(*read_answers({"labelled_examples": 2000, "gpu_memory_gb": 24}).values())
    )
    assert found["stands"] is False
    assert found["methods"] == [["rag"], list(fresh.methods)]
    assert found["decision"]["methods"] == list(fresh.methods)
    assert found["confidence"][1]["level"] == fresh.confidence.level
    assert found["saved"] is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nothing_changing_is_said_with_the_nearest_threshold(run: str, advisor: Advisor, lang: str) -> None:
    status, out, _ = advisor("what-if", run, "labelled_examples=210", "--lang", lang)
    assert status == 0
    assert say("compare.stays", lang, methods={"en": "Retrieval (RAG)", "zh": "检索增强（RAG）"}[lang]) in out
    assert {"en": "from 500 examples on (now 210 examples)", "zh": "500 条及以上（现为210 条）"}[lang] in out


def test_a_fact_that_changes_nothing_at_any_value_is_said_to(run: str, advisor: Advisor) -> None:
    _, out, _ = advisor("what-if", run, "label_quality=clean")
    assert "no value of it changes the methods" in out


def test_the_very_same_answers_change_nothing(run: str, advisor: Advisor) -> None:
    _, out, _ = advisor("what-if", run, "labelled_examples=200")
    assert "Nothing else changes either." in out


@pytest.mark.parametrize("nothing", ["failure=unknown", "failure=", "failure=未知"])
def test_a_fact_can_be_made_unknown(run: str, advisor: Advisor, nothing: str) -> None:
    fact = compared(advisor, run, nothing)["decision"]["facts"]["failure"]
    assert fact["origin"] == "assumed"


def test_what_follows_from_an_unknown_is_said_to_be_assumed(run: str, advisor: Advisor) -> None:
    _, out, _ = advisor("what-if", run, "labelled_examples=unknown")
    assert "200 examples → unknown, so 20 examples is assumed" in out


def test_every_fault_is_told_at_once(run: str, advisor: Advisor) -> None:
    status, _, err = advisor(
        "what-if", run, "labelled_exampls=1", "knowledge_change=weakly", "classes", "failure=none", "failure=facts"
    )
    assert status == 1
    assert "4 problems" in err
    assert "did you mean 'labelled_examples'?" in err
    assert "did you mean 'weekly'?" in err
    assert "'classes' is not FACT=VALUE" in err
    assert "failure: given twice" in err


def test_faults_are_told_in_chinese(run: str, advisor: Advisor) -> None:
    _, _, err = advisor("what-if", run, "labelled_exampls=1", "foo", "--lang", "zh")
    assert "是不是“labelled_examples”？" in err
    assert "“foo”不是“事实=值”的形式" in err


def test_answers_that_cannot_all_be_true_are_refused_with_what_was_said_before(run: str, advisor: Advisor) -> None:
    saved = compared(advisor, run, "evaluation_examples=0", "--save")["saved"]
    status, _, err = advisor("what-if", saved, "baseline_score=0.4")
    assert status == 1
    assert "nothing can have been scored" in err


def test_the_run_is_left_as_it_is(run: str, advisor: Advisor) -> None:
    before = content(Path("runs"))
    advisor("what-if", run, "labelled_examples=2000")
    assert content(Path("runs")) == before


def test_save_makes_a_run_of_the_changed_answers(run: str, advisor: Advisor) -> None:
    before = content(Path("runs") / run)
    status, out, _ = advisor("what-if", run, "labelled_examples=2000", "--save")
    assert status == 0
    (new,) = (folder.name for folder in Path("runs").iterdir() if folder.name != run)
    assert f"Saved as run {new}" in out
    assert content(Path("runs") / run) == before
    saved = json.loads((Path("runs") / new / "decision.json").read_text(encoding="utf-8"))
    assert saved["methods"] == ["rag", "peft"]
    assert f"advisor run {new} " in saved["ladder"][0]["command"]
    assert read_answers(Path("runs") / new / "answers.yaml").value("labelled_examples") == 2000


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("last",), "advisor what-if last labelled_examples=2000"),
        (("labelled_examples=5",), "advisor what-if last labelled_examples=5"),
    ],
)
def test_a_call_without_run_or_change_says_how(
    run: str, advisor: Advisor, arguments: tuple[str, ...], hint: str
) -> None:
    status, _, err = advisor("what-if", *arguments)
    assert status == 1
    assert hint in err


def test_a_decision_of_other_rules_is_compared_by_those_of_today(run: str, advisor: Advisor) -> None:
    path = Path("runs") / run / "decision.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "methods": ["full"]}), encoding="utf-8")
    _, out, _ = advisor("what-if", run, "labelled_examples=210")
    assert f"Run {run} recommended Full fine-tuning; with the rules and prices of today" in out


# -- the changes themselves ------------------------------------------------------------------------------

KNOWN = Facts({"failure": Fact("failure", "both", "measured"), "citations": Fact("citations", "no", "asked")})


def value_of(name: str) -> st.SearchStrategy[Value]:
    spec = load_vocabulary()[name]
    if spec.type == "choice":
        return st.sampled_from(spec.options)
    if spec.type == "boolean":
        return st.booleans()
    top = int(min(spec.maximum, 10**9))
    return st.integers(1, top).map(lambda n: n / 1 if spec.type == "number" else n)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={name: value_of(name) for name in load_vocabulary() if name != "classes"}))
def test_changes_are_read_as_an_answers_file_is(answers: dict[str, Value]) -> None:
    written = tuple(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in answers.items()
    )
    changed = apply(KNOWN, written)
    assert {name: changed.value(name) for name in answers} == answers
    assert {changed[name].origin for name in answers} <= {"asked"}
    assert all(changed[name] == fact for name, fact in KNOWN.items() if name not in answers)
    assert set(apply(changed, tuple(f"{name}=unknown" for name in answers))) == set(KNOWN) - set(answers)
