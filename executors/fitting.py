"""Making an input fit the model's window, and saying so: what prompting and tuning share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from executors.base import Input, Text


def shorten(given: Input, room: int, length: Callable[[Input], int]) -> Input | None:
    """`given`, its context (or, without one, its text) cut at the end until `length` of it is at most `room`.

    None where even the empty input is too long. `length` counts tokens of the whole prompt and must grow with it.
    """
    if length(given) <= room:
        return given
    part = "context" if given.context else "text"
    whole = getattr(given, part)

    def kept(characters: int) -> Input:
        return replace(given, **{part: whole[:characters].rstrip()})

    fits, exceeds = 0, len(whole)
    if length(kept(0)) > room:
        return None
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        fits, exceeds = (middle, exceeds) if length(kept(middle)) <= room else (fits, middle)
    return kept(fits)


def fitting_notes(shortened: int, numberless: int) -> list[Text]:
    """What a reader of the score must know of the answers: inputs that were cut, numbers that were not written."""
    notes: list[Text] = []
    if shortened:
        notes.append(
            {
                "en": f"{shortened} rows were cut at their end, to fit the model's window",
                "zh": f"{shortened} 条输入因超出模型窗口而被截去末尾",
            }
        )
    if numberless:
        notes.append(
            {
                "en": f"{numberless} answers held no number; the training rows' mean stands in for them",
                "zh": f"{numberless} 条回答中没有数字，以训练数据的均值代替",
            }
        )
    return notes
