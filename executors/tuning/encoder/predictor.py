"""A tuned encoder as a predictor: text to label or number, in one pass.

Its folder holds `encoder.json` (what it is), `training.jsonl` (the loss curve), `aftermath.json` (what the tuning
changed, where rows were held out to see it), and `encoder/`, which sentence-transformers loads by itself: the encoder
with its head, and a model card. Weights that cannot be folded into the encoder (soft prompts, bottlenecks) lie in
`adapter/`, beside the encoder they change.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from executors.base import Event, Input, Prediction, Predictor, Reporter, Text, UserError, silent, to_dict, write_json
from executors.models import choose_device
from executors.models.device import prepare_torch, prepare_transformers

if TYPE_CHECKING:
    from executors.tuning.encoder.network import EncoderNetwork

MANIFEST = "encoder.json"
LOG = "training.jsonl"
ENCODER = "encoder"
ADAPTER = "adapter"


@dataclass(frozen=True)
class TunedEncoder:
    """What a tuned encoder is. `base` is the encoder it was tuned from, `sha256` that encoder's weights."""

    task: str
    labels: tuple[str, ...]
    base: str
    sha256: str
    params: dict[str, Any]
    limit: int  # tokens read of a text
    prompt: str = ""  # put before every text, for encoders trained that way
    span: tuple[float, float] = (-math.inf, math.inf)  # of a regression's training targets: answers stay within it
    notes: tuple[Text, ...] = ()
    stages: Mapping[str, Any] | None = None  # how the head was chosen, and what else was decided on the way


def input_text(given: Input) -> str:
    """What is read of an input: its text, and its context where it has one."""
    return f"{given.text}\n\n{given.context}" if given.context else given.text


class EncoderPredictor(Predictor):
    """The likeliest label with every label's probability, or the number."""

    def __init__(self, folder: Path, report: Reporter = silent) -> None:
        """`folder` as `write_encoder` left it. The encoder is loaded when it is first asked."""
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest.pop("schema_version")
        tuples = {name: tuple(manifest[name] or ()) for name in ("labels", "notes")}
        span = tuple(manifest["span"]) if manifest["span"] else (-math.inf, math.inf)
        self.about = TunedEncoder(**{**manifest, **tuples, "span": span})
        self.folder, self._report = folder, report
        self._network: EncoderNetwork | None = None
        self.cut = 0

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """What training left out, and the inputs that were cut in prediction so far."""
        return (*self.about.notes, *cut_note(self.cut, self.about.limit))

    @property
    def network(self) -> EncoderNetwork:
        if self._network is None:
            self._network = _open(self.folder, self._report)
        return self._network

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if not inputs:
            return []
        from executors.tuning.encoder.network import encode

        texts = [self.about.prompt + input_text(given) for given in inputs]
        ids, cut = encode(self.network, texts, self.about.limit)
        self.cut += cut
        outputs = self.network.run(ids, "logits", report, "predict").astype(np.float64)
        if not self.about.labels:
            return [Prediction(f"{value:.4g}") for value in np.clip(outputs[:, 0], *self.about.span)]
        return [chosen(self.about.labels, row) for row in outputs]

    def save(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        return cls(folder, report)


def chosen(labels: Sequence[str], logits: Any) -> Prediction:
    """The likeliest of `labels`, with the probability of each."""
    powers = np.exp(logits - logits.max())
    shares = powers / powers.sum()
    scores = {label: round(float(p), 6) for label, p in zip(labels, shares, strict=True)}
    best = labels[int(shares.argmax())]
    return Prediction(best, score=scores[best], scores=scores)


def _open(folder: Path, report: Reporter) -> EncoderNetwork:
    report(Event("load", 0, 1, ENCODER))
    prepare_torch()
    prepare_transformers()
    from executors.tuning.encoder.network import open_network

    network = open_network(folder / ENCODER, choose_device().kind)
    if network.head is None:
        raise UserError(f"{folder / ENCODER}: the head is missing", "run the plan again")
    if (folder / ADAPTER).is_dir():
        from executors.models.adapters import attach

        network.transformer = attach(network.transformer, folder / ADAPTER)
    report(Event("load", 1, 1, ENCODER))
    network.eval()
    return network


def write_encoder(folder: Path, about: TunedEncoder, log: Sequence[Mapping[str, float]]) -> None:
    """Write what `EncoderPredictor` reads, beside the weights; the manifest last, for it says that all is there."""
    (folder / LOG).write_text("".join(f"{json.dumps(entry)}\n" for entry in log), encoding="utf-8")
    span = about.span if not about.labels else None  # JSON has no infinity
    write_json(folder / MANIFEST, {"schema_version": 1, **to_dict(about), "span": span})


def cut_note(cut: int, limit: int, rows: int = 0) -> tuple[Text, ...]:
    """That texts were cut: `cut` of `rows` training texts, or so many in prediction where `rows` is 0."""
    if not cut:
        return ()
    said = f"{cut} of {rows} training texts were" if rows else f"{cut} input{' was' if cut == 1 else 's were'}"
    said_zh = f"{rows} 条训练文本中有 {cut} 条" if rows else f"有 {cut} 条输入"
    return (
        {
            "en": f"{said} cut to the {limit} tokens that the encoder reads: the rest was not seen",
            "zh": f"{said_zh}被截断到编码器能读取的 {limit} 个词元，超出部分未被读取",
        },
    )
