"""Making an input fit the model's window, and saying so: what prompting and tuning share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from executors.base import Input, Text
from executors.data.shapes import transcript


def shorten(given: Input, room: int, length: Callable[[Input], int]) -> Input | None:
    """`given`, its context (or, without one, its text) cut at the end until `length` of it is at most `room`.

    Of a conversation the earliest exchanges are left out first, as many as must be, then the last turn is cut.
    None where even the empty input is too long. `length` counts tokens of the whole prompt and must grow with it.
    """
    if length(given) <= room:
        return given
    if given.turns:
        given = _without_earliest(given, room, length)
    part = "context" if given.context else "text"
    whole = given.turns[-1][1] if given.turns and part == "text" else getattr(given, part)

    def kept(characters: int) -> Input:
        cut = whole[:characters].rstrip()
        if given.turns and part == "text":
            return _of_turns(given, (*given.turns[:-1], (given.turns[-1][0], cut)))
        return replace(given, context=cut) if part == "context" else replace(given, text=cut)

    if length(given) <= room:
        return given
    fits, exceeds = 0, len(whole)
    if length(kept(0)) > room:
        return None
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        fits, exceeds = (middle, exceeds) if length(kept(middle)) <= room else (fits, middle)
    return kept(fits)


def _without_earliest(given: Input, room: int, length: Callable[[Input], int]) -> Input:
    """`given` without the fewest of its earliest exchanges that make it fit; with its last turn alone if none do."""
    system = tuple(turn for turn in given.turns if turn[0] == "system")
    spoken = tuple(turn for turn in given.turns if turn[0] != "system")
    starts = [n for n, (role, _) in enumerate(spoken) if role == "user" and n] or [len(spoken) - 1]
    shortened = (_of_turns(given, (*system, *spoken[start:])) for start in starts)
    return next((one for one in shortened if length(one) <= room), _of_turns(given, (*system, spoken[-1])))


def _of_turns(given: Input, turns: tuple[tuple[str, str], ...]) -> Input:
    return replace(given, text=transcript(turns), turns=turns)


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
