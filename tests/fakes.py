"""Methods made for tests: quick, and able to break on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from executors.base import Executor, Input, Job, Plan, Prediction, Predictor, Problem, Reporter, Usage, silent
from executors.models import GREEDY, Chat, Completion, LanguageModel, Sampling

BREAK: dict[str, int] = {}  # "predict": raise KeyboardInterrupt once this many rows were answered; "build": fail
CALLS: dict[str, int] = {"build": 0, "rows": 0}


class FirstWordPredictor(Predictor):
    """Answers the label that goes with a text's first word."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if "predict" in BREAK and CALLS["rows"] >= BREAK["predict"]:
            raise KeyboardInterrupt
        CALLS["rows"] += len(inputs)
        return [Prediction(self.known.get(i.text.split()[0], "?")) for i in inputs]

    def save(self, folder: Path) -> None:
        (folder / "known.json").write_text(json.dumps(self.known), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent) -> Self:
        return cls(json.loads((folder / "known.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class FirstWordParams:
    strength: float = 1.0
    rounds: int = 2


class FirstWordExecutor(Executor):
    Params = FirstWordParams
    Predictor = FirstWordPredictor
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    on_device: ClassVar[bool] = False

    def check(self, plan: Plan) -> list[Problem]:
        return [] if plan.seed >= 0 else [Problem("seed: must not be negative", "use --seed 0")]

    def build(self, job: Job) -> FirstWordPredictor:
        CALLS["build"] += 1
        if "build" in BREAK:
            raise RuntimeError("the fake broke")
        return FirstWordPredictor({row.input.text.split()[0]: row.target for row in job.rows})


class Scripted(LanguageModel):
    """Says what it is told to, and keeps what it was asked. A token is a word."""

    def __init__(self, says: str = "", likes: dict[str, float] | None = None, window: int = 10_000) -> None:
        self.name, self.window, self.says, self.likes = "scripted", window, says, likes or {}
        self.asked: list[Chat] = []

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        self.asked += chats
        return [Completion(self.says, Usage(self.count_chat(chat), 1), "stop") for chat in chats]

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        self.asked += chats
        rows = []
        for chat in chats:
            hint = 3.0 if "excellent" in chat[-1]["content"] else 0.0
            rows.append([self.likes.get(c, 0.0) + (hint if c == "good" else 0.0) - 5.0 for c in continuations])
        return rows

    def count(self, text: str) -> int:
        return len(text.split())

    def count_chat(self, chat: Chat) -> int:
        return sum(self.count(m["content"]) for m in chat)


class Acting(LanguageModel):
    """Answers by functions of the chat: `says` what it writes, `likes` how likely it finds a continuation.

    A token is a word. `asked` holds every chat in order; at chat number `breaks_at` it raises `KeyboardInterrupt`.
    """

    def __init__(
        self,
        says: Callable[[Chat], str] = lambda chat: "",
        likes: Callable[[Chat, str], float] = lambda chat, label: 0.0,
        window: int = 10_000,
        can_score: bool = True,
        breaks_at: int | None = None,
    ) -> None:
        self.name, self.window, self.can_score = "acting", window, can_score
        self.says, self.likes, self.breaks_at = says, likes, breaks_at
        self.asked: list[Chat] = []

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        return [Completion(self.says(self._ask(chat)), Usage(self.count_chat(chat), 1), "stop") for chat in chats]

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        assert self.can_score, "a model that cannot tell likelihoods was asked for them"
        return [[self.likes(chat, c) for c in continuations] for chat in map(self._ask, chats)]

    def _ask(self, chat: Chat) -> Chat:
        if self.breaks_at is not None and len(self.asked) >= self.breaks_at:
            raise KeyboardInterrupt
        self.asked.append(chat)
        return chat

    def count(self, text: str) -> int:
        return len(text.split())

    def count_chat(self, chat: Chat) -> int:
        return sum(self.count(m["content"]) for m in chat)
