"""What a quoted method works through: rows, their lengths in tokens, and how the training is set.

Lengths are measured on the user's rows where these are given; else they are typical of public data sets for the task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from advisor.facts import Facts
from advisor.profile.language import CHARS_A_TOKEN
from advisor.texts import text
from executors.base import Text
from executors.messages import INSTRUCTIONS, answer_tokens

ROWS_UNKNOWN = 500  # training pairs from which PEFT is advised
INSTRUCTION_TOKENS = 60  # where the task is not known; with the marks of a chat template
TEMPLATE_TOKENS = 24  # the marks of a chat template around an instruction and an input
AFTER_INPUT = 6  # of these, what follows the input
LABEL_TOKENS = 5  # a label that the instruction names: 4 on the demo's requests, 6 on Banking77
ATTENTION = 1 / 2000  # what a token pays a token of its line, in its own cost: see executors.tuning.batches
SPREAD = (1.5, 3.0)  # the longest batch and the longest rows, in mean lengths, where rows vary
HELD_OUT = 200.0  # rows that are scored, where their number is not known
DEVELOPMENT = (50, 200)  # rows from which some are held out to watch the loss on, and how many at most

TOKENS = {  # task -> tokens of one input and of one answer, typical of public data sets
    "classification": (60, 5),
    "regression": (60, 4),
    "extraction": (300, 80),
    "question_answering": (60, 30),
    "summarisation": (1500, 150),
    "translation": (80, 80),
    "generation": (100, 200),
    "dialogue": (400, 120),
    "structured_output": (300, 120),
    "reasoning": (120, 250),
}
TOKENS_UNKNOWN = (200, 100)


@dataclass(frozen=True)
class Training:
    """How a tuning is set: the names and defaults of `executors.tuning.params`, whose import costs more than a quote.

    `checkpointing`: activations are recomputed instead of kept (our engine keeps them).
    """

    epochs: float = 3.0
    min_steps: int = 100
    batch_size: int = 8
    max_length: int = 1024
    development: float = 0.1
    checkpoint_steps: int | None = None  # None: the method's own, see `saved_every`
    variant: str = "lora"  # of PEFT's
    rank: int = 16
    virtual_tokens: int = 20
    bottleneck: int = 64
    layers: str = "all"  # of full tuning: all | last | first_frozen | scratch
    trained_layers: int | None = None
    frozen_layers: int | None = None
    checkpointing: bool = False
    search_minutes: float = 0.0

    def layers_share(self, depth: float) -> float:
        """The share of `depth` layers whose weights move."""
        if self.layers not in ("last", "first_frozen"):
            return 1.0
        from executors.tuning.params import FROZEN_SHARE, LAST_SHARE

        if self.layers == "last":
            return min(self.trained_layers / depth, 1.0) if self.trained_layers else LAST_SHARE
        return max(1 - self.frozen_layers / depth, 0.0) if self.frozen_layers else 1 - FROZEN_SHARE

    def saved_every(self, method: str) -> int:
        """Optimizer steps between checkpoints."""
        return self.checkpoint_steps or (50 if method == "full" else 25)


@dataclass(frozen=True)
class Workload:
    """Rows and mean tokens. `even`: all rows are of one length, given or cut, so that no batch exceeds another."""

    rows: float
    input_tokens: float
    answer_tokens: float
    instruction_tokens: float = INSTRUCTION_TOKENS
    held_out: float = HELD_OUT  # rows that are scored
    labels: int = 0
    task: str = ""
    even: bool = False
    passage_tokens: float = 0.0  # of an input: a passage that
    alike: float = 1.0  # so many rows begin with, and which is computed once where they meet
    training: Training = field(default_factory=Training)
    about: tuple[Text, ...] = ()  # what was measured or assumed, in words

    @property
    def prompt_tokens(self) -> float:
        """Of an answer's prompt without demonstrations or passages."""
        return self.instruction_tokens + self.input_tokens

    @property
    def length(self) -> float:
        """Tokens of a training row in the mean."""
        return min(self.prompt_tokens + self.answer_tokens, self.training.max_length)

    @property
    def trained_share(self) -> float:
        """Of a training row's tokens: the answer and its end."""
        return min((self.answer_tokens + 1) / max(self.prompt_tokens + self.answer_tokens, 1), 1.0)

    def computed(self, rows: float, length: float, *, shares: bool = True) -> tuple[float, float]:
        """Tokens that a batch of `rows` rows of `length` is computed as, and those that each of them has a mask for (0:
        none is needed).

        Where `shares` holds, rows stand in lines as trees: what they begin with stands in each line once. As many lines
        as cost least, for a token looks at all of its line.
        """
        padded = rows * length, 0.0 if rows <= 1 or self.even else length
        if not shares or rows <= 1:
            return padded
        lines = min(range(1, math.ceil(rows) + 1), key=lambda n: self._cost(n, rows, length))
        tokens = self._in_lines(lines, rows, length)
        return (tokens, tokens / lines) if lines < rows else padded

    def _cost(self, lines: int, rows: float, length: float) -> float:
        """Of so many lines, in tokens."""
        tokens = self._in_lines(lines, rows, length)
        return tokens * (1 + ATTENTION * tokens / lines)

    def _in_lines(self, lines: int, rows: float, length: float) -> float:
        """Tokens of `rows` rows in so many lines: the instruction once a line, a passage once or oftener, the rest of
        every row."""
        begin = min(max(self.instruction_tokens - AFTER_INPUT, 0.0), length)
        passage = min(self.passage_tokens, length - begin) if self.alike > 1 else 0.0
        passages = min(max(rows / self.alike, lines), rows)
        return lines * begin + passages * passage + rows * (length - begin - passage)

    @property
    def longest(self) -> tuple[float, float, float]:
        """Tokens of a row in the batch that needs most: low, likely, high. The instruction is the same in all."""
        if self.even:
            return (self.length,) * 3
        fixed = min(self.instruction_tokens, self.length)
        likely, high = (min(fixed + factor * (self.length - fixed), self.training.max_length) for factor in SPREAD)
        return self.length, likely, high

    @property
    def watched(self) -> float:
        """Rows held out of the training to watch the loss on."""
        least, most = DEVELOPMENT
        if self.rows < least or not self.training.development:
            return 0.0
        return min(max(1.0, round(self.training.development * self.rows)), most)

    @property
    def steps_an_epoch(self) -> int:
        return max(math.ceil((self.rows - self.watched) / self.training.batch_size), 1)

    def steps(self, epochs: float | None = None) -> int:
        """Optimizer steps of the whole training."""
        passes = self.training.epochs if epochs is None else epochs
        return max(math.ceil(passes * self.steps_an_epoch), self.training.min_steps, 1)

    @property
    def written_tokens(self) -> int:
        """The most tokens an answer may have when rows are scored."""
        return answer_tokens(self.task) if self.task else 128


def workload_of(facts: Facts, rows: int | None = None) -> Workload:
    """The workload of these facts, with typical lengths of their task; `rows` where a number was said."""
    task = str(facts.value("task") or "")
    labels = int(facts.value("classes") or 0) if task == "classification" else 0
    tokens = TOKENS.get(task, TOKENS_UNKNOWN)
    return Workload(
        rows=float(rows or facts.value("labelled_examples") or ROWS_UNKNOWN),
        input_tokens=tokens[0],
        answer_tokens=tokens[1],
        instruction_tokens=_instruction_tokens(task, labels),
        held_out=float(facts.value("evaluation_examples") or HELD_OUT),
        labels=labels,
        task=task,
        about=(text("quote.tokens_assumed", input=tokens[0], output=tokens[1]),),
    )


def _instruction_tokens(task: str, labels: int) -> float:
    """Of the instruction that is drafted for a task, with the marks of a chat template."""
    if task not in INSTRUCTIONS:
        return INSTRUCTION_TOKENS
    return round(len(INSTRUCTIONS[task]) / CHARS_A_TOKEN) + TEMPLATE_TOKENS + LABEL_TOKENS * labels


def with_settings(work: Workload, params: Mapping[str, Any], length: int | None = None) -> Workload:
    """The workload with a plan's parameters; those that a quote does not depend on are passed over.

    `length` is what `--length` says: with data the most tokens of a row, without it the tokens every row has.
    """
    names = {item.name for item in fields(Training)}
    given = {name: value for name, value in params.items() if name in names and value is not None}
    training = replace(work.training, **given)
    if length is None:
        return replace(work, training=training, even=work.even or _all_cut(work, training))
    instruction = min(work.instruction_tokens, length - 2)
    answer = min(work.answer_tokens, max((length - instruction) // 2, 1))
    return replace(
        work,
        input_tokens=max(length - instruction - answer, 0),
        instruction_tokens=instruction,
        answer_tokens=answer,
        even=True,
        training=replace(training, max_length=length),
        about=(text("quote.length_said", length=length, answer=f"{answer:.0f}"),),
    )


def _all_cut(work: Workload, training: Training) -> bool:
    """Whether even the mean row is cut to the maximum, so that nearly all have one length."""
    return work.prompt_tokens + work.answer_tokens > training.max_length
