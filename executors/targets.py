"""The targets of a regression as numbers: what its methods are fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from executors.base import Row, UserError
from executors.data.numbers import parse_number


def numbers(rows: Sequence[Row]) -> NDArray[np.float64]:
    """The target of each row, [n]. Raises `UserError` naming those that are no numbers."""
    values = [parse_number(row.target) for row in rows]
    wrong = [f"{row.target!r} (row {row.id})" for row, value in zip(rows, values, strict=True) if value is None]
    if wrong:
        named = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise UserError(
            f"label: {len(wrong)} of {len(rows)} targets of this regression are no numbers: {named}",
            "correct these rows, name another column (--columns label=NAME), or choose classification",
        )
    return np.array(values, dtype=np.float64)
