"""Shared by every test: no network, one folder each, and the demo task's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing outside the repository may decide a test
os.environ.setdefault("ADVISOR_DEVICE", "cpu")  # results are compared to the bit; tests/gpu asks for the GPU itself
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "knowledge" / "demo"


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
