"""A tuned model as a predictor: the base model with its adapter, or the model that was trained in full.

Its folder holds `tuned.json` (what it is), `training.jsonl` (the loss curve), and `adapter/` in PEFT's standard
layout or `model/` as transformers saves it: both load without this project.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from executors.base import Input, Prediction, Predictor, Reporter, Row, Text, UserError, silent, to_dict, write_json
from executors.data.numbers import find_numbers
from executors.fitting import fitting_notes, shorten
from executors.messages import answer_tokens, chat
from executors.models import LanguageModel, LocalModel, load_language_model
from executors.models.language import check_base
from executors.tuning.encoder.predictor import MANIFEST as ENCODER_MANIFEST
from executors.tuning.encoder.predictor import EncoderPredictor

MANIFEST = "tuned.json"
LOG = "training.jsonl"


@dataclass(frozen=True)
class Tuned:
    """What a tuned model is. `base` is the model it was trained from, `sha256` that model's weights."""

    method: str  # peft | full
    task: str
    labels: tuple[str, ...]
    base: str
    sha256: str
    params: dict[str, Any]
    notes: tuple[Text, ...] = ()
    mean: float | None = None  # of a regression's training targets: the answer where the model writes no number
    trained_share: float | None = None  # of the weights, adapters included, that training could move


def in_four_bits(params: Mapping[str, Any]) -> bool:
    """Whether these parameters train on a base of 4 bits, on which the adapter also answers."""
    return params.get("variant") == "qlora"


OpenModel = Callable[[Tuned, Path, Reporter], LanguageModel]


def open_tuned(about: Tuned, folder: Path, report: Reporter) -> LanguageModel:
    """The tuned model in `folder`. Raises `UserError` where an adapter's base model has other weights than then."""
    if (folder / "model").is_dir():
        return load_language_model(str(folder / "model"), report)
    check_base(about.base, about.sha256, report)
    return load_language_model(about.base, report, folder / "adapter", in_four_bits(about.params))


class TunedPredictor(Predictor):
    """Chooses the most likely label, or writes the answer."""

    def __init__(self, folder: Path, report: Reporter = silent, open_model: OpenModel | None = None) -> None:
        """`folder` as `write_tuned` left it. The model is loaded when it is first asked."""
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest.pop("schema_version")
        self.about = Tuned(**{**manifest, "labels": tuple(manifest["labels"]), "notes": tuple(manifest["notes"])})
        self.folder, self._report, self._open = folder, report, open_model or open_tuned
        self._model: LanguageModel | None = None
        self.shortened = self.numberless = 0

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """What training left out, and what prediction had to do so far."""
        opened = self.__dict__.get("rag")  # asking for notes opens nothing
        read = opened.notes if opened is not None else ()
        halved = self._model.halving.notes if isinstance(self._model, LocalModel) else ()
        return (*self.about.notes, *read, *fitting_notes(self.shortened, self.numberless), *halved)

    @property
    def model(self) -> LanguageModel:
        """The language model. Raises `UserError` where the base model has other weights than in training."""
        if self._model is None:
            self._model = self._open(self.about, self.folder, self._report)
        return self._model

    @cached_property
    def rag(self) -> Any:
        """The RAG whose reader this model was tuned as; None where it was tuned on its rows alone."""
        from executors.tuning.grounded import SPEC, open_reader

        return open_reader(self.folder, self.model, self._report) if (self.folder / SPEC).is_file() else None

    def examine(self, rows: Sequence[Row], predictions: Sequence[Prediction], run: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.rag.examine(rows, predictions, run) if self.rag is not None else {}
        return found

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where not even an empty input fits the model's window."""
        if not inputs:
            return []
        if self.rag is not None:
            found: list[Prediction] = self.rag.predict(inputs, report)
            return found
        chats = [self._chat(given) for given in inputs]
        if self.about.task == "classification":
            scores = self.model.score(chats, self.about.labels, report)
            return [self._choose(row) for row in scores]
        answers = self.model.generate(chats, answer_tokens(self.about.task), report)
        return [Prediction(self._finish(answer.text), usage=answer.usage) for answer in answers]

    def surprise(self, rows: Sequence[Row]) -> list[tuple[float, int]]:
        if self.rag is not None or not self.model.can_score:
            return []
        found = []
        for row in rows:
            target = row.target.strip()
            [[log_probability]] = self.model.score([self._chat(row.input)], [target])
            found.append((-log_probability, self.model.count(target) + 1))  # 1: the token that ends it
        return found

    def _chat(self, given: Input) -> list[dict[str, str]]:
        """The messages for one input, cut to the model's window where it is longer."""
        room = self.model.window - self._answer_room()
        fitting = shorten(given, room, lambda i: self.model.count_chat(self._messages(i)))
        if fitting is None:
            raise UserError(
                f"the instruction alone exceeds the {self.model.window} tokens of {self.about.base}",
                "name a model with a longer window",
            )
        self.shortened += fitting != given
        return self._messages(fitting)

    def _messages(self, given: Input) -> list[dict[str, str]]:
        return chat(self.about.task, self.about.labels, given)

    def _answer_room(self) -> int:
        longest = max((self.model.count(label) for label in self.about.labels), default=0)
        return max(longest + 8, answer_tokens(self.about.task))  # 8: the end token, a leading space, and some air

    def _choose(self, log_probabilities: Sequence[float]) -> Prediction:
        """The likeliest label; the labels' probabilities are made to sum to one."""
        highest = max(log_probabilities)
        weights = [math.exp(value - highest) for value in log_probabilities]
        scores = {label: round(w / sum(weights), 6) for label, w in zip(self.about.labels, weights, strict=True)}
        best = self.about.labels[weights.index(max(weights))]
        return Prediction(best, score=scores[best], scores=scores)

    def _finish(self, text: str) -> str:
        """The answer as written; of a regression the number in it, or the training rows' mean where it has none."""
        if self.about.task != "regression":
            return text
        written = find_numbers(text)
        if written:
            return f"{written[0]:g}"
        self.numberless += 1
        return f"{self.about.mean:.4g}"

    def save(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        if (folder / ENCODER_MANIFEST).is_file():  # an encoder was tuned in this method's name
            return EncoderPredictor(folder, report)  # type: ignore[return-value]
        return cls(folder, report)


def write_tuned(folder: Path, about: Tuned, log: Sequence[dict[str, float]]) -> None:
    """Write what `TunedPredictor` reads, beside the weights; the manifest last, for it says that all is there."""
    lines = [json.dumps(entry) for entry in log]
    (folder / LOG).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(folder / MANIFEST, {"schema_version": 1, **to_dict(about)})
