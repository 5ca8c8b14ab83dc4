"""The budget of tokens: what a prompt spends them on, and what gives way where an input does not fit the window.

Demonstrations give way first, the least near or the last of them; then the input is cut at its end. Each is counted,
and said in the run's notes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from executors.base import Input, Problem, Text, UserError
from executors.fitting import fitting_notes, shorten
from executors.messages import answer_tokens
from executors.models import LanguageModel
from executors.prompt.demonstrations import Neighbour
from executors.prompt.wording import Renderer

FRAME_AIR = 32  # tokens more than its parts that a prompt may have
LABEL_AIR = 8  # tokens kept free beside the longest label: its end, a leading space


@dataclass(frozen=True)
class Asked:
    """One rendered prompt: the input as it fitted, the demonstrations shown with it, and the messages."""

    given: Input
    shown: tuple[Neighbour, ...]
    chat: list[dict[str, str]]


@dataclass(frozen=True)
class Part:
    """A part of a prompt and its tokens; `static` where it is the same for every input, so that it can be cached."""

    name: str  # template | instruction | demonstrations | passages | input | answer
    tokens: int
    static: bool
    text: str = ""


@dataclass
class Counts:
    """What had to give way so far, and answers that could not be taken as they were."""

    fewer: int = 0
    shortened: int = 0
    numberless: int = 0
    unmatched: int = 0
    unmarked: int = 0
    empty: int = 0
    ties: int = 0
    lost: int = 0  # demonstrations left out, over the rows asked with fewer

    def notes(self) -> tuple[Text, ...]:
        """What a reader of the score must know."""
        fewer, lost = self.fewer, f"{self.lost / max(self.fewer, 1):.1f}"
        told: list[tuple[int, str, str]] = [
            (
                fewer,
                f"{fewer} rows were asked with fewer demonstrations, to fit the model's window ({lost} fewer a row)",
                f"{fewer} 条输入为适应模型窗口而减少了示例（平均每条少 {lost} 个）",
            ),
            (
                self.unmatched,
                f"{self.unmatched} answers named no label; the commonest label stands in for them",
                f"{self.unmatched} 条回答没有给出任何标签，以最常见的标签代替",
            ),
            (
                self.unmarked,
                f"{self.unmarked} answers were not marked as the final one; they stand whole",
                f"{self.unmarked} 条回答没有标出最终答案，按全文计",
            ),
            (self.empty, f"{self.empty} answers were empty", f"{self.empty} 条回答为空"),
            (
                self.ties,
                f"{self.ties} rows had two labels equally likely; the first in the list was taken",
                f"{self.ties} 条输入有两个标签概率相同，取列表中靠前者",
            ),
        ]
        return (
            *({"en": en, "zh": zh} for count, en, zh in told if count),
            *fitting_notes(self.shortened, self.numberless),
        )


class Budget:
    """Fits inputs to the window of `model` and counts what that cost."""

    def __init__(self, model: LanguageModel, renderer: Renderer) -> None:
        self.model, self.renderer = model, renderer
        self.counts = Counts()

    @property
    def answer(self) -> int:
        """The most tokens an answer may have."""
        prompt = self.renderer.prompt
        if prompt.params.max_tokens is not None:
            return prompt.params.max_tokens
        return answer_tokens("reasoning" if prompt.params.chain_of_thought else prompt.task)

    @functools.cached_property
    def room(self) -> int:
        """Tokens a prompt may have, its answer's kept free."""
        longest = max((self.model.count(label) for label in self.renderer.spelled.values()), default=0)
        return self.model.window - max(longest + LABEL_AIR, self.answer)

    @functools.cached_property
    def _frame(self) -> int:
        """Tokens of the prompt with its fixed demonstrations but without its input, and some air."""
        around = self.renderer.chat(Input("?", "?"), self.renderer.prompt.demonstrations)
        return self.model.count_chat(around) + FRAME_AIR

    def fit(self, given: Input, shown: Sequence[Neighbour]) -> Asked:
        """The prompt for one input. Raises `UserError` where not even an empty input fits."""
        shown, room = tuple(shown), self.room
        if not self.renderer.prompt.params.retrieves:
            own = self.model.count(given.text) + self.model.count(given.context)
            if self._frame + own <= room:  # by far: counting the whole prompt each time would cost more
                return self._asked(given, shown)
        kept = self._fitting(given, shown)
        fitting = shorten(given, room, lambda i: self.model.count_chat(self._asked(i, kept).chat))
        if fitting is None:
            raise self._too_small()
        self.counts.fewer += len(kept) < len(shown)
        self.counts.lost += len(shown) - len(kept)
        self.counts.shortened += fitting != given
        return self._asked(fitting, kept)

    def _fitting(self, given: Input, shown: tuple[Neighbour, ...]) -> tuple[Neighbour, ...]:
        """As many demonstrations as fit beside the input, in their order: the nearest of them, or the first."""
        order = sorted(range(len(shown)), key=lambda n: (-shown[n].similarity, n))
        fits, exceeds, middle = 0, len(shown) + 1, len(shown)  # all of them first: counting is what costs
        while exceeds - fits > 1:
            chosen = tuple(shown[n] for n in sorted(order[:middle]))
            within = self.model.count_chat(self._asked(given, chosen).chat) <= self.room
            fits, exceeds = (middle, exceeds) if within else (fits, middle)
            middle = (fits + exceeds) // 2
        return tuple(shown[n] for n in sorted(order[:fits]))

    def _asked(self, given: Input, shown: tuple[Neighbour, ...]) -> Asked:
        return Asked(given, shown, self.renderer.chat(given, [n.row for n in shown]))

    def _too_small(self) -> UserError:
        name, window = self.model.name, f"{self.model.window:,}"
        return UserError(
            f"the instruction alone exceeds the {window} tokens of {name}",
            "name a model with a longer window, or fewer labels",
            Problem(f"仅说明就超过了 {name} 的 {window} token 窗口", "请换用窗口更长的模型，或减少标签"),
        )

    def parts(self, asked: Asked) -> list[Part]:
        """Where the tokens of one prompt go; the template's own are what is left of the whole."""
        prompt, count = self.renderer.prompt, self.model.count
        static = not prompt.params.retrieves
        turns = [m["content"] for m in asked.chat[1:-1]]
        passages = self.renderer.variables(asked.given)["passages"]
        own = asked.chat[-1]["content"]
        parts = [
            Part("instruction", count(prompt.instruction), True, prompt.instruction),
            Part("demonstrations", sum(map(count, turns)), static, "\n".join(turns)),
            Part("passages", count(passages), False, passages),
            Part("input", count(own) - count(passages), False, own[len(passages) :] if passages else own),
        ]
        frame = self.model.count_chat(asked.chat) - sum(part.tokens for part in parts)
        chosen = self.model.can_score and bool(prompt.labels) and not prompt.params.chain_of_thought
        room = max(map(count, self.renderer.spelled.values())) if chosen else self.answer
        return [Part("template", frame, True), *parts, Part("answer", room, False)]
