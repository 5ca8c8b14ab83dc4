"""A finished prompt as a predictor: inputs are put into words, the model is asked, its answers are read.

Labels are chosen by their likelihood where the model tells it, else read from what it writes. Texts are written, after
steps of reasoning where that is asked for; JSON is checked against its schema and repaired.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from executors.base import Event, Input, Passage, Prediction, Predictor, Reporter, Text, silent, to_dict, write_json
from executors.data.numbers import find_numbers
from executors.models import Completion, LanguageModel, Sampling, load_embedder, load_language_model
from executors.prompt.budget import Asked, Budget
from executors.prompt.demonstrations import Demonstrations, Nearby, Neighbour
from executors.prompt.labels import LabelScores, average, is_tied, votes
from executors.prompt.params import SCHEMA, SPEC, Prompt, read_prompt
from executors.prompt.reasoning import final_answer
from executors.prompt.schemas import Schema
from executors.prompt.spoken import match_label
from executors.prompt.structured import Structured, complete, repair_notes
from executors.prompt.wording import Renderer
from executors.retriever.reader import Reader
from executors.trials import RECORD, SearchRecord

POOL = "demonstrations"
ALIKE = 1.0  # the similarity of demonstrations that are the same for every input


class PromptPredictor(Predictor):
    """Chooses the likeliest label, or writes the answer. `pool`: the rows that demonstrations are retrieved from."""

    def __init__(
        self,
        model: LanguageModel,
        prompt: Prompt,
        pool: Demonstrations | None = None,
        record: SearchRecord | None = None,
    ) -> None:
        self.model, self.prompt, self.pool, self.record = model, prompt, pool, record
        self.renderer = Renderer(prompt)
        self.budget = Budget(model, self.renderer)
        self.others = tuple(PromptPredictor(model, other, pool) for other in prompt.others)
        self._structured: list[Structured] = []

    @property
    def notes(self) -> tuple[Text, ...]:  # type: ignore[override]
        """How it asks, and what it had to do so far to fit a row or to read an answer."""
        about, repaired = _about(self.prompt), repair_notes(self._structured)
        cuts = [member.budget.counts for member in (self, *self.others)]
        most = max(cuts, key=lambda counts: (counts.shortened, counts.fewer))  # of an ensemble: the longest prompt's
        told = replace(self.budget.counts, shortened=most.shortened, fewer=most.fewer, lost=most.lost)
        return (about, *self.prompt.remarks, *told.notes(), *repaired)

    def remarked(self, *remarks: Text, record: SearchRecord | None = None) -> PromptPredictor:
        """The same, with something more to say of how it came about."""
        prompt = replace(self.prompt, remarks=(*self.prompt.remarks, *remarks))
        return PromptPredictor(self.model, prompt, self.pool, record or self.record)

    def joined(self, others: Sequence[PromptPredictor]) -> PromptPredictor:
        """The same, its label probabilities averaged with those of `others`."""
        prompt = replace(self.prompt, others=tuple(replace(other.prompt, remarks=()) for other in others))
        pool = next((p.pool for p in (self, *others) if p.pool is not None), None)
        return PromptPredictor(self.model, prompt, pool, self.record)

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """Raises `UserError` where not even an empty input fits the model's window."""
        members = (self, *self.others)
        answers = [member._answered(inputs, _share(report, n, len(members))) for n, member in enumerate(members)]
        found = [average(one) if self.others else one[0] for one in zip(*answers, strict=True)]
        self.budget.counts.ties += sum(map(is_tied, found))
        return found

    def _answered(self, inputs: Sequence[Input], report: Reporter) -> list[Prediction]:
        return self.answer(self.render(inputs, report=report), report)

    # -- asking ------------------------------------------------------------------------------------------

    def render(
        self, inputs: Sequence[Input], exclude: Sequence[Collection[str]] = (), report: Reporter = silent
    ) -> list[Asked]:
        """The prompt of each input; `exclude` holds ids of rows that must not be shown with it."""
        shown = self._shown(inputs, exclude, report)
        return [self.budget.fit(given, beside) for given, beside in zip(inputs, shown, strict=True)]

    def _shown(
        self, inputs: Sequence[Input], exclude: Sequence[Collection[str]], report: Reporter
    ) -> Sequence[Sequence[Neighbour]]:
        p = self.prompt.params
        if self.pool is None or not p.retrieves:
            fixed = [Neighbour(row, ALIKE) for row in self.prompt.demonstrations]
            return [fixed] * len(inputs)
        nearby: Nearby = p.selection  # type: ignore[assignment]  # `retrieves` says it is one of them
        seed = self.prompt.seed + p.order_seed
        return self.pool.choose(inputs, self.prompt.shots, nearby, p.order, exclude=exclude, seed=seed, report=report)

    @property
    def scores_labels(self) -> bool:
        """Whether labels are compared by likelihood, not read from what the model writes."""
        told = self.prompt.task == "classification" and not self.prompt.params.chain_of_thought
        return told and self.model.can_score

    def answer(self, asked: Sequence[Asked], report: Reporter = silent) -> list[Prediction]:
        """The answers to rendered prompts, in order."""
        if not asked:
            return []
        if self.scores_labels:
            return [self.read(scores) for scores in self.score(asked, report)]
        if self.prompt.params.answers == "extracted":
            return self._extract(asked, report)
        if self.prompt.schema is not None:
            return self._complete(asked, Schema(self.prompt.schema), report)
        chats = [one.chat for one in asked]
        answers = self.model.generate(chats, self.budget.answer, report, self._sampling)
        return [self._finish(answer) for answer in answers]

    # -- labels ------------------------------------------------------------------------------------------

    def score(self, asked: Sequence[Asked], report: Reporter = silent) -> list[LabelScores]:
        """How likely the model finds each candidate label of each prompt."""
        if self.prompt.params.candidates == "all":
            written = [self.renderer.spelled[label] for label in self.prompt.labels]
            values = self.model.score([one.chat for one in asked], written, report)
            found = zip(asked, values, strict=True)
            return [LabelScores(self.prompt.labels, tuple(row), votes(one.shown)) for one, row in found]
        scores = []
        for n, one in enumerate(asked, 1):
            scores.append(self._score_shown(one))
            report(Event("predict", n, len(asked)))
        return scores

    def _score_shown(self, one: Asked) -> LabelScores:
        """Among the labels of the demonstrations, the nearest's first; of a single one the model need not be asked."""
        near = votes(one.shown)
        labels = tuple(sorted(near, key=lambda label: -near[label])) or self.prompt.labels
        if len(labels) == 1:
            return LabelScores(labels, (0.0,), near)
        written = [self.renderer.spelled[label] for label in labels]
        return LabelScores(labels, tuple(self.model.score([one.chat], written)[0]), near)

    def read(self, scores: LabelScores) -> Prediction:
        """The label that the scores speak for, by the prompt's calibration and weight of nearness."""
        offsets = dict(zip(self.prompt.labels, self.prompt.offsets, strict=False))
        return scores.read(offsets, self.prompt.params.neighbours)

    # -- texts -------------------------------------------------------------------------------------------

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self.model, load_embedder(self.prompt.embedder))

    def _extract(self, asked: Sequence[Asked], report: Reporter) -> list[Prediction]:
        found = []
        for n, one in enumerate(asked, 1):
            passage = Passage(one.given.context, "")
            text = self._reader.extract(one.given.text, [passage]).text if one.given.context else ""
            self.budget.counts.empty += not text
            found.append(Prediction(text))
            report(Event("predict", n, len(asked)))
        return found

    @property
    def _sampling(self) -> Sampling:
        p = self.prompt.params
        return Sampling(p.temperature, tuple(p.stop), self.prompt.seed)

    def _complete(self, asked: Sequence[Asked], schema: Schema, report: Reporter) -> list[Prediction]:
        p, chats = self.prompt.params, [one.chat for one in asked]
        lang, room = self.prompt.lang, self.budget.answer
        found = complete(self.model, chats, schema, p.repairs, room, report, self._sampling, lang)
        self._structured += found
        self.budget.counts.empty += sum(not one.text.strip() for one in found)
        return [Prediction(one.text, usage=one.usage) for one in found]

    def _finish(self, answer: Completion) -> Prediction:
        """What the model wrote, as an answer of the task; what cannot be read is replaced, and counted."""
        text, counts = answer.text, self.budget.counts
        counts.empty += not text
        if self.prompt.params.chain_of_thought:
            final = final_answer(text, self.prompt.task)
            counts.unmarked += final is None
            text = text if final is None else final
        if self.prompt.task == "classification":
            match = match_label(text, list(self.renderer.spelled.values()))
            counts.unmatched += match is None
            back = {written: label for label, written in self.renderer.spelled.items()}
            text = back[match.label] if match else self.prompt.common
        elif self.prompt.task == "regression":
            written = find_numbers(text)
            counts.numberless += not written
            text = f"{written[0] if written else self.prompt.mean:.6g}"
        return Prediction(text, usage=answer.usage)

    # -- files -------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        write_json(folder / SPEC, {"schema_version": SCHEMA, **to_dict(self.prompt)})
        if self.pool is not None:
            self.pool.save(folder / POOL)
        if self.record is not None:
            write_json(folder / RECORD, self.record)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent, model: LanguageModel | None = None) -> Self:
        prompt = read_prompt(folder / SPEC)
        embedder = next((p.embedder for p in (prompt, *prompt.others) if p.params.retrieves), "")
        pool = Demonstrations.load(folder / POOL, load_embedder(embedder, report)) if embedder else None
        return cls(model or load_language_model(prompt.model, report), prompt, pool)


def _share(report: Reporter, part: int, parts: int) -> Reporter:
    """Progress of one of several passes over the same inputs, as progress of the whole."""

    def told(event: Event) -> None:
        if event.stage == "predict" and event.total:
            event = replace(event, done=(part * event.total + event.done) / parts)
        report(event)

    return told


SELECTED = {
    "nearest": ("the nearest of the training rows", "取最相近的训练样例"),
    "nearest_balanced": ("the nearest of the training rows, labels by turns", "取最相近的训练样例，各标签轮流"),
    "diverse": ("near and different training rows (MMR)", "取相近且互不雷同的训练样例（MMR）"),
}


def _about(prompt: Prompt) -> Text:
    shots, p = prompt.shots, prompt.params
    en, zh = (f"{shots} demonstrations", f"{shots} 个示例") if shots else ("no demonstrations", "无示例")
    if p.retrieves and shots:
        en, zh = f"{en} an input, {SELECTED[p.selection][0]}", f"每条输入 {zh}，{SELECTED[p.selection][1]}"
    if p.answers == "extracted":
        en, zh = "the likeliest words of the passage", "取段落中最可能的原文片段"
    if prompt.offsets:
        free = p.calibration == "contextual"
        en += f", labels calibrated on {'inputs without content' if free else 'training texts'}"
        zh += f"，标签概率已用{'无内容的输入' if free else '训练文本'}校准"
    if prompt.others:
        members = len(prompt.others) + 1
        en, zh = f"{members} prompts averaged; the first: {en}", f"{members} 个提示取平均；其中第一个：{zh}"
    if p.chain_of_thought:
        en, zh = f"{en}, reasoning in steps first", f"{zh}，先分步推理"
    return {"en": en, "zh": zh}
