"""The index folder: what it finds, what it refuses, how it mends itself, and that an audit sees what is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from executors.base import Passage, UserError
from executors.models import Embedder
from executors.retriever.index import (
    Index,
    audit,
    build_index,
    embedded_text,
    open_index,
    read_manifest,
    stale,
    vectors,
    writing,
)
from tests.test_probe import WordEmbedder

WORDS = WordEmbedder()
DIMENSION = 32


def make_index(folder: Path, embedder: Embedder | None, texts: Sequence[str]) -> list[Passage]:
    passages = [Passage(text, f"{n}.md", f"H{n}") for n, text in enumerate(texts)]
    made = embedder.embed([embedded_text(p) for p in passages]) if embedder else None
    build_index(passages, made, embedder, folder)
    return passages


def nearest(index: Index, question: str, k: int, allowed: Sequence[int] | None = None) -> list[str]:
    """Sources found by meaning, best first."""
    found = index.dense(WORDS.embed([question]), k, allowed)[0]
    return [p.source for p in index.passages([i for i, _ in found])]


# -- finding -------------------------------------------------------------------------------------------


def test_passages_are_found_by_meaning_and_by_words(tmp_path: Path) -> None:
    passages = [
        Passage("red lamp", "a.pdf", "Lamps", page=3),
        Passage("blue door", "b.csv", "", row=7),
        Passage("green lamps stand here", "c.md"),
    ]
    build_index(passages, WORDS.embed([embedded_text(p) for p in passages]), WORDS, tmp_path / "ix")
    with open_index(tmp_path / "ix", WORDS) as index:
        assert len(index) == 3
        assert index.dense_ready
        (best, cosine), *others = index.dense(WORDS.embed(["Lamps\nred lamp"]), 5)[0]
        assert cosine == pytest.approx(1)
        assert len(others) == 2, "no more than there are"
        assert index.passages([best]) == passages[:1]
        found = index.lexical("lamp", 5)
        assert {p.source for p in index.passages([i for i, _ in found])} == {"a.pdf", "c.md"}, "words are stemmed"
        assert all(score > 0 for _, score in found)
        assert index.vectors([best])[0] == pytest.approx(WORDS.embed(["Lamps\nred lamp"])[0])
        assert index.passages([i for i, _ in index.lexical("door", 1)])[0].row == 7


def test_a_question_of_signs_alone_breaks_nothing(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", None, ["red lamp"])
    with open_index(tmp_path / "ix", None) as index:
        assert index.lexical('"?!', 3) == []
        assert index.lexical("AND OR NOT *", 3) == []
        assert [i for i, _ in index.lexical("red", 3)] == [1]
        assert not index.dense_ready
        assert index.dense(np.ones((2, 3), np.float32), 3) == [[], []]


def test_a_search_keeps_to_what_is_allowed(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, [f"lamp number {n}" for n in range(12)])
    with open_index(tmp_path / "ix", WORDS) as index:
        allowed = index.ids_of(["1*.md", "3.md"])
        sources = {"1.md", "10.md", "11.md", "3.md"}
        assert set(nearest(index, "lamp number 5", 9, allowed)) == sources
        found = index.lexical("lamp number 5", 9, allowed)
        assert {p.source for p in index.passages([i for i, _ in found])} == sources
        assert nearest(index, "lamp number 5", 9, []) == []
        assert index.lexical("lamp", 9, []) == []
        assert len(index.ids_of("nothing/*")) == 0


# -- kinds of FAISS index ------------------------------------------------------------------------------


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around as many centres as there are hundreds of them."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(count // 100, 1), DIMENSION))
    found = centres[rng.integers(0, len(centres), count)] + 0.3 * rng.normal(size=(count, DIMENSION))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Approximate kinds at a size that a test can afford."""
    monkeypatch.setattr(vectors, "FLAT_MOST", 1000)


def test_the_kind_follows_the_size_and_says_why() -> None:
    flat, lists, codes = (vectors.choose_kind(n, 384, c) for n, c in ((11_429, True), (10**6, False), (10**6, True)))
    assert (flat.name, lists.name, codes.name) == ("Flat", "IVF2048,SQ8", "IVF2048,PQ192x4fs")
    assert "11,429 vectors: all are compared" in flat.reason["en"]
    assert "take too long" in lists.reason["en"]
    assert "96 bytes each instead of 1,536" in codes.reason["en"]


@pytest.mark.parametrize(("compact", "kind"), [(False, "IVF128,SQ8"), (True, "IVF128,PQ16x4fs")])
def test_many_vectors_are_searched_in_lists_and_their_recall_is_recorded(
    compact: bool, kind: str, tmp_path: Path, small_limit: None
) -> None:
    made = clustered(4000)
    embedder = WordEmbedder(dimension=DIMENSION)
    passages = [Passage(f"t{n}", f"{n % 7}.md") for n in range(4000)]
    manifest = build_index(passages, iter(np.split(made, 4)), embedder, tmp_path / "ix", compact=compact)
    assert manifest.vectors is not None
    assert manifest.vectors.kind == kind
    assert manifest.vectors.recall_at_10 >= 0.95
    assert audit(tmp_path / "ix")
    with open_index(tmp_path / "ix", embedder) as index:
        asked = made[:50]
        exact = np.argsort(-(asked @ made.T), axis=1)[:, :10] + 1
        found = index.dense(asked, 10)
        hits = [len(set(map(int, e)) & {i for i, _ in f}) / 10 for e, f in zip(exact, found, strict=True)]
        assert np.mean(hits) >= 0.95
        assert found[0][0][1] == pytest.approx(float(asked[0] @ asked[0]), abs=1e-5), "exact, not the approximation"
        few = index.ids_of("3.md")
        assert {i for i, _ in index.dense(asked[:1], 10, few)[0]} <= set(few.tolist())


# -- what is refused, and mended -----------------------------------------------------------------------


def test_an_index_is_refused_to_another_embedder_of_the_same_size(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp"])
    for other in (WordEmbedder(sha256="b" * 64, name="other"), WordEmbedder(sha256="c" * 64)):
        with pytest.raises(UserError, match=f"made by words .* not by {other.name}") as told:
            open_index(tmp_path / "ix", other)
        assert "由 words" in told.value.told("zh").message
    with pytest.raises(UserError, match="made with an embedder"):
        open_index(tmp_path / "ix", None)
    pooled = WordEmbedder()
    pooled.pooling = "cls"
    with pytest.raises(UserError, match=r"not by words \(pooling cls"):
        open_index(tmp_path / "ix", pooled)


def test_a_folder_without_an_index_is_an_error(tmp_path: Path) -> None:
    for ask in (read_manifest, audit, stale, lambda folder: open_index(folder, None)):
        with pytest.raises(UserError, match="no index here"):
            ask(tmp_path / "nothing")
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 99)
    with pytest.raises(UserError, match="damaged"):
        open_index(tmp_path, None)


def damage_faiss(folder: Path, how: str) -> None:
    path = next(folder.glob("vectors-*.faiss"))
    raw = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(bytes(byte ^ 1 for byte in raw))


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "changed"])
def test_a_damaged_faiss_file_is_told_and_made_again_from_sqlite(how: str, tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp", "blue door"])
    damage_faiss(tmp_path / "ix", how)
    assert [p.message.split(": ")[1] for p in audit(tmp_path / "ix").problems] == ["missing or damaged"]
    with open_index(tmp_path / "ix", WORDS) as index:
        assert nearest(index, "H1 blue door", 1) == ["1.md"]
    assert audit(tmp_path / "ix").problems == ()
    assert len(list((tmp_path / "ix").glob("vectors-*"))) == 1


def test_a_damaged_faiss_file_is_made_again_in_memory_while_a_writer_is_at_work(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp", "blue door"])
    damage_faiss(tmp_path / "ix", "truncated")
    with writing.locked(tmp_path / "ix"), open_index(tmp_path / "ix", WORDS) as index:
        assert nearest(index, "H1 blue door", 1) == ["1.md"]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_database_is_an_error_and_not_an_answer(share: float, tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, [f"red lamp {n}" for n in range(200)])
    raw = (tmp_path / "ix" / "index.sqlite").read_bytes()
    (tmp_path / "ix" / "index.sqlite").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(UserError, match="damaged"):
        open_index(tmp_path / "ix", WORDS)


TAMPERED = {
    "UPDATE passage SET text = 'a lie' WHERE id = 2": "passages were changed from outside: 1.md",
    "UPDATE passage SET heading = 'H9' WHERE id = 2": "passages were changed from outside: 1.md",
    "UPDATE passage SET vector = (SELECT vector FROM passage WHERE id = 1) WHERE id = 2": "changed from outside: 1.md",
    "UPDATE source SET path = 'other.md' WHERE id = 2": "changed from outside: other.md",
    "UPDATE words SET terms = 'lie' WHERE rowid = 2": "words of other texts in the lexical index: 1.md",
    "DELETE FROM words WHERE rowid = 2": "passages without words: 2",
    "DELETE FROM passage WHERE id = 2": "words without a passage: 2",
    "DELETE FROM source WHERE id = 2": "passages without a source: 2",
    "UPDATE passage SET vector = NULL WHERE id = 2": "passages without a vector: 2",
    "INSERT INTO words (rowid, terms) VALUES (9, 'ghost')": "words without a passage: 9",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_an_audit_finds_what_was_changed_from_outside(statement: str, tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp", "blue door", "green tree"])
    assert audit(tmp_path / "ix").problems == ()
    with sqlite3.connect(tmp_path / "ix" / "index.sqlite") as database:
        database.execute(statement)
    database.close()
    found = audit(tmp_path / "ix")
    assert not found
    assert TAMPERED[statement] in " | ".join(p.message for p in found.problems)
    assert all(p.told("zh").message != p.message for p in found.problems)


def test_an_audit_counts_every_place(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp", "blue door"])
    places = ("sources", "passages", "passages of sources", "lexical", "manifest", "vectors")
    assert dict(audit(tmp_path / "ix").counts) == dict.fromkeys(places, 2)


# -- writing again -------------------------------------------------------------------------------------


def test_writing_again_replaces_the_index(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp"])
    with open_index(tmp_path / "ix", WORDS) as before:
        make_index(tmp_path / "ix", WORDS, ["blue door", "green tree"])
        assert nearest(before, "red lamp", 3) == ["0.md"], "a reader keeps to one state"
        assert before.passages([1])[0].text == "red lamp"
        assert before.follow()
        assert len(before) == 2
        assert "red lamp" not in {p.text for p in before.passages([i for i, _ in before.lexical("red lamp door", 3)])}
        assert not before.follow(), "there is nothing newer"
    assert audit(tmp_path / "ix").problems == ()
    names = {p.name for p in (tmp_path / "ix").iterdir()}
    assert names - {"index.lock", "index.sqlite-wal", "index.sqlite-shm"} == {"index.sqlite", "vectors-2.faiss"}


def test_a_second_writer_waits_and_is_told(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp"])
    stages: list[str] = []
    with (
        writing.locked(tmp_path / "ix"),
        pytest.raises(UserError, match="another process is writing this index"),
        writing.locked(tmp_path / "ix", 0.1, lambda event: stages.append(event.stage)),
    ):
        pass
    assert stages == ["wait"]


def test_counts_that_do_not_add_up_are_never_committed(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WORDS, ["red lamp"])
    short = WORDS.embed(["a", "b"])[:, :DIMENSION]
    with pytest.raises(ValueError, match="zip"):
        build_index([Passage("a", "a.md"), Passage("b", "b.md")], short[:1], WORDS, tmp_path / "ix")
    with open_index(tmp_path / "ix", WORDS) as index:
        assert nearest(index, "red lamp", 3) == ["0.md"]
