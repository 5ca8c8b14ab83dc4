"""The index as a retriever of LangChain, and the store of LangChain's that is refused."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from pydantic import ValidationError

from executors.base import Passage, UserError
from executors.retriever import RagPredictor, Setup
from executors.retriever.foreign import pickled_store_problem, refuse_pickled_store
from executors.retriever.index import build_index, open_index
from executors.retriever.langchain import IndexRetriever, as_document, open_retriever
from executors.retriever.search import Searcher, SearchSettings
from tests.test_probe import WordEmbedder

PASSAGES = [
    Passage("red lamp means trouble", "lamps.md", "Lamps > Colours"),
    Passage("blue door at the end", "doors.pdf", page=3),
    Passage("the soup is cold", "menu.csv", row=7),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index without vectors."""
    build_index(PASSAGES, None, None, tmp_path / "ix")
    return tmp_path / "ix"


def test_passages_are_documents_that_name_their_place(folder: Path) -> None:
    retriever = open_retriever(folder, k=1)
    assert [d.metadata["place"] for d in retriever.invoke("red lamp")] == ["lamps.md › Lamps > Colours"]
    door = retriever.invoke("blue door")[0]
    assert door.page_content == "blue door at the end"
    assert {name: value for name, value in door.metadata.items() if name != "score"} == {
        "source": "doors.pdf",
        "page": 3,
        "place": "doors.pdf, p. 3",
    }
    assert door.metadata["score"] > 0
    assert as_document(PASSAGES[2]).metadata["row"] == 7


def test_it_stands_in_a_chain(folder: Path) -> None:
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    chain = {
        "context": open_retriever(folder) | (lambda found: found[0].page_content),
        "question": RunnablePassthrough(),
    }
    assert (chain | prompt).invoke("cold soup").to_messages()[0].content == "the soup is cold\ncold soup"


def test_files_can_be_kept_to(folder: Path) -> None:
    question = "red lamp, blue door, cold soup"
    assert {d.metadata["source"] for d in open_retriever(folder, sources=["*.md", "menu.csv"]).invoke(question)} == {
        "lamps.md",
        "menu.csv",
    }
    with pytest.raises(UserError, match="no document matches"):
        open_retriever(folder, sources=["nothing.md"]).invoke(question)
    with pytest.raises(ValidationError):
        open_retriever(folder, k=0)


def test_a_finished_run_gives_its_retriever(tmp_path: Path, folder: Path) -> None:
    setup = Setup("question_answering", "-", 2, SearchSettings(how="lexical"), "quote", 2, sources=("*.md", "*.csv"))
    (tmp_path / "saved").mkdir()
    RagPredictor(setup, folder, None, None).save(tmp_path / "saved")
    predictor = RagPredictor.load(tmp_path / "saved")
    question = "red lamp, blue door, cold soup"
    assert {d.metadata["source"] for d in predictor.as_retriever().invoke(question)} == {"lamps.md", "menu.csv"}
    assert len(predictor.as_retriever(k=1).invoke(question)) == 1
    assert predictor.as_retriever(sources=["doors.pdf"]).invoke(question)[0].metadata["page"] == 3


class Counting(WordEmbedder):
    """Counts what it is asked as questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def embed(self, texts: Sequence[str], *rest: object, role: str = "document") -> np.ndarray:
        self.asked += [len(texts)] * (role == "query")
        return super().embed(texts)


@pytest.fixture
def counted(tmp_path: Path) -> tuple[Counting, IndexRetriever]:
    embedder = Counting()
    build_index(PASSAGES, embedder.embed([p.text for p in PASSAGES]), embedder, tmp_path / "dense")
    searcher = Searcher(open_index(tmp_path / "dense", embedder), embedder, SearchSettings(how="dense"))
    return embedder, IndexRetriever(searcher=searcher, k=1)


def test_a_batch_is_embedded_at_once(counted: tuple[Counting, IndexRetriever]) -> None:
    embedder, retriever = counted
    questions = ["red lamp", "blue door", "cold soup"]
    found = retriever.batch(questions)
    assert [one[0].metadata["source"] for one in found] == ["lamps.md", "doors.pdf", "menu.csv"]
    assert embedder.asked == [3]
    assert asyncio.run(retriever.abatch(questions)) == found
    assert embedder.asked == [3, 3]
    assert asyncio.run(retriever.ainvoke(questions[0])) == found[0]


def test_threads_take_turns(counted: tuple[Counting, IndexRetriever]) -> None:
    questions = ["red lamp", "blue door", "cold soup"] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(counted[1].invoke, questions))
    assert [one[0].page_content for one in found] == [p.text for p in PASSAGES] * 8


def test_a_real_encoder_is_loaded_by_the_indexes_own_word(tmp_path: Path) -> None:
    from executors.models import load_embedder

    embedder = load_embedder("all-minilm-l6-v2")
    build_index(PASSAGES, embedder.embed([p.text for p in PASSAGES]), embedder, tmp_path / "real")
    found = open_retriever(tmp_path / "real", k=1).invoke("A dish that is not warm")
    assert found[0].metadata["source"] == "menu.csv", "no word of the question stands there"


# -- refusal -------------------------------------------------------------------------------------------


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_faiss_store_of_langchain_is_refused_and_never_opened(tmp_path: Path) -> None:
    store, sprung = tmp_path / "faiss_index", tmp_path / "sprung"
    store.mkdir()
    (store / "index.faiss").write_bytes(b"IxFI")
    (store / "index.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError, match="pickle, which can run code") as caught:
        open_retriever(store)
    assert "advisor index DOCS" in caught.value.hint
    assert "pickle" in caught.value.told("zh").message
    assert not sprung.exists()
    with pytest.raises(UserError):
        refuse_pickled_store(store)


def test_other_folders_are_not_taken_for_one(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "vectors.faiss").write_bytes(b"")
    (tmp_path / "other.pkl").write_bytes(b"")
    assert pickled_store_problem(tmp_path) is None
    refuse_pickled_store(folder)


def test_searching_imports_no_langchain() -> None:
    code = "import sys, executors.retriever.search; print('langchain_core' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
