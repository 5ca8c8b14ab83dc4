"""Which language documents are in, and which models were made for it."""

from __future__ import annotations

from collections.abc import Sequence

from executors.models import alias_of
from executors.retriever.documents import Document
from executors.retriever.lexical import chinese_share

CHINESE = 0.3  # share of Chinese letters from which documents count as Chinese


def documents_language(documents: Sequence[Document]) -> str:
    """The language code "zh" where a fair share of the letters is Chinese, else "en"; no others are told apart."""
    sample = "".join(document.text[:2000] for document in documents[:200])
    return "zh" if chinese_share(sample) >= CHINESE else "en"


def speaks(model: str, language: str) -> bool:
    """Whether `model` was made for `language`; models the catalogue does not know are trusted to be."""
    alias = alias_of(model)
    return alias is None or language in alias.languages
