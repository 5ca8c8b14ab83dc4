"""Numbers as people and models write them."""

from __future__ import annotations

import math
import re

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
WITHIN = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?|[+-]?\.\d+")
LARGEST = 1e100  # beyond it, squares overflow


def parse_number(text: str) -> float | None:
    """The number `text` is (``3``, ``-1.5e2``, ``1,234.5``, full-width digits), or None."""
    text = text.strip().replace("，", ",").replace("．", ".").replace("−", "-")
    if GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if "_" in text:  # float() reads Python's digit groups; people do not write them
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= LARGEST else None


def find_numbers(text: str) -> list[float]:
    """Every number that stands in `text`, in order."""
    return [value for value in map(parse_number, WITHIN.findall(text)) if value is not None]
