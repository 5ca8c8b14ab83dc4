"""Shared by every test: no network, one folder each, and the demo task's files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing outside the repository may decide a test
os.environ.setdefault("ADVISOR_DEVICE", "cpu")  # results are compared to the bit; tests/gpu asks for the GPU itself
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers stand beside one another: threads would only take turns

LONG = {"test_contract.py", "test_decision_properties.py", "test_launch.py", "test_tuning.py", "test_main_job.py"}

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "knowledge" / "demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest first, then those with most tests: of several workers none is left with a long one at the
    end. They take files in this order (`--no-loadscope-reorder`)."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONG, -tests[item.path]))


def published_cases() -> list[dict[str, Any]]:
    """Decisions that were published, each with answers, accept and reject; none where this machine has none."""
    data = os.environ.get("ADVISOR_BENCH_DATA")
    path = (Path(data).parent if data else ROOT.parent / "shared") / "cases-dev.yaml"
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]) if path.is_file() else []


@pytest.fixture(scope="session")
def cases() -> list[dict[str, Any]]:
    """The published cases; skips without them."""
    return published_cases() or pytest.skip("no published cases: set ADVISOR_BENCH_DATA to the folder beside them")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; runs are kept in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVISOR_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def bench_data() -> Path:
    """The public data sets, where this machine has them."""
    folder = Path(os.environ.get("ADVISOR_BENCH_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no public data here: set ADVISOR_BENCH_DATA to its folder")
    return folder


@pytest.fixture
def advisor(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: ``advisor("ask", "--json")`` gives (status, stdout, stderr)."""
    from advisor.cli import run

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call
