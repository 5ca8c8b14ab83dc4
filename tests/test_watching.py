"""How a training went: the verdict by its rules, the page and the screen that tell it, and the estimate's error."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor import report
from advisor.estimate import Estimate
from advisor.estimated import Error, keep_estimate, read_error
from advisor.report.blocks import Block, Command, Lines, Prose, Table
from advisor.report.training import (
    Training,
    class_tables,
    error_texts,
    loss_ticks,
    next_command,
    read_training,
    remedies,
    section,
    step_ticks,
)
from advisor.texts import LANGUAGES, say
from executors.base import ClassScore, UserError
from executors.run import RESUMED
from executors.tuning.verdict import FALLING, RISEN, judge
from tests.samples import DECISION, FLOOR, RESULT

Log = list[dict[str, float]]


def log(dev: list[float], trained: list[float] | None = None, each: int = 10) -> Log:
    """A training's log: a development loss every `each` steps, training losses beside."""
    losses = trained or [3 * math.exp(-n / 3) + 0.1 for n in range(len(dev))]
    return [
        {"step": each * (n + 1), "loss": loss, "learning_rate": 1e-4, "dev_loss": watched}
        for n, (loss, watched) in enumerate(zip(losses, dev, strict=True))
    ]


FINE = log([2.0, 1.4, 1.2, 1.12, 1.1, 1.095, 1.09, 1.09, 1.09])
RISING = log([2.0, 1.4, 1.1, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
FALLING_LOG = log([3.0, 2.7, 2.4, 2.1, 1.9, 1.7, 1.5, 1.35, 1.2])
HARDLY = log([3.0, 2.99, 2.98], [3.1, 3.09, 3.08])
AFTERMATH = {
    "schema_version": 1,
    "metric": "accuracy",
    "rows": 32,
    "trained_on": False,
    "before": {"loss": 2.5, "score": {"value": 0.25, "low": 0.13, "high": 0.42, "n": 32}},
    "after": {"loss": 0.5, "score": {"value": 0.75, "low": 0.58, "high": 0.87, "n": 32}},
    "samples": [
        {"id": "1", "input": "Where is <b>my</b> parcel?", "target": "parcel", "base": "", "tuned": "parcel"},
    ],
    "seconds": 12.5,
}
GENERAL = {"loss": 3.0, "losses": {"en": 2.5, "zh": 3.6}, "skills": {"copying": 0.875, "arithmetic": 0.5}}
FORGOT = {
    "schema_version": 1,
    "before": GENERAL,
    "after": {"loss": 3.25, "losses": {"en": 2.7, "zh": 3.9}, "skills": {"copying": 0.25, "arithmetic": 0.5}},
    "rise": 0.25,
    "fallen": ["copying"],
    "forgot": True,
    "thresholds": {"loss": 0.1, "skill": 0.2},
}
PARAMS = {"epochs": 3.0, "min_steps": 50, "learning_rate": 2e-4, "patience": 0, "rank": 16, "replay": 0.0}


def training(entries: Log = FINE, **changes: Any) -> Training:
    return Training("r1", **{"log": entries, "params": PARAMS, **changes})


# -- the verdict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "kind", "fit"),
    [
        (FINE, "fine", "fine"),
        (RISING, "rising", "over"),
        (FALLING_LOG, "falling", "under"),
        (HARDLY, "hardly", "under"),
        ([{"step": n, "loss": 3.0 / n} for n in range(1, 9)], "unwatched", "unknown"),
        ([{"step": n, "loss": 3.0} for n in range(1, 9)], "hardly", "under"),
    ],
)
def test_a_curve_gets_the_verdict_of_its_shape(entries: Log, kind: str, fit: str) -> None:
    verdict = judge(entries)
    assert verdict is not None
    assert (verdict.kind, verdict.fit) == (kind, fit)


def test_the_thresholds_are_where_they_are_said_to_be() -> None:
    def kind(*dev: float) -> str:
        verdict = judge(log(list(dev)))
        return verdict.kind if verdict else ""

    assert kind(2.0, 1.0, 1.0, 1.0 + RISEN + 0.001) == "rising"
    assert kind(2.0, 1.0, 1.0, 1.0 + RISEN - 0.001) == "fine"
    # at two thirds of 60 steps stands the fourth of six
    assert kind(2.0, 1.5, 1.2, 1.0, 0.98, 1.0 - FALLING - 0.001) == "falling"
    assert kind(2.0, 1.5, 1.2, 1.0, 0.98, 1.0 - FALLING + 0.001) == "fine"


def test_a_log_too_short_to_tell_has_no_verdict() -> None:
    assert judge([]) is None
    assert judge([{"step": 1, "loss": 2.0}]) is None


def test_the_verdict_holds_the_figures_it_rests_on() -> None:
    verdict = judge(RISING)
    assert verdict is not None
    assert (verdict.lowest, verdict.last, verdict.steps) == ((40, 1.0), (90, 1.5), 90)


# -- what to do next -----------------------------------------------------------------------------------


def test_every_verdict_names_the_command_that_addresses_it() -> None:
    assert next_command(training(FALLING_LOG)) == "advisor run r1 --set epochs=6"
    assert (
        next_command(training(FALLING_LOG, params={**PARAMS, "min_steps": 90})) == "advisor run r1 --set min_steps=180"
    )
    assert next_command(training(HARDLY)) == "advisor run r1 --set learning_rate=0.0005"
    assert next_command(training(RISING)) == "advisor run r1 --set patience=3"
    assert next_command(training(RISING, params={**PARAMS, "patience": 3})) == ""  # the best weights are kept
    assert next_command(training(FINE)) == ""


def test_the_command_that_is_named_changes_this_one_thing(advisor: Callable[..., tuple[int, str, str]]) -> None:
    from advisor.plan import read_plan, write_plan
    from executors.base import DataSpec, Plan

    Path("rows.csv").write_text("text,label\n" + "".join(f"word{n} of it,{'ab'[n % 2]}\n" for n in range(80)))
    folder = Path("runs/r1")
    (folder / "artifact").mkdir(parents=True)
    (folder / "artifact" / "training.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in RISING))
    (folder / "artifact" / "tuned.json").write_text(json.dumps({"params": PARAMS}))
    plan = Plan("peft", "classification", DataSpec("rows.csv"), params={"rank": 4})
    write_plan(folder / "plan.yaml", plan)
    read = read_training(folder)
    assert read is not None
    command = next_command(read)
    assert command == "advisor run runs/r1/plan.yaml --set patience=3"
    status, _, _ = advisor(*shlex.split(command)[1:], "--dry-run")
    assert status == 0
    (made,) = [path for path in Path("runs").iterdir() if path.name != "r1"]
    assert read_plan(made / "plan.yaml").params == {"rank": 4, "patience": 3}


def test_what_was_forgotten_is_answered_by_replay_and_by_training_less() -> None:
    assert remedies(training()) == ("advisor run r1 --set replay=0.2", "advisor run r1 --set rank=4")
    full = {"learning_rate": 5e-5, "replay": 0.2}
    assert remedies(training(params=full)) == (
        "advisor run r1 --set replay=0.4",
        "advisor run r1 --set learning_rate=2e-05",
    )


# -- the page ------------------------------------------------------------------------------------------


def texts_of(blocks: list[Block], kind: type) -> list[Any]:
    return [block for block in blocks if isinstance(block, kind)]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_the_page_tells_a_training(form: str, lang: str) -> None:
    shown = training(RISING, aftermath=AFTERMATH, forgetting=FORGOT, error=Error((60, 180), 200, (1.0, 2.0), 1.5))
    page = report.render(DECISION, RESULT, FLOOR, form, lang, training=shown)
    assert say("report.training", lang) in page
    assert "0.250 [0.130, 0.420]" in page.replace("\\[", "[").replace("\\]", "]")
    assert ("<b>my</b>" in page) is False
    assert "advisor run r1 --set patience=3" in page
    assert "advisor run r1 --set replay=0.2" in page
    assert say("training.skill_copying", lang) in page
    assert any(text in page.replace("\\", "") for text in error_texts(shown.error, lang))


def test_the_curves_are_drawn_to_scale_with_their_lowest_point() -> None:
    (drawn,) = texts_of(section(training(RISING), "en"), Lines)
    assert [s.tone for s in drawn.series] == ["loss", "dev_loss"]
    # 40 of 90 steps across the plot from 52 to 746; the axis goes to 4, of 352 up to 34
    assert drawn.mark == round(52 + 694 * 40 / 90, 1)
    assert drawn.dots == ((drawn.mark, round(352 - 318 * 1.0 / 4, 1), "dev_loss"),)
    assert drawn.series[1].path.startswith(f"M{round(52 + 694 * 10 / 90, 1)} ")
    assert "development: from 2.000 at step 10 to 1.500 at step 90." in drawn.alt


def test_ticks_are_round_and_reach_the_highest() -> None:
    assert loss_ticks(3.1) == [0, 1, 2, 3, 4]
    assert loss_ticks(0.42) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert step_ticks(90) == [0, 20, 40, 60, 80]
    assert loss_ticks(0.0)[-1] > 0


def test_kept_best_weights_are_said_instead_of_a_command() -> None:
    blocks = section(training(RISING, params={**PARAMS, "patience": 3}), "en")
    assert texts_of(blocks, Command) == []
    assert any("weights of step 40 were kept" in one.text for one in texts_of(blocks, Prose))


def test_rows_that_were_trained_on_are_not_passed_off_as_development_rows() -> None:
    blocks = section(training(aftermath={**AFTERMATH, "trained_on": True, "rows": 8}), "en")
    assert any(one.tone == "warn" and "trained on" in one.text for one in texts_of(blocks, Prose))
    assert "8 rows that were trained on" in texts_of(blocks, Table)[0].caption


def test_an_encoder_is_said_to_have_nothing_to_forget(tmp_path: Path) -> None:
    write_records(tmp_path)
    for name in ("tuned.json", "aftermath.json", "forgetting.json"):
        (tmp_path / "artifact" / name).unlink()
    (tmp_path / "artifact/encoder.json").write_text(json.dumps({"params": {"variant": "setfit", "contrast_epochs": 6}}))
    read = read_training(tmp_path)
    assert read is not None
    assert any("writes no text" in one.text for one in texts_of(section(read, "en"), Prose))
    assert next_command(dataclasses.replace(read, log=FALLING_LOG)).endswith("--set contrast_epochs=12")


def test_a_run_without_a_training_has_no_such_section() -> None:
    page = report.render(DECISION, RESULT, FLOOR, "md", "en")
    assert say("report.training", "en") not in page


def test_classes_are_told_one_by_one_the_worst_first_and_many_are_folded() -> None:
    few = {name: ClassScore(10, 9, 0.5, 0.5, f1) for name, f1 in (("billing", 0.9), ("login", 0.2))}
    label, table = class_tables(few, "en")
    assert label == Prose("Each class by itself", "label")
    assert isinstance(table, Table)
    assert [row[0].text for row in table.rows] == ["login", "billing"]
    many = class_tables({f"class {n:02}": ClassScore(1, 1, 1.0, 1.0, n / 77) for n in range(77)}, "en")
    assert [type(block).__name__ for block in many] == ["Prose", "Table", "Fold"]
    page = report.render(DECISION, dataclasses.replace(RESULT, classes=few), FLOOR, "md", "en")
    assert "| login | 10 | 9 | 0.500 | 0.500 | 0.200 |" in page


# -- the records ---------------------------------------------------------------------------------------


def write_records(folder: Path) -> None:
    artifact = folder / "artifact"
    artifact.mkdir(parents=True)
    (artifact / "training.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in FINE))
    (artifact / "tuned.json").write_text(json.dumps({"params": PARAMS}))
    (artifact / "aftermath.json").write_text(json.dumps(AFTERMATH))
    (artifact / "forgetting.json").write_text(json.dumps(FORGOT))


def test_what_a_run_left_is_read_back(tmp_path: Path) -> None:
    assert read_training(tmp_path) is None
    write_records(tmp_path)
    read = read_training(tmp_path)
    assert read == Training(str(tmp_path / "plan.yaml"), FINE, PARAMS, AFTERMATH, FORGOT)


@pytest.mark.parametrize("name", ["training.jsonl", "aftermath.json", "forgetting.json", "tuned.json"])
def test_a_damaged_record_is_said_with_the_way_out(name: str, tmp_path: Path) -> None:
    write_records(tmp_path)
    (tmp_path / "artifact" / name).write_text('{"half": ')
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_training(tmp_path)
    assert f"advisor run {tmp_path.name}" in caught.value.hint
    assert "无法读取" in caught.value.told("zh").message


# -- the estimate's error ------------------------------------------------------------------------------


def test_an_estimate_is_compared_with_what_the_run_took(tmp_path: Path) -> None:
    keep_estimate(tmp_path, Estimate({"en": "", "zh": ""}, (60.0, 180.0), (1.0, 2.0)))
    result = dataclasses.replace(RESULT, seconds={"build": 150.0, "predict": 40.0}, peak_memory_mb=1500.0)
    error = read_error(tmp_path, result)
    assert error == Error((60, 180), 190, (1.0, 2.0), 1.5)
    assert list(error_texts(error, "en")) == [
        "Estimated 1–3 min, took 3.2 min: 1.06 times the upper end.",
        "Memory: estimated 1–2 GB, used 1.5 GB: within the estimate.",
    ]


def test_an_interrupted_run_is_not_compared_for_its_time_is_not_known(tmp_path: Path) -> None:
    keep_estimate(tmp_path, Estimate({}, (60.0, 180.0)))
    assert read_error(tmp_path, dataclasses.replace(RESULT, notes=(RESUMED,))) is None
    assert read_error(tmp_path, dataclasses.replace(RESULT, status="failed")) is None
    assert read_error(tmp_path, None) is None


def test_memory_of_a_gpu_is_not_mistaken_for_the_process(tmp_path: Path) -> None:
    keep_estimate(tmp_path, Estimate({}, (60.0, 180.0), (1.0, 2.0)))
    error = read_error(tmp_path, dataclasses.replace(RESULT, device="cuda bfloat16"))
    assert error is not None
    assert error.used_gb is None


def test_an_estimate_of_a_finished_run_is_not_written_over(tmp_path: Path) -> None:
    keep_estimate(tmp_path, Estimate({}, (1.0, 2.0)))
    (tmp_path / "artifact").mkdir()
    keep_estimate(tmp_path, Estimate({}, (5.0, 6.0)))
    assert json.loads((tmp_path / "estimate.json").read_text())["seconds"] == [1.0, 2.0]


# -- the screen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("width", [60, 120])
def test_the_screen_shows_curves_samples_and_what_was_forgotten(lang: str, width: int) -> None:
    from rich.console import Console

    from advisor.screen.training import show_error, show_training, sparkline

    console = Console(file=io.StringIO(), width=width)
    shown = training(FALLING_LOG, aftermath=AFTERMATH, forgetting=FORGOT, error=Error((60, 180), 200))
    show_training(shown, lang, console)
    show_error(shown.error, lang, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "█" in text
    assert "▁" in text
    flat = "".join(text.split())
    for wanted in ("--setepochs=6", "--setreplay=0.2", "parcel", "3.000", "1.200"):
        assert wanted in flat
    assert say("training.skill_copying", lang).replace(" ", "") in flat
    assert sparkline([(1, 3.0), (2, 1.0), (3, 2.0)]) == "█▁▅"
    assert len(sparkline([(n, 1.0 + n) for n in range(200)])) == 40
    assert sparkline([(1, 1.0), (2, 1.0)]) == "▁▁"


# -- while it trains -----------------------------------------------------------------------------------


def test_progress_tells_the_time_left_at_the_pace_so_far() -> None:
    from rich.console import Console

    from advisor.progress import Progress
    from executors.base import Event

    out = io.StringIO()
    clock = iter([0.0, 20.0, 40.0, 60.0])
    with Progress("en", Console(file=out, width=100), lambda: next(clock)) as progress:
        for event in (
            Event("train", 30, 100),
            Event("train", 40, 100, "loss 1.2 · 180 tokens/s"),
            Event("train", 70, 100),
        ):
            progress(event)
        progress(Event("train", 100, 100, "loss 1.0"))
    lines = out.getvalue().splitlines()
    assert lines[0] == "Training  30/100"
    # from 30 on, as a resumed training begins there: 10 steps in 20 s, so 60 more in 2 minutes
    assert lines[1] == "Training  40/100  about 2 min left  loss 1.2 · 180 tokens/s"
    assert lines[2] == "Training  70/100  about 30 s left"
    assert lines[3] == "Training  100/100  loss 1.0"
