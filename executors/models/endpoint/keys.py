"""Keys: from the environment, else from the system's keyring; never in a record, a message or a log.

The keyring's entry is service ``adaptation-advisor``, user the provider's name (of a server named by address its host):
``keyring set adaptation-advisor deepseek``. Covered by `scrub` are the key in use and every variable of the
environment whose name says that it holds a secret, in case a server repeats what it was sent.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Iterable

from executors.base import Problem, UserError
from executors.models.endpoint.names import Endpoint

SERVICE = "adaptation-advisor"
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
SHORTEST = 8  # characters; a shorter value is more likely a word of the message than a secret
HIDDEN = "***"


class Secret:
    """A key that does not show itself. `found_in` names where it was found."""

    __slots__ = ("_value", "found_in")

    def __init__(self, value: str, found_in: str) -> None:
        self._value, self.found_in = value, found_in

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret(from {self.found_in})"


def find_key(endpoint: Endpoint) -> Secret | None:
    """The key for `endpoint`; None where there is none. Raises `UserError` for one that cannot be sent."""
    for name in endpoint.key_names:
        if value := os.environ.get(name, "").strip():
            return _sendable(Secret(value, name))
    user = endpoint.provider.name if endpoint.own_address else endpoint.host
    kept = _from_keyring(user)
    return _sendable(Secret(kept.strip(), f"keyring {SERVICE}/{user}")) if kept else None


def require_key(endpoint: Endpoint) -> Secret | None:
    """As `find_key`. Raises `UserError` where the provider asks for a key and none is set."""
    key = find_key(endpoint)
    if key is None and endpoint.needs_key:
        names = " / ".join(endpoint.key_names)
        hint = f"export {endpoint.key_names[0]}=…   or: keyring set {SERVICE} {endpoint.provider.name}"
        zh = Problem(f"模型“{endpoint.name}”需要密钥：环境变量 {names} 未设置", hint)
        raise UserError(f"model '{endpoint.name}' needs a key: {names} is not set", hint, zh)
    return key


def _from_keyring(user: str) -> str:
    if importlib.util.find_spec("keyring") is None:  # an optional package
        return ""
    keyring = importlib.import_module("keyring")
    try:
        return str(keyring.get_password(SERVICE, user) or "")
    except keyring.errors.KeyringError:  # no keyring on this system, or it is locked
        return ""


def _sendable(secret: Secret) -> Secret:
    if all("!" <= ch <= "~" for ch in secret.reveal()):
        return secret
    where = secret.found_in
    raise UserError(
        f"the key in {where} cannot be sent: it holds a space, a quotation mark or the like, as no key does",
        f"copy it anew: export {where}=…",
        Problem(f"{where} 中的密钥无法发送：含有空格、引号等密钥中不会出现的字符", f"请重新复制：export {where}=…"),
    )


def scrub(message: str, secrets: Iterable[Secret | None] = ()) -> str:
    """`message` without anything secret."""
    known = {secret.reveal() for secret in secrets if secret}
    values = {value.strip() for name, value in os.environ.items() if SECRET_NAME.search(name)}
    known |= {value for value in values if len(value) >= SHORTEST}
    for value in sorted(known, key=len, reverse=True):
        message = message.replace(value, HIDDEN)
    return message
