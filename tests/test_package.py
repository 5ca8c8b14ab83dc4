"""An install from a built wheel carries what the product needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "content")
    return folder / "content"


def test_every_tracked_file_of_the_packages_is_in_the_wheel(unpacked: Path) -> None:
    for package in ("advisor", "executors", "knowledge"):
        for file in (ROOT / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert (unpacked / file.relative_to(ROOT)).is_file(), file


def test_the_wheel_works_by_itself(unpacked: Path, workdir: Path) -> None:
    Path("a.yaml").write_text("training_budget: small\nlabelled_examples: 0\nknowledge_change: daily\n")
    code = "import sys; from advisor.cli import run; import knowledge; print(knowledge.__file__, file=sys.stderr); "
    code += "sys.exit(run(['ask', '--answers', 'a.yaml', '--json']))"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(unpacked) in done.stderr
    assert '"methods"' in done.stdout
