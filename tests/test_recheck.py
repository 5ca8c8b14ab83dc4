"""`advisor recheck`, through the command line: rows grow, documents change, files vanish, prices age."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.texts import LANGUAGES
from executors.base import to_dict, write_json
from tests.samples import RESULT

Advisor = Callable[..., tuple[int, str, str]]

ANSWERS = """
task: generation
training_budget: small
failure: behaviour
knowledge_change: static
"""


def write_rows(count: int) -> None:
    rows = (
        {"text": f"please write about order {n} of kind {n % 7}", "response": f"Dear customer {n}, done."}
        for n in range(count)
    )
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def run(advisor: Advisor) -> str:
    """A run over 60 rows and one document."""
    write_rows(60)
    Path("docs").mkdir()
    Path("docs/a.md").write_text("The hub needs TCP port 8874. " * 20, encoding="utf-8")
    Path("a.yaml").write_text(ANSWERS, encoding="utf-8")
    status, out, err = advisor("ask", "--answers", "a.yaml", "--data", "rows.jsonl", "--docs", "docs", "--json")
    assert status == 0, err
    name: str = json.loads(out)["run"]
    return name


def record(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path("runs") / run / "decision.json").read_text(encoding="utf-8"))
    return found


def rewrite(run: str, **changes: Any) -> None:
    (Path("runs") / run / "decision.json").write_text(json.dumps({**record(run), **changes}), encoding="utf-8")


def test_where_nothing_has_changed_it_says_so(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("recheck", run, "--exit-code")
    assert status == 0
    assert "The decision still stands: Prompting." in out
    assert "Nothing that it rests on has changed." in out


def test_rows_that_grew_bring_another_method(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    status, out, _ = advisor("recheck", run)
    assert status == 0  # only --exit-code makes it 3
    assert "Labelled examples: 48 examples → 1,200 examples" in out
    assert "no longer stands: Prompting → Parameter-efficient tuning (LoRA)" in out
    assert "Where the paths part" in out


def test_the_same_in_chinese(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    _, out, _ = advisor("recheck", run, "--lang", "zh")
    assert "标注样例：48 条 → 1,200 条" in out
    assert "原决定不再成立：提示 → 参数高效微调（LoRA）" in out


def test_exit_code_3_says_that_it_no_longer_stands(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    assert advisor("recheck", run, "--exit-code")[0] == 3
    assert advisor("recheck", run, "--exit-code", "--json")[0] == 3
    assert "Exit with 3 where the decision no longer stands" in " ".join(advisor("recheck", "--help")[1].split())


def test_documents_that_grew_are_told(run: str, advisor: Advisor) -> None:
    Path("docs/b.md").write_text("Another page of the handbook. " * 200, encoding="utf-8")
    _, out, _ = advisor("recheck", run)
    assert "Knowledge base: 145 tokens → 1,645 tokens" in out


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_file_that_is_gone_is_a_message_and_what_was_measured_is_kept(run: str, advisor: Advisor, lang: str) -> None:
    Path("rows.jsonl").unlink()
    status, out, _ = advisor("recheck", run, "--lang", lang)
    assert status == 0
    assert {"en": "--data: rows.jsonl is not there any more", "zh": "--data：找不到 rows.jsonl"}[lang] in out
    found = json.loads(advisor("recheck", run, "--json")[1])
    assert found["stands"] is True
    assert found["decision"]["facts"]["labelled_examples"]["value"] == 48


def test_rows_are_not_split_anew_where_their_test_file_is_gone(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    Path("test.jsonl").write_text(
        Path("rows.jsonl").read_text(encoding="utf-8")[-9000:].partition("\n")[2], encoding="utf-8"
    )
    rewrite(run, inputs={**record(run)["inputs"], "test": "test.jsonl"})
    assert "48 examples →" in advisor("recheck", run)[1]
    Path("test.jsonl").unlink()
    _, out, _ = advisor("recheck", run)
    assert "--test: test.jsonl is not there any more" in out
    assert "cannot be measured" not in out  # it is said once
    assert "48 examples →" not in out


def test_one_unusable_input_does_not_keep_the_others_from_being_measured(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    Path("docs/a.md").unlink()
    status, out, _ = advisor("recheck", run)
    assert status == 0
    assert "--docs: cannot be measured now" in out
    assert "48 examples → 1,200 examples" in out


def test_everything_gone_is_told_input_by_input(run: str, advisor: Advisor) -> None:
    Path("rows.jsonl").unlink()
    shutil.rmtree("docs")
    _, out, _ = advisor("recheck", run)
    assert "--data: rows.jsonl is not there" in out
    assert "--docs: docs is not there" in out


def test_an_answer_is_kept_and_told_where_it_measures_otherwise(run: str, advisor: Advisor) -> None:
    facts = record(run)["facts"]
    rewrite(run, facts={**facts, "labelled_examples": {**facts["labelled_examples"], "value": 900, "origin": "asked"}})
    _, out, _ = advisor("recheck", run)
    told = " ".join(out.split())
    assert "Labelled examples: you said 900 examples, measured now: 48 examples; your answer is kept" in told
    assert f"advisor what-if {run} labelled_examples=48 --save" in told
    assert json.loads(advisor("recheck", run, "--json")[1])["decision"]["facts"]["labelled_examples"]["value"] == 900


def test_another_machine_is_told(run: str, advisor: Advisor) -> None:
    facts = record(run)["facts"]
    assert facts["gpu_memory_gb"]["origin"] == "measured"
    rewrite(run, facts={**facts, "gpu_memory_gb": {**facts["gpu_memory_gb"], "value": 17.5}})
    _, out, _ = advisor("recheck", run)
    assert "Accelerator memory: 17.5 GB → " in out


def test_what_is_not_measured_again_is_said_to_be_kept(run: str, advisor: Advisor) -> None:
    facts = record(run)["facts"]
    rewrite(run, facts={**facts, "baseline_score": {**facts["baseline_score"], "origin": "measured"}})
    _, out, _ = advisor("recheck", run)
    assert "not measured again, so kept: Score of plain prompting" in " ".join(out.split())


def test_other_prices_for_the_same_facts_are_told(run: str, advisor: Advisor) -> None:
    quote = record(run)["quote"]
    rewrite(run, quote={**quote, "prompt": {**quote["prompt"], "per_1000_usd": [77.0, 88.0]}})
    _, out, _ = advisor("recheck", run)
    assert "Prompting: 1,000 answers $77–88 → " in out
    assert "for the same facts" in " ".join(out.split())


def test_other_rules_for_the_same_facts_are_told(run: str, advisor: Advisor) -> None:
    rewrite(run, methods=["rag"])
    status, out, _ = advisor("recheck", run, "--exit-code")
    assert status == 3
    assert "the same answers gave Retrieval (RAG) then and give Prompting today" in " ".join(out.split())


def test_a_run_without_inputs_is_rechecked_for_rules_and_prices(advisor: Advisor) -> None:
    Path("a.yaml").write_text(ANSWERS, encoding="utf-8")
    advisor("ask", "--answers", "a.yaml")
    status, out, _ = advisor("recheck")
    assert status == 0
    assert "still stands" in out
    assert "Nothing that it rests on has changed." in out


def test_the_run_is_left_as_it_is_and_save_makes_another(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    before = (Path("runs") / run / "decision.json").read_bytes()
    advisor("recheck", run)
    assert [folder.name for folder in Path("runs").iterdir()] == [run]
    _, out, _ = advisor("recheck", run, "--save")
    (new,) = (folder.name for folder in Path("runs").iterdir() if folder.name != run)
    assert f"Saved as run {new}" in out
    assert record(new)["methods"] == ["peft"]
    assert record(new)["inputs"]["data"] == "rows.jsonl"
    assert (Path("runs") / run / "decision.json").read_bytes() == before
    assert "still stands" in advisor("recheck", new)[1]


def score(run: str) -> None:
    """As `advisor run` leaves a run: a plan, the stamp of what it was scored on, and a result."""
    from advisor.plan import write_plan
    from executors.base import DataSpec, Plan
    from executors.run import fingerprint

    plan, folder = Plan("prompt", "generation", DataSpec("rows.jsonl")), Path("runs") / run
    write_plan(folder / "plan.yaml", plan)
    (folder / "stamp").write_text(fingerprint(plan), encoding="utf-8")
    write_json(folder / "result.json", to_dict(RESULT))


def test_scores_of_these_very_rows_are_said_to_be(run: str, advisor: Advisor) -> None:
    score(run)
    assert "are those that the run was scored with" in advisor("recheck", run)[1]


def test_scores_of_other_rows_are_said_to_be_old(run: str, advisor: Advisor) -> None:
    score(run)
    write_rows(61)
    told = " ".join(advisor("recheck", run)[1].split())
    assert f"its scores are those of the old ones. Run it again: advisor run {run}" in told


def test_a_plan_that_was_spoilt_since_is_no_crash(run: str, advisor: Advisor) -> None:
    score(run)
    (Path("runs") / run / "plan.yaml").write_text("executor: [", encoding="utf-8")
    status, out, _ = advisor("recheck", run)
    assert status == 0
    assert "have changed since the run was scored" in " ".join(out.split())


def test_the_json_holds_the_difference_and_the_notes(run: str, advisor: Advisor) -> None:
    write_rows(1500)
    found = json.loads(advisor("recheck", run, "--json")[1])
    assert found["stands"] is False
    assert found["methods"] == [["prompt"], ["peft"]]
    changes = {change["fact"]: (change["before"]["value"], change["after"]["value"]) for change in found["facts"]}
    assert changes["labelled_examples"] == (48, 1200)
    assert all(set(note) == set(LANGUAGES) for note in found["notes"])


def test_a_run_that_does_not_exist_is_a_users_error(advisor: Advisor) -> None:
    status, _, err = advisor("recheck", "nowhere")
    assert status == 1
    assert "no run 'nowhere'" in err
