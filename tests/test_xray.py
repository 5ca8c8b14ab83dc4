"""The X-ray: what a training would be trained on, told before it, on sound and on deliberately broken data."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from advisor.profile.xray_screen import marked, show_xray
from executors.base import DataSpec, Input, Job, Plan, Row, UserError
from executors.models.template import stop_ids
from executors.tuning import PeftExecutor
from executors.tuning.params import PeftParams
from executors.tuning.rows import PreparedRows, lay_out, prepare_rows
from executors.tuning.xray import ShownRow, Span, Xray, xray, xray_faults, xray_notes, xray_record
from tests.tiny import write_tiny

Advisor = Callable[..., tuple[int, str, str]]
ROWS = [Row(f"x.csv:{n}", Input(f"{'abcdefghij'[n] * 3} number {n * n * 31}"), (f"answer {n}",)) for n in range(10)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(tiny: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny, local_files_only=True)


def laid(rows: Sequence[Row], tokenizer: Any, limit: int = 512) -> PreparedRows:
    job = Job(Plan("peft", "generation", DataSpec("x.csv")), tuple(rows), (), Path())
    return lay_out(job, PeftParams(), tokenizer, limit)


def look(
    rows: Sequence[Row], tokenizer: Any, limit: int = 512, window: int = 512, stops: frozenset[int] | None = None
) -> Xray:
    ends = stop_ids(None, tokenizer) if stops is None else stops
    return xray("tiny", "generation", laid(rows, tokenizer, limit), tokenizer, window, ends)


def test_a_sound_set_is_counted_token_by_token(tokenizer: Any) -> None:
    found = look(ROWS, tokenizer)
    encoded = laid(ROWS, tokenizer).train.rows
    assert found.trained_tokens == sum(len(row.answer) for row in encoded)
    assert found.masked_tokens == sum(len(row.prompt) for row in encoded)
    assert (found.given, found.rows, found.ended, found.end) == (10, 10, 10, "<|im_end|>")
    assert (found.template, found.template_end, found.stops, found.repeated_begin) == (True, "<|im_end|>", True, 0)
    assert xray_faults(found) == ()
    (summary,) = xray_notes(found)
    assert summary["en"].startswith(f"{found.trained_tokens} tokens in 10 rows are trained on")
    assert len(found.shown) == 5
    spans = found.shown[0].spans
    assert [span.trained for span in spans] == [False, True]
    assert spans[0].text.endswith("<|im_start|>assistant\n")
    assert spans[1].text == "answer 0<|im_end|>" or spans[1].text.endswith("<|im_end|>")


def test_a_broken_set_shows_what_is_cut_and_what_window_avoids_it(tokenizer: Any) -> None:
    broken = [
        *ROWS[:4],
        Row("long", Input("word " * 100), ("yes",)),
        Row("endless", Input("why?"), ("word " * 150,)),
        Row("blank", Input("what?"), (" ",)),
        Row("again", Input(f"{ROWS[0].input.text}!"), ROWS[0].targets),
    ]
    found = look(broken, tokenizer, limit=100)
    assert (found.given, found.rows, found.cut, found.too_long, found.no_token) == (8, 6, 1, 1, 1)
    assert found.removed == {"too_long": 1, "no_token": 1}
    assert found.doubtful == {"cut": 1, "near_duplicate": 1}
    assert found.cut_share == 2 / 8
    (fault,) = xray_faults(found)
    assert fault["en"].startswith("2 of 8 rows (25.0%) do not fit 100 tokens (1 cut, 1 left out); params.max_length=")
    whole = found.whole_at
    assert whole % 64 == 0
    again = look(broken, tokenizer, limit=whole)
    assert (again.cut, again.too_long) == (0, 0)
    assert look(broken, tokenizer, limit=whole - 64).cut_share > 0
    small = look(broken, tokenizer, limit=100, window=128)
    assert "shorten the rows" in xray_faults(small)[0]["en"]
    assert "请缩短数据" in xray_faults(small)[0]["zh"]


def test_nothing_to_train_on_can_be_looked_at_and_is_refused_in_training(tokenizer: Any) -> None:
    blank = [Row(f"x:{n}", Input(f"question {n}"), (" ",)) for n in range(4)]
    found = look(blank, tokenizer)
    assert (found.rows, found.trained_tokens, found.no_token, found.shown) == (0, 0, 4, ())
    job = Job(Plan("peft", "generation", DataSpec("x.csv")), tuple(blank), (), Path())
    with pytest.raises(UserError, match="no token to train on: of 4") as caught:
        prepare_rows(job, PeftParams(), tokenizer, 512)
    assert "没有可训练的词元" in caught.value.told("zh").message


def test_a_model_without_a_template_is_said_loudly(tokenizer: Any) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    found = look(ROWS, bare)
    assert not found.template
    (fault,) = xray_faults(found)
    assert "tiny has no chat template" in fault["en"]
    assert "没有对话模板" in fault["zh"]
    assert found.shown[0].spans[0].text.endswith("Assistant:")


def test_an_end_at_which_generation_does_not_stop_is_said(tokenizer: Any) -> None:
    (fault,) = xray_faults(look(ROWS, tokenizer, stops=frozenset({5})))
    assert "generation does not stop at it" in fault["en"]


def test_a_beginning_written_twice_is_counted(tokenizer: Any) -> None:
    twice = copy.deepcopy(tokenizer)
    twice.bos_token = "<|endoftext|>"
    twice.chat_template = "<|endoftext|><|endoftext|>" + tokenizer.chat_template
    found = look(ROWS, twice)
    assert found.repeated_begin == 10
    assert "twice" in xray_faults(found)[0]["en"]
    once = copy.deepcopy(twice)
    once.chat_template = "<|endoftext|>" + tokenizer.chat_template
    assert look(ROWS, once).repeated_begin == 0


# -- shown ---------------------------------------------------------------------------------------------


def shown(found: Xray, lang: str, colour: bool) -> str:
    out = io.StringIO()
    system: Any = "truecolor" if colour else None
    console = Console(file=out, width=100, force_terminal=colour, color_system=system, no_color=not colour)
    show_xray(found, lang, console)
    return out.getvalue()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_trained_part_is_in_colour_or_else_in_brackets(lang: str, tokenizer: Any) -> None:
    found = look([*ROWS[:4], Row("long", Input("word " * 100), ("yes",))], tokenizer, limit=100)
    plain, coloured = shown(found, lang, colour=False), shown(found, lang, colour=True)
    assert "⟦answer 0<|im_end|>⟧" in plain
    assert "\x1b[1;32manswer 0<|im_end|>" in coloured
    assert "⟦answer" not in coloured
    assert ("1 of 5 rows" if lang == "en" else "5 行中有 1 行") in plain


def test_a_long_masked_part_is_shortened_and_the_trained_one_never() -> None:
    row = ShownRow(9, 4, (Span("x" * 2000, False), Span("y" * 2000, True)))
    line = marked(row, "en", colour=False).plain
    assert "1,400 characters" in line
    assert "y" * 2000 in line


def test_the_command_shows_the_rows_and_writes_them_as_json(advisor: Advisor, workdir: Path, tiny: str) -> None:
    lines = [f"{row.input.text},label {n % 2}" for n, row in enumerate(ROWS)]
    (workdir / "rows.csv").write_text("\n".join(["text,label", *lines]))
    status, out, err = advisor("profile", "--data", "rows.csv", "--model", tiny, "--xray")
    assert status == 0, err
    assert "⟦label 1<|im_end|>⟧" in out
    status, out, err = advisor("profile", "--data", "rows.csv", "--model", tiny, "--xray", "--json")
    record = json.loads(out)["xray"]
    assert record["rows"] == 8  # two are held out
    assert record["faults"] == []
    assert record["shown"][0]["spans"][1]["trained"] is True
    assert 0 < record["trained_share"] < 1


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--model", "openai:x", "--data", "rows.csv"), "endpoint"), ((), "no rows to look at")],
)
def test_what_cannot_be_looked_at_is_refused(
    given: tuple[str, ...], said: str, advisor: Advisor, workdir: Path
) -> None:
    (workdir / "rows.csv").write_text("text,label\na,b\n")
    status, _, err = advisor("profile", "--xray", *given)
    assert status == 1
    assert said in err


def test_every_training_leaves_its_x_ray_and_its_list_on_record(tiny: str, tmp_path: Path) -> None:
    params = {"min_steps": 1, "epochs": 0.1, "batch_size": 4, "compare": 0, "forgetting": False, "max_length": 100}
    rows = (*ROWS, Row("long", Input("word " * 100), ("yes",)))
    plan = Plan("peft", "generation", DataSpec("x.csv"), model=tiny, params=params)
    notes = PeftExecutor().build(Job(plan, rows, (), tmp_path)).notes
    assert any("tokens in 11 rows are trained on" in note["en"] for note in notes)
    assert sum("100 tokens" in note["en"] for note in notes) == 1  # what was cut is said once
    (one,) = [json.loads(line) for line in (tmp_path / "removed.jsonl").read_text().splitlines()]
    assert (one["id"], one["reason"], one["kept"]) == ("long", "cut", True)


def test_a_record_has_its_shares_and_faults(tokenizer: Any) -> None:
    record = xray_record(look(ROWS, tokenizer, limit=16))
    assert record["rows"] == 0
    assert record["cut_share"] == 1.0
    assert record["faults"]
