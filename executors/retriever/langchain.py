"""A finished index as a `BaseRetriever` of LangChain: ``executors.load("last").as_retriever(k=4)``.

Covered: `invoke`, `batch` (one embedding call for all questions) and their asynchronous forms; a filter by file; a bare
index folder (`open_retriever`). Calls from several threads take turns: an index serves one at a time. Not covered:
writing through LangChain (`add_documents`): an index follows its folder, see `advisor index`. A folder of LangChain's
own FAISS store is refused, see `foreign`.

Importing this module imports langchain-core; nothing else of the retriever does.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, PrivateAttr

from executors.base import Passage, Reporter, silent
from executors.models import load_embedder
from executors.retriever.foreign import refuse_pickled_store
from executors.retriever.index import open_index, read_manifest
from executors.retriever.search import DEFAULTS, Searcher, SearchSettings


class IndexRetriever(BaseRetriever):
    """Passages of an index as LangChain's documents.

    `metadata` of a document: source (the file), heading, page and row (where there are), score, and place, which a
    citation can show. `k` documents are returned, of the files that match `sources` (all without).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    searcher: Searcher = Field(exclude=True, repr=False)
    k: int = Field(default=5, ge=1)
    sources: tuple[str, ...] = ()
    _turn: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        documents: list[Document] = self._found([query])[0]
        return documents

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """All questions by one search; so one that fails fails them all."""
        return self._batch_with_config(self._found, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """As `batch`, in a thread: by default LangChain would ask one by one."""
        return await run_in_executor(None, self.batch, inputs, config, return_exceptions=return_exceptions)

    def _found(self, questions: list[str]) -> list[Any]:
        with self._turn:
            found = self.searcher.search(questions, self.k, self.sources)
        return [[as_document(passage) for passage in passages] for passages in found]


def as_document(passage: Passage) -> Document:
    """A passage as LangChain knows one."""
    known = {"source": passage.source, "heading": passage.heading, "page": passage.page, "row": passage.row}
    metadata = {name: value for name, value in known.items() if value not in ("", None)}
    return Document(passage.text, metadata={**metadata, "score": passage.score, "place": passage.place})


def open_retriever(
    folder: str | Path,
    k: int = 5,
    sources: Sequence[str] = (),
    settings: SearchSettings = DEFAULTS,
    report: Reporter = silent,
) -> IndexRetriever:
    """A retriever of the index in `folder`, as `advisor index` made it; its embedder is loaded.

    Raises `UserError`: no index, damaged, its embedder's weights changed, a FAISS store of LangChain, settings that
    need a language model.
    """
    place = Path(folder)
    refuse_pickled_store(place)
    made_by = read_manifest(place).embedder
    embedder = load_embedder(made_by.name, report) if made_by else None
    searcher = Searcher(open_index(place, embedder), embedder, settings)
    return IndexRetriever(searcher=searcher, k=k, sources=tuple(sources))
