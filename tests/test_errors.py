"""What a user can mend is said in English and in Chinese: the same fault, the same values, the same way out."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from advisor.answers import read_answers
from advisor.decision import Inputs
from advisor.interview import TerminalAsker
from advisor.plan import choose_method, require
from advisor.profile.model import measure_model
from advisor.runs import find_run
from executors.base import DataSpec, Problem, UserError, did_you_mean
from executors.data import load_dataset, read_table
from executors.models.catalogue import local_folder, name_problems
from executors.models.fetch import locate
from executors.retriever.documents import read_documents
from tests.conftest import ROOT
from tests.samples import DECISION
from tests.test_interview import Ruler, Scripted, interview

HAN = range(0x4E00, 0x9FFF)
ROWS = "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(20))
INTERVIEW = (  # every module whose errors the interview shows
    "advisor/answers.py",
    "advisor/facts.py",
    "advisor/plan.py",
    "advisor/profile",
    "executors/data",
    "executors/models/catalogue.py",
    "executors/models/folder.py",
    "executors/retriever/documents",
)


def is_chinese(text: str) -> bool:
    return any(ord(ch) in HAN for ch in text)


def check(problem: Problem, *parts: str) -> None:
    """Both versions are there, differ, and hold `parts`; a hint is Chinese or a command."""
    zh = problem.told("zh")
    assert is_chinese(zh.message)
    assert not is_chinese(problem.message)
    assert bool(problem.hint) == bool(zh.hint)
    assert is_chinese(zh.hint) or zh.hint == problem.hint
    for part in parts:
        assert part in problem.message
        assert part in zh.message


def refusal(call: Callable[[], object]) -> Problem:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.problem


# -- the mechanism ---------------------------------------------------------------------------------------


def test_an_error_without_a_chinese_version_is_told_in_english() -> None:
    error = UserError("no luck", "try again")
    assert error.told("zh") == error.told("en") == Problem("no luck", "try again")
    assert str(error) == "no luck"


def test_a_command_as_hint_serves_both_languages() -> None:
    assert UserError("no luck", "advisor run", Problem("没有")).told("zh") == Problem("没有", "advisor run")


def test_several_problems_are_listed_in_both_languages_and_keep_what_is_english_only() -> None:
    error = UserError.of([Problem("one", "do a", Problem("一", "做甲")), Problem("two", "do b")])
    assert error.message == "2 problems:\n  1. one\n  2. two"
    assert error.told("zh") == Problem("有 2 个问题：\n  1. 一\n  2. two", "做甲\ndo b")


def test_one_problem_keeps_its_chinese_version() -> None:
    assert UserError.of([Problem("one", "", Problem("一"))]).told("zh").message == "一"


def test_a_misspelt_name_is_mended_in_both_languages() -> None:
    assert did_you_mean("lable", ["label"]) == " (did you mean 'label'?)"
    assert did_you_mean("lable", ["label"], "zh") == "（是不是“label”？）"
    assert did_you_mean("zzz", ["label"], "zh") == ""


@pytest.mark.parametrize("module", INTERVIEW)
def test_every_error_of_the_interview_has_a_chinese_version(module: str) -> None:
    paths = [ROOT / module] if module.endswith(".py") else sorted((ROOT / module).glob("*.py"))
    lacking = [
        f"{path.name}:{node.lineno}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError" and len(node.args) < 3
    ]
    assert not lacking


# -- answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ({"labelled_examples": "many"}, "many"),
        ({"labelled_examples": 2.5}, "2.5"),
        ({"labelled_examples": -5}, "-5"),
        ({"target_score": 7}, "7"),
        ({"target_score": "good"}, "good"),
        ({"serving_budget": float("inf")}, "inf"),
        ({"citations": "nize"}, "nize"),
        ({"style": "maybe"}, "maybe"),
        ({"labeled_examples": 3}, "labelled_examples"),
        ({"classes": 1}, "classes"),
        ({"baseline_score": 0.8, "evaluation_examples": 0}, "baseline_score"),
        ({"gpu_memory_gb": 0, "gpu_count": 2}, "2"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_in_both_languages(answers: dict[str, Any], part: str) -> None:
    check(refusal(lambda: read_answers(answers)), part)


@pytest.mark.parametrize("content", ["", "- a\n", "a: [1\n", "task: 分类\n".encode("gb18030")])
def test_an_answers_file_that_cannot_be_read_is_refused_in_both_languages(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    check(refusal(lambda: read_answers(path)), str(path))


def test_an_answers_file_that_is_not_there_is_refused_in_both_languages(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        check(refusal(lambda path=path: read_answers(path)), str(path))  # type: ignore[misc]


# -- data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.csv", b"", ""),
        ("blank.csv", b"\n\n", ""),
        ("blank.jsonl", b"\n\n", ""),
        ("header.csv", b"text,label\n", ""),
        ("zeros.csv", b"a\0b,c\n", ""),
        ("rows.parquet", b"PAR1", ".parquet"),
        ("parquet.csv", b"PAR1 and more", "Parquet"),
        ("zip.csv", b"PK\x03\x04", "zip"),
        ("office.csv", b"\xd0\xcf\x11\xe0", "Office"),
        ("gzip.csv", b"\x1f\x8b", "gzip"),
        ("pdf.csv", b"%PDF-1.4", "PDF"),
        ("marked.csv", b"\xef\xbb\xbftext,label\n\xff,a\n", "0xff"),
        ("damaged.csv", b"text,label\n" + "好的，没有问题".encode() * 30 + b"\xff,a\n", "0xff"),
        ("unknown.csv", b"text,label\n" + bytes(range(0x80, 0xA0)) * 9 + b"\n", "0x80"),
        ("quotes.csv", b'text,label\n"a"b,c\n"open,c\nx,y,z\n', "2"),
        ("ragged.csv", b"text,label\na,b,c\na,b,c\n", "2"),
        ("line.jsonl", b'{"text": "a"}\n{"text": \n', "2"),
        ("value.jsonl", b'{"text": "a"}\n[1]\n', "[1]"),
        ("value.json", b"3", "int"),
        ("mixed.json", b'[{"text": "a"}, 3]', "2"),
        ("old.xlsx", b"\xd0\xcf\x11\xe0", ".xlsx"),
        ("cut.xlsx", b"PK\x03\x04 and no more", ".xlsx"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_both_languages(
    name: str, content: bytes, part: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    check(refusal(lambda: read_table(path)), str(path), part)


def test_a_path_that_is_no_file_is_refused_in_both_languages(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    for path in (tmp_path, tmp_path / "row.csv", tmp_path / "nowhere" / "rows.csv"):
        check(refusal(lambda path=path: read_table(path)), str(path))  # type: ignore[misc]
    assert "rows.csv" in refusal(lambda: read_table(tmp_path)).told("zh").hint
    assert "是不是" in refusal(lambda: read_table(tmp_path / "row.csv")).told("zh").message


@pytest.mark.parametrize(
    ("content", "columns", "task", "part"),
    [
        ("a,b\n1 x,2\n" * 2, {}, "classification", "rows.csv"),
        ("remark,kind\nx,y\n", {}, "regression", "rows.csv"),
        ("my parcel is late,late\nwhere is it,late\nlate,late\n", {}, "classification", "my parcel is late"),
        (ROWS, {"text": "txet"}, "classification", "txet"),
        (ROWS, {"txt": "text"}, "classification", "txt"),
        (ROWS, {"text": "label", "label": "label"}, "classification", "label"),
        (ROWS, {"label": "label"}, "regression", "20"),
        ("text,label\n,a\n,b\n", {}, "classification", "text"),
        ("text,label\nx,\ny,\n", {}, "classification", "label"),
        ('text,label\nx,"[""a"", ""b""]"\n', {"label": "label"}, "classification", "a, b"),
        (ROWS.replace(",b", ",a"), {}, "classification", "20"),
        ("\n".join(ROWS.splitlines()[:5]), {}, "classification", "4"),
        ("text,label\n" + "".join(f"t{n},{n}\n" for n in range(12)), {}, "classification", ""),
    ],
)
def test_rows_that_cannot_be_used_are_refused_in_both_languages(
    content: str, columns: dict[str, str], task: str, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    check(refusal(lambda: load_dataset(DataSpec(str(path), None, columns), task, 0)), part)


def test_a_test_file_that_does_not_fit_is_refused_in_both_languages(tmp_path: Path) -> None:
    path, other = tmp_path / "train.csv", tmp_path / "test.csv"
    path.write_text(ROWS)
    other.write_text(ROWS.replace("text,label", "texts,kind"))
    spec = DataSpec(str(path), str(other))
    check(refusal(lambda: load_dataset(spec, "classification", 0)), "test.csv", "texts", "label")
    other.write_text(ROWS)
    check(refusal(lambda: load_dataset(spec, "classification", 0)), str(other), "20")
    whole = DataSpec(str(path), held_out=1.5)
    check(refusal(lambda: load_dataset(whole, "classification", 0)), "1.5")


# -- documents, models, plans ------------------------------------------------------------------------------


def test_documents_that_cannot_be_used_are_refused_in_both_languages(tmp_path: Path) -> None:
    check(refusal(lambda: read_documents(tmp_path / "none")), str(tmp_path / "none"))
    check(refusal(lambda: read_documents(tmp_path)), str(tmp_path))
    (tmp_path / "slides.ppt").write_bytes(b"slides")
    check(refusal(lambda: read_documents(tmp_path)), ".ppt")
    check(refusal(lambda: read_documents(tmp_path / "slides.ppt")), "slides.ppt")
    (tmp_path / "a.md").write_text("  \n")
    (tmp_path / "b.md").write_bytes(b"%PDF")
    check(refusal(lambda: read_documents(tmp_path)), "a.md", "b.md")
    assert "PDF 文件" in refusal(lambda: read_documents(tmp_path)).told("zh").message


def test_a_model_that_is_not_there_is_refused_in_both_languages(tmp_path: Path) -> None:
    check(refusal(lambda: local_folder("smollm3-135m-instruct")), "smollm3-135m-instruct", "smollm2-135m-instruct")
    check(refusal(lambda: measure_model(str(tmp_path / "none"))), "none")
    for problem in name_problems("all-minilm-l6-v2", "language") + name_problems("smollm2-135m-instruct", "embedder"):
        check(problem)


def test_a_folder_that_is_no_model_is_refused_in_both_languages(tmp_path: Path) -> None:
    check(refusal(lambda: locate(str(tmp_path))), str(tmp_path), "config.json", "*.safetensors")
    check(refusal(lambda: measure_model(str(tmp_path))), "config.json")
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        check(refusal(lambda: measure_model(str(tmp_path))), "config.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    check(refusal(lambda: locate(str(tmp_path))), "pytorch_model.bin")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    check(refusal(lambda: locate(str(tmp_path))), "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("{")
    check(refusal(lambda: locate(str(tmp_path))), "index.json")


def test_a_plan_that_cannot_be_made_is_refused_in_both_languages() -> None:
    check(refusal(lambda: require("rag", DECISION, Inputs())), "data", "docs")
    check(refusal(lambda: choose_method(DECISION, "pretrain")), "pretrain")
    check(refusal(lambda: choose_method(DECISION, "pefd")), "pefd", "peft")


def test_a_run_that_is_not_there_is_refused_in_both_languages(workdir: Path) -> None:
    check(refusal(lambda: find_run("last")), "runs/")
    for name in ("2026-a", "2026-b"):
        (workdir / "runs" / name).mkdir(parents=True)
    check(refusal(lambda: find_run("2026")), "2026-a", "2026-b")
    check(refusal(lambda: find_run("2025-a")), "2025-a", "2026-a")


# -- where they are shown ----------------------------------------------------------------------------------


def test_the_interview_shows_a_fault_in_its_language() -> None:
    class Chinese(Scripted):
        """Shows its faults as the terminal does."""

        def fault(self, error: UserError) -> None:
            TerminalAsker("zh", Console(file=screen, width=80)).fault(error)

    screen = io.StringIO()
    interview(Chinese({"labelled_examples": ["many", "3万"]}), Ruler(), lang="zh")
    shown = screen.getvalue()
    assert "✗ 标注样例：应为整数，收到“many”" in shown
    assert "→ 标注样例：不小于 0 的数字" in shown
    assert "expected" not in shown


@pytest.mark.parametrize("place", [("--lang", "zh", "ask"), ("ask", "--lang", "zh"), ("--lang=zh", "ask")])
def test_a_command_fails_in_the_language_it_was_called_in(place: tuple[str, ...], advisor: Any) -> None:
    status, out, err = advisor(*place, "--answers", "none.yaml")
    assert (status, out) == (1, "")
    assert err.startswith("错误：找不到文件 none.yaml\n  → 请检查路径")


def test_a_command_fails_in_the_locales_language(advisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert advisor("report", "last")[2].startswith("错误：runs/ 中还没有运行记录")
    assert advisor("--lang", "en", "report", "last")[2].startswith("error: there are no runs")


def test_columns_on_the_command_line_are_refused_in_both_languages(advisor: Any) -> None:
    assert "--columns：“text”" in advisor("--lang", "zh", "ask", "--data", "x.csv", "--columns", "text")[2]
