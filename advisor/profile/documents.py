"""The documents answers must draw on: how many, how long, in which languages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advisor.facts import Fact, Facts
from advisor.profile.language import CHARS_A_TOKEN, HAN_A_TOKEN, count_tokens, languages_of
from advisor.texts import text


@dataclass(frozen=True)
class DocumentsProfile:
    """What lies in the folder. `tokens` is an estimate from characters."""

    folder: str
    files: int
    characters: int
    tokens: int
    languages: dict[str, float]


def measure_documents(folder: str) -> DocumentsProfile:
    """Raises `UserError` where the folder is missing, empty or without text."""
    from executors.retriever.documents import read_documents

    texts = [document.text for document in read_documents(Path(folder))]
    return DocumentsProfile(
        folder=folder,
        files=len(texts),
        characters=sum(map(len, texts)),
        tokens=round(sum(map(count_tokens, texts))),
        languages=languages_of(texts),
    )


def document_facts(documents: DocumentsProfile) -> Facts:
    """`knowledge_tokens`, said to be an estimate."""
    told = text(
        "profile.documents",
        files=documents.files,
        folder=documents.folder,
        characters=f"{documents.characters:,}",
        latin=f"{CHARS_A_TOKEN:g}",
        han=f"{HAN_A_TOKEN:g}",
    )
    return Facts().with_(Fact("knowledge_tokens", documents.tokens, "measured", told))
