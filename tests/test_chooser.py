"""Choosing how documents are cut and searched: what a trial is worth, what luck gives, rounds, budget, resuming."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor import report
from advisor.report.search import describe, read_search
from advisor.report.triage import read_triage
from advisor.texts import LANGUAGES, say
from executors.base import DataSpec, Input, Job, Passage, Plan, Reporter, Row, silent, to_dict, write_json
from executors.models import Embedder
from executors.retriever.chooser import LEAST, WAYS, Choice, Chooser, Outcome, Runner, candidates, choose
from executors.retriever.development import Question, development_questions, gain, luck
from executors.retriever.documents import Document
from executors.retriever.kept import KeptEmbedder
from executors.retriever.params import RagParams
from executors.run import run_plan
from executors.trials import RECORD, changes, parse_record
from tests.samples import DECISION, FLOOR, RESULT

THINGS = ("lamp", "gate", "hub", "meter", "valve", "siren", "cable", "clamp", "panel", "relay", "motor", "pump")
PRICES = {(thing, n): 100 + 10 * n + m for m, thing in enumerate(THINGS) for n in range(4)}
DOCUMENTS = [
    Document(f"{thing}-{n}.md", f"# {thing} {n}\n\nThe {thing} of type t{n} costs {price} crowns.", f"{thing} {n}")
    for (thing, n), price in PRICES.items()
]
QUESTIONS = [
    Row(f"q:{thing}{n}", Input(f"what does the {thing} of type t{n} cost?"), (f"{price} crowns",), f"{thing}-{n}.md")
    for (thing, n), price in PRICES.items()
    if n < 2
]
PARAMS = RagParams(search_seconds=1000.0)


class NoiseEmbedder(Embedder):
    """A vector by the hash of the text: meaning nothing, so that searching by it is luck. A token is a word."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.name, self.sha256, self.dimension, self.window = "noise", "b" * 64, 8, 500
        self.seen: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: str = "document") -> Any:
        if len(self.seen) + len(texts) > self.stop_after:
            raise KeyboardInterrupt
        self.seen += [(role, text) for text in texts]
        made = np.array([self._vector(text) for text in texts], np.float32).reshape(-1, self.dimension)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def _vector(self, text: str) -> Any:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).normal(size=self.dimension)

    def count(self, text: str) -> int:
        return len(text.split())


def job(folder: Path, rows: Sequence[Row] = QUESTIONS, leaking: Sequence[str] = (), **given: Any) -> Job:
    plan = Plan("rag", "question_answering", DataSpec("x.jsonl"), params=given)
    return Job(plan, tuple(rows), (), folder, leaks=lambda _: frozenset(leaking))


@pytest.fixture(scope="module")
def from_noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Choice, list[tuple[str, str]], Path]:
    """A choice for a plan that searches by noise, the texts it embedded, and its folder."""
    folder, embedder = tmp_path_factory.mktemp("noise"), NoiseEmbedder()
    choice = choose(job(folder), DOCUMENTS, replace(PARAMS, search="dense"), embedder)
    return choice, embedder.seen, folder


# -- what a trial is worth -----------------------------------------------------------------------------


def question(*targets: str, own: str = "a.md", literally: bool = True) -> Question:
    return Question(Row("1", Input("?"), targets), (own,), literally)


@pytest.mark.parametrize(
    ("sizes", "place", "worth"),
    [
        ((96, 96), 1, 1.0), ((96, 96), 2, 1 / math.log2(3)), ((288,), 1, 1 / math.log2(3)), ((10,), 1, 1.0),
        ((192,), 1, 1 / math.log2(2.5)), ((48, 48, 48), 3, 1 / math.log2(2.75)), ((96, 96), 0, 0.0),
    ],
)  # fmt: skip
def test_a_passage_is_worth_less_the_more_must_be_read_until_the_answer(
    sizes: tuple[int, ...], place: int, worth: float
) -> None:
    passages = [Passage("three years" if n == place else "nothing", "a.md") for n in range(1, len(sizes) + 1)]
    assert gain(question("three years"), passages, sizes) == pytest.approx(worth)


def test_the_answer_must_stand_in_the_document_that_is_asked_for() -> None:
    assert gain(question("three years"), [Passage("three years", "b.md")], [96]) == 0
    assert gain(question("3 yrs", literally=False), [Passage("three years", "a.md")], [96]) == 1


def test_development_questions_are_training_rows_whose_document_is_known(tmp_path: Path) -> None:
    documents = [Document("a.md", "It lasts three years.", "A"), Document("zh.md", "保修期为三年。", "Z")]
    rows = [
        Row("named", Input("one"), ("three years",), "a"),
        Row("reworded", Input("two"), ("36 months",), "a.md"),
        Row("found", Input("three"), ("三年",)),
        Row("nowhere", Input("four"), ("seven dwarfs",)),
        Row("unknown", Input("five"), ("three years",), "b.md"),
        Row("leaking", Input("six"), ("three years",), "a.md"),
    ]
    found = {q.row.id: q for q in development_questions(job(tmp_path, rows, ["leaking"]), documents)}
    assert set(found) == {"named", "reworded", "found"}
    assert (found["named"].own, found["named"].literally) == (("a.md",), True)
    assert (found["reworded"].own, found["reworded"].literally) == (("a.md",), False)
    assert found["found"].own == ("zh.md",)


# -- luck ----------------------------------------------------------------------------------------------


def test_luck_by_hand() -> None:
    """Three questions better by as much each: of eight ways to set the signs one is as good."""
    assert luck([np.zeros(3), np.array([0.2, 0.2, 0.2])], 1) == pytest.approx(1 / 8, abs=0.02)
    assert luck([np.zeros(10), np.full(10, 0.2)], 1) == pytest.approx(1 / 1024, abs=0.002)
    assert luck([np.zeros(4), np.array([0.2, -0.2, 0.2, -0.2])], 1) > 0.5


def test_many_trials_make_luck_likelier_and_trials_that_resemble_do_not() -> None:
    one = np.full(6, 0.3)
    rng = np.random.default_rng(1)
    others = [rng.choice([-0.3, 0.3], 6) for _ in range(20)]
    alone, alike, many = luck([one], 0), luck([one] * 20, 0), luck([one, *others], 0)
    assert alone == pytest.approx(alike) == pytest.approx(1 / 64, abs=0.01)
    assert many > 5 * alone


def test_a_trial_that_ended_early_counts_with_the_questions_it_has() -> None:
    assert luck([np.zeros(8), np.full(4, 0.2), np.full(8, 0.2)], 2) == pytest.approx(1 / 256 + 0, abs=0.005)


# -- embeddings that are kept ----------------------------------------------------------------------------


def test_no_text_is_embedded_twice(tmp_path: Path) -> None:
    inner = NoiseEmbedder()
    kept = KeptEmbedder(inner, tmp_path)
    first = kept.embed(["a b", "c", "a b"])
    assert sorted(text for _, text in inner.seen) == ["a b", "c"]
    assert np.array_equal(first, inner.embed(["a b", "c", "a b"]))
    inner.seen.clear()
    again = KeptEmbedder(inner, tmp_path)
    assert again.missing(["a b", "c", "new", "new"]) == 1
    assert np.array_equal(again.embed(["c", "a b"]), first[[1, 0]])
    assert inner.seen == []
    again.embed(["c"], role="query")  # another prompt may stand before it
    assert inner.seen == [("query", "c")]
    assert again.embed([]).shape == (0, 8)


# -- candidates ------------------------------------------------------------------------------------------


def test_the_plans_own_come_first_and_every_candidate_reads_about_as_much() -> None:
    found = candidates(RagParams(), frozenset(), True, False)
    assert found[0] == RagParams()
    assert len(found) == len(set(map(repr, found))) > 25
    for one in found:
        assert one.k * one.chunk_tokens <= 1.1 * 5 * 96 or one == replace(RagParams(), k=10)
    assert {one.search for one in found} == {"hybrid", "dense", "lexical"}


def test_what_the_plan_names_stays_but_a_reranker_is_compared_with_none() -> None:
    base = RagParams(chunk_tokens=64, search="dense", rerank="folder")
    found = candidates(base, frozenset({"chunk_tokens", "search", "rerank"}), True, True)
    assert {(one.chunk_tokens, one.search) for one in found} == {(64, "dense")}
    assert {one.rerank for one in found} >= {"folder"}
    assert {one.rerank for one in candidates(base, frozenset({"search"}), True, True)} == {"folder", ""}


def test_without_an_encoder_only_cuts_and_the_number_of_passages_are_compared() -> None:
    varied = {name for one in candidates(RagParams(), frozenset(), False, False) for name in changes(one, RagParams())}
    assert varied == {"chunk_tokens", "overlap", "k"}


# -- the choice ------------------------------------------------------------------------------------------


Noise = tuple[Choice, list[tuple[str, str]], Path]


def test_a_search_that_finds_nothing_is_left_for_one_that_does(from_noise: Noise) -> None:
    choice, _, folder = from_noise
    record = choice.record
    assert record is not None
    assert choice.params.search in ("hybrid", "lexical")
    assert record.score > 0.9 > 0.3 > (record.plain or 0)
    assert record.luck is not None
    assert record.luck < 0.01
    assert record.chosen == changes(choice.params, replace(PARAMS, search="dense"))
    assert (record.development_rows, record.stopped, record.subject) == (24, "finished", "retrieval")
    assert not (folder / "trial-index").exists()


def test_a_tie_goes_to_the_plans_own(tmp_path: Path) -> None:
    choice = choose(job(tmp_path), DOCUMENTS, replace(PARAMS, search="lexical"), None)
    assert choice.params == replace(PARAMS, search="lexical")
    assert choice.record is not None
    assert (choice.record.chosen, choice.record.guards) == ({}, ())
    assert "the plan's own were kept" in choice.notes[0]["en"]


def test_each_round_keeps_the_better_half_and_the_plans_own(from_noise: Noise) -> None:
    choice = from_noise[0]
    assert choice.record is not None
    first, second = ([t for t in choice.record.trials if t.rung == rung] for rung in (0, 1))
    assert ({t.rows for t in first}, {t.rows for t in second}) == ({16}, {24})
    kept = [t for t in first if t.kept]
    assert len(kept) == (len(first) + 1) // 2
    assert min(t.score for t in kept) >= max(t.score for t in first if not t.kept)
    assert {} in [t.changes for t in second]
    went_on = {repr(t.changes) for t in kept if t.changes}
    assert {repr(t.changes) for t in second if t.changes} == went_on


def test_nothing_is_compared_where_no_time_is_given_or_too_few_rows_can_be_used(tmp_path: Path) -> None:
    embedder = NoiseEmbedder()
    untouched = choose(job(tmp_path), DOCUMENTS, RagParams(), embedder)
    assert (untouched.record, untouched.notes, untouched.embedder) == (None, (), embedder)
    few = choose(job(tmp_path, QUESTIONS[: LEAST - 1]), DOCUMENTS, PARAMS, None)
    assert few.record is None
    assert "7 training questions" in few.notes[0]["en"]
    assert "7 个" in few.notes[0]["zh"]


class Acted(Chooser):
    """Its trials are told what they get: `gains` by parameters and question; each takes a second."""

    gains: Callable[[RagParams, int], float]
    now = 0.0

    def _answer(self, runner: Runner, count: int) -> None:
        Acted.now += 1.0
        gains = tuple(Acted.gains(runner.params, n) for n in range(count))
        runner.outcomes[count] = Outcome(gains, 100.0, 1.0)


def act(folder: Path, gains: Callable[[RagParams, int], float], seconds: float = 1000.0) -> Any:
    Acted.gains, Acted.now = staticmethod(gains), 0.0  # type: ignore[assignment]
    asked = job(folder)
    questions = development_questions(asked, DOCUMENTS)
    base = replace(PARAMS, search_seconds=seconds)
    return Acted(asked, DOCUMENTS, questions, base, None, None, lambda: Acted.now).run()


def test_what_luck_could_give_is_not_chosen_and_that_is_said(tmp_path: Path) -> None:
    def slightly_better(params: RagParams, n: int) -> float:
        return 1.0 if params.chunk_tokens == 48 and n in (1, 20) else 0.5

    choice = act(tmp_path, slightly_better)
    assert choice.params.chunk_tokens == 96
    assert choice.record.luck > 0.05
    assert choice.record.score == choice.record.plain == 0.5
    assert "came to 0.542, the plan's own parameters to 0.500" in choice.record.guards[0]["en"]
    assert "0.542" in choice.record.guards[0]["zh"]


def test_what_is_better_on_most_questions_is_chosen(tmp_path: Path) -> None:
    choice = act(tmp_path, lambda params, n: 0.9 if params.chunk_tokens == 48 and n % 8 else 0.5)
    assert choice.params.chunk_tokens == 48
    assert choice.record.luck < 0.05
    assert choice.record.chosen == {"k": 10, "chunk_tokens": 48, "overlap": 12}


def test_what_is_worse_than_the_plan_is_never_chosen(tmp_path: Path) -> None:
    choice = act(tmp_path, lambda params, n: 0.9 if params == replace(PARAMS, search_seconds=1000.0) else 0.2)
    assert choice.record.chosen == {}
    assert choice.record.guards == ()


def test_the_budget_ends_the_search_between_two_trials(tmp_path: Path) -> None:
    choice = act(tmp_path, lambda params, n: 0.9 if params.chunk_tokens == 48 and n % 8 else 0.5, seconds=2.5)
    assert choice.record.stopped == "budget"
    assert 1 <= len(choice.record.trials) < choice.record.candidates
    assert choice.record.trials[0].changes == {}  # the plan's own, whatever the budget
    assert "stopped by its budget" in choice.notes[0]["en"]


def test_documents_that_the_budget_has_no_time_for_are_left_out_but_those_asked_for(tmp_path: Path) -> None:
    many = [*DOCUMENTS, *(Document(f"x{n}.md", "words " * 2000, f"x{n}") for n in range(30))]
    choice = choose(job(tmp_path), many, replace(PARAMS, search="lexical", search_seconds=2.0), None)
    assert choice.record is not None
    used = int(choice.record.guards[0]["en"].split()[2])
    assert 24 <= used < len(many)
    assert f"of {len(many)} documents" in choice.record.guards[0]["en"]


# -- resuming ----------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_without_embedding_anything_again(from_noise: Noise, tmp_path: Path) -> None:
    base = replace(PARAMS, search="dense")
    straight, whole, _ = from_noise
    assert len(whole) == len(set(whole))

    first, rest = NoiseEmbedder(stop_after=len(whole) - 3), NoiseEmbedder()
    with pytest.raises(KeyboardInterrupt):
        choose(job(tmp_path / "b"), DOCUMENTS, base, first)
    resumed = choose(job(tmp_path / "b"), DOCUMENTS, base, rest)
    assert sorted(first.seen + rest.seen) == sorted(whole)
    assert resumed.params == straight.params
    assert straight.record is not None
    assert resumed.record is not None
    told = [[(t.changes, t.rung, t.score) for t in record.trials] for record in (straight.record, resumed.record)]
    assert told[0] == told[1]


def test_a_search_whose_outcomes_are_all_there_comes_to_the_same(from_noise: Noise) -> None:
    straight, _, folder = from_noise
    embedder = NoiseEmbedder()
    again = choose(job(folder), DOCUMENTS, replace(PARAMS, search="dense"), embedder)
    assert straight.record is not None
    assert again.record is not None
    kept = [[(t.changes, t.rung, t.score, t.kept) for t in record.trials] for record in (straight.record, again.record)]
    assert kept[0] == kept[1]
    assert again.record.luck == straight.record.luck
    assert embedder.seen == []


def test_the_seconds_of_an_earlier_attempt_count(tmp_path: Path) -> None:
    base = replace(PARAMS, search="lexical", search_seconds=50.0)
    own = json.dumps({f.name: getattr(base, f.name) for f in fields(base)}, sort_keys=True)
    line = {"candidate": own, "count": 16, "gains": [1.0] * 16, "tokens": 9.0, "seconds": 60.0}
    (tmp_path / "chooser.jsonl").write_text(json.dumps(line) + '\n{"candidate": "cut o', encoding="utf-8")
    choice = choose(job(tmp_path), DOCUMENTS, base, None)
    assert choice.record is not None
    assert choice.record.stopped == "budget"
    assert len(choice.record.trials) == 1


# -- the record ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_report_shows_the_trials_of_retrieval_in_its_own_words(
    lang: str, from_noise: Noise, tmp_path: Path
) -> None:
    choice = from_noise[0]
    assert choice.record is not None
    (tmp_path / "artifact").mkdir()
    write_json(tmp_path / "artifact" / RECORD, choice.record)
    record = read_search(tmp_path)
    assert record is not None
    assert parse_record(record) == parse_record(to_dict(choice.record))
    for form in ("md", "html"):
        told = report.render(DECISION, RESULT, FLOOR, form, lang, record)
        assert {"en": "How cutting and searching were chosen", "zh": "切分与检索方式是怎样选出的"}[lang] in told
        assert {"en": "24 development questions", "zh": "24 个开发问题"}[lang] in told
        assert say("report.search", lang) not in told
        assert f"{choice.record.score:.3f}" in told
        assert f"{choice.record.plain:.3f}" in told


def test_the_trials_of_a_run_are_shown_on_request(from_noise: Noise, workdir: Path, advisor: Any) -> None:
    artifact = workdir / "runs" / "r1" / "artifact"
    artifact.mkdir(parents=True)
    about = {"executor": "rag", "task": "question_answering", "labels": [], "plan": job(workdir).plan}
    write_json(artifact / "about.json", about)
    status, _, err = advisor("prompt", "trials", "r1", "--lang", "en")
    assert status == 1
    assert "advisor run r1 --set search_seconds=120" in err
    write_json(artifact / RECORD, from_noise[0].record)
    status, out, _ = advisor("prompt", "trials", "r1", "--lang", "en")
    assert status == 0
    assert "Run r1: the search for a way to cut and search the documents" in out
    assert "by words alone" in out
    assert "切分与检索方式" in advisor("prompt", "trials", "r1", "--all", "--lang", "zh")[1]


def test_a_run_keeps_what_was_chosen_and_why_answers_are_wrong(workdir: Path) -> None:
    """In Chinese, which the default models do not speak: words are searched and sentences quoted, nothing is loaded."""
    things = ["门铃", "水阀", "电表", "网关", "路由器", "摄像头", "温控器", "插座", "灯泡", "窗帘", "音箱", "门锁"]
    (workdir / "docs").mkdir()
    lines = []
    for n, thing in enumerate(things):
        text = f"# {thing}\n\n{thing}的保修期为{n + 3}个月。\n\n{thing}的重量为{n + 20}克。\n"
        (workdir / "docs" / f"{thing}.md").write_text(text, encoding="utf-8")
        lines.append({"question": f"{thing}的保修期多长？", "answer": f"{n + 3}个月", "page": f"{thing}.md"})
    lines[-1]["page"], lines[-1]["answer"] = "无此文件.md", "九年"
    for name, part in (("train", lines[:9]), ("test", lines[9:])):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in part)
        Path(f"{name}.jsonl").write_text(text, encoding="utf-8")
    plan = Plan(
        "rag", "question_answering", DataSpec("train.jsonl", "test.jsonl"), "docs", params={"search_seconds": 60}
    )
    result = run_plan(plan, Path("runs/r1"))
    assert result.scores["hit@1"].value == pytest.approx(2 / 3)
    assert any("on 9 training questions" in note["en"] for note in result.notes)
    record = read_search(Path("runs/r1"))
    assert record is not None
    assert (record["subject"], record["development_rows"], record["training_rows"]) == ("retrieval", 9, 9)
    triaged = read_triage(Path("runs/r1"))
    assert triaged is not None
    assert triaged["counts"]["not_indexed"] == 1
    assert "advisor index r1" in [one["command"] for one in triaged["failures"]]
    assert not Path("runs/r1/work").exists()


def test_every_way_has_words_in_both_languages() -> None:
    base = RagParams(rerank="folder")
    for one in candidates(base, frozenset(), True, True):
        for lang in LANGUAGES:
            assert "=" not in describe(changes(one, base), lang, "retrieval")
    assert describe({}, "zh", "retrieval") == "计划中的参数"
    assert describe({"chunk_tokens": 48, "overlap": 12, "k": 10, **WAYS[-1]}, "en", "retrieval") == (
        "passages of 48 tokens · 12 of them repeated · 10 retrieved · by words alone"
    )
