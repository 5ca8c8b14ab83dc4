"""What a RAG can be told, and how a finished one answers.

Covered: parameters with their defaults, faults in them seen without work, the setup that stands beside an index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from executors.base import Input, Plan, Problem, Row, Text, UserError
from executors.models.endpoint import endpoint_of
from executors.retriever.abstention import Threshold
from executors.retriever.search import DEFAULTS, Fusion, Search, SearchSettings, search_problems

SPEC = "rag.json"
SCHEMA = 2
SMALL = 1_000_000_000  # parameters below which a model reads better than it writes, as long as nothing is measured
SPANS = frozenset({"question_answering", "extraction"})  # tasks whose answers stand in the documents

ReaderName = Literal["extract", "generate", "quote"]


@dataclass(frozen=True)
class RagParams:
    """`search_seconds` compares ways to cut and search on training questions (`chooser`); `reader` "auto" is measured
    on them, else goes by the model's size; `abstain` "auto" sets a threshold on them (`abstention`)."""

    k: int = 5  # passages retrieved, and named as sources
    chunk_tokens: int = 96  # of a passage, by the embedder's tokenizer
    overlap: int = 24  # tokens repeated where a section is cut
    search: Search = DEFAULTS.how
    fusion: Fusion = DEFAULTS.fusion
    dense_weight: float = DEFAULTS.dense_weight
    lexical_weight: float = DEFAULTS.lexical_weight
    candidates: int = DEFAULTS.candidates  # passages each search brings, and a cross-encoder reads
    rerank: str = DEFAULTS.rerank  # a cross-encoder: folder or hub id
    mmr: float = DEFAULTS.mmr  # 0: by relevance alone; towards 1: as unlike the passages before it as can be
    rewrite: bool = DEFAULTS.rewrite  # also search in the language model's words
    sources: Sequence[str] = ()  # files or patterns to keep to, e.g. manuals/*.pdf
    retriever: str = ""  # a finished rag run, whose index and way to search are taken over; see `earlier`
    search_seconds: float = 0.0  # spent on choosing how to cut and search; 0: as stated here
    reader: Literal["auto", "extract", "generate", "quote"] = "auto"
    passages_read: int = 3  # in the prompt of the reader that generates
    shots: int = 0  # demonstrations in that prompt, from training rows
    abstain: Literal["auto", "never"] = "auto"
    answered: float = 0.95  # share of the answerable development questions that a threshold must leave answered

    @property
    def settings(self) -> SearchSettings:
        """How passages are found."""
        names = {field.name for field in fields(SearchSettings)} - {"how"}
        return SearchSettings(how=self.search, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Setup:
    """How a finished RAG answers: everything beside its index. `threshold` None: it answers whatever is asked."""

    task: str
    model: str
    k: int
    search: SearchSettings
    reader: ReaderName
    passages_read: int
    sources: tuple[str, ...] = ()
    language: str = "en"
    threshold: Threshold | None = None
    demonstrations: tuple[Row, ...] = ()
    notes: tuple[Text, ...] = ()


def read_setup(path: Path) -> Setup:
    """The setup that `RagPredictor.save` wrote. Raises `UserError` for one of another version."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    version = read.pop("schema_version")
    if version != SCHEMA:
        raise UserError(
            f"{path}: written by version {version}, and this is version {SCHEMA}",
            "run the plan again",
            Problem(f"{path}：由版本 {version} 写入，当前版本为 {SCHEMA}", "请重新运行该计划"),
        )
    rows = [Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read["demonstrations"]]
    parts = {
        "search": SearchSettings(**read["search"]),
        "sources": tuple(read["sources"]),
        "threshold": Threshold(**read["threshold"]) if read["threshold"] else None,
        "demonstrations": tuple(rows),
        "notes": tuple(read["notes"]),
    }
    return Setup(**{**read, **parts})


def param_problems(params: RagParams, plan: Plan) -> list[Problem]:
    """Everything wrong with the values of `params` for `plan`, seen without work."""
    return [
        *_range_problems(params),
        *search_problems(params.settings),
        *_fit_problems(params, plan.task),
        *_reader_problems(params, plan),
    ]


LEAST = {"k": 1, "chunk_tokens": 16, "overlap": 0, "passages_read": 1, "shots": 0, "search_seconds": 0}


def _range_problems(params: RagParams) -> list[Problem]:
    problems = []
    for name, least in LEAST.items():
        value = getattr(params, name)
        if not least <= value < float("inf"):
            zh = Problem(f"params.{name}：不得小于 {least}，收到 {value}")
            problems.append(Problem(f"params.{name}: at least {least}, got {value}", "", zh))
    if not 0 < params.answered <= 1:
        zh = Problem(f"params.answered：应大于 0 且不大于 1，收到 {params.answered}")
        problems.append(Problem(f"params.answered: above 0 and at most 1, got {params.answered}", "", zh))
    if params.overlap >= params.chunk_tokens:
        told = f"params.overlap: less than chunk_tokens ({params.chunk_tokens}), got {params.overlap}"
        zh = Problem(f"params.overlap：须小于 chunk_tokens（{params.chunk_tokens}），收到 {params.overlap}")
        problems.append(Problem(told, "", zh))
    return problems


def _fit_problems(params: RagParams, task: str) -> list[Problem]:
    """Parameters that do not go together, or not with the task."""
    problems = []
    if params.reader == "extract" and task not in SPANS:
        named = ", ".join(sorted(SPANS))
        zh = Problem(f"params.reader：“extract”适用于 {named}，而任务是 {task}")
        problems.append(Problem(f"params.reader: 'extract' answers {named}, not {task}", "", zh))
    if params.rewrite and params.reader == "quote":
        zh = Problem("params.rewrite：改写问题需要语言模型，而 reader=quote 不使用模型", "请去掉其中之一")
        told = "params.rewrite: the language model rewrites, and reader=quote uses none"
        problems.append(Problem(told, "leave one of them out", zh))
    return problems


def _reader_problems(params: RagParams, plan: Plan) -> list[Problem]:
    """A reader that compares likelihoods needs a model that tells them."""
    if params.reader != "extract" or endpoint_of(plan.model) is None:
        return []
    message = f"params.reader: 'extract' marks answers by their likelihood, which '{plan.model}' does not tell"
    zh = Problem(
        f"params.reader：“extract”按似然标出答案，而“{plan.model}”不提供似然", "请改用 reader=generate 或 auto"
    )
    return [Problem(message, "reader=generate, or auto", zh)]
