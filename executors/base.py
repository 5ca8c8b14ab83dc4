"""The contracts every method keeps: rows in, an artifact out, inputs to predictions.

Covered here: the values that cross a module border (`Plan`, `Row`, `Prediction`, `Result`, ...), the two
abstract classes a method implements, and the one error a user can fix. Standard library only, so that
importing a contract costs nothing. Reading data, loading models and running plans live elsewhere.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from executors.runnable import PredictorRunnable

SCHEMA_VERSION = 1

P = TypeVar("P")

Text = Mapping[str, str]
"""One text in every language of the product: ``{"en": ..., "zh": ...}``."""


# -- errors ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One fault a user can mend: what is wrong (field, rule, value received) and the next thing to do.

    `zh` is the same in Chinese; where it has no hint, the hint is a command and reads alike in both languages.
    """

    message: str
    hint: str = ""
    zh: Problem | None = None

    def told(self, lang: str) -> Problem:
        """This problem in one language; in English where it has no other version."""
        if lang != "zh" or self.zh is None:
            return self
        return Problem(self.zh.message, self.zh.hint or self.hint)


class UserError(Exception):
    """Something the user can fix. Shown without traceback, with its hint; exit status 1."""

    def __init__(self, message: str, hint: str = "", zh: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(message, hint, zh)
        self.message = message
        self.hint = hint

    def told(self, lang: str) -> Problem:
        """Message and hint in one language."""
        return self.problem.told(lang)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> UserError:
        """All problems at once, as one error."""
        if len(problems) > 1:
            zh = _listed(f"有 {len(problems)} 个问题：", [p.told("zh") for p in problems])
            problems = [replace(_listed(f"{len(problems)} problems:", problems), zh=zh)]
        return cls(problems[0].message, problems[0].hint, problems[0].zh)


def _listed(title: str, problems: Sequence[Problem]) -> Problem:
    lines = [title, *(f"  {n}. {p.message}" for n, p in enumerate(problems, 1))]
    return Problem("\n".join(lines), "\n".join(dict.fromkeys(p.hint for p in problems if p.hint)))


def did_you_mean(name: str, known: Iterable[str], lang: str = "en") -> str:
    """`` (did you mean 'x'?)`` for a misspelt name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    meant = "（是不是“{}”？）" if lang == "zh" else " (did you mean '{}'?)"
    return meant.format(near[0]) if near else ""


# -- rows and predictions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Input:
    """What a model is given: the text, and the passage to rest on where the row brings one.

    `turns` is the conversation so far, (role, content) each, roles system, user and assistant, the last one's the
    user's: of rows that have more to them than one user turn. `text` is then its transcript, for methods that know no
    turns.
    """

    text: str
    context: str = ""
    turns: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.turns, tuple) or any(not isinstance(turn, tuple) for turn in self.turns):
            pairs = tuple((str(role), str(content)) for role, content in self.turns)  # as JSON gives them back
            object.__setattr__(self, "turns", pairs)

    @property
    def is_multi_turn(self) -> bool:
        """Whether something has been answered before."""
        return any(role == "assistant" for role, _ in self.turns)


@dataclass(frozen=True)
class Row:
    """One example. `targets` are the acceptable outputs: the first is trained on, all are scored against."""

    id: str
    input: Input
    targets: tuple[str, ...] = ()
    source: str = ""  # the document that holds the answer, where the data names it

    @property
    def target(self) -> str:
        return self.targets[0]


@dataclass(frozen=True)
class Passage:
    """A retrieved piece of a document. `source` is the file relative to the documents' folder.

    `page` and `row` count from 1, where the kind of file has them.
    """

    text: str
    source: str
    heading: str = ""
    score: float = 0.0
    page: int | None = None
    row: int | None = None

    @property
    def place(self) -> str:
        """Where it stands, e.g. ``manual.pdf › Warranty, p. 3``; reads alike in both languages."""
        named = f"{self.source} › {self.heading}" if self.heading else self.source
        numbers = (("p.", self.page), ("row", self.row))
        return ", ".join([named, *(f"{word} {number}" for word, number in numbers if number is not None)])


@dataclass(frozen=True)
class Usage:
    """Tokens read and written for one answer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Prediction:
    """An answer. `score` is its probability and `scores` every label's, where the method knows them.

    `cited` numbers, from 1, the `passages` that the answer rests on; `support` is the share, 0 to 1, of its words that
    stand in them. An answer that `abstained` says only that none was found.
    """

    text: str
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    passages: tuple[Passage, ...] = ()
    usage: Usage | None = None
    cited: tuple[int, ...] = ()
    support: float | None = None
    abstained: bool = False


# -- plans -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSpec:
    """Where the rows are. `columns` maps roles (text, label, context, source) to the file's own names."""

    path: str
    test: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    held_out: float = 0.2  # share set apart for scoring where no test file is given
    folds: int = 0  # of a cross-validation, in which every row is scored once; 0: none
    rows: int = 0  # of the training side, at most, see `executors.data.drawing`; 0: all
    scored: int = 0  # held-out rows scored, at most; 0: all. More of them later do not make another run


@dataclass(frozen=True)
class Plan:
    """What to run, in full: reading it back runs the same thing. `params` holds only what is not a default."""

    executor: str
    task: str
    data: DataSpec
    docs: str | None = None
    model: str = "smollm2-135m-instruct"
    embedder: str = "all-minilm-l6-v2"
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)  # how a model behind one is asked: `EndpointLimits`
    reasons: Mapping[str, Text] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def parse_params(kind: type[P], given: Mapping[str, Any]) -> tuple[P | None, list[Problem]]:
    """Build the frozen dataclass `kind` from a mapping, or say every fault in it (unknown name, wrong type)."""
    hints = typing.get_type_hints(kind)
    problems = []
    for name, value in given.items():
        if name not in hints:
            problems.append(
                Problem(
                    f"params.{name}: unknown parameter{did_you_mean(name, hints)}",
                    f"known parameters: {', '.join(sorted(hints))}",
                )
            )
        elif not _fits(value, hints[name]):
            problems.append(Problem(f"params.{name}: expected {_type_name(hints[name])}, got {value!r}"))
    return (None, problems) if problems else (kind(**given), [])


def _fits(value: object, hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kind = typing.get_origin(hint) or hint
    return isinstance(value, (list, tuple) if kind in (tuple, Sequence) else kind)  # a text is no list of letters


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        if all(typing.get_origin(part) is typing.Literal for part in parts):
            return _type_name(typing.Literal[tuple(value for part in parts for value in typing.get_args(part))])
        return " or ".join(map(_type_name, parts))
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    kind = typing.get_origin(hint) or hint
    named = {Sequence: "a list", tuple: "a list", Mapping: "a mapping"}
    return named.get(kind) or getattr(hint, "__name__", None) or str(hint)


# -- progress ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Progress of one stage: `done` of `total` (None where unknown). `note` is a short remark, e.g. the loss.

    Stages: fetch, convert, load, read, scan, compare, split, embed, index, wait, train, search, predict, fit, save,
    draft, look, general, export.
    """

    stage: str
    done: float = 0
    total: float | None = None
    note: str = ""


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """The reporter of callers that show nothing."""


# -- methods -----------------------------------------------------------------------------------------


def no_leaks(rows: Sequence[Row]) -> frozenset[str]:
    """The leak check of jobs that have no held-out rows."""
    return frozenset()


@dataclass(frozen=True)
class Job:
    """A plan with its training side. Held-out rows never reach a method, so nothing can be tuned on them."""

    plan: Plan
    rows: tuple[Row, ...]
    labels: tuple[str, ...]  # of a classification, sorted; empty for other tasks
    folder: Path  # for checkpoints; what lies here survives an interruption and is deleted after success
    report: Reporter = silent
    leaks: Callable[[Sequence[Row]], frozenset[str]] = no_leaks  # ids of those that (nearly) equal a held-out row


class Predictor(ABC):
    """A finished method: input to prediction."""

    notes: tuple[Text, ...] = ()  # what a reader of the score must know, e.g. demonstrations dropped to fit

    @abstractmethod
    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        """One prediction an input, in order."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything `load` needs into an empty folder. No pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        """The predictor that `save` wrote: the same answers."""

    def examine(self, rows: Sequence[Row], predictions: Sequence[Prediction], run: str) -> Mapping[str, Any]:
        """Why answers to held-out `rows` are wrong, as the run called `run` keeps it in `triage.json`; empty where the
        method cannot tell. In it: rows, wrong, counts (by kind of cause) and failures, each with kind, why, command."""
        return {}

    def surprise(self, rows: Sequence[Row]) -> list[tuple[float, int]]:
        """(nats, tokens) of each row's first target as the method's language model sees it, the end included; empty
        where there is no such model, or it does not tell."""
        return []

    def as_runnable(self, full: bool = False) -> PredictorRunnable:
        """This predictor as a `Runnable` of LangChain, text to text; with `full`, text to a mapping with scores and
        sources."""
        from executors.runnable import PredictorRunnable

        return PredictorRunnable(self, full)


AnyPredictor: TypeAlias = Predictor  # inside `Executor` the name stands for the class that a method makes


class Executor(ABC):
    """A method that can be run."""

    Params: ClassVar[type]  # frozen dataclass; the defaults live there and only there
    Predictor: ClassVar[type[Predictor]]
    tasks: ClassVar[frozenset[str]]  # tasks of the schema this method can do
    needs_docs: ClassVar[bool] = False
    on_device: ClassVar[bool] = True  # False where no model is run, so no device is chosen

    @abstractmethod
    def check(self, plan: Plan) -> list[Problem]:
        """Every problem of this plan that can be seen without work; imports nothing heavy."""

    @abstractmethod
    def build(self, job: Job) -> AnyPredictor:
        """The work: rows in, predictor out. Imports what is heavy, and goes on where `job.folder` left off."""


# -- results -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A metric on the held-out rows with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ClassScore:
    """One class of a classification: the held-out rows it has, how often it was answered, and shares of one."""

    rows: int
    answered: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Result:
    """What a run did and what came of it."""

    executor: str
    task: str
    status: str  # done | failed | interrupted
    error: str = ""
    metric: str = ""  # the name in `scores` that decides
    scores: Mapping[str, Score] = field(default_factory=dict)
    classes: Mapping[str, ClassScore] = field(default_factory=dict)  # of a classification, by name
    rows: Mapping[str, int] = field(default_factory=dict)  # train, test, and what was left out, by reason
    seconds: Mapping[str, float] = field(default_factory=dict)  # build, predict
    latency: Mapping[str, float] = field(default_factory=dict)  # p50 and p95, seconds of single answers; n of them
    peak_memory_mb: float | None = None
    device: str = ""
    device_reason: Text = field(default_factory=dict)
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)  # resolved: given and default
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Text, ...] = ()
    cost_usd: float | None = None  # what endpoints asked for so far, over all attempts; None: none, or not known
    started: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION


def to_dict(value: Any) -> Any:
    """Dataclasses, mappings and sequences as plain JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_dict(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_atomic(path: Path, text: str) -> None:
    """Write a record so that a reader, or a crash, sees the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(to_dict(value), ensure_ascii=False, indent=2) + "\n")
