"""Searching an index: dense and lexical results joined, then reranked and made diverse where that is asked for.

Covered: joining by scores (the default) or by ranks, a filter by file, a cross-encoder over the candidates (`rerank`),
maximal marginal relevance (Carbonell & Goldstein 1998), questions put in other words by the language model
(`rewriting`). Not covered: feeding the best passages back into the query, which gained nothing on XQuAD-en.

Joining by scores: cosine and BM25, each as a share of the best candidate's, are added with their weights. 0 means the
same in both, unrelated, so that neither is shifted by how bad the worst candidate is (Bruch et al. 2023). A candidate
that the lexical search did not bring has BM25 0; its cosine is known.
Joining by ranks: reciprocal rank fusion, 1 / (60 + rank), Cormack et al. 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from executors.base import Passage, Problem, Reporter, UserError, did_you_mean, silent
from executors.models import Embedder, LanguageModel
from executors.retriever.lexical import terms
from executors.retriever.rerank import Reranker, load_reranker, reranker_problems
from executors.retriever.rewriting import rewrite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from executors.retriever.index import Index

    Floats = NDArray[np.float32]

Search = Literal["hybrid", "dense", "lexical"]
Fusion = Literal["scores", "ranks"]
RANK_OFFSET = 60
GLOB = frozenset("*?[")


@dataclass(frozen=True)
class SearchSettings:
    """How passages are found. What joins them best was chosen on XQuAD-en: `tests/benchmarks/retrieval/quality.py`."""

    how: Search = "hybrid"  # lexical where the index has no vectors
    fusion: Fusion = "scores"
    dense_weight: float = 1.0
    lexical_weight: float = 1.0
    candidates: int = 50  # passages each search brings, and a cross-encoder reads
    rerank: str = ""  # a cross-encoder: folder or hub id
    mmr: float = 0.0  # 0: by relevance alone; towards 1: as unlike the passages before it as can be
    rewrite: bool = False  # also search in the language model's words


DEFAULTS = SearchSettings()


def search_problems(settings: SearchSettings, prefix: str = "params.") -> list[Problem]:
    """Every fault of the settings that can be seen without work. `prefix` is put before the fields' names."""
    faults = [
        ("dense_weight", settings.dense_weight >= 0, "at least 0", "至少为 0"),
        ("lexical_weight", settings.lexical_weight >= 0, "at least 0", "至少为 0"),
        ("candidates", settings.candidates >= 1, "at least 1", "至少为 1"),
        ("mmr", 0 <= settings.mmr < 1, "from 0 to below 1", "应在 0（含）到 1（不含）之间"),
    ]
    problems = [
        _out_of_range(f"{prefix}{name}", rule, rule_zh, getattr(settings, name))
        for name, holds, rule, rule_zh in faults
        if not holds
    ]
    if settings.how == "hybrid" and not (settings.dense_weight or settings.lexical_weight):
        both = f"{prefix}dense_weight, {prefix}lexical_weight"
        problems.append(_out_of_range(both, "one of them above 0", "至少一个大于 0", 0))
    return problems + (reranker_problems(settings.rerank, f"{prefix}rerank") if settings.rerank else [])


def _out_of_range(name: str, rule: str, rule_zh: str, value: object) -> Problem:
    return Problem(f"{name}: {rule}, got {value}", zh=Problem(f"{name}：{rule_zh}，收到 {value}"))


@dataclass(frozen=True)
class _Found:
    """Candidates of one question: `order` by passage id is what ranks them, `shown` the score a passage carries."""

    order: Mapping[int, float]
    shown: Mapping[int, float]


class Searcher:
    """Finds passages of an open index. One thread at a time, as the index itself.

    `embedder` is the one that made the index, None where it has no vectors; `reranker` is loaded from the settings
    where none is given; `model` writes the other words of `settings.rewrite`.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder | None,
        settings: SearchSettings = DEFAULTS,
        reranker: Reranker | None = None,
        model: LanguageModel | None = None,
    ) -> None:
        """Raises `UserError`: settings out of range, a cross-encoder that cannot be loaded, no model to rewrite."""
        problems = search_problems(settings, "")
        if settings.rewrite and model is None:
            problems.append(_no_model())
        if problems:
            raise UserError.of(problems)
        self.index, self.embedder, self.settings, self.model = index, embedder, settings, model
        self.reranker = reranker or (load_reranker(settings.rerank) if settings.rerank else None)

    @property
    def dense(self) -> bool:
        """Whether meaning is searched, and `Passage.score` a cosine; else words are, and it is BM25's."""
        return self.settings.how != "lexical" and self.embedder is not None and self.index.dense_ready

    def search(
        self, questions: Sequence[str], k: int, sources: Sequence[str] = (), report: Reporter = silent
    ) -> list[list[Passage]]:
        """The `k` best passages for each question, best first, of the files that match one of `sources` (all without).

        The index is looked at as it is now: what was deleted since it was opened is not found.
        `sources` are paths within the documents' folder, folders in it, or patterns such as ``manuals/*.pdf``; ``*``
        stands for ``/`` too. `score` is the cosine with the question as asked, or BM25's where there are no vectors or
        `how` is "lexical". Raises `UserError` where a pattern matches no file.
        """
        if not questions or k < 1:
            return [[] for _ in questions]
        self.index.follow()
        allowed = self._allowed(sources) if sources else None
        wordings = self._wordings(questions, report)
        texts = [text for asked in wordings for text in asked]
        vectors = self._embedded(texts)
        found, start = [], 0
        for asked in wordings:
            end = start + len(asked)
            found.append(self._best(asked, None if vectors is None else vectors[start:end], k, allowed))
            start = end
        return found

    def _allowed(self, sources: Sequence[str]) -> NDArray[np.int64]:
        """Ids of the passages that may be found; every pattern must match a file."""
        ids, problems = [], []
        for pattern in sources:
            inside = [] if GLOB & set(pattern) else [f"{pattern.rstrip('/')}/*"]
            matched = np.asarray(self.index.ids_of([pattern, *inside]), dtype=np.int64)
            if not len(matched):
                problems.append(_no_source(pattern, [source.path for source in self.index.sources()]))
            ids.append(matched)
        if problems:
            raise UserError.of(problems)
        return np.unique(np.concatenate(ids))

    def _wordings(self, questions: Sequence[str], report: Reporter) -> list[list[str]]:
        """Every question as asked, and in the model's words where these are wanted and differ."""
        if not self.settings.rewrite or self.model is None:
            return [[question] for question in questions]
        pairs = zip(questions, rewrite(questions, self.model, report), strict=True)
        return [list(dict.fromkeys([question, other])) for question, other in pairs]

    def _embedded(self, texts: Sequence[str]) -> Floats | None:
        if not self.dense or self.embedder is None:
            return None
        return self.embedder.embed(list(texts), role="query")

    # -- one question ----------------------------------------------------------------------------------

    def _best(
        self, asked: Sequence[str], vectors: Floats | None, k: int, allowed: NDArray[np.int64] | None
    ) -> list[Passage]:
        """`asked`: the question, then its other wordings; `vectors` are theirs."""
        rankings = [
            self._candidates(text, None if vectors is None else vectors[n : n + 1], k, allowed)
            for n, text in enumerate(asked)
        ]
        found = rankings[0] if len(rankings) == 1 else self._joined(rankings, vectors)
        ranked = sorted(found.order, key=lambda i: -found.order[i])
        order = dict(found.order)
        if self.reranker is not None and ranked:
            ranked, order = self._reranked(self.reranker, asked[0], ranked[: max(k, self.settings.candidates)])
        if self.settings.mmr and len(ranked) > 1:
            ranked = self._diverse(ranked[: max(k, self.settings.candidates)], order, k)
        ranked = ranked[:k]
        passages = self.index.passages(ranked)
        return [replace(p, score=round(found.shown[i], 4)) for i, p in zip(ranked, passages, strict=True)]

    def _candidates(self, text: str, vector: Floats | None, k: int, allowed: NDArray[np.int64] | None) -> _Found:
        """What either search brings for one text, joined."""
        count = max(k, self.settings.candidates)
        dense = dict(self.index.dense(vector, count, allowed)[0]) if vector is not None else {}
        if vector is not None and self.settings.how == "dense":
            return _Found(dense, dense)
        lexical = dict(self.index.lexical(text, count, allowed))
        if vector is None:
            return _Found(lexical, lexical)
        cosines = {**dense, **self._cosines(vector, [i for i in lexical if i not in dense])}
        return _Found(self._fused(dense, lexical, cosines), cosines)

    def _cosines(self, vector: Floats, ids: Sequence[int]) -> dict[int, float]:
        if not ids:
            return {}
        return dict(zip(ids, map(float, self.index.vectors(ids) @ vector[0]), strict=True))

    def _fused(
        self, dense: Mapping[int, float], lexical: Mapping[int, float], cosines: Mapping[int, float]
    ) -> dict[int, float]:
        weights = (self.settings.dense_weight, self.settings.lexical_weight)
        if self.settings.fusion == "ranks":
            return by_ranks([list(dense), list(lexical)], weights)
        return by_scores([cosines, {i: lexical.get(i, 0.0) for i in cosines}], weights)

    def _joined(self, rankings: Sequence[_Found], vectors: Floats | None) -> _Found:
        """Rankings of several wordings as one; scores shown are those of the first, the question as asked."""
        order = by_ranks([sorted(one.order, key=lambda i: -one.order[i]) for one in rankings])
        shown = dict(rankings[0].shown)
        missing = [i for i in order if i not in shown]
        shown |= dict.fromkeys(missing, 0.0) if vectors is None else self._cosines(vectors[:1], missing)
        return _Found(order, shown)

    def _reranked(self, reranker: Reranker, question: str, ids: Sequence[int]) -> tuple[list[int], dict[int, float]]:
        """The candidates by the cross-encoder, which reads heading and text as they were indexed."""
        from executors.retriever.index import embedded_text

        texts = [embedded_text(passage) for passage in self.index.passages(ids)]
        order = dict(zip(ids, reranker.score(question, texts), strict=True))
        return sorted(ids, key=lambda i: -order[i]), order

    def _diverse(self, ids: Sequence[int], order: Mapping[int, float], k: int) -> list[int]:
        relevance = _scaled(np.array([order[i] for i in ids], dtype=np.float64))
        return [ids[n] for n in mmr(relevance, self._alike(ids), k, self.settings.mmr)]

    def _alike(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """How alike passages are, ``[n, n]``: cosine, or the share of their words that both have (Jaccard)."""
        if self.dense:
            vectors = self.index.vectors(ids).astype(np.float64)
            return np.asarray(vectors @ vectors.T)
        words = [frozenset(terms(passage.text)) for passage in self.index.passages(ids)]
        return np.array([[len(a & b) / max(1, len(a | b)) for b in words] for a in words])


# -- joining and choosing ------------------------------------------------------------------------------


def by_ranks(rankings: Sequence[Sequence[int]], weights: Sequence[float] | None = None) -> dict[int, float]:
    """Reciprocal rank fusion: the score of every id in the rankings, each best first."""
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, i in enumerate(ranking, 1):
            scores[i] = scores.get(i, 0.0) + weight / (RANK_OFFSET + rank)
    return scores


def by_scores(rankings: Sequence[Mapping[int, float]], weights: Sequence[float]) -> dict[int, float]:
    """Weighted sum of scores, each as a share of its ranking's best; all rankings score the same ids."""
    best = [max(ranking.values(), default=0.0) for ranking in rankings]
    scales = [weight / top if top > 0 else weight for weight, top in zip(weights, best, strict=True)]
    return {i: sum(scale * one[i] for scale, one in zip(scales, rankings, strict=True)) for i in rankings[0]}


def mmr(relevance: NDArray[np.float64], alike: NDArray[np.float64], k: int, share: float) -> list[int]:
    """Places of `k` candidates: each the best by (1 - share) * relevance - share * likeness to the nearest before it.

    `relevance[n]` from 0 to 1, `alike[n, n]`.
    """
    chosen: list[int] = []
    nearest = np.zeros(len(relevance))
    for _ in range(min(k, len(relevance))):
        worth = (1 - share) * relevance - share * nearest
        worth[chosen] = -np.inf
        best = int(np.argmax(worth))
        chosen.append(best)
        nearest = np.maximum(nearest, alike[best])
    return chosen


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Onto 0 to 1, the best at 1."""
    low, high = values.min(), values.max()
    return np.asarray((values - low) / ((high - low) or 1.0))


# -- faults --------------------------------------------------------------------------------------------


def _no_model() -> Problem:
    return Problem(
        "rewrite: putting questions in other words needs a language model, and there is none here",
        "leave rewrite out, or name a model",
        Problem("rewrite：改写问题需要语言模型，而此处没有", "请去掉 rewrite，或指定一个模型"),
    )


def _no_source(pattern: str, paths: Sequence[str]) -> Problem:
    some = ", ".join(sorted(paths)[:5])
    return Problem(
        f"no document matches '{pattern}'{did_you_mean(pattern, paths)}",
        f"documents: {some}{', …' if len(paths) > 5 else ''}",
        Problem(
            f"没有文档匹配“{pattern}”{did_you_mean(pattern, paths, 'zh')}",
            f"现有文档：{some}{' 等' if len(paths) > 5 else ''}",
        ),
    )
