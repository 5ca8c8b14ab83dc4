"""Sentence encoders: texts in, unit vectors out.

Covered: any model sentence-transformers can load from a folder without code of its own, and its form with weights of
8 bits (see `int8`). Vectors have length 1, so an inner product is the cosine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from executors.base import Event, Problem, Reporter, UserError, silent
from executors.models.catalogue import alias_of, name_problems
from executors.models.device import choose_device, prepare_torch, prepare_transformers
from executors.models.fetch import resolve
from executors.models.folder import INT8_WEIGHTS, weights_sha256
from executors.models.int8 import Int8Session
from executors.models.packing import batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_TOKENS = 512  # on a CPU 1.1 to 1.5 times as fast as 16 texts: what a layer makes of them stays in the cache
BATCH_TOKENS_GPU = 65_536
BATCH_ROWS = 256
CHUNK_ROWS = 256  # texts between two progress events
MEASURED_ROWS = 4096  # texts that are tokenized at once

Role = Literal["query", "document"]
Pooling = Literal["mean", "cls"]


class Embedder:
    """A sentence encoder. `dimension` of its vectors, `window` in tokens, `sha256` of its weights.

    `pooling` is how token vectors become one: ``mean``, ``cls`` (the first token's), or what else it was trained with.
    """

    pooling: str = ""

    def __init__(self, model: Any, name: str, sha256: str, prompts: Mapping[str, str]) -> None:
        self._model, self._prompts = model, {**model.prompts, **prompts}
        self.pooling = _pooling_of(model)
        self.name, self.sha256 = name, sha256
        self.dimension = int(model.get_embedding_dimension())
        self.window = int(model.max_seq_length)

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: Role = "document") -> NDArray[np.float32]:
        """Unit vectors ``[len(texts), dimension]``, in order. What exceeds `window` tokens is not seen.

        `role` matters for encoders that were trained to tell questions from documents.
        """
        given = [self._prompts.get(role, "") + text for text in texts]
        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = told = 0
        most = BATCH_TOKENS if self._model.device.type == "cpu" else BATCH_TOKENS_GPU
        ids = self._tokens(given)
        for rows in batches(list(map(len, ids)), 0, most, BATCH_ROWS):
            out[rows] = _unit(self._encode([given[row] for row in rows], [ids[row] for row in rows]))
            done += len(rows)
            if done - told >= CHUNK_ROWS or done == len(texts):
                told = done
                report(Event("embed", done, len(texts)))
        return out

    def _encode(self, batch: Sequence[str], ids: Sequence[list[int]]) -> NDArray[np.float32]:
        """Vectors of a batch of texts, whose tokens are `ids`."""
        vectors = self._model.encode(list(batch), batch_size=len(batch), show_progress_bar=False, prompt="")
        return np.asarray(vectors, dtype=np.float32)

    def _tokens(self, given: Sequence[str]) -> list[list[int]]:
        """The tokens of each text as the encoder takes it: with those around it, cut at its window."""
        ids: list[list[int]] = []
        for start in range(0, len(given), MEASURED_ROWS):
            part = list(given[start : start + MEASURED_ROWS])
            ids += self._model.tokenizer(part, truncation=True, max_length=self.window, verbose=False)["input_ids"]
        return ids

    def pooled(self, pooling: Pooling) -> Embedder:
        """This encoder with another pooling, sharing its weights. Raises `UserError` where it has none to replace."""
        if pooling == self.pooling:
            return self
        return Embedder(_with_pooling(self._model, self.name, pooling), self.name, self.sha256, self._prompts)

    def count(self, text: str) -> int:
        """Tokens of a text, without the special ones around it."""
        return len(self._model.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


class Int8Embedder(Embedder):
    """The same encoder with weights of 8 bits, on the CPU; its pooling is part of it."""

    def __init__(self, model: Any, name: str, sha256: str, prompts: Mapping[str, str], folder: Path) -> None:
        """Raises `UserError` where onnxruntime is missing."""
        super().__init__(model, name, sha256, prompts)
        self._session = Int8Session(folder, model.tokenizer)

    def _encode(self, batch: Sequence[str], ids: Sequence[list[int]]) -> NDArray[np.float32]:
        return self._session.encode(ids)

    def pooled(self, pooling: Pooling) -> Embedder:
        if pooling == self.pooling:
            return self
        raise UserError(
            f"params.pooling: '{self.name}' is pooled as it was made ({self.pooling})",
            "leave it out, or name the encoder it is made from",
            Problem(f"params.pooling：“{self.name}”的池化方式已固定（{self.pooling}）", "请去掉该参数，或改用原编码器"),
        )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit


def _pooling_of(model: Any) -> str:
    """The mode of the model's pooling layer; several modes that are concatenated are joined by ``+``."""
    modes = next((part.pooling_mode for part in model if hasattr(part, "pooling_mode")), "")
    return modes if isinstance(modes, str) else "+".join(modes)


def _with_pooling(model: Any, name: str, pooling: Pooling) -> Any:
    """A model of the same modules but for its pooling layer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingLayer

    modules = list(model)
    places = [n for n, part in enumerate(modules) if hasattr(part, "pooling_mode")]
    if not places or "+" in _pooling_of(model):
        raise UserError(
            f"params.pooling: the encoder '{name}' has no single pooling layer that could be replaced",
            "leave params.pooling out: it is then pooled as it was trained",
            Problem(
                f"params.pooling：编码器“{name}”没有可替换的单一池化层",
                "请去掉 params.pooling，按其训练时的方式池化",
            ),
        )
    own = modules[places[0]]
    modules[places[0]] = PoolingLayer(own.embedding_dimension, pooling, own.include_prompt)
    return SentenceTransformer(modules=modules, device=str(model.device), prompts=model.prompts)


def load_embedder(name: str, report: Reporter = silent) -> Embedder:
    """The sentence encoder `name` on the chosen device: alias, hub id or folder.

    Raises `UserError`, see `fetch.resolve`; also where `name` is a language model.
    """
    problems = name_problems(name, "embedder")
    if problems:
        raise UserError.of(problems)
    folder = resolve(name, report)
    report(Event("load", 0, 1, name))
    small = (folder / INT8_WEIGHTS).is_file()
    device = "cpu" if small else choose_device().kind
    torch = prepare_torch()
    prepare_transformers()
    model = load_folder(folder, device, torch.float32)
    report(Event("load", 1, 1, name))
    alias = alias_of(name)
    about = (model, name, weights_sha256(folder), alias.prompts if alias else {})
    return Int8Embedder(*about, folder) if small else Embedder(*about)


def load_folder(folder: Path, device: str, dtype: Any) -> Any:
    """The `SentenceTransformer` in a folder."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer

    settings = {"dtype": dtype, "use_safetensors": True}  # left out, a checkpoint in bfloat16 stays in it
    return SentenceTransformer(
        str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=settings
    )
