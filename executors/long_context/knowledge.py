"""The documents a run was built with: their text is kept, so that later answers rest on what was scored.

Covered: reading a folder, the copy in the artifact, telling which files have changed since. Not covered: following the
changes, which is another run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.base import Passage, Problem, Text, UserError
from executors.models.folder import sha256
from executors.retriever.documents import Document, find_files, read_documents

NAMED = 5  # changed files that a note lists


@dataclass(frozen=True)
class Knowledge:
    """Documents by path, the SHA-256 of each one's file, and the folder (absolute) they were read from."""

    folder: str
    documents: tuple[Document, ...]
    sha256: Mapping[str, str]

    def in_prompt(self) -> tuple[Passage, ...]:
        """Each document whole, under its file's name; its headings stand in the text."""
        return tuple(Passage(d.text, d.path, d.path) for d in self.documents)


def read_knowledge(folder: Path, skipped: list[Problem] | None = None) -> Knowledge:
    """Every document below `folder`, by path. Raises `UserError`, see `read_documents`."""
    documents = read_documents(folder, skipped)
    return Knowledge(str(folder.resolve()), tuple(documents), _hashes(folder, {d.path for d in documents}))


def changes(knowledge: Knowledge) -> list[Text]:
    """A note that names the files changed, new or gone since; none where nothing is, or the folder is not here."""
    folder = Path(knowledge.folder)
    if not folder.exists():
        return []
    try:
        now = _hashes(folder)
    except UserError:  # nothing is left that could be read
        now = {}
    before = knowledge.sha256
    changed = sorted(path for path in before.keys() & now.keys() if before[path] != now[path])
    return _note(changed, sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys()))


def _hashes(folder: Path, only: set[str] | None = None) -> dict[str, str]:
    root, files = find_files(folder)
    named = {path.relative_to(root).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in named.items() if only is None or name in only}


def _note(changed: Sequence[str], new: Sequence[str], gone: Sequence[str]) -> list[Text]:
    told = {"en": [("changed", changed), ("new", new), ("gone", gone)]}
    told["zh"] = [("已修改", changed), ("新增", new), ("已删除", gone)]
    listed = {
        lang: (("; " if lang == "en" else "；").join(f"{word} {_named(names)}" for word, names in parts if names))
        for lang, parts in told.items()
    }
    if not listed["en"]:
        return []
    return [
        {
            "en": f"the documents are not those the answers rest on any more: {listed['en']}; run the plan again",
            "zh": f"文档与作答所依据的版本已不一致：{listed['zh']}；请重新运行计划",
        }
    ]


def _named(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMED], *(["…"] if names[NAMED:] else [])])
