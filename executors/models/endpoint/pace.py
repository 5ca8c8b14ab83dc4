"""When the next request may go out: a rate, a pause that a server asked for, and longer waits after each failure."""

from __future__ import annotations

import email.utils
import math
import random
import threading
import time
from collections.abc import Callable, Mapping

LONGEST = 60.0  # seconds between two tries, whatever the doubling says
PATIENCE = 300.0  # seconds that a server may ask us to wait


class Pace:
    """Shared by the requests of one model: at most `per_minute` begin in a minute, evenly spread."""

    def __init__(
        self,
        per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`sleep` waits, and may return early when the work is stopped."""
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the caller's request may begin."""
        with self._lock:
            begin = max(self._next, self._clock())
            self._next = begin + self._gap
        self._until(begin)

    def pause(self, seconds: float) -> None:
        """Nothing more begins for so long: the server said so."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def _until(self, begin: float) -> None:
        left = begin - self._clock()
        if left > 0:
            self._sleep(left)


def backoff(first: float, attempt: int, chance: random.Random) -> float:
    """Seconds before try `attempt` + 1: doubled each time, half of it by chance, so that rows do not come back at once.

    "Equal jitter" of Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    full = min(first * 2.0 ** (attempt - 1), LONGEST)
    return full / 2 + chance.uniform(0, full / 2)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3); None where it says nothing."""
    said = (headers.get("retry-after") or "").strip()
    if not said:
        return None
    try:
        seconds = float(said)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date: float = email.utils.parsedate_to_datetime(said).timestamp()
    except ValueError:
        return None
    return max(date - (now or time.time()), 0.0)
