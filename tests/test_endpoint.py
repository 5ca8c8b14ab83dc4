"""Models behind an endpoint, against a real local server that misbehaves: limits, money, resumption, keys."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from advisor.decision import Inputs, decide
from advisor.endpoints import Asked, check_use, cost_of, disclosure, forecast, parse_limits, seconds_of
from advisor.facts import Fact, Facts
from advisor.plan import make_plan, read_plan, write_plan
from advisor.profile.model import measure_model, model_facts
from executors.base import DataSpec, Plan, UserError
from executors.models import Sampling, load_language_model, name_problems
from executors.models.catalogue import local_folder
from executors.models.endpoint import (
    LEDGER,
    EndpointLimits,
    endpoint_of,
    is_endpoint,
    name_faults,
    price_of,
    share_cap,
)
from executors.models.endpoint.keys import find_key, scrub
from executors.models.endpoint.ledger import Answer, Ledger
from executors.models.endpoint.model import EndpointModel
from executors.models.endpoint.names import providers
from executors.models.endpoint.pace import Pace, backoff, retry_after
from executors.models.endpoint.session import Session, round_up, spending
from executors.models.endpoint.tokens import bound, estimate
from executors.run import check_plan, fingerprint, read_result
from tests.conftest import ROOT
from tests.misbehaving import (
    Behaviour,
    Misbehaving,
    a_page,
    billed,
    cut_body,
    cut_stream,
    hang,
    malformed,
    refuses,
    repeats_the_key,
    says,
    slow,
    status,
    well,
)
from tests.test_errors import check

CANARY = "sk-canary-7f3a91d2c4"
QUICK = {"timeout": 0.4, "backoff": 0.01, "attempts": 3}
FIXED = {"price_input": 1000.0, "price_output": 1000.0}  # a tenth of a cent a token

Advisor = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name for provider in providers().values() for name in (*provider.key, *provider.address_env)}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ENDPOINT_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def ask(
    server: Misbehaving, *texts: str, path: Path | None = None, max_tokens: int = 5, **limits: Any
) -> tuple[list[str], Session]:
    """The answers to `texts`, and the session that they were asked in."""
    with spending(EndpointLimits(**{**QUICK, **limits}), path, "advisor run r") as session:
        found = load_language_model(server.name).generate([chat(t) for t in texts], max_tokens)
    return [completion.text for completion in found], session


def refusal(server: Misbehaving, *texts: str, **limits: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        ask(server, *(texts or ("hi",)), **limits)
    return caught.value


def told(session: Session) -> str:
    return "\n".join(note["en"] for note in session.notes.tell(session))


# -- names -----------------------------------------------------------------------------------------------


def test_a_name_says_who_answers_and_where_rows_go() -> None:
    names = {
        "deepseek:deepseek-flash": ("deepseek-flash", "https://api.deepseek.com", False, True),
        "ollama:qwen2.5:7b": ("qwen2.5:7b", "http://localhost:11434/v1", True, False),
        "ollama:gpt-oss:120b-cloud": ("gpt-oss:120b-cloud", "http://localhost:11434/v1", False, True),
        "vllm:Qwen/Qwen3-8B@http://10.0.0.5:8000/v1": ("Qwen/Qwen3-8B", "http://10.0.0.5:8000/v1", False, False),
        "openai:m@https://llm.example.com/v1/": ("m", "https://llm.example.com/v1", False, True),
    }
    for name, expected in names.items():
        found = endpoint_of(name)
        assert found
        assert (found.model, found.base_url, found.stays_here, found.is_public) == expected
    cloud = endpoint_of("ollama:gpt-oss:120b-cloud")
    assert cloud
    assert (cloud.host, cloud.free) == ("ollama.com", False)


@pytest.mark.parametrize(
    "name", [r"C:\models\qwen", "C:/models/qwen", "Qwen/Qwen3-0.6B", "smollm2-135m-instruct", "./a"]
)
def test_paths_hub_ids_and_aliases_are_no_endpoints(name: str) -> None:
    assert not is_endpoint(name)
    assert name_faults(name) == []


def test_an_endpoint_is_a_language_model_and_no_embedder_and_has_no_folder() -> None:
    assert name_problems("deepseek:deepseek-flash", "language") == []
    check(name_problems("deepseek:deepseek-flash", "embedder")[0], "deepseek:deepseek-flash")
    assert local_folder("deepseek:deepseek-flash") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("deepsek:x", "deepseek"),
        ("openai:m@http://", "openai:m@http://"),
        ("openai:m@http://user:secret@host/v1", "openai:m"),
        ("openai:m@http://host/v1?api_key=secret", "openai:m"),
        ("anthropic:m@http://host/v1", "anthropic"),
    ],
)
def test_a_faulty_name_is_told_in_both_languages_without_its_secret(name: str, said: str) -> None:
    problem = name_problems(name, "language")[0]
    check(problem, said)
    assert "secret" not in f"{problem}"


def test_the_weights_of_an_endpoint_cannot_be_trained() -> None:
    from executors.models import load_causal

    with pytest.raises(UserError, match="its weights are not here") as caught:
        load_causal("deepseek:deepseek-flash")
    check(caught.value.problem, "deepseek:deepseek-flash")


def test_an_address_in_the_environment_moves_a_provider_and_its_price_is_no_longer_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example.com/v1/")
    found = endpoint_of("openai:gpt-6-luna")
    assert found
    assert found.base_url == "https://proxy.example.com/v1"
    assert found.key_names == ("OPENAI_API_KEY",)
    assert price_of(found, EndpointLimits()) is None


def test_a_providers_key_is_never_sent_to_another_host(server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    ask(server, "hi")
    monkeypatch.setenv("ENDPOINT_API_KEY", "of-this-server")
    ask(server, "hi")
    assert server.server.authorizations == ["Bearer none", "Bearer of-this-server"]


def test_a_provider_without_its_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHERE_API_KEY", "k" * 20)
    with pytest.raises(UserError) as caught:
        load_language_model("cohere:command")
    check(caught.value.problem, "langchain-cohere")
    assert caught.value.hint == "pip install langchain-cohere"


# -- a server that misbehaves ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        status(429),
        status(429, headers={"Retry-After": "0"}),
        status(500),
        status(503),
        hang,
        cut_body,
        cut_stream,
        malformed,
        a_page,
        says(""),
        says(None),
    ],
    ids=["429", "429-wait", "500", "503", "hang", "cut-body", "cut-stream", "malformed", "page", "empty", "null"],
)
def test_what_passes_is_asked_again(server: Misbehaving, behaviour: Behaviour) -> None:
    answers, session = ask(server.script(behaviour), "hi")
    assert answers == ["re: hi"]
    assert len(server.asked) == 2
    assert "empty" not in told(session)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 302])
def test_what_does_not_pass_is_asked_once(server: Misbehaving, code: int) -> None:
    check(refusal(server.script(status(code, headers={"Location": f"{server.url}/x"}))).problem, server.url[7:-3])
    assert len(server.asked) == 1


def test_a_server_that_never_answers_well_is_given_up_after_the_attempts(server: Misbehaving) -> None:
    server.server.behaviour = status(500, "overloaded")
    error = refusal(server)
    assert len(server.asked) == 3
    check(error.problem, "500", "overloaded")
    assert "advisor run r" in error.hint


def test_no_server_at_all_is_said(server: Misbehaving) -> None:
    with pytest.raises(UserError, match="no connection") as caught, spending(EndpointLimits(**QUICK)):
        load_language_model("vllm:m@http://127.0.0.1:9/v1").generate([chat("hi")], 5)
    assert "vllm serve m" in caught.value.hint


def test_a_model_the_server_does_not_have_is_told_with_those_it_has(server: Misbehaving) -> None:
    server.server.offered = ["fakes", "other"]
    for behaviour in (status(404), status(400, "Model Not Exist")):
        error = refusal(server.script(behaviour))
        assert "no model 'fake' (did you mean 'fakes'?)" in error.message
        assert error.hint == "it offers: fakes, other"
        check(error.problem, "fake")


def test_a_spent_account_is_not_asked_again(server: Misbehaving) -> None:
    check(refusal(server.script(status(429, "insufficient_quota"))).problem, "insufficient_quota")
    assert len(server.asked) == 1


def test_an_answer_that_stays_empty_is_left_empty_and_counted(server: Misbehaving) -> None:
    server.server.behaviour = says("")
    answers, session = ask(server, "hi")
    assert (answers, len(server.asked)) == ([""], 2)
    assert "empty, also when asked again: 1" in told(session)


def test_another_models_name_in_the_reply_is_said(server: Misbehaving) -> None:
    assert "answered as 'gpt-x', asked was 'fake'" in told(ask(server.script(says("x", model="gpt-x")), "hi")[1])
    assert "answered as" not in told(ask(server.script(says("x", model="fake-2026-01-01")), "ho")[1])


def test_missing_counts_are_estimated_and_said(server: Misbehaving) -> None:
    _, session = ask(server.script(says("x", usage=None)), "hi", **FIXED)
    assert "without token counts: 1" in told(session)
    assert session.spent == pytest.approx((32 + 32 + 2 + 1) / 1000)  # every byte a token, with the frames


def test_an_entry_that_the_server_refuses_is_left_out_from_then_on(server: Misbehaving) -> None:
    server.server.behaviour = refuses("temperature")
    answers, session = ask(server, "a", "b", "c", concurrency=1)
    assert answers == ["re: a", "re: b", "re: c"]
    assert ["temperature" in body for body in server.asked] == [True, False, False, False]
    assert "does not take temperature" in told(session)


def test_requests_under_way_at_once_all_learn_what_the_server_refuses(server: Misbehaving) -> None:
    server.server.behaviour = refuses("temperature")
    assert len(ask(server, *(f"row {n}" for n in range(40)))[0]) == 40
    assert sum("temperature" in body for body in server.asked) <= 8


def test_a_chain_of_thought_in_the_reply_is_no_part_of_the_answer(server: Misbehaving) -> None:
    server.script(says("<think>\nred is warm\n</think>\n\nwarm"), says("cold <think>"))
    assert ask(server, "a", "b", concurrency=1)[0] == ["warm", "cold <think>"]


def test_the_bound_of_an_answer_is_renamed_and_never_left_out(server: Misbehaving) -> None:
    server.server.behaviour = refuses("max_tokens")
    ask(server, "a")
    assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in server.asked] == [(5, None), (None, 5)]


def test_answers_come_in_the_order_of_the_questions(server: Misbehaving) -> None:
    server.script(*(slow(0.03 * (4 - n)) for n in range(4)))
    assert ask(server, *"abcdefgh")[0] == [f"re: {text}" for text in "abcdefgh"]


def test_no_more_requests_at_once_than_allowed(server: Misbehaving) -> None:
    server.server.behaviour = slow(0.03)
    ask(server, *(f"row {n}" for n in range(12)), concurrency=3)
    assert server.server.most_at_once == 3


def test_one_chat_is_asked_once_and_drawn_as_often_as_it_stands_there(server: Misbehaving) -> None:
    ask(server, "hi", "hi", "hi")
    assert len(server.asked) == 1
    with spending(EndpointLimits(**QUICK)):
        model = load_language_model(server.name)
        model.generate([chat("hi")] * 3, 5, sampling=Sampling(temperature=0.7, seed=2))
    assert [body["temperature"] for body in server.asked] == [0.0, 0.7, 0.7, 0.7]


def test_a_chat_beyond_the_window_is_refused_before_anything_is_sent(server: Misbehaving) -> None:
    check(refusal(server, "short", "word " * 100, window=60).problem, "60")
    assert server.asked == []


ONE = """
import sys
from executors.models import load_language_model
from executors.models.endpoint import EndpointLimits
from executors.models.endpoint.session import spending
with spending(EndpointLimits()):
    print(load_language_model(sys.argv[1]).generate([[{"role": "user", "content": "hi"}]], 5)[0].text)
"""


def test_rows_go_to_the_endpoint_alone_also_where_tracing_is_switched_on(server: Misbehaving) -> None:
    with Misbehaving() as spy:  # a tracer sends what it has at the end of the process, at the latest
        tracing = {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": spy.url, "LANGSMITH_API_KEY": "k" * 20}
        call = [sys.executable, "-c", ONE, server.name]
        done = subprocess.run(call, cwd=ROOT, env={**os.environ, **tracing}, capture_output=True, text=True, check=True)
    assert done.stdout == "re: hi\n"
    assert spy.server.paths == []


# -- pace ------------------------------------------------------------------------------------------------


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


def test_requests_are_spread_over_the_minute() -> None:
    clock = Clock()
    pace = Pace(120, clock, clock.sleep)
    for _ in range(4):
        pace.wait()
    assert clock.slept == [0.5, 0.5, 0.5]


def test_a_server_that_asks_to_wait_is_not_asked_before(server: Misbehaving) -> None:
    clock = Clock()
    endpoint = endpoint_of(server.name)
    assert endpoint
    with spending(EndpointLimits(**QUICK)) as session:
        model = EndpointModel(endpoint, session, Pace(None, clock, clock.sleep))
        server.script(status(429, headers={"Retry-After": "7"}))
        model.generate([chat("hi")], 5)
    assert clock.slept == [7.0]


def test_a_server_that_asks_to_wait_too_long_is_given_up(server: Misbehaving) -> None:
    refusal(server.script(status(429, headers={"Retry-After": "3600"})))
    assert len(server.asked) == 1


def test_the_wait_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({"retry-after": "12.5"}) == 12.5
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=70.0) == 30.0
    assert [retry_after({"retry-after": said}) for said in ("", "soon", "nan")] == [None, None, None]


def test_waits_double_and_are_spread_by_chance() -> None:
    class Middle:
        def uniform(self, low: float, high: float) -> float:
            return (low + high) / 2

    waits = [backoff(1.0, attempt, Middle()) for attempt in (1, 2, 3, 20)]  # type: ignore[arg-type]
    assert waits == [0.75, 1.5, 3.0, 45.0]


# -- money -----------------------------------------------------------------------------------------------


def test_the_cap_holds_with_many_requests_at_once(server: Misbehaving, tmp_path: Path) -> None:
    """An answer costs 15 tokens = $0.015. Before it, its 32 + 32 + 6 bytes and 5 tokens are reserved: $0.075."""
    server.server.behaviour = slow(0.01)
    rows = [f"row {n:02}" for n in range(30)]
    error = refusal(server, *rows, path=tmp_path / LEDGER, max_cost=0.299, **FIXED)
    assert len(server.asked) == 15  # 14 × 0.015 + 0.075 fits, 15 × 0.015 + 0.075 does not
    assert "$0.2250 (¥1.5718) of $0.2990" in error.message
    assert "15 of 30 answered and kept" in error.message
    assert error.hint == "advisor run r --max-cost 1.4"  # 0.225 + 15 × 0.075 = 1.35
    check(error.problem, "30", "15")


def test_the_cap_holds_where_every_answer_costs_the_most(server: Misbehaving) -> None:
    server.server.behaviour = says("x", usage={"prompt_tokens": 70, "completion_tokens": 5, "total_tokens": 75})
    refusal(server, *(f"row {n:02}" for n in range(30)), max_cost=0.299, **FIXED)
    assert len(server.asked) == 3


def test_runs_that_share_a_cap_count_what_the_others_have_spent(server: Misbehaving, tmp_path: Path) -> None:
    ask(server, "row 00", "row 01", path=tmp_path / "one" / LEDGER, **FIXED)
    given = share_cap({"max_cost": 0.1}, tmp_path, tmp_path / "two")
    assert given == {"max_cost": 0.1, "charged": 0.03}
    assert share_cap({"max_cost": 0.1}, tmp_path, tmp_path / "one")["charged"] == 0
    assert share_cap({"timeout": 30}, tmp_path, tmp_path / "two") == {"timeout": 30}
    error = refusal(server, "row 02", path=tmp_path / "two" / LEDGER, **given, **FIXED)  # 0.03 + 0.075 exceed it
    assert "spend cap reached: $0.0300" in error.message
    assert len(server.asked) == 2
    assert ask(server, "row 02", path=tmp_path / "two" / LEDGER, **{**given, "max_cost": 0.11}, **FIXED)[0]


def test_a_request_whose_fate_is_unknown_counts_as_if_it_had_cost_the_most(server: Misbehaving) -> None:
    server.server.behaviour = malformed
    error = refusal(server, "row 00", max_cost=0.2, attempts=9, **FIXED)
    assert len(server.asked) == 2  # 0.075 each; a third could exceed 0.2
    assert "spend cap reached: $0.1500" in error.message


def test_a_larger_cap_goes_on_with_what_is_missing(server: Misbehaving, tmp_path: Path) -> None:
    rows = [f"row {n:02}" for n in range(20)]
    refusal(server, *rows, path=tmp_path / LEDGER, max_cost=0.2, **FIXED)
    first = len(server.asked)
    answers, session = ask(server, *rows, path=tmp_path / LEDGER, max_cost=0.5, **FIXED)
    assert answers == [f"re: {row}" for row in rows]
    assert 0 < first < 20
    assert sorted(server.questions) == rows  # each once
    assert session.cost_usd == pytest.approx(20 * 0.015)
    assert f"{first} of them paid for before" in told(session)


def test_a_cap_without_a_price_is_refused_before_anything_is_sent(server: Misbehaving) -> None:
    error = refusal(server, max_cost=1.0)
    check(error.problem, server.name)
    assert "price_input" in error.hint
    assert server.asked == []
    assert ask(server, "hi")[1].cost_usd is None
    assert ask(server, "hi", max_cost=0.0, price_input=0.0, price_output=0.0)[1].cost_usd == 0
    assert len(server.asked) == 2


def test_prices_count_caches_long_prompts_and_peak_hours() -> None:
    luna, flash, plus = (
        price_of(endpoint_of(name) or pytest.fail(name), EndpointLimits())
        for name in ("openai:gpt-6-luna", "deepseek:deepseek-flash", "dashscope:qwen-plus")
    )
    assert luna
    assert luna.cost(1000, 100) == pytest.approx((1000 * 0.10 + 100 * 0.50) / 1e6)
    assert luna.cost(1000, 100, cached=600, written=400) == pytest.approx((600 * 0.01 + 400 * 0.125 + 50) / 1e6)
    assert luna.worst(1000, 100) == pytest.approx((1000 * 0.125 + 100 * 0.50) / 1e6)
    assert luna.cost(300_000, 100) == pytest.approx((300_000 * 0.20 + 100 * 0.75) / 1e6)
    assert flash
    assert flash.cost(1_000_000, 0) == pytest.approx(0.30)  # twice the price outside peak hours
    assert plus
    assert plus.cost(1_000_000, 0) == pytest.approx(0.80 / 6.9858)  # yuan


def test_every_price_and_provider_names_its_source() -> None:
    import yaml

    table = yaml.safe_load((ROOT / "knowledge" / "prices.yaml").read_text(encoding="utf-8"))
    for entry in table["endpoints"].values():
        assert entry["provider"] in providers()
        assert entry["source"].startswith("https://")
        assert entry["as_of"].isoformat() <= table["as_of"].isoformat()
    for provider in providers().values():
        assert provider.package or provider.source.startswith("https://")


@pytest.mark.parametrize(("usd", "up"), [(0.0, 0.0), (1.301, 1.4), (0.0123, 0.013), (0.012, 0.012), (119.0, 120.0)])
def test_a_proposed_cap_is_rounded_up(usd: float, up: float) -> None:
    assert round_up(usd) == up


def test_tokens_are_estimated_upwards() -> None:
    assert estimate("abc def") == 3  # 7 letters and spaces / 3
    assert estimate("订单2024") == 2 + 4
    assert bound(chat("é")) == 32 + 32 + 2


# -- paid once -------------------------------------------------------------------------------------------


ASKING = """
import sys
from pathlib import Path
from executors.models import load_language_model
from executors.models.endpoint import EndpointLimits
from executors.models.endpoint.session import spending
with spending(EndpointLimits(concurrency=2), Path(sys.argv[2])):
    rows = [[{"role": "user", "content": f"row {n:02}"}] for n in range(40)]
    load_language_model(sys.argv[1]).generate(rows, 5)
"""


def test_after_a_kill_only_the_missing_rows_are_asked(server: Misbehaving, tmp_path: Path) -> None:
    server.server.behaviour = slow(0.02)
    path = tmp_path / LEDGER
    process = subprocess.Popen([sys.executable, "-c", ASKING, server.name, str(path)], cwd=ROOT)
    while process.poll() is None and not (path.is_file() and path.read_bytes().count(b"\n") >= 6):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with path.open("ab") as out:
        out.write(b'{"key": "half a li')  # as a kill in the middle of a write leaves it
    paid = path.read_bytes().count(b"\n")
    assert 6 <= paid < 40
    before = len(server.asked)
    answers, _ = ask(server, *(f"row {n:02}" for n in range(40)), path=path)
    assert answers == [f"re: row {n:02}" for n in range(40)]
    assert len(server.asked) - before == 40 - paid
    ask(server, *(f"row {n:02}" for n in range(40)), path=path)  # every line is whole
    assert len(server.asked) - before == 40 - paid


def test_one_process_at_a_time_works_with_a_ledger(server: Misbehaving, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER)
    caught: list[UserError] = []

    def second() -> None:
        with pytest.raises(UserError) as error:
            Ledger(tmp_path / LEDGER)
        caught.append(error.value)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    check(caught[0].problem, LEDGER)
    ledger.close()
    Ledger(tmp_path / LEDGER).close()


def test_a_damaged_ledger_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"charged": 0.5, "why": "x"}\nnonsense\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2") as caught:
        Ledger(tmp_path / LEDGER)
    check(caught.value.problem, "2")


def test_what_was_spent_before_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER)
    ledger.keep("k", Answer("x", "stop", 1, 1, 0.25, True, "m"))
    ledger.charge(0.5, "lost")
    ledger.close()
    again = Ledger(tmp_path / LEDGER)
    assert (again.spent, again.lost) == (0.75, 0.5)
    again.close()
    with spending(EndpointLimits(), tmp_path / LEDGER) as run, spending(EndpointLimits()) as other:
        assert run.spent == 0.75
        assert other.spent == 0
    with spending(EndpointLimits(), tmp_path / LEDGER, whole=False) as call:
        assert call.spent == 0


# -- the command line ------------------------------------------------------------------------------------


@pytest.fixture
def plan(workdir: Path, server: Misbehaving) -> Plan:
    lines = ["text,target", *(f"item {n},re: item {n}" for n in range(20))]
    Path("rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Plan("prompt", "generation", DataSpec("rows.csv"), model=server.name, endpoint=QUICK, params={"shots": 0})


def run(advisor: Advisor, plan: Plan, *options: str) -> tuple[int, str, Path]:
    """Status, everything printed, and the run's folder."""
    write_plan(Path("plan.yaml"), plan)
    code, out, err = advisor("run", "plan.yaml", "--lang", "en", *options)
    return code, out + err, max(Path("runs").iterdir(), key=lambda folder: folder.name)


def test_a_run_asks_each_row_once_and_tells_where_it_went_and_what_it_cost(
    advisor: Advisor, plan: Plan, server: Misbehaving
) -> None:
    code, said, folder = run(advisor, plan, "--endpoint", "price_input=1000", "--endpoint", "price_output=1000")
    assert code == 0, said
    held_out = [question for question in server.questions if question.startswith("item")]
    result = read_result(folder)
    assert result
    assert result.cost_usd == pytest.approx(0.015 * len(server.asked))
    assert result.scores["exact_match"].value == 1.0
    assert len(held_out) == len(set(held_out))
    assert "no row is sent away" in said
    assert f"cost so far ${result.cost_usd:.4f}" in said
    assert read_plan(folder / "plan.yaml").endpoint["price_input"] == 1000
    asked = len(server.asked)
    assert advisor("run", folder.name)[0] == 0
    assert run(advisor, plan)[0] == 0
    assert len(list(Path("runs").iterdir())) == 1
    code, out, err = advisor("predict", folder.name, held_out[0], "--lang", "en")
    assert (code, out.strip()) == (0, f"re: {held_out[0]}")
    assert len(server.asked) == asked  # neither the run nor a row it has answered is paid for again
    assert "paid for before" in err


def test_a_run_stops_at_the_cap_and_goes_on_with_a_larger_one(
    advisor: Advisor, plan: Plan, server: Misbehaving
) -> None:
    lines = ["text,target", *(f"item {n},re: item {n}" for n in range(60))]
    Path("rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    server.server.behaviour = billed(prompt_tokens=100, completion_tokens=100)  # $0.20 each
    prices = ("--endpoint", "price_input=1000", "--endpoint", "price_output=1000", "--endpoint", "timeout=10")
    code, said, folder = run(advisor, plan, *prices, "--max-cost", "1.5")
    assert code == 1
    assert "spend cap reached" in said
    assert f"advisor run {folder.name} --max-cost" in said
    failed, first = read_result(folder), len(server.asked)
    assert failed
    assert failed.cost_usd == pytest.approx(0.2 * first)
    assert 0 < first <= 7
    assert advisor("run", folder.name, "--max-cost", "50")[0] == 0
    assert len(server.asked) == len(set(server.questions))
    done = read_result(folder)
    assert done
    assert done.cost_usd == pytest.approx(0.2 * len(server.asked))


@pytest.mark.parametrize(
    "behaviour",
    [
        *(well, status(401), status(429), status(500)),
        *(repeats_the_key(400), repeats_the_key(401), repeats_the_key(500)),
        *(hang, cut_body, cut_stream, malformed, a_page, says("")),
    ],
    ids=[
        *("well", "401", "429", "500", "told-400", "told-401", "told-500"),
        *("hang", "cut-body", "cut-stream", "malformed", "page", "empty"),
    ],
)
def test_the_key_is_in_no_record_and_no_message(
    advisor: Advisor,
    plan: Plan,
    server: Misbehaving,
    behaviour: Behaviour,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ENDPOINT_API_KEY", CANARY)
    server.server.behaviour = behaviour
    code, said, folder = run(advisor, plan, "--endpoint", "attempts=2", "--endpoint", "timeout=0.1")
    assert code == (0 if behaviour is well or behaviour.__qualname__.startswith("says") else 1), said
    assert f"Bearer {CANARY}" in server.server.authorizations  # it was sent, so it could have leaked
    everything = (
        said
        + caplog.text
        + "".join(file.read_text(encoding="utf-8", errors="replace") for file in folder.rglob("*") if file.is_file())
    )
    assert CANARY not in everything
    assert "Traceback" not in everything


def test_a_key_from_the_environment_is_checked_and_hides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = endpoint_of("deepseek:deepseek-flash")
    assert endpoint
    with pytest.raises(UserError) as missing:
        load_language_model("deepseek:deepseek-flash")
    check(missing.value.problem, "DEEPSEEK_API_KEY")
    monkeypatch.setenv("DEEPSEEK_API_KEY", f" {CANARY}\n")
    key = find_key(endpoint)
    assert key
    assert key.reveal() == CANARY
    assert CANARY not in f"{key!r} {key}"
    assert scrub(f"Bearer {CANARY}!") == "Bearer ***!"
    monkeypatch.setenv("DEEPSEEK_API_KEY", f"“{CANARY}”")
    with pytest.raises(UserError) as broken:
        find_key(endpoint)
    check(broken.value.problem, "DEEPSEEK_API_KEY")
    assert CANARY not in f"{broken.value.problem}"


KEYRING = """
class errors:
    class KeyringError(Exception): pass
def get_password(service, user):
    if user != "deepseek": raise errors.KeyringError("locked")
    return {"adaptation-advisor": "sk-from-the-keyring"}[service]
"""


def test_a_key_may_lie_in_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keyring.py").write_text(KEYRING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    flash, luna = endpoint_of("deepseek:deepseek-flash"), endpoint_of("openai:gpt-6-luna")
    assert flash
    assert luna
    kept = find_key(flash)
    assert kept
    assert (kept.reveal(), kept.found_in) == ("sk-from-the-keyring", "keyring adaptation-advisor/deepseek")
    assert find_key(luna) is None
    monkeypatch.delitem(sys.modules, "keyring", raising=False)


# -- plans -----------------------------------------------------------------------------------------------


def test_limits_are_checked_all_at_once_and_do_not_start_a_run_over(plan: Plan, workdir: Path) -> None:
    from dataclasses import replace

    faulty = replace(plan, endpoint={"attempts": 0, "price_input": 1.0, "timout": 3})
    said = [problem.message for problem in check_plan(faulty)]
    assert any("endpoint.timout: unknown parameter (did you mean 'timeout'?)" in message for message in said)
    said = [problem.message for problem in check_plan(replace(plan, endpoint={"attempts": 0, "price_input": 1.0}))]
    assert any("endpoint.attempts: must be above 0" in message for message in said)
    assert any("go together" in message for message in said)
    assert fingerprint(plan) == fingerprint(replace(plan, endpoint={"max_cost": 5.0}))
    Path("plan.yaml").write_text(
        "executor: prompt\ntask: generation\ndata: {path: rows.csv}\nendpoint: {concurency: 2}\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match="concurrency"):
        read_plan(Path("plan.yaml"))


def test_options_become_limits() -> None:
    assert parse_limits(("timeout=30", "per_minute=60"), 0.5) == {"timeout": 30, "per_minute": 60, "max_cost": 0.5}
    with pytest.raises(UserError) as caught:
        parse_limits(("timeout",), None)
    check(caught.value.problem, "timeout")


def test_the_plan_says_where_rows_go() -> None:
    assert "sent to api.deepseek.com (DeepSeek)" in disclosure("deepseek:deepseek-flash")["endpoint"]["en"]
    assert "ollama.com" in disclosure("ollama:gpt-oss:120b-cloud")["endpoint"]["en"]
    assert "no row is sent away" in disclosure("ollama:qwen3:8b")["endpoint"]["en"]
    assert "your own network" in disclosure("vllm:q@http://gpu1:8000/v1")["endpoint"]["en"]
    assert disclosure("smollm2-135m-instruct") == {}


@pytest.mark.parametrize(
    ("privacy", "model", "allowed"),
    [
        ("on_premises", "deepseek:deepseek-flash", False),
        ("on_premises", "ollama:gpt-oss:120b-cloud", False),
        ("on_premises", "ollama:qwen3:8b", True),
        ("on_premises", "vllm:q@http://10.1.2.3:8000/v1", True),
        ("own_cloud", "deepseek:deepseek-flash", False),
        ("own_cloud", "openai:q@https://llm.example.com/v1", True),
        ("public_api", "deepseek:deepseek-flash", True),
    ],
)
def test_data_that_may_not_leave_is_not_sent(privacy: str, model: str, allowed: bool) -> None:
    decision = decide(Facts().with_(Fact("privacy", privacy, "asked")), inputs=Inputs())
    if allowed:
        check_use(decision, "prompt", model)
        return
    with pytest.raises(UserError) as caught:
        check_use(decision, "prompt", model)
    check(caught.value.problem, model)


def test_training_a_model_behind_an_endpoint_is_refused_when_it_is_planned(workdir: Path) -> None:
    Path("rows.csv").write_text("text,target\n" + "".join(f"item {n},x {n}\n" for n in range(30)), encoding="utf-8")
    inputs = Inputs("rows.csv", model="deepseek:deepseek-flash")
    decision = decide(Facts().with_(Fact("task", "generation", "asked")), inputs=inputs)
    with pytest.raises(UserError, match="changes a model's weights"):
        make_plan(decision, inputs, "peft")
    assert "endpoint" in make_plan(decision, inputs, "prompt").reasons


def test_the_profile_knows_a_listed_window_and_asks_nobody() -> None:
    known, unknown = measure_model("deepseek:deepseek-flash"), measure_model("openai:m@http://127.0.0.1:9/v1")
    assert (known.window, known.parameters, unknown.window) == (1_000_000, None, None)
    assert set(dict(model_facts(known).items())) == {"context_window"}
    assert "8,192" in unknown.warnings[0]["en"]


def test_the_forecast_is_rows_times_tokens_times_price() -> None:
    asked = Asked(requests=1000, prompt=600, shared=500, answer=10, most=64)
    price = price_of(endpoint_of("openai:gpt-6-luna") or pytest.fail("no such name"), EndpointLimits())
    assert price
    low, high = cost_of(asked, price)
    assert low == pytest.approx(1000 * (100 * 0.10 + 500 * 0.01 + 10 * 0.50) / 1e6)
    assert high == pytest.approx(1000 * (600 * 0.125 + 64 * 0.50) / 1e6)
    assert seconds_of(1000, EndpointLimits(concurrency=10)) == (50.0, 1000.0)
    assert seconds_of(1000, EndpointLimits(concurrency=10, per_minute=600)) == (100.0, 1000.0)
    said = forecast(Plan("prompt", "generation", DataSpec("x.csv"), model="openai:gpt-6-luna"), asked)
    assert "1,000 requests to api.openai.com" in said["en"]
    assert "$0.0200–$0.1070 (¥0.1397–¥0.7475) at prices of 2026-10-18" in said["en"]
    assert "¥0.1397–¥0.7475" in said["zh"]


def test_naming_an_endpoint_imports_nothing_heavy() -> None:
    code = (
        "import sys; from executors.models.endpoint import endpoint_of; endpoint_of('deepseek:x');"
        "print(sorted({'langchain','openai','httpx','torch','transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_record_of_a_run_without_an_endpoint_has_no_cost(tmp_path: Path) -> None:
    record = json.loads('{"executor": "probe", "task": "classification", "status": "done", "scores": {}, "notes": []}')
    (tmp_path / "result.json").write_text(json.dumps(record), encoding="utf-8")
    result = read_result(tmp_path)
    assert result
    assert result.cost_usd is None
