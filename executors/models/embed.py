"""Sentence encoders: texts in, unit vectors out.

Covered: any model sentence-transformers can load from a folder without code of its own. Vectors have length 1, so
an inner product is the cosine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from executors.base import Event, Reporter, UserError, silent
from executors.models.catalogue import alias_of, name_problems
from executors.models.device import choose_device, prepare_torch, prepare_transformers
from executors.models.fetch import resolve
from executors.models.folder import weights_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_ROWS = 16  # on a CPU a third faster than 64: less padding, and it stays in the cache
BATCH_ROWS_GPU = 256
CHUNK_ROWS = 256  # texts between two progress events

Role = Literal["query", "document"]


class Embedder:
    """A sentence encoder. `dimension` of its vectors, `window` in tokens, `sha256` of its weights."""

    def __init__(self, model: Any, name: str, sha256: str, prompts: Mapping[str, str]) -> None:
        self._model, self._prompts = model, {**model.prompts, **prompts}
        self.name, self.sha256 = name, sha256
        self.dimension = int(model.get_embedding_dimension())
        self.window = int(model.max_seq_length)

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: Role = "document") -> NDArray[np.float32]:
        """Unit vectors ``[len(texts), dimension]``, in order. What exceeds `window` tokens is not seen.

        `role` matters for encoders that were trained to tell questions from documents.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        size = BATCH_ROWS if self._model.device.type == "cpu" else BATCH_ROWS_GPU
        for start in range(0, len(order), CHUNK_ROWS):
            rows = order[start : start + CHUNK_ROWS]
            given = [self._prompts.get(role, "") + texts[i] for i in rows]
            vectors = self._model.encode(given, batch_size=size, show_progress_bar=False, prompt="")
            out[rows] = _unit(np.asarray(vectors, dtype=np.float32))
            report(Event("embed", min(start + CHUNK_ROWS, len(order)), len(order)))
        return out

    def count(self, text: str) -> int:
        """Tokens of a text, without the special ones around it."""
        return len(self._model.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit


def load_embedder(name: str, report: Reporter = silent) -> Embedder:
    """The sentence encoder `name` on the chosen device: alias, hub id or folder.

    Raises `UserError`, see `fetch.resolve`; also where `name` is a language model.
    """
    problems = name_problems(name, "embedder")
    if problems:
        raise UserError.of(problems)
    folder = resolve(name, report)
    report(Event("load", 0, 1, name))
    device = choose_device()
    torch = prepare_torch()
    prepare_transformers()
    model = _load(folder, device.kind, torch.float32)
    report(Event("load", 1, 1, name))
    alias = alias_of(name)
    return Embedder(model, name, weights_sha256(folder), alias.prompts if alias else {})


def _load(folder: Path, device: str, dtype: Any) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer

    settings = {"dtype": dtype, "use_safetensors": True}  # left out, a checkpoint in bfloat16 stays in it
    return SentenceTransformer(
        str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=settings
    )
