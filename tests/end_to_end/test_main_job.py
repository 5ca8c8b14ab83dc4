"""From answers to a scored run that is used: the way a user goes, through the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.base import DataSpec
from executors.data import load_dataset
from executors.run import read_predictions
from tests.conftest import DEMO

Advisor = Callable[..., tuple[int, str, str]]

REQUESTS = ("--data", str(DEMO / "requests-train.csv"), "--test", str(DEMO / "requests-test.csv"))
ANSWERS = "training_budget: small\nknowledge_change: static\nfailure: behaviour\nknowledge_tokens: 0\n"


def _ask(advisor: Advisor, answers: str, *more: str) -> str:
    Path("a.yaml").write_text(answers, encoding="utf-8")
    status, out, err = advisor("ask", "--answers", "a.yaml", *more, "--json")
    assert status == 0, err
    run: str = json.loads(out)["run"]
    return run


def test_requests_from_answers_to_use(advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS, *REQUESTS)
    folder = Path("runs") / run
    assert json.loads((folder / "decision.json").read_text())["methods"] == ["probe"]

    status, out, err = advisor("run", run)
    assert status == 0, err
    assert "floor" in out
    for name in ("answers.yaml", "decision.json", "plan.yaml", "result.json", "report.md", "report.html", "artifact"):
        assert (folder / name).exists(), name
    result, floor = (json.loads((folder / where / "result.json").read_text()) for where in ("", "floor"))
    accuracy = result["scores"]["accuracy"]
    assert accuracy["low"] > floor["scores"]["accuracy"]["high"], "the recommended method must beat the floor"
    assert 0.60 <= accuracy["value"] <= 0.95, "the demo must be neither a wall nor a toy"

    status, out, _ = advisor("predict", run, "--input", str(DEMO / "requests-test.csv"))
    assert status == 0
    scored = read_predictions(folder / "predictions.jsonl")
    assert out.splitlines() == [prediction.text for prediction in scored.values()], "the same answers as were scored"

    status, out, _ = advisor("report", run, "--format", "json")
    assert json.loads(out)["result"]["scores"] == result["scores"]
    status, out, _ = advisor("runs")
    assert run in out


def test_another_plan_gets_a_run_of_its_own(advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS, *REQUESTS)
    first = advisor("run", run, "--method", "baseline", "--json")[1]
    assert advisor("run", run, "--method", "baseline", "--json")[1] == first, "the same plan is not run again"
    assert len(list(Path("runs").iterdir())) == 1
    nearest = json.loads(advisor("run", run, "--method", "baseline", "--set", "kind=nearest", "--json")[1])
    advisor("run", run, "--method", "probe", "--dry-run")
    plans = [path.parent.name for path in Path("runs").glob("*/plan.yaml")]
    assert len(plans) == 3
    for name in plans:
        assert json.loads((Path("runs") / name / "decision.json").read_text())["run"] == name
    assert (Path("runs") / run / "result.json").read_text().rstrip("\n") == first.rstrip("\n"), "the first is intact"
    assert nearest["params"]["kind"] == "nearest"


def test_a_run_goes_on_with_the_plan_that_was_begun_in_it(advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS, *REQUESTS)
    call = ("run", run, "--method", "baseline", "--set", "kind=nearest", "--seed", "3")
    assert advisor(*call, "--dry-run")[0] == 0
    result = json.loads(advisor("run", run, "--json")[1])
    assert (result["executor"], result["params"]["kind"], result["seed"]) == ("baseline", "nearest", 3)


def test_an_edited_plan_runs(advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS, *REQUESTS)
    assert advisor("run", run, "--method", "baseline", "--dry-run")[0] == 0
    plan = Path("runs") / run / "plan.yaml"
    Path("mine.yaml").write_text(plan.read_text().replace("params: {}", "params: {kind: nearest}"), encoding="utf-8")
    status, out, err = advisor("run", "mine.yaml", "--json")
    assert status == 0, err
    assert json.loads(out)["params"]["kind"] == "nearest"


def test_a_finished_run_outlives_its_edited_plan_and_its_changed_data(advisor: Advisor) -> None:
    Path("rows.csv").write_text((DEMO / "requests-train.csv").read_text(encoding="utf-8"), encoding="utf-8")
    run = _ask(advisor, ANSWERS, "--data", "rows.csv")
    first = json.loads(advisor("run", run, "--method", "baseline", "--json")[1])
    plan = Path("runs") / run / "plan.yaml"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace("params: {}", "params: {kind: nearest}"), encoding="utf-8")
    assert json.loads(advisor("run", str(plan), "--json")[1])["params"]["kind"] == "nearest"
    plan.write_text(text, encoding="utf-8")
    with Path("rows.csv").open("a", encoding="utf-8") as out:
        out.write("one more row about my parcel,order_status,1.0\n")
    assert json.loads(advisor("run", run, "--json")[1])["rows"] != first["rows"]
    assert json.loads((Path("runs") / run / "result.json").read_text()) == first
    assert len(list(Path("runs").glob("*/result.json"))) == 3


def test_a_spreadsheet_with_other_column_names(advisor: Advisor) -> None:
    from openpyxl import Workbook

    book = Workbook()
    with (DEMO / "requests-train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    book.active.append(["betreff", "was der kunde schrieb", "ablage"])
    for row in rows:
        book.active.append(["-", row["text"], row["intent"]])
    book.save("rows.xlsx")
    run = _ask(advisor, ANSWERS + "task: classification\n")
    columns = ("--columns", "text=was der kunde schrieb,label=ablage")
    status, out, err = advisor("run", run, "--method", "probe", "--data", "rows.xlsx", *columns, "--json")
    assert status == 0, err
    assert json.loads(out)["scores"]["accuracy"]["value"] > 0.5


def test_a_number_is_predicted_too(advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS + "task: regression\n", *REQUESTS, "--columns", "label=urgency")
    status, out, err = advisor("run", run, "--method", "probe", "--json")
    assert status == 0, err
    scores = json.loads(out)["scores"]
    assert scores["r2"]["low"] > 0
    floor = json.loads((Path("runs") / run / "floor" / "result.json").read_text())["scores"]
    assert scores["mae"]["high"] < floor["mae"]["value"]


def test_documents_are_quoted_with_their_source(advisor: Advisor) -> None:
    questions = ("--data", str(DEMO / "questions-train.jsonl"), "--test", str(DEMO / "questions-test.jsonl"))
    run = _ask(advisor, "failure: facts\nknowledge_change: weekly\n", *questions, "--docs", str(DEMO / "handbook"))
    status, out, err = advisor("run", run, "--set", "reader=quote", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["executor"] == "rag"
    assert result["scores"]["hit@5"]["low"] > 0.9
    status, out, _ = advisor("predict", run, "What do I pay for the adapter that connects the Hub by cable?")
    assert status == 0
    assert "20-wifi-and-network.md" in out.splitlines()[1], "the right page comes first"


def test_chinese_documents_are_answered_by_quotation_with_the_english_defaults(advisor: Advisor) -> None:
    Path("docs").mkdir()
    pages = {
        "退货": "收到商品后可在三十天内退货。退货运费由公司承担。",
        "电池": "传感器使用两节纽扣电池，可用二十六个月。",
    }
    for name, body in pages.items():
        (Path("docs") / f"{name}.md").write_text(f"# {name}\n\n{body}\n", encoding="utf-8")
    rows = [("多少天内可以退货？", "三十天"), ("电池可以用多久？", "二十六个月"), ("退货运费由谁承担？", "公司")] * 4
    lines = [
        json.dumps({"question": f"{q[:-1]}（{n}）？", "answer": a}, ensure_ascii=False) for n, (q, a) in enumerate(rows)
    ]
    Path("qa.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run = _ask(advisor, "failure: facts\nknowledge_change: weekly\n", "--data", "qa.jsonl", "--docs", "docs")
    status, out, err = advisor("run", run, "--lang", "zh")
    assert status == 0, err
    assert "bge-small-zh-v1.5" in out + err
    status, out, _ = advisor("predict", run, "电池可以用几个月？")
    assert "二十六个月" in out
    assert "电池.md" in out


@pytest.mark.parametrize("kind", ["md", "html"])
def test_a_report_before_the_run_says_how_to_run_it(kind: str, advisor: Advisor) -> None:
    run = _ask(advisor, ANSWERS)
    status, out, _ = advisor("report", run, "--format", kind, "--output", "-")
    assert status == 0
    assert f"advisor run {run}" in out


def test_held_out_rows_never_reach_a_method(advisor: Advisor, monkeypatch: pytest.MonkeyPatch) -> None:
    import executors
    from tests import fakes

    monkeypatch.setitem(executors.EXECUTORS, "first_word", "tests.fakes:FirstWordExecutor")
    seen: set[str] = set()
    build = fakes.FirstWordExecutor.build

    def spying(self: fakes.FirstWordExecutor, job: fakes.Job) -> fakes.FirstWordPredictor:
        seen.update(row.input.text for row in job.rows)
        return build(self, job)

    monkeypatch.setattr(fakes.FirstWordExecutor, "build", spying)
    run = _ask(advisor, ANSWERS, *REQUESTS)
    status, _, err = advisor("run", run, "--method", "first_word")
    assert status == 0, err
    held_out = {row.input.text for row in load_dataset(DataSpec(REQUESTS[1], REQUESTS[3]), "classification", 0).test}
    assert seen
    assert not seen & held_out
