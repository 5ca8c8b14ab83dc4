"""A tuned model as a predictor: the base model with its adapter, or the model that was trained in full.

Its folder holds `tuned.json` (what it is), `training.jsonl` (the loss curve), and `adapter/` in PEFT's standard
layout or `model/` as transformers saves it: both load without this project.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from executors.base import Input, Prediction, Predictor, Reporter, Text, UserError, silent, to_dict, write_json
from executors.data.numbers import find_numbers
from executors.fitting import fitting_notes, shorten
from executors.messages import answer_tokens, chat
from executors.models import LanguageModel, load_language_model, resolve, weights_sha256

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


OpenModel = Callable[[Tuned, Path, Reporter], LanguageModel]


def open_tuned(about: Tuned, folder: Path, report: Reporter) -> LanguageModel:
    """The tuned model in `folder`. Raises `UserError` where an adapter's base model has other weights than then."""
    if about.method == "full":
        return load_language_model(str(folder / "model"), report)
    if weights_sha256(resolve(about.base, report)) != about.sha256:
        raise UserError(
            f"the model '{about.base}' has other weights than the ones this adapter was trained on",
            "run the plan again with this model, or put the former weights back",
        )
    return load_language_model(about.base, report, adapter=folder / "adapter")


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
        return (*self.about.notes, *fitting_notes(self.shortened, self.numberless))

    @property
    def model(self) -> LanguageModel:
        """The language model. Raises `UserError` where the base model has other weights than in training."""
        if self._model is None:
            self._model = self._open(self.about, self.folder, self._report)
        return self._model

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where not even an empty input fits the model's window."""
        if not inputs:
            return []
        chats = [self._chat(given) for given in inputs]
        if self.about.task == "classification":
            scores = self.model.score(chats, self.about.labels, report)
            return [self._choose(row) for row in scores]
        answers = self.model.generate(chats, answer_tokens(self.about.task), report)
        return [Prediction(self._finish(answer.text), usage=answer.usage) for answer in answers]

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
        return cls(folder, report)


def write_tuned(folder: Path, about: Tuned, log: Sequence[dict[str, float]]) -> None:
    """Write what `TunedPredictor` reads, beside the weights; the manifest last, for it says that all is there."""
    lines = [json.dumps(entry) for entry in log]
    (folder / LOG).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(folder / MANIFEST, {"schema_version": 1, **to_dict(about)})
