"""A folder with a model in it: is it whole, and what are its weights' SHA-256.

Reads headers and sizes only, so that a check costs milliseconds; the hash is read from the folder's manifest
where we wrote one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from executors.base import Problem, UserError, write_json

MANIFEST = "advisor-manifest.json"
INT8_WEIGHTS = "encoder-int8.onnx"  # see `int8`
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


def check_folder(folder: Path) -> list[Problem]:
    """Every reason why `folder` cannot be loaded: missing configuration, tokenizer or weights, cut-off weights."""
    problems = []
    if not (folder / "config.json").is_file():
        problems.append(_lacks(folder, "no config.json", "缺少 config.json"))
    if not any((folder / name).is_file() for name in TOKENIZERS):
        named = ", ".join(TOKENIZERS[:3])
        problems.append(_lacks(folder, f"no tokenizer ({named}, …)", f"缺少分词器（{named} 等）"))
    return problems + _check_weights(folder)


def _lacks(folder: Path, what: str, what_zh: str) -> Problem:
    return Problem(
        f"{folder}: {what}",
        "the folder needs config.json, *.safetensors and the tokenizer's files, as save_pretrained writes them",
        Problem(
            f"{folder}：{what_zh}",
            "文件夹中需要有 config.json、*.safetensors 和分词器文件，即 save_pretrained 写出的内容",
        ),
    )


def _check_weights(folder: Path) -> list[Problem]:
    try:
        files = {path.name for path in _weight_files(folder)}
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError):
        index = "model.safetensors.index.json"
        return [_lacks(folder, f"{index} cannot be read", f"{index} 无法读取")]
    if not files:
        pickled = sorted(p.name for pattern in ("*.bin", "*.pt") for p in folder.glob(pattern))
        if pickled:
            return [
                Problem(
                    f"{folder}: weights only as {pickled[0]}, which is a pickle and can run code",
                    "convert it to safetensors (save_pretrained writes that), or name a model that ships it",
                    Problem(
                        f"{folder}：权重只有 {pickled[0]}，这是 pickle 格式，可能执行代码",
                        "请转换为 safetensors（save_pretrained 即写出该格式），或换用提供该格式的模型",
                    ),
                )
            ]
        return [_lacks(folder, "no weights (*.safetensors)", "缺少权重（*.safetensors）")]
    problems = []
    for name in sorted(files):
        fault = safetensors_fault(folder / name)
        if fault:
            zh = Problem(f"{folder / name}：文件缺失、被截断或已改动（{fault}）", "请重新下载或复制")
            problems.append(Problem(f"{folder / name}: {fault}", "fetch or copy it anew", zh))
    return problems


def _weight_files(folder: Path) -> list[Path]:
    """The weight files of `folder`: all shards the index names, there or not; else what lies there."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / name for name in sorted(names)]
    return sorted(folder.glob("*.safetensors"))


def safetensors_fault(path: Path) -> str:
    """What is wrong with a safetensors file's length or header, or an empty string. Reads the header only."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return f"cut off ({size:,} bytes)"
        try:
            header = json.loads(file.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError):
            return "not a safetensors file"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    return "" if size == expected else f"cut off or altered ({size:,} bytes, its header says {expected:,})"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, name: str, source: str) -> None:
    """Record what `folder` holds and where it came from: last of all, so that its presence means 'complete'."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"schema_version": 1, "name": name, "source": source, "files": files})


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """The manifest of `folder`, or None where there is none that can be read."""
    try:
        read: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return read if isinstance(read.get("files"), dict) else None
    except (OSError, ValueError):
        return None


def is_complete(folder: Path) -> bool:
    """Whether every file the manifest of `folder` lists is there at its full length."""
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    lengths = {name: folder / name for name in manifest["files"]}
    return all(p.is_file() and p.stat().st_size == manifest["files"][n]["bytes"] for n, p in lengths.items())


def weights_sha256(folder: Path) -> str:
    """One SHA-256 for all weights of `folder`: what tells two models of the same name and size apart.

    The manifest's word is taken for files that are no newer than it, so that only what may have changed is read whole.
    """
    manifest = read_manifest(folder)
    written = (folder / MANIFEST).stat().st_mtime_ns if manifest else 0
    listed = manifest["files"] if manifest else {}
    paths = [*_weight_files(folder), *folder.glob(INT8_WEIGHTS)]
    if not paths:
        zh = Problem(f"{folder}：缺少权重（*.safetensors）", "请给出含有模型的文件夹")
        raise UserError(f"{folder}: no weights (*.safetensors)", "name a folder that holds a model", zh)
    known = {p: listed[p.name]["sha256"] for p in paths if p.name in listed and p.stat().st_mtime_ns <= written}
    hashes = [known.get(p) or sha256(p) for p in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
