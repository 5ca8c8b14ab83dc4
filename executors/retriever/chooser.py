"""Chooses how documents are cut and searched, on development questions taken from the training rows.

Successive halving (Jamieson & Talwalkar 2016): all candidates answer a few questions over the documents these ask for
and a share of the others; the better half, and always the plan's own parameters, go on to twice as many questions over
twice the share. What costs is embedding, so vectors are kept by their text and shared by all trials, rounds and
attempts. The plan's own parameters stay unless the best of the trials beats them by more than luck.
Covered: chunk_tokens, overlap, k, search and its weights, reranking where a reranker is given. Candidates read about
the same number of tokens, but for those of a larger k. Not covered: what a reader makes of the passages, rewriting,
a filter of files (all documents are searched in trials).
"""

from __future__ import annotations

import functools
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from executors.base import Event, Job, Passage, Text
from executors.models import Embedder
from executors.retriever.development import Question, development_questions, gain, luck
from executors.retriever.documents import Document
from executors.retriever.index import Index, build_index, embedded_text, open_index
from executors.retriever.kept import KeptEmbedder
from executors.retriever.lexical import count_words
from executors.retriever.params import RagParams
from executors.retriever.rerank import Reranker
from executors.retriever.search import Searcher
from executors.retriever.splitting import split_documents
from executors.trials import SearchRecord, Trial, append_line, changes, whole_lines

METRIC = "ndcg_tokens"  # see `development`
FIRST = 16  # questions of the first round
LEAST = 8  # questions below which nothing can be told
CHANCE = 0.05  # how often luck may make a choice that is none
CHARACTERS = 6_000  # of documents for each second of the budget: what a CPU can embed in all rounds
CHARACTERS_LEXICAL = 60_000  # where nothing is embedded
CUTS = ((1.0, 0.25), (1.0, 0.0), (0.5, 0.25), (1.5, 0.25), (2.0, 0.25))  # size as a multiple, overlap as a share of it
WAYS: tuple[dict[str, Any], ...] = (
    {"search": "hybrid"},
    {"search": "hybrid", "dense_weight": 2.0},
    {"search": "hybrid", "lexical_weight": 2.0},
    {"search": "hybrid", "fusion": "ranks"},
    {"search": "dense"},
    {"search": "lexical"},
)
FILE = "chooser.jsonl"


@dataclass(frozen=True)
class Choice:
    """What was chosen. `record` is None where nothing could be compared; it belongs into the artifact, as
    `executors.trials.RECORD`. Index with `embedder` (None: lexical only): it has what trials embedded."""

    params: RagParams
    record: SearchRecord | None
    notes: tuple[Text, ...]
    embedder: Embedder | None


@dataclass(frozen=True)
class Outcome:
    """What one candidate got on the first questions of a round: a gain each, in order."""

    gains: tuple[float, ...]
    tokens: float  # of the passages of a question, in the mean
    seconds: float

    @property
    def score(self) -> float:
        return sum(self.gains) / len(self.gains)


@dataclass
class Runner:
    """One candidate, with its outcome by the number of questions."""

    params: RagParams
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def cut(self) -> tuple[int, int]:
        return self.params.chunk_tokens, self.params.overlap

    def upto(self, count: int) -> Outcome:
        """The outcome of the latest round that had no more than `count` questions."""
        return self.outcomes[max(n for n in self.outcomes if n <= count)]

    @property
    def seconds(self) -> float:
        return sum(outcome.seconds for outcome in self.outcomes.values())


def choose(
    job: Job,
    documents: Sequence[Document],
    params: RagParams,
    embedder: Embedder | None,
    reranker: Reranker | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Choice:
    """The best parameters found within `params.search_seconds`; `params` themselves where that is 0.

    What the plan names itself (`job.plan.params`) stays, but for a reranker, which is compared with none. What was
    found lies in `job.folder`: an interrupted choice goes on there, its budget less what was spent.
    """
    if not params.search_seconds:
        return Choice(params, None, (), embedder)
    kept = KeptEmbedder(embedder, job.folder) if embedder else None
    questions = development_questions(job, documents)
    if len(questions) < LEAST:
        return Choice(params, None, (_too_few(len(questions)),), kept)
    return Chooser(job, documents, questions, params, kept, reranker, clock).run()


class Chooser:
    """A search over the parameters of retrieval for one job."""

    def __init__(
        self,
        job: Job,
        documents: Sequence[Document],
        questions: Sequence[Question],
        base: RagParams,
        embedder: KeptEmbedder | None,
        reranker: Reranker | None,
        clock: Callable[[], float],
    ) -> None:
        self.job, self.questions, self.base = job, questions, base
        self.embedder, self.reranker, self.clock = embedder, reranker, clock
        self.all_documents = len(documents)
        self.own, self.others = self._pool(documents)
        found = candidates(base, frozenset(job.plan.params), embedder is not None, reranker is not None)
        self.runners = [Runner(params) for params in found]
        self.trials: list[Trial] = []
        self.spent_before = self._read()
        self._cut: dict[tuple[int, int, str], list[Passage]] = {}
        self._shelf: tuple[tuple[int, int, int], Index] | None = None  # the open index, and what it holds
        self._embedding = 0.0  # seconds a text takes
        self._searching: dict[str, float] = {}  # seconds a question takes, by reranker

    # -- documents ---------------------------------------------------------------------------------------

    def _pool(self, documents: Sequence[Document]) -> tuple[dict[str, Document], list[Document]]:
        """(the documents that are asked for, others up to what the budget allows, in a random order)."""
        wanted = {path for question in self.questions for path in question.own}
        own = {d.path: d for d in documents if d.path in wanted}
        rest = [d for d in documents if d.path not in wanted]
        random.Random(f"documents {self.job.plan.seed}").shuffle(rest)
        room = self._budget * (CHARACTERS if self.embedder else CHARACTERS_LEXICAL)
        room -= sum(len(d.text) for d in own.values())
        others: list[Document] = []
        for document in rest:
            room -= len(document.text)
            if room < 0:
                break
            others.append(document)
        return own, others

    def _documents(self, count: int) -> list[Document]:
        """Those of the first `count` questions, and the same share of the others."""
        asked = dict.fromkeys(path for question in self.questions[:count] for path in question.own)
        share = math.ceil(len(self.others) * count / len(self.questions))
        return [*(self.own[path] for path in asked), *self.others[:share]]

    def _passages(self, cut: tuple[int, int], count: int) -> list[Passage]:
        found: list[Passage] = []
        for document in self._documents(count):
            key = (*cut, document.path)
            if key not in self._cut:
                limit = min(cut[0], self.embedder.window - 2) if self.embedder else cut[0]
                self._cut[key] = split_documents([document], self._tokens, limit, cut[1])
            found += self._cut[key]
        return found

    def _tokens(self, text: str) -> int:
        return self.embedder.count(text) if self.embedder else count_words(text)

    # -- rounds ------------------------------------------------------------------------------------------

    def run(self) -> Choice:
        """The choice and its record. The same outcomes give the same choice."""
        began, total = self.clock() - self.spent_before, len(self.questions)
        going, rung, count, stopped = self.runners, 0, min(FIRST, total), "finished"
        judged: tuple[list[Runner], int] = ([], 0)
        while True:
            done = self._round(going, count, began)
            if len(done) < len(going):
                stopped = "budget"
            if len(done) > 1 or not judged[0]:  # the plan's own alone say less than the round before
                judged = done, count
            order = sorted(done, key=functools.partial(self._rank, count=count))
            last = stopped == "budget" or count == total or len(done) == 1
            keep = [order[0]] if last else [*order[: (len(order) + 1) // 2]]
            self.trials += [self._trial(runner, rung, count, runner in keep) for runner in done]
            if last:
                break
            going = [self.runners[0], *(runner for runner in keep if runner is not self.runners[0])]
            rung, count = rung + 1, min(2 * count, total)
        if self._shelf is not None:
            self._shelf[1].close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._chosen(*judged, stopped, self.clock() - began)

    def _round(self, going: Sequence[Runner], count: int, began: float) -> list[Runner]:
        """The runners that have answered `count` questions: the plan's own, and the others while there is time."""
        done: list[Runner] = []
        for runner in _by_cut(going):
            if count not in runner.outcomes:
                if done and self.clock() - began + self._expected(runner, count) > self._budget:
                    continue
                self._answer(runner, count)
            done.append(runner)
            spent = min(self.clock() - began, self._budget)
            self.job.report(Event("search", round(spent, 1), self._budget, f"{len(done)}/{len(going)} × {count}"))
        return done

    def _expected(self, runner: Runner, count: int) -> float:
        """Seconds this round of a runner will take, by what embedding and searching took before."""
        seconds = self._searching.get(runner.params.rerank, 0.0) * count
        if self.embedder is None or self._embedding == 0:
            return seconds
        texts = [embedded_text(p) for p in self._passages(runner.cut, count)]
        return seconds + self._embedding * self.embedder.missing(texts)

    def _answer(self, runner: Runner, count: int) -> None:
        begin = self.clock()
        searcher = self._searcher(runner, count)
        questions, ready = self.questions[:count], self.clock()
        found = searcher.search([question.text for question in questions], runner.params.k)
        self._searching[runner.params.rerank] = (self.clock() - ready) / count
        sizes = [[self._tokens(p.text) for p in passages] for passages in found]
        gains = [gain(q, p, s) for q, p, s in zip(questions, found, sizes, strict=True)]
        tokens = sum(map(sum, sizes)) / count
        outcome = Outcome(tuple(round(one, 6) for one in gains), round(tokens, 1), self.clock() - begin)
        runner.outcomes[count] = outcome
        line = {"candidate": _name(runner.params), "count": count, "gains": outcome.gains}
        append_line(self._file, {**line, "tokens": outcome.tokens, "seconds": round(outcome.seconds, 3)})

    def _searcher(self, runner: Runner, count: int) -> Searcher:
        """The search of a runner over the documents of a round; the index is shared with runners of the same cut."""
        embedder = self.embedder
        key = (*runner.cut, count)
        if self._shelf is None or self._shelf[0] != key:
            passages = self._passages(runner.cut, count)
            vectors = None
            if embedder is not None:
                begin, before = self.clock(), embedder.made
                vectors = embedder.embed([embedded_text(p) for p in passages])
                if embedder.made > before:
                    self._embedding = (self.clock() - begin) / (embedder.made - before)
            if self._shelf is not None:
                self._shelf[1].close()
            build_index(passages, vectors, embedder, self._folder)
            self._shelf = key, open_index(self._folder, embedder)
        settings = replace(runner.params.settings, rewrite=False)  # no model is asked in a trial
        reranker = self.reranker if settings.rerank else None
        return Searcher(self._shelf[1], embedder, settings, reranker)

    def _rank(self, runner: Runner, count: int) -> tuple[float, bool, float]:
        """Best first, by the latest round of at most `count` questions; of equals the plan's own, then the shorter."""
        outcome = runner.upto(count)
        return -round(outcome.score, 9), runner is not self.runners[0], outcome.tokens

    # -- the end -----------------------------------------------------------------------------------------

    def _trial(self, runner: Runner, rung: int, count: int, kept: bool) -> Trial:
        outcome = runner.outcomes[count]
        return Trial(
            changes=changes(runner.params, self.base),
            rung=rung,
            rows=count,
            score=round(outcome.score, 4),
            tie=-outcome.tokens,
            seconds=round(runner.seconds, 2),
            tokens=outcome.tokens,
            kept=kept,
        )

    def _chosen(self, done: Sequence[Runner], count: int, stopped: str, seconds: float) -> Choice:
        own = self.runners[0]
        best = min(done, key=lambda runner: self._rank(runner, count))
        tried = [runner for runner in self.runners if runner.outcomes]
        differences = [_less(runner.upto(count), own) for runner in tried]
        chance = 1.0 if best is own else luck(differences, tried.index(best))
        chosen = best if chance <= CHANCE else own
        record = SearchRecord(
            metric=METRIC,
            higher_is_better=True,
            development_rows=count,
            training_rows=len(self.job.rows),
            chance=0.0,
            budget_seconds=self._budget,
            seconds=round(seconds, 1),
            stopped=stopped,
            candidates=len(self.runners),
            trials=tuple(self.trials),
            chosen=changes(chosen.params, self.base),
            score=round(chosen.outcomes[count].score, 4),
            plain=round(own.outcomes[count].score, 4),
            floor=None,
            guards=tuple(self._guards(best, own, chosen, chance, count)),
            subject="retrieval",
            luck=round(chance, 4),
        )
        return Choice(chosen.params, record, choice_notes(record), self.embedder)

    def _guards(self, best: Runner, own: Runner, chosen: Runner, chance: float, count: int) -> Iterator[Text]:
        if best is not own and chosen is own:
            scores = {"best": best.outcomes[count].score, "own": own.outcomes[count].score}
            told = {name: f"{score:.3f}" for name, score in scores.items()} | {"luck": f"{100 * chance:.0f}"}
            yield {lang: words.format(**told) for lang, words in KEPT.items()}
        used = len(self.own) + len(self.others)
        if used < self.all_documents:
            yield {lang: words.format(used=used, all=self.all_documents) for lang, words in SHARE.items()}

    # -- what lies on disk -------------------------------------------------------------------------------

    @property
    def _budget(self) -> float:
        return float(self.base.search_seconds)

    @property
    def _file(self) -> Path:
        return self.job.folder / FILE

    @property
    def _folder(self) -> Path:
        return self.job.folder / "trial-index"

    def _read(self) -> float:
        """Take up what an interrupted attempt found; the seconds it spent."""
        runners = {_name(runner.params): runner for runner in self.runners}
        spent = 0.0
        for line in whole_lines(self._file):
            read: dict[str, Any] = json.loads(line)
            spent += read["seconds"]
            if read["candidate"] in runners:
                outcome = Outcome(tuple(read["gains"]), read["tokens"], read["seconds"])
                runners[read["candidate"]].outcomes[read["count"]] = outcome
        return spent


# -- candidates ----------------------------------------------------------------------------------------


def candidates(base: RagParams, given: frozenset[str], dense: bool, reranks: bool) -> list[RagParams]:
    """What is compared, the plan's own first: every cut with every way to search, and twice the passages.

    `given` parameters stay. `dense`: whether there is an embedder; `reranks`: a reranker, which is compared with none.
    """
    ways = [_scaled(way, base) for way in WAYS] if dense else [{"search": base.search}]
    ways += [{"rerank": ""}] if reranks else []
    ways = [way for way in ways if not given & set(way)]
    found = [base]
    for size, share in CUTS:
        tokens = round(base.chunk_tokens * size)
        k = max(1, round(base.k * base.chunk_tokens / tokens))
        cut = {"chunk_tokens": tokens, "overlap": round(tokens * share), "k": k}
        cut = {name: value for name, value in cut.items() if name not in given}
        found += [replace(base, **{**cut, **way}) for way in [{}, *ways]]
    found += [] if "k" in given else [replace(base, k=2 * base.k)]
    usable = [one for one in found if one.chunk_tokens >= 16 and one.overlap < one.chunk_tokens]
    return list(dict.fromkeys(usable))


def _scaled(way: Mapping[str, Any], base: RagParams) -> dict[str, Any]:
    """A way to search with its weights as multiples of the plan's."""
    return {name: value * getattr(base, name) if name.endswith("_weight") else value for name, value in way.items()}


def _by_cut(runners: Sequence[Runner]) -> list[Runner]:
    """The plan's own first, then by cut, so that an index is made once; the cut of the best runner first."""
    places: dict[tuple[int, int], int] = {}
    for runner in runners:
        places.setdefault(runner.cut, len(places))
    return sorted(runners, key=lambda runner: places[runner.cut])


def _name(params: RagParams) -> str:
    return json.dumps({f.name: getattr(params, f.name) for f in fields(params)}, sort_keys=True)


def _less(outcome: Outcome, own: Runner) -> Any:
    """The gains of an outcome less the plan's own on the same questions of the same round."""
    before = own.outcomes[len(outcome.gains)].gains
    return np.array(outcome.gains) - np.array(before)


# -- what a reader must know ---------------------------------------------------------------------------

KEPT: Text = {
    "en": "the best of the trials came to {best}, the plan's own parameters to {own}: luck alone lets one of so many "
    "trials stand out as much in {luck} of 100 cases, so the plan's own were kept",
    "zh": "最好的一次试验得 {best}，计划中的参数得 {own}：试验这么多，单凭运气每 100 次也会有 {luck} 次拉开这么大差距，"
    "因此保留计划中的参数",
}
SHARE: Text = {
    "en": "compared on {used} of {all} documents: those asked for, and others as the time allows",
    "zh": "在 {all} 份文档中的 {used} 份上比较：问题所问及的，以及时间允许的其他文档",
}


def choice_notes(record: SearchRecord) -> tuple[Text, ...]:
    """What a reader of the score must know of the choice."""
    n, tried, secs = record.development_rows, record.candidates, f"{record.seconds:.0f}"
    cut, cut_zh = (", stopped by its budget", "，因时间预算用完而停止") if record.stopped == "budget" else ("", "")
    own = "" if record.plain is None else f" ({record.plain:.3f})"
    named = ", ".join(f"{name}={value}" for name, value in record.chosen.items())
    result = f"{named}: {record.score:.3f}, against{own} before" if named else f"the plan's own were kept{own}"
    result_zh = f"{named}：{record.score:.3f}，此前{own}" if named else f"保留计划中的参数{own}"
    told: Text = {
        "en": f"retrieval: {tried} ways to cut and search, on {n} training questions, in {secs} s{cut}; {result}",
        "zh": f"检索：在 {n} 个训练问题上比较 {tried} 种切分与检索方式，用时 {secs} 秒{cut_zh}；{result_zh}",
    }
    return (told, *record.guards)


def _too_few(count: int) -> Text:
    return {
        "en": f"retrieval: nothing compared, as {count} training questions can be used and {LEAST} are needed",
        "zh": f"检索：未作比较，可用的训练问题只有 {count} 个，至少需要 {LEAST} 个",
    }
