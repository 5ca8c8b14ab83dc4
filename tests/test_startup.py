"""Help and advice are instant: nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "peft", "faiss", "sentence_transformers", "langchain", "langchain_core", "sklearn"}
LIST = """
import sys
from advisor.cli import run
status = run({arguments!r})
print("STATUS", status, *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ask", "--help"],
        ["run", "--help"],
        ["profile", "--help"],
        ["index", "--help"],
        ["chat", "--help"],
        ["ask", "--answers", "a.yaml"],
        ["ask", "--answers", "a.yaml", "--json"],
        ["chart"],
        ["chart", "--format", "svg"],
    ],
    ids=" ".join,
)
def test_no_heavy_module_is_loaded(arguments: list[str], workdir: Path) -> None:
    Path("a.yaml").write_text("training_budget: small\nlabelled_examples: 800\nknowledge_change: static\n")
    code = LIST.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "STATUS 0"
