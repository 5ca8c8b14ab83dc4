"""`advisor chat` and the sources under an answer: what is shown, how it ends, and what it says of its documents."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pexpect
import pytest

import executors
from advisor.screen.answer import as_text
from executors.base import (
    DataSpec,
    Input,
    Passage,
    Plan,
    Prediction,
    Predictor,
    Reporter,
    Text,
    UserError,
    silent,
    write_json,
)
from executors.run import run_plan

Advisor = Callable[..., tuple[int, str, str]]

PORTS = Passage("The Hub needs port 8874.", "network.md", "Network > Firewalls", 0.9)
PAGE = Passage("Ask whoever runs the firewall.", "guide.pdf", "Set-up", 0.5, page=3)
ROW = Passage("port: 8874", "ports.csv", "", 0.4, row=7)


class Echo(Predictor):
    """Answers a question with itself, from documents that changed once."""

    changed: tuple[str, ...] = ("network.md",)
    told: tuple[Text, ...] = ()

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        return self.told

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if inputs[0].text == "too long":
            raise UserError("the question exceeds the window", "shorten it")
        if inputs[0].text == "note":
            self.told = ({"en": "one passage was left out", "zh": "少用了一个段落"},)
        return [Prediction(f"{i.text}!", passages=(PORTS, PAGE), cited=(1,), support=1.0) for i in inputs]

    def stale(self) -> Any:
        return SimpleNamespace(added=(), updated=self.changed, deleted=())

    def refresh(self, report: Reporter = silent) -> Any:
        change = SimpleNamespace(added=(), updated=self.changed, deleted=(), embedded=2)
        self.changed = ()
        return change

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        return cls()


class Still(Echo):
    """As `Echo`, and its documents are as they were."""

    changed = ()


class Bare(Predictor):
    """A method without documents."""

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        return [Prediction("late", score=0.75) for _ in inputs]

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        return cls()


@pytest.fixture
def finished(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Predictor]], str]:
    """Makes a finished run of a method with this predictor; its id."""

    def make(kind: type[Predictor]) -> str:
        monkeypatch.setattr(executors, "method", lambda name: SimpleNamespace(Predictor=kind))
        (workdir / "runs" / "r1" / "artifact").mkdir(parents=True, exist_ok=True)
        write_json(workdir / "runs" / "r1" / "artifact" / "about.json", {"executor": "fake", "plan": None})
        return "r1"

    return make


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What stands in standard input."""
    return lambda lines: monkeypatch.setattr(sys, "stdin", io.StringIO(lines))


# -- an answer and its sources ---------------------------------------------------------------------------


def test_sources_are_numbered_with_file_heading_page_and_row_and_those_cited_are_marked() -> None:
    told = as_text(Prediction("8874 [1]", passages=(PORTS, PAGE, ROW), cited=(1,), support=0.876), "en")
    assert told.splitlines() == [
        "8874 [1]",
        "  → [1] network.md › Network > Firewalls",
        "    [2] guide.pdf › Set-up, p. 3",
        "    [3] ports.csv, row 7",
        "  → what the answer cites; 88 % of its words stand there",
    ]


def test_passages_of_one_place_share_a_line_under_the_numbers_that_an_answer_cites() -> None:
    told = as_text(Prediction("8874 [3]", passages=(PORTS, PAGE, PORTS), cited=(3,)), "en")
    assert "  → [1, 3] network.md › Network > Firewalls" in told
    assert "    [2] guide.pdf" in told


def test_an_answer_that_its_sources_hardly_support_is_to_be_looked_up() -> None:
    weak, strong = (as_text(Prediction("x", passages=(PORTS,), cited=(1,), support=s), "en") for s in (0.49, 0.5))
    assert "only 49 % of its words stand there: look it up" in weak
    assert "only" not in strong


def test_an_abstention_names_what_was_nearest_and_cites_nothing() -> None:
    answer = Prediction("I could not find this in the documents.", passages=(PORTS,), support=0.0, abstained=True)
    told = as_text(answer, "en")
    assert "→" not in told
    assert told.splitlines()[1:] == [
        "  nearest to the question, but not enough for an answer:",
        "    [1] network.md › Network > Firewalls",
    ]


def test_an_answer_without_passages_is_one_line() -> None:
    assert as_text(Prediction("late", score=0.9), "en") == "late"


def test_sources_are_told_in_chinese() -> None:
    assert "回答中只有 40% 的词见于其中" in as_text(Prediction("是", passages=(PORTS,), cited=(1,), support=0.4), "zh")


# -- line by line ----------------------------------------------------------------------------------------


def test_every_line_of_a_pipe_is_answered_and_empty_ones_are_passed_over(
    finished: Any, pipe: Any, advisor: Advisor
) -> None:
    pipe("one\n\n  two \n/quit\nthree\n")
    status, out, _ = advisor("chat", finished(Still), "--lang", "en")
    assert status == 0
    assert [line for line in out.splitlines() if line.endswith("!")] == ["one!", "two!"]
    assert out.count("→ [1] network.md") == 2


def test_a_line_is_answered_before_the_next_is_read(finished: Any, monkeypatch: Any, advisor: Advisor) -> None:
    seen: list[str] = []

    class Lines(io.StringIO):
        def __next__(self) -> str:
            seen.append(f"read {len(seen)}")
            return super().__next__()

    class Watched(Still):
        def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
            seen.append(inputs[0].text)
            return super().predict(inputs, report)

    monkeypatch.setattr(sys, "stdin", Lines("one\ntwo\n"))
    advisor("chat", finished(Watched))
    assert seen == ["read 0", "one", "read 2", "two", "read 4"]


def test_json_is_an_object_a_question_with_its_sources(finished: Any, pipe: Any, advisor: Advisor) -> None:
    pipe("one\ntwo\n")
    status, out, _ = advisor("chat", finished(Still), "--json")
    first, second = map(json.loads, out.splitlines())
    assert status == 0
    assert (first["input"], first["text"], second["text"]) == ("one", "one!", "two!")
    assert (first["cited"], first["passages"][1]["page"]) == ([1], 3)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_question_that_cannot_be_answered_does_not_end_the_others(
    finished: Any, pipe: Any, advisor: Advisor, as_json: bool
) -> None:
    pipe("one\ntoo long\ntwo\n")
    status, out, err = advisor("chat", finished(Still), "--lang", "en", *(["--json"] if as_json else []))
    assert status == 1
    if as_json:
        assert json.loads(out.splitlines()[1]) == {"input": "too long", "error": "the question exceeds the window"}
        assert json.loads(out.splitlines()[2])["text"] == "two!"
    else:
        assert "two!" in out
        assert "✗ the question exceeds the window\n  → shorten it" in err


def test_what_a_reader_must_know_is_told_once(finished: Any, pipe: Any, advisor: Advisor) -> None:
    pipe("one\nnote\nnote\n")
    _, out, err = advisor("chat", finished(Still), "--lang", "en")
    assert err.count("• one passage was left out") == 1
    assert "left out" not in out


def test_any_method_will_do_and_one_without_documents_has_nothing_to_refresh(
    finished: Any, pipe: Any, advisor: Advisor
) -> None:
    pipe("where is it?\n")
    run = finished(Bare)
    assert advisor("chat", run)[:2] == (0, "late\n")
    for command in (["chat", run], ["predict", run, "where is it?"]):
        status, out, err = advisor(*command, "--refresh", "--lang", "en")
        assert (status, out) == (1, "")
        assert err.startswith("error: --refresh: this run answers from no index")


def test_an_unfinished_run_is_said(workdir: Path, advisor: Advisor) -> None:
    (workdir / "runs" / "r1").mkdir(parents=True)
    status, _, err = advisor("chat", "last", "--lang", "zh")
    assert (status, "运行尚未完成" in err) == (1, True)


# -- in a terminal ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of the floor: it loads no model."""
    folder = tmp_path_factory.mktemp("chat")
    rows = "".join(f'{{"question": "what costs {n}?", "answer": "{n} euro"}}\n' for n in range(20))
    (folder / "rows.jsonl").write_text(rows)
    run_plan(Plan("baseline", "question_answering", DataSpec(str(folder / "rows.jsonl"))), folder / "runs" / "r1")
    return folder


@pytest.fixture
def terminal(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pexpect.spawn]:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # nobody here answers where the cursor is
    call = ["-m", "advisor", "chat", "last", "--lang", "en"]
    child = pexpect.spawn(sys.executable, call, dimensions=(40, 100), timeout=90, encoding="utf-8")
    child.expect("›")
    yield child
    child.close(force=True)


@pytest.mark.parametrize(("last", "status"), [("/quit\r", 0), ("\r", 0), ("\x04", 0), ("\x03", 130)])
def test_a_question_at_the_prompt_is_answered_until_it_is_ended(
    terminal: pexpect.spawn, last: str, status: int
) -> None:
    terminal.send("what costs 7?\r")
    terminal.expect(r"\d+ euro")
    terminal.expect("›")
    terminal.send(last)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == status
