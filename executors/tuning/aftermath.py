"""What a training changed, seen before it begins and after it ends: on rows it did not see, and on a general set.

Some development rows (`params.compare`) are answered by the untouched model and by the trained one, through the door
that answers later (`TunedPredictor`): the task's metric, the loss of the right answers, and some answers side by side.
They are drawn by the seed, not by how they are answered. Where too few rows are given to hold any out, a few of those
trained on are asked instead, and that is said. What was measured before lies in the job's folder, so that a resumed
training has it.

Not covered: methods that train no language model; readers of a RAG, whose answers need its passages (their chain is
scored without each stage).
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.base import Event, Job, Reporter, Row, Score, Text, UserError, silent, to_dict, write_json
from executors.messages import answer_tokens
from executors.models import Chat, Completion, LanguageModel, LocalModel
from executors.models.language import GREEDY, Sampling
from executors.tuning.cleaning import training_sides
from executors.tuning.forgetting import RECORD as FORGETTING
from executors.tuning.forgetting import Forgetting, general_of, measure_general
from executors.tuning.launch import leads
from executors.tuning.params import TuningParams
from executors.tuning.predictor import Tuned, TunedPredictor, write_tuned

RECORD = "aftermath.json"
BEFORE = "before.json"  # in the job's folder
WRITTEN = 1024  # tokens that all answers of one side may have together: bounds the time
READ = 6000  # tokens that all inputs of one side may have together, likewise
CHARACTERS = 4  # that a token is taken to have
LEAST = 5  # rows, however long they are
TRAINED = 8  # rows, at most, where there are none that were held out
SAMPLES = 5  # answers shown side by side


@dataclass(frozen=True)
class Side:
    """One model on the rows asked. `loss`: nats a token of the right answers; `score`: of the task's metric."""

    loss: float
    score: Score
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Looked:
    """What came of it. `aftermath` and `forgetting` are records as their files hold them; None where not looked at."""

    aftermath: Mapping[str, Any] | None = None
    forgetting: Mapping[str, Any] | None = None
    notes: tuple[Text, ...] = ()

    def write(self, folder: Path) -> None:
        for name, record in ((RECORD, self.aftermath), (FORGETTING, self.forgetting)):
            if record is not None:
                write_json(folder / name, record)


class Watch:
    """Looks at a model before its training (`begin`) and after it (`end`). `params.compare` and `params.forgetting` say
    at what."""

    def __init__(self, job: Job, params: TuningParams, about: Tuned) -> None:
        """`about`: what is trained, as far as it is known before: method, task, labels, base, mean."""
        self.job, self.params, self.about = job, params, about
        self.rows, self.trained_on = asked_rows(job, params)
        self.before: dict[str, Any] = {}

    def begin(self, model: Any, tokenizer: Any) -> None:
        """Look at the untouched model, or read what was seen of it."""
        path = self.job.folder / BEFORE
        if leads() and path.is_file():
            self.before = json.loads(path.read_text(encoding="utf-8"))
        elif leads():
            self.before = self._look(model, tokenizer)
            write_json(path, self.before)

    def end(self, model: Any, tokenizer: Any) -> Looked:
        """Look at the trained model, and compare. What fails here costs no training: it is a note."""
        if not self.before:
            return Looked()
        try:
            after = self._look(model, tokenizer)
        except UserError as error:
            return Looked(notes=(_not_looked(error),))
        aftermath = self._compare(after) if "rows" in after and "rows" in self.before else None
        if "general" not in after or "general" not in self.before:
            return Looked(aftermath)
        found = Forgetting(general_of(self.before["general"]), general_of(after["general"]))
        return Looked(aftermath, found.record(), found.notes())

    def _look(self, model: Any, tokenizer: Any) -> dict[str, Any]:
        """A side as JSON: `rows` of the rows, `general` of the general set, and the seconds it took."""
        start = time.perf_counter()
        report, found = self.job.report, dict[str, Any]()
        answering = LocalModel(model, tokenizer, self.about.base)
        if self.rows:
            side = answer_rows(answering, self.about, self.rows, report)
            found["rows"] = to_dict(side)
        if self.params.forgetting:
            found["general"] = to_dict(measure_general(answering, model, tokenizer, report))
        return {**found, "seconds": round(time.perf_counter() - start, 2)}

    def _compare(self, after: Mapping[str, Any]) -> dict[str, Any]:
        from executors.metrics import deciding_metric

        sides = {name: side["rows"] for name, side in (("before", self.before), ("after", after))}
        samples = [
            {
                "id": row.id,
                "input": row.input.text,
                "context": row.input.context,
                "target": row.target,
                "base": sides["before"]["answers"][n],
                "tuned": sides["after"]["answers"][n],
            }
            for n, row in enumerate(self.rows[:SAMPLES])
        ]
        return {
            "schema_version": 1,
            "metric": deciding_metric(self.about.task, self.rows),
            "rows": len(self.rows),
            "trained_on": self.trained_on,
            **{name: {"loss": side["loss"], "score": side["score"]} for name, side in sides.items()},
            "samples": samples,
            "seconds": round(self.before["seconds"] + after["seconds"], 2),
        }


def _not_looked(error: UserError) -> Text:
    return {
        "en": f"the trained model was not compared with the one before: {error.told('en').message}",
        "zh": f"未能将训练后的模型与之前的比较：{error.told('zh').message}",
    }


def asked_rows(job: Job, params: TuningParams) -> tuple[list[Row], bool]:
    """The rows to ask, and whether they are trained on. The development rows are those of the training itself."""
    if not params.compare or getattr(params, "passages", False) or not job.rows:
        return [], False
    sides = training_sides(job, params)
    watched = sides.development
    most = params.compare if watched else min(params.compare, TRAINED)
    rows = [row for row in watched or sides.train if row.target.strip()]
    drawn = random.Random(f"asked {job.plan.seed}").sample(rows, len(rows))
    trained_on = not watched and job.plan.executor != "cpt"  # which learns from documents, and is scored by rows
    return _affordable(drawn[:most], job.plan.task, job.labels), trained_on


def _affordable(rows: Sequence[Row], task: str, labels: Sequence[str]) -> list[Row]:
    """The first rows whose reading and answering stays within bounds; `LEAST` in any case. Every label is read for
    every row."""
    written = min(answer_tokens(task), _answer_room(rows)) if task != "classification" else 0
    chosen: list[Row] = []
    read = 0
    for row in rows:
        read += len(row.input.text) + len(row.input.context) + sum(map(len, labels))
        within = read <= READ * CHARACTERS and (len(chosen) + 1) * written <= WRITTEN
        if not within and len(chosen) >= LEAST:
            break
        chosen.append(row)
    return chosen


def _answer_room(rows: Sequence[Row]) -> int:
    """Tokens an answer may have: half as many again as the longest right one (a character is a token at most)."""
    longest = max(len(target.split()) * 2 if " " in target else len(target) for row in rows for target in row.targets)
    return 8 + longest * 3 // 2


def answer_rows(model: LanguageModel, about: Tuned, rows: Sequence[Row], report: Reporter = silent) -> Side:
    """How `model` answers `rows`, asked and scored as the tuned one will be."""
    from executors.metrics import score

    room = _answer_room(rows)
    brief = Brief(model, room)
    with tempfile.TemporaryDirectory(prefix="advisor-asked-") as folder:
        write_tuned(Path(folder), about, [])
        predictor = TunedPredictor(Path(folder), report, lambda *_: brief)
        costs = predictor.surprise(rows)
        report(Event("look", 0, len(rows)))

        def looked(event: Event) -> None:
            report(Event("look", event.done, len(rows)))

        predictions = predictor.predict([row.input for row in rows], looked)
    metric, scores = score(about.task, rows, predictions)
    loss = sum(nats for nats, _ in costs) / sum(count for _, count in costs)
    return Side(round(loss, 6), scores[metric], tuple(prediction.text for prediction in predictions))


class Brief(LanguageModel):
    """A model whose answers are cut: one that rambles tells no more by the hundredth token."""

    def __init__(self, model: LanguageModel, most: int) -> None:
        self.model, self.most = model, most
        self.name, self.window, self.can_score = model.name, model.window, model.can_score

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        return self.model.generate(chats, min(max_tokens, self.most), report, sampling)

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        return self.model.score(chats, continuations, report)

    def count(self, text: str) -> int:
        return self.model.count(text)

    def count_chat(self, chat: Chat) -> int:
        return self.model.count_chat(chat)
