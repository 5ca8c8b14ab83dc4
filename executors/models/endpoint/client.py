"""One request to an endpoint through LangChain's `init_chat_model`, and its reply as we keep it.

The library's own retries, redirects and tracing are off: tries are counted and paid for here, a redirect could carry
rows to another host, and a tracer would send them to a third. Replies are taken whole, not as a stream.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from typing import Any

from executors.base import Problem, UserError, did_you_mean
from executors.models.endpoint.failures import Failure, failure_of
from executors.models.endpoint.keys import Secret
from executors.models.endpoint.names import Endpoint
from executors.models.language import Chat, Sampling

ASIDE = 10.0  # seconds for the list of models
NO_KEY = "none"  # sent where a server asks for no key: the library insists on one
THINKING = re.compile(r"\A\s*<think>.*?(?:</think>\s*|\Z)", re.DOTALL)  # where a server does not tell it apart
Form = tuple[str, tuple[str, ...]]  # of a request: what it calls the limit, and the entries it leaves out
SWAP = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


class Reply:
    """A server's reply: text, how it ended, token counts where it gave them, and its own name."""

    def __init__(self, message: Any) -> None:
        about = message.response_metadata or {}
        self.text = THINKING.sub("", _text_of(message.content))
        ended = str(about.get("finish_reason") or about.get("stop_reason") or "")
        self.finish = "length" if ended in ("length", "max_tokens", "MAX_TOKENS") else "stop"
        self.model = str(about.get("model_name") or about.get("model") or "")
        usage = message.usage_metadata or {}
        details = usage.get("input_token_details") or {}
        self.prompt_tokens = int(usage.get("input_tokens") or 0)
        self.completion_tokens = int(usage.get("output_tokens") or 0)
        self.cached = int(details.get("cache_read") or 0)
        self.written = int(details.get("cache_creation") or 0)
        self.counted = self.prompt_tokens > 0


class Client:
    """Asks one endpoint. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, key: Secret | None, timeout: float) -> None:
        """Raises `UserError` where the provider's package is not installed."""
        self.endpoint, self.key, self.timeout = endpoint, key, timeout
        self.refused: dict[str, None] = {}  # request entries that the server does not take
        self._limit = endpoint.limit
        self._models: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()
        require_package(endpoint)
        self._http = self._open_http() if not endpoint.provider.package else None

    def ask(self, chat: Chat, max_tokens: int, sampling: Sampling) -> Reply:
        """One try. Raises `Failure`; entries that the server does not take are left out from then on."""
        while True:
            form, model = self._model(max_tokens, sampling)
            try:
                with _Telling(self.key):
                    return Reply(_invoke(model, chat))
            except Failure as failure:
                if not self._adapt(failure, sampling, form):
                    raise

    def models(self) -> list[str]:
        """The names the server offers; empty where it does not tell."""
        if self._http is None:
            return []
        try:
            with _Telling(self.key):
                found = self._http.get(f"{self.endpoint.base_url}/models", headers=self._headers(), timeout=ASIDE)
                listed = found.json().get("data") or []
                return sorted(str(entry["id"]) for entry in listed)
        except Failure:
            return []

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key.reveal()}"} if self.key else {}

    def _open_http(self) -> Any:
        import httpx

        # a proxy of the environment is for the world outside: a server on this machine is asked directly
        own = self.endpoint.stays_here
        safe = self.endpoint.base_url.startswith("https:")  # certificates take time to load, so only where needed
        return httpx.Client(follow_redirects=False, trust_env=not own, verify=safe, timeout=self.timeout)

    def _model(self, max_tokens: int, sampling: Sampling) -> tuple[Form, Any]:
        """LangChain's model for such requests, and the form they have."""
        with self._lock:
            form = (self._limit, tuple(self.refused))
            key = (max_tokens, sampling, form)
            if key not in self._models:
                self._models[key] = self._make(max_tokens, sampling)
            return form, self._models[key]

    def _make(self, max_tokens: int, sampling: Sampling) -> Any:
        from langchain.chat_models import init_chat_model

        endpoint = self.endpoint
        common: dict[str, Any] = {"timeout": self.timeout, "max_retries": 0}
        drawn = {name: value for name, value in _drawn(sampling).items() if name not in self.refused}
        if endpoint.provider.package:
            common |= {"max_tokens": max_tokens, **drawn}
            try:
                with _Telling(self.key):
                    return init_chat_model(endpoint.model, model_provider=endpoint.provider.name, **common)
            except Failure as failure:  # settings are missing: asking again would not help
                raise Failure(400, failure.message, again=False, charged=False) from None
        body = {name: value for name, value in endpoint.body.items() if name not in self.refused}
        return init_chat_model(
            endpoint.model,
            model_provider="openai",
            base_url=endpoint.base_url,
            api_key=self.key.reveal() if self.key else NO_KEY,
            http_client=self._http,
            use_responses_api=False,
            extra_body={self._limit: max_tokens, **drawn, **body},
            **common,
        )

    def _adapt(self, failure: Failure, sampling: Sampling, form: Form) -> bool:
        """Whether the request can be made acceptable: an entry named in the refusal is swapped or left out.

        `form` is the one that was refused: where another request has changed it meanwhile, the new one is tried.
        """
        if failure.status not in (400, 422):
            return False
        said = failure.message.lower()
        with self._lock:
            if form != (self._limit, tuple(self.refused)):
                return True
            other = SWAP[self._limit]
            if self._limit in said and other not in self.refused:
                self.refused[self._limit] = None  # never left out: it bounds the cost
                self._limit = other
                return True
            sent = {*_drawn(sampling), *self.endpoint.body} - {"stop"} - set(self.refused)
            named = next((name for name in sorted(sent) if name.lower() in said), None)
            if named:
                self.refused[named] = None
            return named is not None


def _drawn(sampling: Sampling) -> dict[str, Any]:
    """The entries of a request that say how tokens are drawn."""
    seed = {"seed": sampling.seed} if sampling.temperature > 0 else {}
    return {"temperature": sampling.temperature, **({"stop": list(sampling.stop)} if sampling.stop else {}), **seed}


def _invoke(model: Any, chat: Chat) -> Any:
    from langsmith.run_helpers import tracing_context

    with tracing_context(enabled=False):
        return model.invoke([(m["role"], m["content"]) for m in chat])


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = (part if isinstance(part, str) else part.get("text", "") for part in content or [])
    return "".join(str(part) for part in parts)


class _Telling:
    """Turns whatever a provider's library raises into a `Failure`, without its cause: that may hold the headers."""

    def __init__(self, key: Secret | None) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if isinstance(error, Exception):
            raise failure_of(error, [self._key]) from None


def require_package(endpoint: Endpoint) -> None:
    """Raise `UserError` where the package that asks this provider is not installed."""
    package = endpoint.provider.package or "langchain-openai"
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        hint = f"pip install {package}"
        zh = Problem(f"模型“{endpoint.name}”需要软件包 {package}，尚未安装", hint)
        raise UserError(f"model '{endpoint.name}' needs the package {package}, which is not installed", hint, zh)


def refusal(endpoint: Endpoint, failure: Failure, client: Client, again: str) -> UserError:
    """What to say, and do, when asking is in vain. `again`: the command that goes on."""
    again = again or "repeat the call"
    told = _refused_key(endpoint, failure, client.key) or _unknown_model(endpoint, failure, client)
    if told is None and failure.status == 402:
        told = Problem(
            f"{endpoint.host}: the account has no balance left: {failure.message}",
            f"pay in, then go on with: {again}",
            Problem(f"{endpoint.host}：账户余额不足：{failure.message}", f"充值后继续：{again}"),
        )
    if told is None and failure.status and not failure.again:
        told = Problem(
            f"{endpoint.host} refuses the request ({failure.status}): {failure.message}",
            "see what it says; limits are set with --endpoint NAME=VALUE",
            Problem(
                f"{endpoint.host} 拒绝请求（{failure.status}）：{failure.message}",
                "请按其说明修改；限制可用 --endpoint NAME=VALUE 设置",
            ),
        )
    told = told or _in_vain(endpoint, failure, again)
    return UserError(told.message, told.hint, told.zh)


def _refused_key(endpoint: Endpoint, failure: Failure, key: Secret | None) -> Problem | None:
    """A refused key; the server's words are left out, as some repeat part of it."""
    if failure.status not in (401, 403):
        return None
    names = key.found_in if key else " / ".join(endpoint.key_names)
    state, state_zh = ("is not accepted", "未被接受") if key else ("is missing", "缺失")
    hint = f"export {endpoint.key_names[0]}=…" if endpoint.key_names else "start the server without keys"
    return Problem(
        f"{endpoint.host}: the key ({names}) {state} ({failure.status})",
        hint,
        Problem(f"{endpoint.host}：密钥（{names}）{state_zh}（{failure.status}）", hint),
    )


def _unknown_model(endpoint: Endpoint, failure: Failure, client: Client) -> Problem | None:
    if failure.status not in (400, 404) or (failure.status == 400 and "model" not in failure.message.lower()):
        return None
    offered = client.models()
    if failure.status == 400 and (not offered or endpoint.model in offered):
        return None
    if endpoint.model in offered or not offered:
        hint, hint_zh = "is the address right? it usually ends with /v1", "请检查地址，通常以 /v1 结尾"
        said = f"{endpoint.host} has no such model or page (404)"
        return Problem(f"{said}: {failure.message}", hint, Problem(f"{endpoint.host} 没有该模型或页面（404）", hint_zh))
    shown = ", ".join(offered[:12]) + (", …" if len(offered) > 12 else "")
    meant, meant_zh = did_you_mean(endpoint.model, offered), did_you_mean(endpoint.model, offered, "zh")
    return Problem(
        f"{endpoint.host} has no model '{endpoint.model}'{meant}",
        f"it offers: {shown}",
        Problem(f"{endpoint.host} 没有模型“{endpoint.model}”{meant_zh}", f"可用模型：{shown}"),
    )


def _in_vain(endpoint: Endpoint, failure: Failure, again: str) -> Problem:
    said = f"{failure.status}: {failure.message}" if failure.status else failure.message
    start = {"ollama": "ollama serve", "vllm": f"vllm serve {endpoint.model}", "lmstudio": "lms server start"}
    started = start.get(endpoint.provider.name, "")
    first = f"{started}; then: " if started and "no connection" in said else ""
    return Problem(
        f"{endpoint.host} gives no usable answer: {said}",
        f"what was answered is kept; {first}{again}",
        Problem(f"{endpoint.host} 未给出可用的回答：{said}", f"已得到的回答已保存；{first}{again}"),
    )
