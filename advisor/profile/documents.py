"""The documents answers must draw on: how many, how long, of which kinds and languages, and what cannot be read.

One document is held at a time, so that a folder of any size costs bounded memory. Not covered: what is in files of
other kinds; they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advisor.facts import Fact, Facts
from advisor.profile.language import CHARS_A_TOKEN, HAN_A_TOKEN, count_tokens, languages_of
from advisor.profile.lengths import Counter as TokenCounter
from advisor.texts import text
from executors.base import Event, Problem, Reporter, silent

DAMAGED = "\ufffd"
COUNTED = 4_000_000  # characters that a tokenizer counts; the rest is estimated at the rate found in them
LANGUAGES_FROM = 2000  # documents
EVERY = 200  # documents between two reports


@dataclass(frozen=True)
class Kind:
    """The documents with one ending."""

    files: int
    tokens: int


@dataclass(frozen=True)
class DocumentsProfile:
    """What lies in the folder. `tokens` is an estimate from characters, unless `counted_by` names a tokenizer.

    `unreadable` are documents that should be readable and are not; `others` counts files of kinds that are not read.
    """

    folder: str
    files: int
    characters: int
    tokens: int
    languages: dict[str, float]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    unreadable: tuple[Problem, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)
    unread_share: float = 0.0  # of the folder's bytes: in files that are not read, and in damaged characters
    counted_by: str = ""


class _Tally:
    """Counts over documents, one at a time."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self.files: Counter[str] = Counter()
        self.estimates: dict[str, float] = {}
        self.characters = self.damaged = self.read_bytes = 0
        self.counted = self.estimated = 0.0  # tokens of the same documents, by the tokenizer and by the estimate
        self.samples: list[str] = []

    def add(self, ending: str, content: str, size: int) -> None:
        """`size` is the file's, in bytes."""
        tokens = count_tokens(content)
        self.files[ending] += 1
        self.estimates[ending] = self.estimates.get(ending, 0) + tokens
        lost = content.count(DAMAGED)
        self.read_bytes += round(size * (1 - lost / max(len(content), 1)))
        if self.counter.name and self.characters < COUNTED:
            part = content[:COUNTED]
            self.counted += self.counter.count([part])[0]
            self.estimated += tokens if len(part) == len(content) else count_tokens(part)
        self.characters += len(content)
        if len(self.samples) < LANGUAGES_FROM:
            self.samples.append(content[:2000])

    @property
    def rate(self) -> float:
        """Tokens for each one estimated."""
        return self.counted / self.estimated if self.estimated else 1.0


def measure_documents(
    folder: str, counter: TokenCounter | None = None, report: Reporter = silent, *, tolerant: bool = False
) -> DocumentsProfile:
    """Read every document once.

    Raises `UserError` where the folder is missing or empty, and where no document has text, unless `tolerant`.
    """
    from executors.retriever.documents import find_files, read_documents

    unreadable: list[Problem] = []
    root, files = find_files(Path(folder), unreadable)
    tally = _Tally(counter or TokenCounter(lambda texts: []))
    unreadable += _read_into(tally, root, files, report)
    if not tally.files and not tolerant:
        read_documents(Path(folder))  # raises, and says why
    strangers = list(_other_files(Path(folder), set(files)))
    others = Counter(path.suffix.lower() or path.name for path in strangers)
    total = sum(path.stat().st_size for path in (*files, *strangers))
    return DocumentsProfile(
        folder=folder,
        files=sum(tally.files.values()),
        characters=tally.characters,
        tokens=round(sum(tally.estimates.values()) * tally.rate),
        languages=languages_of(tally.samples),
        kinds={end: Kind(count, round(tally.estimates[end] * tally.rate)) for end, count in tally.files.most_common()},
        unreadable=tuple(unreadable),
        others=dict(others.most_common()),
        unread_share=1 - tally.read_bytes / total if total else 0.0,
        counted_by=counter.name if counter else "",
    )


def _read_into(tally: _Tally, root: Path, files: Sequence[Path], report: Reporter) -> list[Problem]:
    """Count every document that can be read; what is wrong with the others."""
    from executors.retriever.documents import Document, read_document

    unreadable = []
    for number, path in enumerate(files):
        if number and number % EVERY == 0:
            report(Event("read", number, len(files)))
        read = read_document(path, root)
        if isinstance(read, Document):
            tally.add(path.suffix.lower(), read.text, path.stat().st_size)
        else:
            unreadable.append(read)
    return unreadable


def _other_files(folder: Path, known: set[Path]) -> Iterator[Path]:
    """Files below `folder` that are no documents we read, hidden ones aside."""
    from executors.retriever.documents import walk_files

    for path in walk_files(folder) if folder.is_dir() else ():
        if isinstance(path, Path) and path not in known:
            yield path


def document_facts(documents: DocumentsProfile) -> Facts:
    """`knowledge_tokens`, and how they were counted; nothing where no document could be read."""
    if not documents.files:
        return Facts()
    if documents.counted_by:
        told = text(
            "profile.documents_counted",
            files=documents.files,
            folder=documents.folder,
            characters=f"{documents.characters:,}",
            model=documents.counted_by,
        )
    else:
        told = text(
            "profile.documents",
            files=documents.files,
            folder=documents.folder,
            characters=f"{documents.characters:,}",
            latin=f"{CHARS_A_TOKEN:g}",
            han=f"{HAN_A_TOKEN:g}",
        )
    return Facts().with_(Fact("knowledge_tokens", documents.tokens, "measured", told))
