"""A sentence encoder with a linear head behind its pooling, as one torch module.

Imported on use only, for it needs torch. The head reads unit vectors, as a probe's does, so that it can begin as one.
On disk it is a sentence-transformers folder whose last module is the head: ``SentenceTransformer(folder).encode(text)``
gives logits, or the number, without this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor

from executors.base import Event, Reporter, UserError, silent
from executors.models.embed import load_folder
from executors.models.packing import batches
from executors.tuning.encoder.rows import padded

Floats = NDArray[np.float32]

TOKENS = 512  # of a batch in prediction, see `executors.models.embed`
TOKENS_GPU = 65_536
ROWS = 256


class EncoderNetwork(torch.nn.Module):
    """Token ids to ``vectors`` [n, d] of length 1 and, once there is a head, ``logits`` [n, k]."""

    def __init__(self, encoder: SentenceTransformer, head: Dense | None = None) -> None:
        super().__init__()
        parts = list(encoder)
        self.transformer = parts[0].model
        self.pooling = torch.nn.ModuleList(part for part in parts[1:] if not isinstance(part, Normalize))
        self.head = head
        self.shell = (encoder,)  # in a tuple: what is saved and tokenizes, but no module of its own

    @property
    def tokenizer(self) -> Any:
        return self.shell[0].tokenizer

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        states = states[:, -input_ids.shape[1] :]  # soft prompts stand before the text
        features = {"token_embeddings": states, "attention_mask": attention_mask}
        for part in self.pooling:
            features = part(features)
        vectors = torch.nn.functional.normalize(features["sentence_embedding"], dim=1)
        return {"vectors": vectors} if self.head is None else {"vectors": vectors, "logits": self.head.linear(vectors)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What training can move: a checkpoint need not hold what its start brings anyway."""
        fixed = {name for name, p in self.named_parameters(remove_duplicate=False) if not p.requires_grad}
        return {name: tensor for name, tensor in super().state_dict(*args, **kwargs).items() if name not in fixed}

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Let activations be computed again instead of kept, as the trainer asks for it."""
        self.transformer.activation_checkpointing_enable(**settings)

    def put_head(self, weights: Floats, bias: Floats) -> None:
        """Set the head: weights [k, d], bias [k]."""
        head = Dense(weights.shape[1], weights.shape[0], activation_function=torch.nn.Identity())
        with torch.no_grad():
            head.linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
            head.linear.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
        self.head = head.to(self.device)

    def run(self, ids: Sequence[Sequence[int]], output: str, report: Reporter = silent, stage: str = "embed") -> Floats:
        """``vectors`` or ``logits`` of each text, in order, without gradients."""
        was_training, size = self.training, TOKENS if self.device.type == "cpu" else TOKENS_GPU
        self.eval()
        found: dict[int, Floats] = {}
        for rows in batches(list(map(len, ids)), 0, size, ROWS):
            batch = padded([ids[row] for row in rows], self.tokenizer.pad_token_id or 0)
            with torch.inference_mode():
                out = self(**{name: tensor.to(self.device) for name, tensor in batch.items()})[output]
            found.update(zip(rows, out.float().cpu().numpy(), strict=True))
            report(Event(stage, len(found), len(ids)))
        self.train(was_training)
        return np.stack([found[row] for row in range(len(ids))])

    def save(self, folder: Path) -> None:
        """Write the encoder and its head as a sentence-transformers folder."""
        encoder = self.shell[0]
        parts = [encoder[0], *self.pooling, Normalize(), *([self.head] if self.head is not None else [])]
        encoder[0].model = self.transformer
        whole = SentenceTransformer(modules=parts, device=str(self.device), prompts=encoder.prompts)
        whole.save(str(folder), create_model_card=False)


def open_network(folder: Path, device: str) -> EncoderNetwork:
    """The encoder in `folder`, with its head where the folder holds one. Raises `UserError` for an unknown make."""
    encoder = load_folder(folder, device, torch.float32)
    parts = list(encoder)
    head = (
        parts[-1]
        if isinstance(parts[-1], Dense) and isinstance(parts[-1].activation_function, torch.nn.Identity)
        else None
    )
    if not hasattr(parts[0], "model") or not any(hasattr(part, "pooling_mode") for part in parts):
        raise UserError(
            f"{folder}: an encoder without a transformer and a pooling layer cannot be tuned here",
            "name a sentence-transformers encoder, or the folder of a BERT-class model",
        )
    if head is not None:
        encoder = SentenceTransformer(modules=parts[:-1], device=device, prompts=encoder.prompts)
    return EncoderNetwork(encoder, head)


def encode(network: EncoderNetwork, texts: Sequence[str], limit: int) -> tuple[list[list[int]], int]:
    """The tokens of each text with those around it, at most `limit`, and how many texts were cut for it."""
    if not texts:
        return [], 0
    whole = network.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    long = [n for n, ids in enumerate(whole) if len(ids) > limit]
    for n in long:
        whole[n] = network.tokenizer(texts[n], truncation=True, max_length=limit, verbose=False)["input_ids"]
    return whole, len(long)
