"""`advisor quote` as a user types it: what it refuses, prints and records; and real steps of a small model, timed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.quote.timed import foretold, keep_timing, read_timing, remembered
from advisor.quote.workload import Training, Workload
from executors.base import DataSpec, Event, Input, Plan, Row, UserError
from executors.tuning.timing import SYNTHETIC, Timing, made_up, sample, time_steps
from tests.conftest import DEMO
from tests.test_quote_formulas import CONFIG
from tests.tiny import write_tiny

Advisor = Callable[..., tuple[int, str, str]]
RANGES = ("memory_gb", "serve_memory_gb", "train_hours", "train_usd", "per_1000_usd", "per_1000_hours")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A model of which only the configuration is here."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(tmp_path / "model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


def told(advisor: Advisor, *arguments: str) -> dict[str, Any]:
    status, out, err = advisor("quote", *arguments, "--json")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


# -- what is quoted ------------------------------------------------------------------------------------


def test_a_configuration_alone_is_enough_and_nothing_heavy_is_imported(folder: str, workdir: Path) -> None:
    code = (
        "import sys\nfrom advisor.cli import run\n"
        f"status = run(['quote', '--model', {folder!r}, '--method', 'peft', '--method', 'full', '--json'])\n"
        "heavy = {'torch', 'transformers', 'peft', 'sklearn', 'socket_opened'} & set(sys.modules)\n"
        "print('STATUS', status, *sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "STATUS 0"
    quotes = json.loads(done.stdout)
    assert quotes["shape"]["parameters"] == 1992  # counted by hand in test_quote_formulas
    assert list(quotes["quotes"]) == ["peft", "full"]


def test_json_has_every_range_in_order_with_its_formula_and_the_rate(advisor: Advisor, folder: str) -> None:
    found = told(advisor, "--model", folder, "--rows", "300", "--method", "prompt", "--method", "peft")
    assert found["schema_version"] == 1
    assert found["workload"]["rows"] == 300
    assert set(found["exchange"]) == {"usd_cny", "as_of", "stale", "sources"}
    assert found["exchange"]["stale"] is True  # of 2025-11-27; 180 days have long gone by
    for quote in found["quotes"].values():
        assert all(0 <= quote[name][0] <= quote[name][1] for name in RANGES)
        assert quote["memory_gb"][0] <= quote["memory_point_gb"] <= quote["memory_gb"][1]
        assert quote["formula"]
        assert quote["sources"]
    assert found["quotes"]["prompt"]["break_even"] is None
    assert len(found["quotes"]["peft"]["break_even"]["requests"]) == 2
    parts = found["quotes"]["peft"]["memory_parts"]
    assert set(parts) == {"weights", "gradients", "optimizer", "copies", "activations", "logits", "libraries"}


def test_lengths_are_those_of_the_users_rows(advisor: Advisor, folder: str) -> None:
    data = str(DEMO / "questions-train.jsonl")
    found = told(advisor, "--model", folder, "--data", data, "--method", "peft")
    assert found["workload"]["rows"] == 56  # 70 questions, a fifth held out
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    mean = sum(len(row["question"]) for row in rows) / len(rows) / 4  # no tokenizer is here: about 4 characters a token
    assert found["workload"]["input_tokens"] == pytest.approx(mean, rel=0.1)
    assert any(data in said["en"] for said in found["quotes"]["peft"]["assumptions"])


def test_a_named_accelerator_is_quoted_instead_of_this_machine(advisor: Advisor) -> None:
    found = told(advisor, "--model", "qwen2.5-7b-instruct", "--gpu", "h100", "--method", "peft", "--batch-size", "1")
    assert "H100" in found["quotes"]["peft"]["hardware"]["en"]
    assert [price["name"] for price in found["quotes"]["peft"]["prices"]] == ["NVIDIA H100 SXM"]


def test_a_longer_row_and_a_larger_batch_take_more(advisor: Advisor, folder: str) -> None:
    def peft(*options: str) -> dict[str, Any]:
        found: dict[str, Any] = told(advisor, "--model", folder, "--method", "peft", *options)["quotes"]["peft"]
        return found

    base, longer = peft("--length", "128"), peft("--length", "512")
    assert longer["memory_parts"]["activations"] >= base["memory_parts"]["activations"]  # a line is as wide
    assert peft("--length", "128", "--batch-size", "32")["memory_parts"]["logits"] > base["memory_parts"]["logits"]


def test_a_run_is_quoted_with_its_answers_and_inputs(advisor: Advisor, folder: str) -> None:
    Path("a.yaml").write_text("training_budget: small\nlabelled_examples: 900\nknowledge_change: static\n")
    advisor("ask", "--answers", "a.yaml", "--model", folder, "--json")
    found = told(advisor)  # the last run
    assert found["model"] == folder
    assert found["workload"]["rows"] == 900
    assert "prompt" in found["quotes"]


def test_all_faults_of_a_call_are_told_at_once(advisor: Advisor) -> None:
    wrong = ("--method", "pef", "--gpu", "h10", "--length", "3", "--rows", "0", "--time", "--set", "epoch=3")
    status, _, err = advisor("quote", *wrong, "--set", "warmup=2")
    assert status == 1
    assert "did you mean 'epochs'" in err
    assert err.count("params.warmup: must be from 0 to below 1, got 2") == 1
    assert "did you mean 'peft'" in err
    assert "did you mean 'h100'" in err
    assert "--length: must be a whole number from 16 on, got 3" in err
    assert "--rows" in err
    assert "--time measures this machine" in err
    _, _, chinese = advisor("quote", "--lang", "zh", "--gpu", "h10")
    assert "是不是“h100”" in chinese


def test_chinese_is_in_yuan_with_a_rate_that_is_marked_stale(advisor: Advisor, folder: str) -> None:
    asked = ("quote", "--model", folder, "--method", "peft", "--method", "prompt", "--gpu", "h100", "--rows", "5000")
    status, out, _ = advisor(*asked, "--lang", "zh")
    assert status == 0
    assert "每千次回答" in out
    assert "2026-01-27" in out
    assert "已过期" in out
    _, english, _ = advisor(*asked, "--lang", "en")
    assert "$" in english
    assert "CNY" not in english
    _, yuan, _ = advisor(*asked, "--lang", "en", "--currency", "cny")
    assert "¥" in yuan
    assert "stale" in yuan


# -- real steps ----------------------------------------------------------------------------------------


def test_timed_steps_narrow_the_quote_and_are_kept_with_the_run(advisor: Advisor, tiny: str) -> None:
    Path("a.yaml").write_text("training_budget: small\nlabelled_examples: 40\nknowledge_change: static\n")
    advisor("ask", "--answers", "a.yaml", "--model", tiny, "--json")
    asked = ("last", "--method", "peft", "--batch-size", "2", "--length", "48", "--set", "min_steps=6")
    before = told(advisor, *asked)["quotes"]["peft"]
    status, out, err = advisor("quote", *asked, "--time", "--steps", "3", "--json")
    assert status == 0, err
    after = json.loads(out)
    quote, timing = after["quotes"]["peft"], after["timings"]["peft"]
    assert "Timing 3 real steps" in err
    assert len(timing["step_seconds"]) == 3
    assert quote["steps_timed"] == 3
    assert before["steps_timed"] == 0
    for name in ("memory_gb", "train_hours"):
        assert quote[name][1] <= 2 * quote[name][0]
    assert quote["memory_gb"][0] < timing["peak_gb"] < quote["memory_gb"][1]
    assert told(advisor, *asked)["quotes"]["peft"]["memory_gb"] == quote["memory_gb"]  # kept, not timed again
    assert told(advisor, *asked, "--set", "rank=4")["quotes"]["peft"]["steps_timed"] == 0  # another plan


def test_a_timing_that_cannot_be_done_says_why(workdir: Path) -> None:
    (workdir / "broken").mkdir()
    (workdir / "broken" / "config.json").write_text("{}", encoding="utf-8")
    plan = Plan("peft", "generation", DataSpec(SYNTHETIC), model=str(workdir / "broken"), params={"max_length": 32})
    with pytest.raises(UserError, match="tokenizer"):
        time_steps(plan, 2)


def test_timed_rows_have_the_longest_batch_and_no_two_alike() -> None:
    rows = made_up(40, 30, 5, seed=0)
    assert len({row.input.text for row in rows}) == 40
    assert all(len(row.target.split()) == 5 for row in rows)
    chosen = sample(rows, steps=4, size=3, seed=0)
    assert len(chosen) == 12
    assert chosen[:3] == tuple(sorted(rows, key=lambda row: len(row.input.text) + len(row.target), reverse=True)[:3])


def test_timed_rows_of_one_passage_meet_as_in_a_training() -> None:
    rows = [Row(str(n), Input(f"question {n}", f"passage {n % 4}"), ("yes",)) for n in range(40)]
    chosen = sample(rows, steps=4, size=3, seed=0)
    passages = [row.input.context for row in chosen[3:]]
    assert len(chosen) == 12
    assert len(set(passages)) == 1  # nine of ten questions on it, none of which was among the longest


def test_a_timing_belongs_to_its_settings(tmp_path: Path) -> None:
    plan = Plan("peft", "generation", DataSpec("rows.csv"), params={"batch_size": 2, "max_length": 64, "epochs": 3})
    timing = Timing(3, 5.0, (2.0, 1.0, 1.2), 0.5, 0.5, 1.4, "cpu float32")
    keep_timing(tmp_path, plan, timing)
    assert read_timing(tmp_path, plan) == timing
    assert read_timing(tmp_path, Plan("full", "generation", DataSpec("rows.csv"), params=plan.params)) is None


def test_the_pace_is_the_mean_of_the_middle_half_of_the_steps_after_the_first() -> None:
    timing = Timing(9, 5.0, (50.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 40.0, 60.0), 0.5, 0.5, 1.4, "cpu float32")
    assert timing.pace == (2 + 3 + 4 + 5) / 4


def test_a_longer_training_goes_on_at_the_pace_of_the_timed_steps() -> None:
    timing = Timing(3, 5.0, (4.0, 2.0, 2.0), finish_seconds=3.0, base_gb=0.5, peak_gb=2.0, device="cpu float32")
    work = Workload(40, 100, 20, training=Training(batch_size=2))  # 20 steps an epoch, nothing watched
    low, likely, high = foretold(timing, "peft", work, steps=60)
    assert likely == 5 + 2 + 60 * 2 + 3 * 3  # start, warming up, steps, checkpoints after 25, 50 and 60
    assert low < likely < high <= 2 * low
    assert foretold(timing, "full", work, steps=60)[1] == likely - 3  # saved after 50 and 60
    lean, peak, most = remembered(timing)
    assert lean < peak == 2.0 < most <= 2 * lean
    assert remembered(replace(timing, device="cuda bfloat16"))[1] == 2.5  # the driver's context is beside


def test_events_of_timed_steps_reach_the_caller(tiny: str) -> None:
    seen: list[Event] = []
    plan = Plan("full", "generation", DataSpec(SYNTHETIC), model=tiny, params={"batch_size": 2, "max_length": 32})
    timing = time_steps(plan, 2, answer_tokens=4, report=seen.append)
    assert [event.done for event in seen if event.stage == "train"] == [0, 1, 2]
    assert timing.device == "cpu float32"
    assert timing.peak_gb > 0.2


def test_answers_stand_over_those_of_the_run(advisor: Advisor) -> None:
    Path("first.yaml").write_text("failure: behaviour\nlabelled_examples: 900\ntask: generation\n", encoding="utf-8")
    Path("more.yaml").write_text("labelled_examples: 9000\n", encoding="utf-8")
    assert advisor("ask", "--answers", "first.yaml")[0] == 0
    hours = []
    for options in ((), ("--answers", "more.yaml")):
        status, out, err = advisor("quote", "last", "--method", "peft", "--json", *options)
        assert status == 0, err
        hours.append(json.loads(out)["quotes"]["peft"]["train_hours"])
    assert hours[1][0] > 2 * hours[0][0]
