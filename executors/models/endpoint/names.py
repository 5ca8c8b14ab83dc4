"""Names of models that are reached over the network, and what is known of who answers them.

Covered: ``PROVIDER:MODEL`` of `knowledge/endpoints.yaml`, ``PROVIDER:MODEL@http://host:port/v1`` for any server that
speaks OpenAI's format, and the other providers of LangChain's `init_chat_model`. Not covered: asking them (`client`).
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from executors.base import Problem, did_you_mean
from executors.models.catalogue import KNOWLEDGE

NAME = re.compile(r"([a-z][a-z0-9_-]+):(?![\\/])(.+)", re.DOTALL)  # two letters at least: C:\ is a drive
ADDRESS = re.compile(r"(.+?)@(https?://.*)", re.DOTALL)
KEY_OF_ANY = "ENDPOINT_API_KEY"  # of servers named by address: a provider's own key is never sent to another host


@dataclass(frozen=True)
class Provider:
    """One entry of `knowledge/endpoints.yaml`. `package` is set where LangChain's own integration is used."""

    name: str
    title: str = ""
    base_url: str = ""
    address_env: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    needs_key: bool = True
    local: bool = False
    remote_suffix: str = ""
    remote_host: str = ""
    limit: str = "max_tokens"
    window: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""
    package: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Who answers a model's name. `base_url` is empty where only the provider's package knows the address."""

    name: str
    provider: Provider
    model: str
    base_url: str
    own_address: bool  # the provider's own, so that its keys, prices and windows hold

    @property
    def key_names(self) -> tuple[str, ...]:
        """The environment variables that may hold the key."""
        if self.own_address or _from_env(self.provider) == self.base_url:
            return self.provider.key
        return (KEY_OF_ANY, *(self.provider.key if self.provider.local else ()))

    @property
    def needs_key(self) -> bool:
        """Whether asking without a key is in vain."""
        return self.provider.needs_key and bool(self.provider.key) and self.key_names == self.provider.key

    @property
    def is_any(self) -> bool:
        """Whether ``openai`` only means the format, so that nothing is known of the server."""
        return self.provider.name == "openai" and not self.own_address

    @property
    def body(self) -> Mapping[str, Any]:
        """What every request brings along besides the messages."""
        return {} if self.is_any else self.provider.body

    @property
    def limit(self) -> str:
        """The request's entry for the most tokens of an answer: only OpenAI itself has retired ``max_tokens``."""
        return "max_tokens" if self.is_any else self.provider.limit

    @property
    def routed(self) -> bool:
        """Whether a local server passes this model's requests on to its maker's cloud."""
        suffix = self.provider.remote_suffix
        return bool(suffix) and self.model.endswith((f"-{suffix}", f":{suffix}"))

    @property
    def host(self) -> str:
        """Where the rows end up, for a person: host and port, or the provider."""
        if self.routed:
            return self.provider.remote_host
        return urlsplit(self.base_url).netloc or self.provider.title or self.provider.name

    @property
    def stays_here(self) -> bool:
        """Whether what is sent stays on this machine."""
        return not self.routed and is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def is_public(self) -> bool:
        """Whether the rows go to a provider's public service, as far as can be told from the name."""
        return not is_private(urlsplit(self.base_url).hostname or "") or self.routed

    @property
    def free(self) -> bool:
        """Whether answers cost nothing: a kind of server that users run themselves, in their own network."""
        return self.provider.local and not self.is_public

    @property
    def listed_window(self) -> int | None:
        """Tokens a prompt and its answer may have, where that is listed for the model itself."""
        return self.provider.models.get(self.model, {}).get("window") if self.own_address else None

    @property
    def window(self) -> int:
        """As `listed_window`, else a cautious default."""
        return int(self.listed_window or self.provider.window or _read()["default_window"])


def is_endpoint(name: str) -> bool:
    """Whether `name` names a model behind a known provider. Does no work."""
    found = NAME.fullmatch(name)
    return found is not None and found[1] in providers()


def endpoint_of(name: str) -> Endpoint | None:
    """The endpoint called `name`; None for any other name, also for one with a faulty address (`name_faults`)."""
    found = NAME.fullmatch(name)
    provider = providers().get(found[1]) if found else None
    if found is None or provider is None or name_faults(name):
        return None
    at = ADDRESS.fullmatch(found[2])
    model, address = (at[1], at[2]) if at else (found[2], "")
    base_url = (address or _from_env(provider) or provider.base_url).rstrip("/")
    return Endpoint(name, provider, model, base_url, base_url == provider.base_url)


def name_faults(name: str) -> list[Problem]:
    """What is wrong with a name that reads as ``PROVIDER:MODEL``; nothing for names of another form."""
    found = NAME.fullmatch(name)
    if found is None:
        return []
    if found[1] not in providers():
        return [_unknown(name, found[1])]
    at = ADDRESS.fullmatch(found[2])
    faults = _address_faults(name, at[2]) if at else []
    if at and providers()[found[1]].package:
        hint = f"for a server of your own: openai:{at[1]}@{at[2]}"
        zh = Problem(f"模型“{name}”：{found[1]} 不能指定地址", f"自己的服务器请写：openai:{at[1]}@{at[2]}")
        faults.append(Problem(f"model '{name}': {found[1]} takes no address", hint, zh))
    return faults


def _unknown(name: str, provider: str) -> Problem:
    example = "openai:MODEL@http://localhost:8000/v1"
    known = ", ".join(providers())
    return Problem(
        f"model '{name}': unknown provider '{provider}'{did_you_mean(provider, providers())}",
        f"providers: {known}; any other server: {example}",
        Problem(
            f"模型“{name}”：未知的服务商“{provider}”{did_you_mean(provider, providers(), 'zh')}",
            f"服务商：{known}；其他服务器：{example}",
        ),
    )


def _address_faults(name: str, address: str) -> list[Problem]:
    try:
        parts = urlsplit(address)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, whole = urlsplit(""), False
    if not whole:
        hint = "e.g. openai:MODEL@http://localhost:8000/v1"
        zh = Problem(f"模型“{name}”：地址不完整", "例如 openai:MODEL@http://localhost:8000/v1")
        return [Problem(f"model '{name}': the address is not whole", hint, zh)]
    if parts.username or parts.password or parts.query:
        bare = name.partition("@")[0]  # what stands after it may be secret
        return [
            Problem(
                f"model '{bare}': an address holds no user, password or key, because names are kept in records",
                f"put the key into the environment variable {KEY_OF_ANY}",
                Problem(
                    f"模型“{bare}”：地址中不能带用户名、密码或密钥，因为名称会写入记录",
                    f"请把密钥放入环境变量 {KEY_OF_ANY}",
                ),
            )
        ]
    return []


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Whether a host is of an own network by its form: a private address, a bare name, ``.local``, ``.internal``."""
    if is_loopback(host):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith((".local", ".internal", ".lan", ".intranet")))


@functools.cache
def providers() -> Mapping[str, Provider]:
    """Every provider by name, those of `init_chat_model` that need a package of their own last."""
    entries = {**_read()["providers"], **_read()["packages"]}
    return {name: _provider(name, entry) for name, entry in entries.items()}


def _provider(name: str, entry: Mapping[str, Any]) -> Provider:
    listed = {key: tuple(entry[key]) for key in ("key", "address_env") if key in entry}
    return Provider(name=name, **{**entry, **listed})


def _from_env(provider: Provider) -> str:
    """Another address of the provider that the user's environment names; empty where none does."""
    found = next((os.environ[name] for name in provider.address_env if os.environ.get(name)), "")
    return found.rstrip("/")


@functools.cache
def _read() -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: Mapping[str, Any] = yaml.load((KNOWLEDGE / "endpoints.yaml").read_text(encoding="utf-8"), Loader=loader)
    return read
