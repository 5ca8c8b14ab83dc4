"""The features of a model's every layer: one pass over a text gives a vector a layer.

Covered: sentence encoders and BERT-class models (the mean of the tokens' states, or the first token's), and causal
language models (the last token's state, which has seen the whole text, or the mean). A layer that was chosen is an
`Embedder` like any other, whose model ends there. Not covered: models behind an endpoint, attention heads one by one.

On SST-2 with 64 rows, SmolLM2's layers, best layer by cross-validation, five draws, 250 development rows: .81 by the
last token of the text alone, .77 by the last token of the task's own prompt, .69 by the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from executors.base import Event, Problem, Reporter, UserError, silent
from executors.models import Embedder, choose_device, load_causal, model_sha256, name_problems, resolve
from executors.models.device import prepare_torch, prepare_transformers
from executors.models.packing import batches

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
Kind = Literal["encoder", "language"]
LayerPooling = Literal["mean", "cls", "last"]

TOKENS = 2048  # of a batch on a CPU
TOKENS_GPU = 65_536
ROWS = 64
TOLD = 64  # texts between two progress events


class LayerEmbedder(Embedder):
    """One layer's vectors ``[n, dimension]`` of texts, or every layer's ``[n, depth, dimension]`` by `every`.

    Layer 0 is what enters the first block, layer i what the i-th gives. The vectors are as they come, not of length 1.
    """

    kind: Kind

    def __init__(
        self, transformer: Any, tokenizer: Any, name: str, sha256: str, kind: Kind, pooling: LayerPooling, window: int
    ) -> None:
        self.transformer, self.tokenizer = transformer, tokenizer
        self.name, self.sha256, self.kind, self.pooling, self.window = name, sha256, kind, pooling, window
        config = transformer.config
        self.dimension, self.depth = int(config.hidden_size), int(config.num_hidden_layers) + 1
        self.layer: int | None = None

    def at(self, layer: int) -> LayerEmbedder:
        """This model up to `layer` alone: what lies above is not run any more. Raises `UserError` beyond the last."""
        if not 0 <= layer < self.depth:
            raise UserError(
                f"params.layer: {layer} of a model with layers 0 to {self.depth - 1}",
                f"params.layer={self.depth - 1} or lower, or params.layer=best",
                Problem(f"params.layer：给出 {layer}，而模型的层为 0 到 {self.depth - 1}", "或用 params.layer=best"),
            )
        self.layer = layer
        return self

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: str = "document") -> Floats:
        if self.layer is None:
            return self.every(texts, report).reshape(len(texts), -1)
        return self._vectors(texts, (self.layer,), report)[:, 0]

    def every(self, texts: Sequence[str], report: Reporter = silent) -> Floats:
        """All layers' vectors ``[n, depth, dimension]``, of one pass a text."""
        return self._vectors(texts, tuple(range(self.depth)), report)

    def count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    def _vectors(self, texts: Sequence[str], layers: tuple[int, ...], report: Reporter) -> Floats:
        torch = prepare_torch()
        ids = self._tokens(texts)
        found = np.zeros((len(texts), len(layers), self.dimension), np.float32)
        done = told = 0
        size = TOKENS if self.transformer.device.type == "cpu" else TOKENS_GPU
        with torch.inference_mode(), _ending_at(self.transformer, max(layers)):
            for rows in batches(list(map(len, ids)), 0, size, ROWS):
                found[rows] = self._batch([ids[row] for row in rows], layers)
                done += len(rows)
                if done - told >= TOLD or done == len(texts):
                    told = done
                    report(Event("embed", done, len(texts)))
        return found

    def _tokens(self, given: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, cut at the window; one at least, for an empty text has a state, too."""
        ids = self.tokenizer(list(given), truncation=True, max_length=self.window, verbose=False)["input_ids"]
        return [row or [self.tokenizer.eos_token_id or 0] for row in ids]

    def _batch(self, ids: Sequence[Sequence[int]], layers: tuple[int, ...]) -> Floats:
        torch = prepare_torch()
        device, width = self.transformer.device, max(map(len, ids))
        filler = self.tokenizer.pad_token_id or 0
        tokens = torch.tensor([[*row, *[filler] * (width - len(row))] for row in ids], device=device)
        own = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=device)
        given = {"use_cache": False} if self.kind == "language" else {}
        states = self.transformer(
            input_ids=tokens, attention_mask=own, output_hidden_states=True, **given
        ).hidden_states
        pooled = torch.stack([self._pool(states[layer].float(), own) for layer in layers], 1)
        return np.asarray(pooled.cpu().numpy(), np.float32)

    def _pool(self, states: Tensor, own: Tensor) -> Tensor:
        """One vector a text of its tokens' states [n, tokens, d]; `own` marks what is no padding."""
        torch = prepare_torch()
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            return states[torch.arange(len(states)), own.sum(1) - 1]
        mask = own[:, :, None].float()
        return (states * mask).sum(1) / mask.sum(1)


@contextmanager
def _ending_at(transformer: Any, layer: int) -> Iterator[None]:
    """While entered, the model runs no block above the one that reads `layer`; with that one its states are not the
    last, which the final norm replaces."""
    from executors.tuning.layers import decoder_layers

    blocks = decoder_layers(transformer)
    above = list(blocks)[layer + 1 :]
    if above:
        del blocks[layer + 1 :]
    try:
        yield
    finally:
        blocks.extend(above)


def open_layers(
    name: str, kind: Kind, pooling: LayerPooling | None, report: Reporter = silent, window: int = 1024
) -> LayerEmbedder:
    """The model `name` for its layers' sake. Raises `UserError`, see `load_causal` and `fetch.resolve`."""
    if kind == "language":
        model, tokenizer = load_causal(name, report)
        most = min(window, getattr(model.config.get_text_config(), "max_position_embeddings", window))
        body = model.get_decoder() if hasattr(model, "get_decoder") else getattr(model, model.base_model_prefix)
        sha256 = model_sha256(name, report)
        return LayerEmbedder(body.eval(), tokenizer, name, sha256, kind, pooling or "last", most)
    problems = name_problems(name, "embedder")
    if problems:
        raise UserError.of(problems)
    from executors.models.embed import load_folder

    folder = resolve(name, report)
    report(Event("load", 0, 1, name))
    torch = prepare_torch()
    prepare_transformers()
    whole = load_folder(folder, choose_device().kind, torch.float32)
    report(Event("load", 1, 1, name))
    most = int(whole.max_seq_length or 512)
    body = whole[0].model.eval()
    return LayerEmbedder(body, whole.tokenizer, name, model_sha256(name, report), kind, pooling or "mean", most)
