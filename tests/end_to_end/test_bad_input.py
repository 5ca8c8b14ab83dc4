"""What a user can get wrong: one clear message, the next command, exit 1, and earlier records intact."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Advisor = Callable[..., tuple[int, str, str]]

ANSWERS = "training_budget: small\nlabelled_examples: 400\nknowledge_change: static\ntask: classification\n"
ROWS = "text,label\n" + "".join(f"{w} number {n},{w}\n" for n in range(30) for w in ("apple", "pear"))


@pytest.fixture
def decided(advisor: Advisor) -> Path:
    """A run with a decision and nothing else."""
    Path("a.yaml").write_text(ANSWERS, encoding="utf-8")
    Path("rows.csv").write_text(ROWS, encoding="utf-8")
    status, out, _ = advisor("ask", "--answers", "a.yaml", "--json")
    assert status == 0
    return Path("runs") / json.loads(out)["run"]


def _gb(text: str) -> bytes:
    return text.encode("gb18030")


BAD_DATA = {
    "missing": (None, "rowz.csv"),
    "empty": (b"", "empty"),
    "header only": (b"text,label\n", "no rows"),
    "binary": (bytes(range(256)) * 40, ""),
    "not JSON": (b'{"text": "a", "label": "x"}\n{"text": \n', "line 2"),
    "one class": (b"text,label\n" + b"".join(b"row %d,same\n" % n for n in range(40)), "one class"),
    "no labels": (b"text,label\n" + b"".join(b"row %d,\n" % n for n in range(40)), "label"),
    "no label column": (b"text,height\n" + b"".join(b"row of words %d,%d\n" % (n, n) for n in range(40)), "label"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_rows_get_one_clear_message(name: str, advisor: Advisor, decided: Path) -> None:
    content, expected = BAD_DATA[name]
    path = Path("bad.jsonl" if name == "not JSON" else "bad.csv")
    if content is None:
        path = Path("rowz.csv")
    else:
        path.write_bytes(content)
    before = (decided / "decision.json").read_bytes()
    status, out, err = advisor("run", decided.name, "--method", "baseline", "--data", str(path))
    assert status == 1
    assert "Traceback" not in err
    assert err.startswith("error: ")
    assert "→" in err, "names no next step"
    assert expected.lower() in err.lower()
    assert out == ""
    assert (decided / "decision.json").read_bytes() == before
    assert not (decided / "result.json").exists()


def test_an_unknown_column_lists_those_there_are(advisor: Advisor, decided: Path) -> None:
    status, _, err = advisor("run", decided.name, "--data", "rows.csv", "--columns", "text=txt,label=label")
    assert status == 1
    assert "did you mean 'text'" in err
    assert "label" in err


def test_rows_in_train_and_test_are_counted_and_kept_out_of_training(advisor: Advisor, decided: Path) -> None:
    lines = ROWS.splitlines()
    Path("test.csv").write_text("\n".join([lines[0], *lines[1:21]]) + "\n", encoding="utf-8")
    call = ("run", decided.name, "--method", "baseline", "--data", "rows.csv", "--test", "test.csv", "--json")
    status, out, _ = advisor(*call)
    assert status == 0
    rows = json.loads(out)["rows"]
    assert (rows["leak"], rows["train"], rows["test"]) == (20, 40, 20)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_every_encoding_is_read(encoding: str, advisor: Advisor, decided: Path) -> None:
    rows = "文本,标签\n" + "".join(f"第{n}个{w}放在桌子上,{w}\n" for n in range(30) for w in ("苹果", "梨子"))
    Path("zh.csv").write_bytes(rows.encode(encoding))
    status, out, err = advisor("run", decided.name, "--method", "baseline", "--data", "zh.csv", "--json")
    assert status == 0, err
    assert json.loads(out)["rows"]["train"] > 0


def test_a_folder_without_text_is_refused(advisor: Advisor, decided: Path) -> None:
    Path("docs").mkdir()
    (Path("docs") / "picture.png").write_bytes(b"\x89PNG")
    Path("qa.csv").write_text("question,answer\n" + "".join(f"what is {n}?,it is {n}\n" for n in range(20)))
    Path("a.yaml").write_text("task: question_answering\nfailure: facts\n", encoding="utf-8")
    run = json.loads(advisor("ask", "--answers", "a.yaml", "--json")[1])["run"]
    status, _, err = advisor("run", run, "--method", "rag", "--data", "qa.csv", "--docs", "docs")
    assert status == 1
    assert "docs" in err
    assert ".md" in err
    assert not (Path("runs") / run / "plan.yaml").exists()


def test_a_wrong_answers_file_is_told_every_fault(advisor: Advisor) -> None:
    Path("a.yaml").write_text("training_bugdet: small\nlabelled_examples: -3\nknowledge_change: sometimes\n")
    status, _, err = advisor("ask", "--answers", "a.yaml")
    assert status == 1
    for part in ("did you mean 'training_budget'", "labelled_examples", "sometimes", "weekly"):
        assert part in err


def test_no_network_and_no_cache_says_what_to_do(
    decided: Path, monkeypatch: pytest.MonkeyPatch, advisor: Advisor
) -> None:
    monkeypatch.setenv("ADVISOR_CACHE", str(Path("cache").resolve()))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    status, _, err = advisor("run", decided.name, "--method", "probe", "--data", "rows.csv")
    assert status == 1
    assert "advisor fetch" in err
    assert "PIP_INDEX_URL" in err
    assert "Traceback" not in err


def test_a_truncated_model_folder_is_named(advisor: Advisor, decided: Path) -> None:
    from executors.models.fetch import resolve

    whole = resolve("all-minilm-l6-v2")
    broken = Path("broken-model")
    for file in whole.rglob("*"):
        if file.is_file():
            copy = broken / file.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    call = ("run", decided.name, "--method", "probe", "--data", "rows.csv", "--embedder", str(broken))
    status, _, err = advisor(*call)
    assert status == 1
    assert "broken-model" in err
    assert "Traceback" not in err


def test_ctrl_c_exits_130_and_says_what_is_kept(decided: Path) -> None:
    rows = ROWS + "".join(f"more of apple {n},apple\n" for n in range(20000))
    Path("many.csv").write_text(rows, encoding="utf-8")
    call = [sys.executable, "-m", "advisor", "run", decided.name, "--method", "probe", "--data", "many.csv"]
    process = subprocess.Popen(
        call,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests started with `&` inherit "ignore"
    )
    deadline = time.monotonic() + 120
    assert process.stderr is not None
    for line in process.stderr:  # wait until the work has begun
        if line.startswith("Embedding") or time.monotonic() > deadline:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"advisor run {decided.name}" in err
