"""An answer with what it rests on, line by line: for `predict`, `chat` and whatever else shows one.

Covered: the passages as numbered sources, those cited marked, how much of the answer stands in them, abstention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from advisor import formats
from advisor.texts import say
from executors.base import Prediction

if TYPE_CHECKING:
    from rich.console import Console

WEAK = 0.5  # of an answer's words: where fewer stand in what it cites, a reader is told to look there

Kind = Literal["answer", "none", "cited", "found", "remark", "doubt"]
STYLES: dict[Kind, str] = {
    "answer": "bold",
    "none": "yellow",
    "cited": "",
    "found": "dim",
    "remark": "dim",
    "doubt": "yellow",
}


@dataclass(frozen=True)
class Line:
    text: str
    kind: Kind


def answer_lines(prediction: Prediction, lang: str) -> Iterator[Line]:
    """The answer, then its sources by place: passages of one place share a line, numbered as the answer cites them."""
    yield Line(prediction.text, "none" if prediction.abstained else "answer")
    if prediction.abstained and prediction.passages:
        yield Line(f"  {say('answer.nearest', lang)}", "remark")
    for place, numbers in _places(prediction).items():
        cited = not prediction.abstained and bool(set(numbers) & set(prediction.cited))
        numbered = f"[{', '.join(map(str, numbers))}]"
        yield Line(f"  {'→' if cited else ' '} {numbered} {place}", "cited" if cited else "found")
    if prediction.cited and not prediction.abstained:
        yield _support(prediction, lang)


def as_text(prediction: Prediction, lang: str) -> str:
    """The same as plain text."""
    return "\n".join(line.text for line in answer_lines(prediction, lang))


def show_answer(prediction: Prediction, lang: str, console: Console) -> None:
    """The same in a terminal, folded to its width, with an empty line after it."""
    from rich.text import Text

    for line in answer_lines(prediction, lang):
        console.print(Text(line.text, style=STYLES[line.kind], overflow="fold"))
    console.print()


def _places(prediction: Prediction) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for number, passage in enumerate(prediction.passages, 1):
        places.setdefault(passage.place, []).append(number)
    return places


def _support(prediction: Prediction, lang: str) -> Line:
    if prediction.support is None:
        return Line(f"  {say('answer.cited', lang)}", "remark")
    weak = prediction.support < WEAK
    share = formats.percent(prediction.support, lang)
    return Line(
        f"  {say('answer.weak' if weak else 'answer.support', lang, share=share)}", "doubt" if weak else "remark"
    )
