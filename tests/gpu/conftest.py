"""Tests of this folder need a GPU, and are skipped, saying so, without one."""

from __future__ import annotations

import pytest

from executors.models.device import prepare_torch
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if not prepare_torch().cuda.is_available():
        pytest.skip("no GPU here: torch.cuda.is_available() is False")
    monkeypatch.setenv("ADVISOR_DEVICE", "cuda")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")
