"""What reading a folder costs: 100,000 tiny files, one at a time, in seconds and in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.harness import OUT, ROOT, Figure

COMMAND = "make bench-retrieval"
FILES = 100_000
A_FOLDER = 1000
READING = """
import json, sys, time
from pathlib import Path
import psutil
from executors.retriever.documents import Document, find_files, iter_documents
process, folder = psutil.Process(), Path(sys.argv[1])
next(iter_documents(folder))  # what is imported is no part of the figures
before = peak = process.memory_info().rss
begin = time.perf_counter()
for count, read in enumerate(iter_documents(folder), 1):
    assert isinstance(read, Document)
    if count % 500 == 0:
        peak = max(peak, process.memory_info().rss)
seconds = time.perf_counter() - begin
begin = time.perf_counter()
files = len(find_files(folder)[1])
print(json.dumps([count, seconds, (peak - before) / (1 << 20), files, time.perf_counter() - begin]))
"""


def documents() -> list[Figure]:
    """Seconds and memory (beyond the interpreter and its modules) of reading, and of only listing, every file."""
    folder = _made()
    done = subprocess.run(
        [sys.executable, "-c", READING, str(folder)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    count, seconds, megabytes, files, listing = json.loads(done.stdout)
    assert (count, files) == (FILES, FILES)
    return [
        Figure("reading 100,000 tiny files, s", seconds, 60, "<=", n=count, command=COMMAND),
        Figure("its peak memory, MB", megabytes, 64, "<=", n=count, command=COMMAND),
        Figure("listing them, s", listing, n=files, command=COMMAND),
    ]


def _made() -> Path:
    """The folder, made once and kept: its files are Markdown of a heading and a line."""
    folder = OUT / "documents" / "tiny"
    if not (folder / "whole").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for start in range(0, FILES, A_FOLDER):
            part = folder / f"{start:06}"
            part.mkdir(parents=True)
            for number in range(start, start + A_FOLDER):
                (part / f"{number:06}.md").write_text(f"# Page {number}\n\nIt says {number}.\n", encoding="utf-8")
        (folder / "whole").touch()
    return folder
