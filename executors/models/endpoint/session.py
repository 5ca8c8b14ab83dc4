"""The spending of one run: its limits, what it has paid, and what a reader of its result must know.

`spending` opens it around a piece of work; models loaded inside find it by themselves. Before each request the most it
may cost is reserved, so that requests under way at once cannot exceed the cap together. That most rests on the
published price and on the answer's bound in tokens: a server that writes, or bills, beyond the bound it was given can
exceed the cap by what was under way, and is then not asked again.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from executors.base import Problem, Text, UserError
from executors.models.endpoint.ledger import Answer, Ledger
from executors.models.endpoint.limits import EndpointLimits
from executors.models.endpoint.prices import usd_cny


class CapReached(Exception):
    """A request that could exceed the cap was not sent. `worst`: the most it might have cost, in US dollars."""

    def __init__(self, worst: float) -> None:
        super().__init__()
        self.worst = worst


class Session:
    """What the endpoint models of one run share. The ledger is opened with the first of them."""

    def __init__(
        self, limits: EndpointLimits, path: Path | None = None, again: str = "", *, whole: bool = True
    ) -> None:
        """`again`: the command that goes on with a larger cap. `whole`: the cap holds for all that the ledger has."""
        self.limits, self.path, self.again = limits, path, again
        self.used = False
        self.unpriced = False  # whether a model without a known price is asked
        self.notes = Notes()
        self._whole = whole
        self._before = self._reserved = 0.0
        self._ledger: Ledger | None = None
        self._changed = threading.Condition()
        self.open = contextlib.ExitStack()  # connections that are closed with it

    @property
    def ledger(self) -> Ledger:
        """Raises `UserError`, see `Ledger`."""
        if self._ledger is None:
            self._ledger = Ledger(self.path)
            self._before = 0.0 if self._whole else self._ledger.spent
            self.used = True
        return self._ledger

    @property
    def spent(self) -> float:
        """US dollars of this work."""
        return self.ledger.spent - self._before

    @property
    def charged(self) -> float:
        """US dollars that count towards the cap."""
        return self.limits.charged + self.spent

    @property
    def cost_usd(self) -> float | None:
        """What the work has cost so far; None where no endpoint was asked, or its price is not known."""
        return round(self.spent, 6) if self.used and not self.unpriced else None

    @contextlib.contextmanager
    def reserved(self, worst: float | None) -> Iterator[None]:
        """Hold the most that a request may cost until its cost is known.

        Waits for requests under way where those leave too little; raises `CapReached` where there are none.
        """
        cap = self.limits.max_cost
        held = (worst or 0.0) if cap is not None else 0.0
        with self._changed:
            while cap is not None and self.charged + self._reserved + held > cap:
                if not self._reserved:
                    raise CapReached(held)
                self._changed.wait()
            self._reserved += held
        try:
            yield
        finally:
            with self._changed:
                self._reserved = self._reserved - held if self._reserved - held > 1e-12 else 0.0
                self._changed.notify_all()

    def close(self) -> None:
        self.open.close()
        if self._ledger:
            self._ledger.close()

    def cap_error(self, worst: float, answered: int, total: int) -> UserError:
        """What to say when the cap is reached, with a cap that is enough for the rest in any case."""
        enough = round_up(self.charged + worst * (total - answered))
        hint = f"{self.again} --max-cost {enough:g}" if self.again else f"max_cost={enough:g}"
        spent, most, next_one = both(self.charged), both(self.limits.max_cost or 0.0), both(worst)
        zh = (
            f"已达到费用上限：已花费 {spent['zh']}，上限 {most['zh']}，下一次请求最多可能花费 {next_one['zh']}；"
            f"{total} 条中已有 {answered} 条得到回答并已保存"
        )
        return UserError(
            f"spend cap reached: {spent['en']} of {most['en']}, and the next request may cost up to {next_one['en']}; "
            f"{answered} of {total} answered and kept",
            hint,
            Problem(zh, hint),
        )


class Notes:
    """Counts what happened while asking, and tells it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.hosts: dict[str, bool] = {}  # host -> whether it is this machine
        self.served: dict[str, str] = {}  # asked for -> answered by, where they differ
        self.refused: dict[str, None] = {}  # request entries that a server does not take
        self.dated: dict[str, None] = {}  # days of the prices used
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self.counts[name] += amount

    def take(self, answer: Answer, asked: str, paid_before: bool) -> None:
        """Count one answer that is used."""
        with self._lock:
            self.counts["answers"] += 1
            self.counts["prompt"] += answer.prompt_tokens
            self.counts["completion"] += answer.completion_tokens
            self.counts["before"] += paid_before
            self.counts["estimated"] += not answer.counted
            self.counts["priceless"] += answer.cost is None
            empty = not answer.text.strip()
            self.counts["empty"] += empty
            self.counts["cut"] += empty and answer.finish == "length"
            if answer.model and not (answer.model.startswith(asked) or asked.endswith(answer.model)):
                self.served[asked] = answer.model

    def tell(self, session: Session) -> tuple[Text, ...]:
        """Everything worth saying; nothing where no endpoint was asked."""
        if not self.counts["answers"]:
            return ()
        told = [_sent(self), _cost(self, session)]
        told += [_empty(self.counts)] if self.counts["empty"] else []
        told += [_estimated(self.counts["estimated"])] if self.counts["estimated"] else []
        told += [_other_model(asked, served) for asked, served in self.served.items()]
        told += [_refused(list(self.refused))] if self.refused else []
        return tuple(told)


def round_up(usd: float) -> float:
    """An amount to two significant digits, never less."""
    if usd <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return round(math.ceil(usd / unit - 1e-9) * unit, 12)


def both(usd: float) -> Text:
    """An amount in dollars and in yuan: small sums to more places, as single answers cost less than a cent."""
    rate, _ = usd_cny()
    digits = 2 if usd >= 1 or not usd else 4 if usd >= 0.001 else 6
    return {
        "en": f"${usd:.{digits}f} (¥{usd * rate:.{digits}f})",
        "zh": f"{usd * rate:.{digits}f} 元（{usd:.{digits}f} 美元）",
    }


def _sent(notes: Notes) -> Text:
    away = ", ".join(host for host, here in notes.hosts.items() if not here)
    here = ", ".join(host for host, here in notes.hosts.items() if here)
    count, before = notes.counts["answers"], notes.counts["before"]
    kept = f", {before} of them paid for before and not asked again" if before else ""
    kept_zh = f"，其中 {before} 条此前已付费，未重复提问" if before else ""
    if away:
        return {"en": f"requests sent to {away}: {count}{kept}", "zh": f"{count} 次请求，已发送到 {away}{kept_zh}"}
    return {
        "en": f"requests answered on this machine ({here}): {count}{kept}",
        "zh": f"{count} 次请求，由本机（{here}）回答{kept_zh}",
    }


def _cost(notes: Notes, session: Session) -> Text:
    tokens, written = notes.counts["prompt"], notes.counts["completion"]
    if notes.counts["priceless"]:
        return {
            "en": f"{tokens:,} tokens read and {written:,} written; the price is not known, so neither is the cost",
            "zh": f"读入 {tokens:,}、生成 {written:,} 个 token；价格未知，无法计算费用",
        }
    amount, lost = both(session.spent), session.ledger.lost
    days = ", ".join(notes.dated)
    rate_day = usd_cny()[1]
    dated = f", at prices of {days} and the exchange rate of {rate_day}" if days else ""
    dated_zh = f"（价格日期 {days}，汇率日期 {rate_day}）" if days else ""
    gone = f"; up to {both(lost)['en']} of it for requests without a usable answer" if lost else ""
    gone_zh = f"；其中最多 {both(lost)['zh']}用于未得到有效回答的请求" if lost else ""
    return {
        "en": f"cost so far {amount['en']}{dated}: {tokens:,} tokens read, {written:,} written{gone}",
        "zh": f"目前费用 {amount['zh']}{dated_zh}：读入 {tokens:,}、生成 {written:,} 个 token{gone_zh}",
    }


def _empty(counts: Counter[str]) -> Text:
    thinking = counts["cut"]
    why = f"; {thinking} ended at the most tokens allowed, as happens when a model thinks first" if thinking else ""
    why_zh = f"；其中 {thinking} 条用完了允许的 token，常见于先思考再回答的模型" if thinking else ""
    return {
        "en": f"answers that were empty, also when asked again: {counts['empty']}; they count as empty{why}",
        "zh": f"{counts['empty']} 条回答为空，重试后仍为空，按空回答处理{why_zh}",
    }


def _estimated(count: int) -> Text:
    return {
        "en": f"answers without token counts: {count}; tokens are estimated, their cost is the most it can have been",
        "zh": f"{count} 条回答未附 token 数：token 数为估算值，费用按可能的最高值计算",
    }


def _other_model(asked: str, served: str) -> Text:
    return {
        "en": f"the server answered as '{served}', asked was '{asked}'",
        "zh": f"请求的是“{asked}”，服务器以“{served}”回答",
    }


def _refused(names: list[str]) -> Text:
    listed = ", ".join(names)
    return {
        "en": f"the server does not take {listed}: asked without",
        "zh": f"服务器不接受 {listed}，已去掉后提问",
    }


_current: ContextVar[Session | None] = ContextVar("spending", default=None)


@contextlib.contextmanager
def spending(
    limits: EndpointLimits, path: Path | None = None, again: str = "", *, whole: bool = True
) -> Iterator[Session]:
    """Within it, endpoint models keep to `limits` and their answers are kept at `path`; see `Session`."""
    session = Session(limits, path, again, whole=whole)
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
        session.close()


def current_session() -> Session:
    """The spending that was opened around this call, else one without a cap that is kept in memory."""
    return _current.get() or Session(EndpointLimits())
