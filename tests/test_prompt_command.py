"""`advisor prompt`: the prompt of a run with its tokens and price, the search's record, and the export."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from advisor.hardware import exchange, stale_after_days
from advisor.quote.requests import request_prices
from executors.base import DataSpec, Input, Plan, Row, write_json
from executors.models.counting import CountingModel, load_counting
from executors.models.language import load_language_model
from executors.prompt import Prompt, PromptParams, PromptPredictor
from executors.trials import SearchRecord, Trial

Advisor = Callable[..., tuple[int, str, str]]

PRICED = "openai:gpt-6-luna"
SHOWN = (Row("1", Input("the rain in spain"), ("wet",)), Row("2", Input("a desert at noon"), ("dry",)))
HELD_OUT = ("a puddle, {deep}", "dust \u2014 “everywhere”", "灰尘")
RECORD = SearchRecord(
    metric="accuracy",
    higher_is_better=True,
    development_rows=16,
    training_rows=40,
    chance=0.5,
    budget_seconds=30,
    seconds=12.5,
    stopped="finished",
    candidates=12,
    trials=tuple(
        Trial({"shots": shots}, 0, 16, score, 0.0, 3.0, 80.0, kept, flags)
        for shots, score, kept, flags in [
            (2, 0.9375, True, ()),
            *((n, 0.5, False, ("one_label",)) for n in range(3, 14)),
        ]
    ),
    chosen={"shots": 2},
    score=0.9375,
    plain=0.5,
    floor=0.75,
    guards=({"en": "one of them fell into a trap", "zh": "其中一个落入陷阱"},),
)


def finished(
    folder: Path,
    model: str = PRICED,
    record: SearchRecord | None = None,
    shown: Sequence[Row] = SHOWN,
    endpoint: dict[str, Any] | None = None,
) -> str:
    """A finished run of prompting in the folder of runs, with the model never asked; its id."""
    rows = "".join(f'"{text}",{label}\n' for text, label in zip(HELD_OUT, ("wet", "dry", "dry"), strict=True))
    Path("train.csv").write_text("text,label\n" + "".join(f"rain {n},wet\nsun {n},dry\n" for n in range(5)))
    Path("test.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    plan = Plan("prompt", "classification", DataSpec("train.csv", "test.csv"), model=model, endpoint=endpoint or {})
    prompt = Prompt("classification", ("dry", "wet"), model, "Wet or dry?", tuple(shown), PromptParams(wording="cued"))
    artifact = folder / "artifact"
    artifact.mkdir(parents=True)
    PromptPredictor(CountingModel(model, 1000), prompt, None, record).save(artifact)
    write_json(artifact / "about.json", {"executor": "prompt", "task": plan.task, "labels": [], "plan": plan})
    return folder.name


@pytest.fixture
def run(workdir: Path) -> str:
    return finished(workdir / "runs" / "r1", record=RECORD)


# -- show --------------------------------------------------------------------------------------------


def test_the_prompt_of_a_held_out_row_is_shown_in_full(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("prompt", "show", run, "--row", "1", "--lang", "en")
    assert status == 0
    for part in ("Wet or dry?", "the rain in spain\nLabel:", "[assistant]\nwet", "a puddle, {deep}\nLabel:"):
        assert part in out
    assert "right answer: wet" in out
    assert "\x1b[" not in out
    assert "Nothing was dropped" in out


def test_of_an_ensemble_it_is_said_that_this_is_one_of_them(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1")
    path = Path("runs/r1/artifact/prompt.json")
    prompt = json.loads(path.read_text(encoding="utf-8"))
    other = {key: value for key, value in prompt.items() if key != "schema_version"}
    path.write_text(json.dumps({**prompt, "others": [other, other]}))
    assert "the first of 3 prompts" in advisor("prompt", "show", name, "--lang", "en")[1]
    assert "the first of 3 prompts" in advisor("prompt", "export", name, "--to", "text", "--lang", "en")[2]


def test_every_message_and_token_is_in_the_json(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("prompt", "show", run, "--row", "2", "--json")
    assert status == 0
    shown = json.loads(out)
    assert [m["role"] for m in shown["messages"]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert shown["messages"][-1]["content"] == f"{HELD_OUT[1]}\nLabel:"
    answer = next(part["tokens"] for part in shown["parts"] if part["name"] == "answer")
    assert sum(part["tokens"] for part in shown["parts"]) - answer == shown["prompt_tokens"]
    assert {p["name"] for p in shown["parts"] if p["static"]} == {"template", "instruction", "demonstrations"}


def test_the_price_is_that_of_the_runs_own_model(run: str, advisor: Advisor) -> None:
    shown = json.loads(advisor("prompt", "show", run, "--json")[1])
    tokens = {part["name"]: part["tokens"] for part in shown["parts"]}
    (price,) = shown["prices"]
    assert (shown["own_price"], price["model"]) == (True, "gpt-6-luna")
    expected = (shown["prompt_tokens"] * 0.10 + tokens["answer"] * 0.50) / 1000  # 1,000 requests, a million tokens
    assert price["plain_usd"] == pytest.approx(expected)
    assert shown["arithmetic"] is None  # nothing is computed here


def test_the_plans_own_figures_stand_over_the_list(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1", endpoint={"price_input": 3.0, "price_output": 0.0})
    shown = json.loads(advisor("prompt", "show", name, "--json")[1])
    assert shown["prices"][0]["plain_usd"] == pytest.approx(shown["prompt_tokens"] * 3 / 1000)


def test_yuan_on_the_list_are_dollars_here_and_an_old_price_is_marked(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1", model="dashscope:qwen-plus")
    shown = json.loads(advisor("prompt", "show", name, "--json")[1])
    answer = next(part["tokens"] for part in shown["parts"] if part["name"] == "answer")
    yuan = (shown["prompt_tokens"] * 0.80 + answer * 2.00) / 1000
    assert shown["prices"][0]["plain_usd"] == pytest.approx(yuan / exchange()[0])
    out = advisor("prompt", "show", name, "--lang", "en")[1]
    age = (datetime.date.today() - datetime.date.fromisoformat(shown["prices"][0]["as_of"])).days
    assert ("look them up before relying on them: qwen-plus" in out) == (age > stale_after_days())


def test_a_model_without_a_price_is_compared_with_those_that_have_one(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1", model="openai:gpt-6-luna@http://localhost:9/v1")
    shown = json.loads(advisor("prompt", "show", name, "--json")[1])
    assert not shown["own_price"]
    assert len(shown["prices"]) == len(request_prices(1, 1, 1))


def test_what_was_dropped_to_fit_is_told(workdir: Path, advisor: Advisor) -> None:
    many = [Row(str(n), Input("water " * 40), ("wet",)) for n in range(8)]
    name = finished(workdir / "runs" / "r1", shown=many, endpoint={"window": 600})
    status, out, _ = advisor("prompt", "show", name, "--text", "dust " * 400, "--lang", "en")
    assert status == 0
    shown = json.loads(advisor("prompt", "show", name, "--text", "dust " * 400, "--json")[1])
    assert shown["cut"]
    assert 0 <= shown["shown"] < shown["wanted"] == 8
    assert f"{8 - shown['shown']} of 8 demonstrations were left out" in out
    assert "the input was cut" in out
    assert shown["prompt_tokens"] <= 600


def test_a_model_on_this_machine_is_shown_after_its_chat_template(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1", model="smollm2-135m-instruct")
    status, out, _ = advisor("prompt", "show", name, "--raw", "--text", "退货 <|im_end|> {x}")
    assert status == 0
    assert out.startswith("<|im_start|>system\nWet or dry?<|im_end|>\n<|im_start|>user\n")
    assert out.endswith("退货 <|im_end|> {x}\nLabel:<|im_end|>\n<|im_start|>assistant\n\n")
    shown = json.loads(advisor("prompt", "show", name, "--text", "x", "--json")[1])
    static = sum(p["tokens"] for p in shown["parts"] if p["static"])
    varying = sum(p["tokens"] for p in shown["parts"]) - static
    assert shown["arithmetic"]["each"] == pytest.approx(2 * 134_515_008 * 1000 * (static + varying))
    assert shown["arithmetic"]["kept"] == pytest.approx(2 * 134_515_008 * (static + 1000 * varying))


def test_a_tokenizer_alone_counts_as_the_model_does_and_cannot_be_asked() -> None:
    counting, model = load_counting("smollm2-135m-instruct"), load_language_model("smollm2-135m-instruct")
    chat = [{"role": "system", "content": "Wet or dry?"}, {"role": "user", "content": "灰尘, it is"}]
    assert counting.count_chat(chat) == model.count_chat(chat)
    assert counting.count("灰尘, it is") == model.count("灰尘, it is")
    assert counting.window == model.window
    with pytest.raises(TypeError, match="only its tokenizer"):
        counting.generate([chat], 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "r1", "--row", "0"], "--row: 1 to 3, got 0"),
        (["show", "r1", "--row", "1000000000"], "--row: 1 to 3, got 1000000000"),
        (["show", "r1", "--text", " "], "the text is empty"),
        (["show", "r1", "--text", "a", "--row", "1"], "both --row and --text"),
        (["show", "r1", "--raw"], "the chat template of openai:gpt-6-luna"),
        (["show", "nosuch"], "no run 'nosuch'"),
        (["show", "empty"], "has not finished"),
        (["trials", "empty"], "has not finished"),
        (["export", "empty", "--to", "text"], "has not finished"),
        (["export", "r1", "--to", "langchain", "--row", "1"], "writes a template"),
        (["export", "r1", "--to", "openai", "--row", "1", "--all"], "both --row and --all"),
        (["export", "r1", "--to", "openai", "--row", "4"], "--row: 1 to 3"),
        (["export", "r1", "--to", "text", "--out", "no/such/file"], "there is no folder"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_a_users_error_in_both_languages(
    arguments: list[str], message: str, run: str, advisor: Advisor
) -> None:
    Path("runs/empty").mkdir()
    status, out, err = advisor("prompt", *arguments, "--lang", "en")
    assert (status, out) == (1, "")
    assert message in err
    status, _, err = advisor("prompt", *arguments, "--lang", "zh")
    assert status == 1
    assert "错误：" in err
    assert message not in err


@pytest.mark.parametrize("name", ["about.json", "prompt.json", "search.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"trials": [{"x": 1}]}'])
def test_a_broken_record_is_a_users_error(name: str, content: str, run: str, advisor: Advisor) -> None:
    (Path("runs/r1/artifact") / name).write_text(content)
    status, _, err = advisor("prompt", "trials" if name == "search.json" else "show", run, "--lang", "en")
    assert status == 1
    assert f"{name} cannot be read" in err


def test_a_run_of_another_method_has_no_prompt(run: str, advisor: Advisor) -> None:
    path = Path("runs/r1/artifact/about.json")
    about = json.loads(path.read_text())
    about["plan"]["executor"] = "probe"
    path.write_text(json.dumps(about))
    for call in (["show"], ["trials"], ["export", "--to", "text"]):
        status, _, err = advisor("prompt", call[0], run, *call[1:], "--lang", "en")
        assert status == 1
        assert "a run of 'probe'" in err


# -- trials ------------------------------------------------------------------------------------------


def test_the_search_is_told_with_what_it_chose_and_noticed(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("prompt", "trials", run, "--lang", "en")
    assert status == 0
    for told in ("Chosen: 2 demonstrations", "0.938", "0.750", "always one label", "one of them fell into a trap"):
        assert told in out
    assert "4 more: --all" in out
    assert "13 demonstrations" not in out
    assert "13 demonstrations" in advisor("prompt", "trials", run, "--all", "--lang", "en")[1]
    assert "其中一个落入陷阱" in advisor("prompt", "trials", run, "--lang", "zh")[1]


def test_the_record_is_printed_as_it_is_kept(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("prompt", "trials", run, "--json")
    assert status == 0
    assert json.loads(out) == json.loads(Path("runs/r1/artifact/search.json").read_text(encoding="utf-8"))


def test_a_run_that_did_not_search_says_how_to(workdir: Path, advisor: Advisor) -> None:
    name = finished(workdir / "runs" / "r1")
    status, _, err = advisor("prompt", "trials", name, "--lang", "en")
    assert status == 1
    assert "advisor run r1 --set search_seconds=120" in err


# -- export ------------------------------------------------------------------------------------------


def test_the_messages_of_all_held_out_rows_come_without_their_answers(run: str, advisor: Advisor) -> None:
    status, out, _ = advisor("prompt", "export", run, "--to", "openai", "--all")
    assert status == 0
    chats = [json.loads(line)["messages"] for line in out.splitlines()]
    assert [chat[-1] for chat in chats] == [{"role": "user", "content": f"{text}\nLabel:"} for text in HELD_OUT]
    status, out, _ = advisor("prompt", "export", run, "--to", "openai", "--row", "3")
    assert json.loads(out) == {"messages": chats[2]}


def test_a_file_is_not_overwritten_unless_it_is_said(run: str, advisor: Advisor) -> None:
    call = ("prompt", "export", run, "--to", "langchain", "--out", "prompt.json", "--lang", "en")
    assert advisor(*call)[0] == 0
    first = Path("prompt.json").read_text(encoding="utf-8")
    assert json.loads(first)["id"][-1] == "ChatPromptTemplate"
    Path("prompt.json").write_text("mine")
    status, _, err = advisor(*call)
    assert status == 1
    assert "there already" in err
    assert Path("prompt.json").read_text() == "mine"
    assert advisor(*call, "--force")[0] == 0
    assert Path("prompt.json").read_text(encoding="utf-8") == first


def test_a_template_can_be_exported_when_the_rows_are_gone(run: str, advisor: Advisor) -> None:
    Path("test.csv").unlink()
    status, out, _ = advisor("prompt", "export", run, "--to", "text")
    assert status == 0
    assert out.endswith("[user]\n{text}\nLabel:\n")
    status, _, err = advisor("prompt", "export", run, "--to", "text", "--all", "--lang", "en")
    assert status == 1
    assert "test.csv" in err
