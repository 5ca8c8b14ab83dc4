"""JSON values as models write them: read strictly, compared as values.

Covered: what json.loads lets pass and no JSON file may hold (NaN, Infinity, numbers beyond a float), and what makes it
fall over (nesting and digits without end, as a small model repeats them). Not covered: keys given twice; the last wins.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits[:20])


DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
TOO_DEEP = "nested too deeply"
DEEPEST = 64  # levels; what walks a value later needs several frames of the interpreter for each


def parse_json(text: str) -> Any:
    """The value that all of `text` is. Raises `ValueError`, saying where and why, for anything else."""
    stripped = text.removeprefix("\ufeff").strip()
    value, end = parse_json_at(stripped, 0)
    if end < len(stripped):
        raise json.JSONDecodeError("more text after the value", stripped, end)
    return value


def parse_json_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises `ValueError`, see `parse_json`."""
    try:
        value, end = DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check_depth(value)
    return value, end


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list)))
        level = [part for parts in inner for part in parts]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not; the order of keys does not matter."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
