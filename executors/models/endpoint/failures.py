"""What went wrong with one request: whether to ask again, whether it may have cost money, and what to tell.

Told by status and by the kind of the failure, whichever provider's library raised it. Nothing told holds a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from executors.models.endpoint.keys import Secret, scrub
from executors.models.endpoint.pace import retry_after

PREFIX = re.compile(r"^Error code: \d+ - ")  # said by openai's library; we say it once ourselves
LONGEST = 300  # characters of a server's own words that are repeated
AGAIN = frozenset({408, 409, 425, 429})  # and 5xx
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
BROKE = ("insufficient_quota", "insufficient balance", "arrearage", "exceeded your current quota")


class Failure(Exception):
    """One failed try. `status` 0: there was no answer, or none that could be read."""

    def __init__(self, status: int, message: str, *, again: bool, charged: bool, wait: float | None = None) -> None:
        """`again`: worth another try. `charged`: the server may have worked, and so may ask for money.

        `wait`: seconds, where the server named them.
        """
        super().__init__(message)
        self.status, self.message, self.again, self.charged, self.wait = status, message, again, charged, wait


def failure_of(error: BaseException, secrets: Sequence[Secret | None]) -> Failure:
    """The failure that a library's error stands for."""
    status = _status(error)
    message = PREFIX.sub("", scrub(" ".join(str(error).split()), secrets))[:LONGEST]
    if status:
        broke = status == 402 or any(word in message.lower() for word in BROKE)
        again = (status in AGAIN or status >= 500) and not broke
        late = status in (408, 504, 524)  # a gateway gave up waiting: the model behind it may have worked
        wait = retry_after(_headers(error))
        return Failure(402 if broke else status, message, again=again, charged=late, wait=wait)
    kinds = [type(cause).__name__ for cause in _causes(error)]
    unsent = any(kind in UNSENT for kind in kinds)
    reason = _reason(kinds)
    return Failure(0, f"{reason}: {message}" if message else reason, again=True, charged=not unsent)


def _reason(kinds: Sequence[str]) -> str:
    if any(kind in ("ConnectError", "ProxyError") for kind in kinds):
        return "no connection"
    if any("Timeout" in kind for kind in kinds):
        return "no answer in time"
    if any(kind in ("APIConnectionError", "RemoteProtocolError", "ReadError", "WriteError") for kind in kinds):
        return "the connection broke off"
    return f"the reply could not be read ({kinds[0]})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int:
    """The HTTP status that an error carries; 0 where it carries none."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "status_code"), (response, "status_code"), (error, "code")):
        value = getattr(holder, name, None)
        if isinstance(value, int) and 300 <= value < 600:
            return value
    return 0


def _headers(error: BaseException) -> dict[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return {str(name).lower(): str(value) for name, value in headers.items()}
