"""`EndpointModel`: a language model behind a server or provider.

Requests go out side by side, within the limits of the spending that was opened around the work; every answer is kept
on disk before it is used, and looked up before it is asked. Such a model tells no likelihoods, so it only generates.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait

from executors.base import Event, Problem, Reporter, Usage, UserError, silent
from executors.models.endpoint.client import Client, Reply, refusal
from executors.models.endpoint.failures import Failure
from executors.models.endpoint.keys import require_key
from executors.models.endpoint.ledger import Answer, request_key
from executors.models.endpoint.names import Endpoint, endpoint_of, name_faults
from executors.models.endpoint.pace import PATIENCE, Pace, backoff
from executors.models.endpoint.prices import price_of
from executors.models.endpoint.session import CapReached, Session, both, current_session
from executors.models.endpoint.tokens import bound, estimate, estimate_chat
from executors.models.language import GREEDY, Chat, Completion, LanguageModel, Sampling


def load_endpoint(name: str, report: Reporter = silent) -> EndpointModel:
    """The model called `name`, under the spending that was opened around this call. Nothing is sent yet.

    Raises `UserError`: faulty name, missing key or package, a cap although the price is not known.
    """
    endpoint = endpoint_of(name)
    if endpoint is None:
        raise UserError.of(name_faults(name))
    report(Event("load", 0, 1, name))
    model = EndpointModel(endpoint, current_session())
    report(Event("load", 1, 1, name))
    return model


class EndpointModel(LanguageModel):
    """Asks `endpoint` within `session`."""

    can_score = False

    def __init__(self, endpoint: Endpoint, session: Session, pace: Pace | None = None) -> None:
        self.endpoint, self.session, self.name = endpoint, session, endpoint.name
        self.window = session.limits.window or endpoint.window
        self.price = price_of(endpoint, session.limits)
        if session.limits.max_cost is not None and self.price is None:
            raise _priceless(endpoint, session.limits.max_cost)
        self._client = Client(endpoint, require_key(endpoint), session.limits.timeout)
        session.open.callback(self._client.close)
        session.unpriced |= self.price is None
        self._stop = threading.Event()
        self._pace = pace or Pace(session.limits.per_minute, sleep=self._stop.wait)
        self._chance = random.Random(0)
        session.notes.hosts[endpoint.host] = endpoint.stays_here

    def count(self, text: str) -> int:
        """An estimate, rather too high: see `tokens`."""
        return estimate(text)

    def count_chat(self, chat: Chat) -> int:
        return estimate_chat(chat)

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        """Endpoints do not tell how likely a text is. Raises `UserError`."""
        raise UserError(
            f"model '{self.name}' tells no likelihoods, so it cannot choose by them",
            "let it write the answer, or name a model whose weights are here",
            Problem(f"模型“{self.name}”不提供概率，无法按概率选择", "让它直接生成回答，或改用本地模型"),
        )

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        """Raises `UserError`: a chat beyond the window, the cap reached, no usable answer. Answers so far are kept."""
        self._check_window(chats, max_tokens)
        keys = self._keys(chats, max_tokens, sampling)
        ledger = self.session.ledger
        before = {key for key in keys if ledger.find(key)}
        missing = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in before}
        if missing:
            self._ask_all(missing, max_tokens, sampling, len(set(keys)), report)
        report(Event("predict", len(keys), len(keys), self._so_far()))
        self._note(set(keys), before)
        return [_completion(ledger.find(key)) for key in keys]

    def _note(self, keys: Collection[str], before: Collection[str]) -> None:
        """Count what a reader of the result must know."""
        notes = self.session.notes
        for key in keys:
            answer = self.session.ledger.find(key)
            assert answer is not None
            notes.take(answer, self.endpoint.model, key in before)
        notes.refused |= self._client.refused
        if self.price and self.price.as_of:
            notes.dated[self.price.as_of] = None

    def _keys(self, chats: Sequence[Chat], max_tokens: int, sampling: Sampling) -> list[str]:
        """The hash of each request. Draws by chance differ where a chat is repeated; greedy ones are asked once."""
        seen: Counter[str] = Counter()
        keys = []
        for chat in chats:
            plain = request_key(self.endpoint.model, self.endpoint.base_url, chat, max_tokens, sampling)
            turn = seen[plain] if sampling.temperature > 0 else 0
            seen[plain] += 1
            asked = (self.endpoint.model, self.endpoint.base_url, chat, max_tokens, sampling)
            keys.append(request_key(*asked, turn=turn) if turn else plain)
        return keys

    def _check_window(self, chats: Sequence[Chat], max_tokens: int) -> None:
        for number, chat in enumerate(chats, 1):
            tokens = self.count_chat(chat)
            if self.price and self.price.up_to and tokens > self.price.up_to:
                raise _unpriced(self.name, number, tokens, self.price.up_to)
            if tokens + max_tokens > self.window:
                needed = f"{tokens} + {max_tokens}"
                raise UserError(
                    f"row {number}: about {needed} tokens do not fit the {self.window:,} of {self.name}",
                    "shorten it, or, where the model takes more: --endpoint window=TOKENS",
                    Problem(
                        f"第 {number} 条：约 {needed} 个 token，超出 {self.name} 的 {self.window:,}",
                        "请缩短输入；若模型支持更长：--endpoint window=TOKENS",
                    ),
                )

    # -- asking ----------------------------------------------------------------------------------------

    def _ask_all(
        self, missing: Mapping[str, Chat], max_tokens: int, sampling: Sampling, total: int, report: Reporter
    ) -> None:
        """Ask side by side, report as answers come in, and stop at the first request that is in vain."""
        done = total - len(missing)
        report(Event("predict", done, total))
        self._stop.clear()
        failed: list[BaseException] = []
        with ThreadPoolExecutor(min(self.session.limits.concurrency, len(missing))) as pool:
            waiting = {pool.submit(self._ask, key, chat, max_tokens, sampling) for key, chat in missing.items()}
            try:
                while waiting and not failed:
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    failed = [error for future in finished if (error := future.exception())]
                    done += len(finished) - len(failed)
                    report(Event("predict", done, total, self._so_far()))
            finally:
                self._stop.set()  # what waits gives up; what is under way is paid for, so its answer is kept
                pool.shutdown(wait=True, cancel_futures=True)
        if failed:
            kept = total - sum(self.session.ledger.find(key) is None for key in missing)
            raise self._told(failed[0], kept, total)

    def _ask(self, key: str, chat: Chat, max_tokens: int, sampling: Sampling) -> None:
        """Ask until there is an answer, and keep it. Raises `Failure` or `CapReached`."""
        limits = self.session.limits
        worst = self.price.worst(bound(chat), max_tokens) if self.price else None
        attempt, second = 1, False
        while True:
            self._pace.wait()
            try:
                with self.session.reserved(worst):
                    if self._once(key, chat, max_tokens, sampling, worst, second):
                        return
                second = True
            except Failure as failure:
                if not failure.again or attempt >= limits.attempts or (failure.wait or 0) > PATIENCE:
                    raise
                self._hold(failure, attempt)
                attempt += 1

    def _once(
        self, key: str, chat: Chat, max_tokens: int, sampling: Sampling, worst: float | None, second: bool
    ) -> bool:
        """One request. Whether its answer was kept: an empty one is asked for a second time first."""
        if self._stop.is_set():
            raise CancelledError
        try:
            reply = self._client.ask(chat, max_tokens, sampling)
        except Failure as failure:
            if failure.charged:  # the server may have worked, and nobody tells us for how much
                self.session.ledger.charge(worst, failure.message)
            raise
        answer = self._answer(reply, chat)
        if answer.text.strip() or second:
            self.session.ledger.keep(key, answer)
            return True
        self.session.ledger.charge(answer.cost, "empty answer")
        return False

    def _hold(self, failure: Failure, attempt: int) -> None:
        """Wait before asking again: as long as the server says, which then holds for all, else longer each time."""
        if failure.wait is not None:
            self._pace.pause(failure.wait)
        else:
            self._stop.wait(backoff(self.session.limits.backoff, attempt, self._chance))

    def _answer(self, reply: Reply, chat: Chat) -> Answer:
        """What is kept of a reply. Without the server's counts the cost is the most it can have been."""
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        cost = None
        if not reply.counted:
            prompt, completion = estimate_chat(chat), estimate(reply.text)
        if self.price and reply.counted:
            cost = self.price.cost(prompt, completion, reply.cached, reply.written)
        elif self.price:
            cost = self.price.worst(bound(chat), len(reply.text.encode(errors="replace")))
        return Answer(reply.text, reply.finish, prompt, completion, cost, reply.counted, reply.model)

    def _so_far(self) -> str:
        return both(self.session.spent)["en"] if self.session.spent else ""

    def _told(self, error: BaseException, kept: int, total: int) -> BaseException:
        """What a failed request means to a user."""
        if isinstance(error, CapReached):
            return self.session.cap_error(error.worst, kept, total)
        if isinstance(error, Failure):
            return refusal(self.endpoint, error, self._client, self.session.again)
        return error


def _completion(answer: Answer | None) -> Completion:
    assert answer is not None
    usage = Usage(answer.prompt_tokens, answer.completion_tokens)
    return Completion(answer.text, usage, "length" if answer.finish == "length" else "stop")


def _unpriced(name: str, number: int, tokens: int, most: int) -> UserError:
    """Longer prompts are dearer, by an unknown factor: what they cost could be neither foretold nor capped."""
    hint = "shorten it, or give the price: --endpoint price_input=USD --endpoint price_output=USD"
    return UserError(
        f"row {number}: about {tokens:,} tokens, and what '{name}' costs beyond {most:,} is not known: it was not sent",
        hint,
        Problem(
            f"第 {number} 条：约 {tokens:,} 个 token，而“{name}”超过 {most:,} 后的价格未知，因此没有发送",
            "请缩短输入，或给出价格：--endpoint price_input=美元 --endpoint price_output=美元",
        ),
    )


def _priceless(endpoint: Endpoint, cap: float) -> UserError:
    """A cap cannot be kept without a price, so nothing is sent."""
    hint = "--endpoint price_input=USD --endpoint price_output=USD (per million tokens; 0 where it is free)"
    return UserError(
        f"the price of '{endpoint.name}' is not known, so the cap of ${cap:g} cannot be kept: nothing was sent",
        hint,
        Problem(
            f"“{endpoint.name}”的价格未知，无法保证 {cap:g} 美元的上限，因此未发送任何请求",
            "--endpoint price_input=美元 --endpoint price_output=美元（每百万 token；免费则为 0）",
        ),
    )
