"""Cross-encoders: how well a passage answers a question, both read together.

Covered: any sequence classifier with one output that sentence-transformers can load without code of its own, from a
folder or a hub id. Slower than a vector by orders of magnitude, so that it reads a search's candidates only. Not
covered: language models as judges, classifiers with several outputs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from executors.base import Event, Problem, Reporter, UserError, silent
from executors.models import alias_of, choose_device, name_problems, resolve
from executors.models.device import prepare_torch, prepare_transformers

BATCH_ROWS = 16  # as of an embedder: little padding


class Reranker(Protocol):
    """Reads a question together with each text."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, higher is better; only their order matters."""
        ...


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers; what exceeds its window is cut off the passage's end."""

    def __init__(self, model: Any, name: str) -> None:
        self._model, self.name = model, name

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]), reverse=True)
        if not order:
            return []
        pairs = [(question, texts[n]) for n in order]
        scores = np.empty(len(texts))
        scores[order] = self._model.predict(pairs, batch_size=BATCH_ROWS, show_progress_bar=False)
        return [float(score) for score in scores]


def reranker_problems(name: str, field: str = "rerank") -> list[Problem]:
    """What is wrong with a cross-encoder's name, seen without work. Our aliases are models of other kinds."""
    alias = alias_of(name)
    if alias is not None:
        return [_other_kind(f"{field}: '{name}'", f"{field}：“{name}”")]
    return name_problems(name, "embedder")


def load_reranker(name: str, report: Reporter = silent) -> CrossEncoderReranker:
    """The cross-encoder `name` on the chosen device: a folder or a hub id.

    Raises `UserError`, see `fetch.resolve`; also for a model of another kind, whose scores would be noise.
    """
    problems = reranker_problems(name)
    if problems:
        raise UserError.of(problems)
    folder = resolve(name, report)
    _check_kind(folder, name)
    report(Event("load", 0, 1, name))
    device = choose_device()
    torch = prepare_torch()
    prepare_transformers()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import CrossEncoder

    settings = {"dtype": torch.float32, "use_safetensors": True}
    model = CrossEncoder(
        str(folder), device=device.kind, local_files_only=True, trust_remote_code=False, model_kwargs=settings
    )
    report(Event("load", 1, 1, name))
    return CrossEncoderReranker(model, name)


def _check_kind(folder: Path, name: str) -> None:
    """Raises `UserError` for a model without a trained head of one output: transformers would make one at random."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classifies = any(kind.endswith("ForSequenceClassification") for kind in config.get("architectures") or ())
    outputs = config.get("num_labels", len(config.get("id2label") or ()) or 2)
    if not classifies or outputs != 1:
        raise UserError.of([_other_kind(f"'{name}'", f"“{name}”")])


def _other_kind(subject: str, subject_zh: str) -> Problem:
    return Problem(
        f"{subject} is no cross-encoder with one output, which reranking needs",
        "such as: BAAI/bge-reranker-base, cross-encoder/ms-marco-MiniLM-L6-v2, or a local folder",
        Problem(
            f"{subject_zh} 不是单输出的交叉编码器，无法用于重排",
            "例如：BAAI/bge-reranker-base、cross-encoder/ms-marco-MiniLM-L6-v2，或本地文件夹",
        ),
    )
