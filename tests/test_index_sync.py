"""An index follows its documents: what is new is found, what is gone never answers, and nothing breaks it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import Problem, UserError
from executors.models import Embedder
from executors.retriever.index import (
    Change,
    Splitter,
    audit,
    open_index,
    read_manifest,
    stale,
    sync,
    syncing,
    vectors,
    writing,
)
from executors.retriever.index.store import Store, open_to_write
from tests.syncing_forever import SPLITTER, Words, sync_forever, sync_until

AGO = 1_700_000_000  # so long ago that a file's time tells whether it changed


def write(docs: Path, **files: str) -> Path:
    """Files of settled age; each call is a second later."""
    docs.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = docs / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        os.utime(path, (AGO, AGO + write.calls))
    write.calls += 1
    return docs


write.calls = 0  # type: ignore[attr-defined]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write(tmp_path / "docs", lamp="# Lamp\n\nA red lamp.", door="# Door\n\nA blue door.", tree="A green tree.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "docs.index"


def synced(folder: Path, docs: Path, embedder: Embedder | None = None, **how: object) -> Change:
    change = sync(folder, docs, SPLITTER, embedder or Words(), "en", **how)  # type: ignore[arg-type]
    assert audit(folder).problems == ()
    return change


def answers(folder: Path, question: str) -> tuple[set[str], set[str]]:
    """Sources that answer by words, and by meaning: all that there are."""
    with open_index(folder, Words()) as index:
        lexical = index.passages([i for i, _ in index.lexical(question, 99)])
        dense = index.passages([i for i, _ in index.dense(Words().embed([question]), 99)[0]])
    return {p.source for p in lexical}, {p.source for p in dense}


# -- what changed --------------------------------------------------------------------------------------


def test_an_index_is_made_of_a_folder(folder: Path, docs: Path) -> None:
    change = synced(folder, docs)
    assert change == Change(added=("door.md", "lamp.md", "tree.md"), embedded=3, passages=3)
    manifest = read_manifest(folder)
    assert (manifest.docs, manifest.language, manifest.splitter) == (str(docs), "en", SPLITTER)
    assert manifest.embedder is not None
    assert manifest.embedder.name == "words"
    assert manifest.vectors is not None
    assert (manifest.vectors.kind, manifest.vectors.recall_at_10) == ("Flat", 1.0)
    with open_index(folder, Words()) as index:
        assert [(s.path, s.title, s.passages) for s in index.sources()][1] == ("lamp.md", "Lamp", 1)


def test_only_what_is_new_is_embedded(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    write(docs, lamp="# Lamp\n\nA yellow lamp.", roof="A flat roof.")
    (docs / "tree.md").unlink()
    embedder = Words()
    change = synced(folder, docs, embedder)
    assert change == Change(("roof.md",), ("lamp.md",), ("tree.md",), ("door.md",), 2, 3)
    assert embedder.calls == [2]
    assert answers(folder, "yellow") == ({"lamp.md"}, {"lamp.md", "door.md", "roof.md"})


def test_a_deleted_file_never_answers_again(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    assert answers(folder, "green tree")[0] == {"tree.md"}
    (docs / "tree.md").unlink()
    with open_index(folder, Words()) as reader:
        synced(folder, docs)
        assert reader.follow(), "a reader that was open goes on to the new state"
        assert reader.lexical("green tree", 9) == []
        assert len(reader.dense(Words().embed(["green tree"]), 9)[0]) == 2
    lexical, dense = answers(folder, "green tree")
    assert "tree.md" not in lexical | dense


def test_nothing_is_written_where_nothing_changed(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    before, embedder = read_manifest(folder), Words()
    change = synced(folder, docs, embedder)
    assert not change
    assert change.unchanged == ("door.md", "lamp.md", "tree.md")
    assert embedder.calls == []
    assert read_manifest(folder) == before


def test_another_time_alone_is_no_change(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    os.utime(docs / "lamp.md", (AGO, AGO + 999))
    assert not stale(folder)
    assert not synced(folder, docs)


def test_a_change_at_the_same_time_and_size_is_seen_while_the_file_is_young(folder: Path, docs: Path) -> None:
    path, now = docs / "lamp.md", time.time_ns()
    os.utime(path, ns=(now, now))
    synced(folder, docs)
    path.write_text("# Lamp\n\nA tan lamp.", encoding="utf-8")
    os.utime(path, ns=(now, now))
    assert stale(folder).updated == ("lamp.md",)
    assert synced(folder, docs).updated == ("lamp.md",)


def test_content_can_be_compared_whatever_size_and_time_say(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    seen = (docs / "lamp.md").stat()
    (docs / "lamp.md").write_text("# Lamp\n\nA tan lamp.", encoding="utf-8")
    os.utime(docs / "lamp.md", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert not stale(folder), "size and time are those of before"
    assert stale(folder, by_hash=True).updated == ("lamp.md",)
    assert synced(folder, docs, by_hash=True).updated == ("lamp.md",)


def test_what_is_stale_is_told_without_writing(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    before = read_manifest(folder)
    write(docs, lamp="other words", roof="A flat roof.")
    (docs / "tree.md").unlink()
    found = stale(folder)
    assert (found.added, found.updated, found.deleted) == (("roof.md",), ("lamp.md",), ("tree.md",))
    assert read_manifest(folder) == before


def test_a_file_that_moved_is_not_embedded_again(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    (docs / "deep").mkdir()
    (docs / "lamp.md").rename(docs / "deep" / "light.md")
    change = synced(folder, docs)
    assert (change.added, change.deleted, change.embedded) == (("deep/light.md",), ("lamp.md",), 0)


def test_two_files_of_the_same_content_are_two_sources(folder: Path, docs: Path) -> None:
    embedder = Words()
    write(docs, twin="# Lamp\n\nA red lamp.")
    assert synced(folder, docs, embedder).embedded == 3
    assert answers(folder, "red lamp")[0] == {"lamp.md", "twin.md"}
    (docs / "lamp.md").unlink()
    synced(folder, docs, embedder)
    lexical, dense = answers(folder, "red lamp")
    assert lexical == {"twin.md"}
    assert dense == {"twin.md", "door.md", "tree.md"}


def test_one_file_can_be_indexed(folder: Path, docs: Path) -> None:
    assert synced(folder, docs / "lamp.md").added == ("lamp.md",)
    assert not synced(folder, docs / "lamp.md")


def test_without_an_embedder_search_is_lexical(folder: Path, docs: Path) -> None:
    write(docs, zh="门铃的保修期为三年。")
    assert sync(folder, docs, SPLITTER, None, "zh").embedded == 0
    with open_index(folder, None) as index:
        assert {p.source for p in index.passages([i for i, _ in index.lexical("保修期", 9)])} == {"zh.md"}
    assert audit(folder).problems == ()


def test_other_settings_cut_all_documents_again(folder: Path, docs: Path) -> None:
    write(docs, long=" ".join(f"Sentence number {n} is here." for n in range(9)))
    synced(folder, docs)
    change = sync(folder, docs, Splitter(8, 0), Words(), "en")
    assert len(change.updated) == 4
    assert change.passages > 4
    assert audit(folder).problems == ()


# -- what is refused -----------------------------------------------------------------------------------


def test_another_embedder_of_the_same_size_is_refused_with_the_command_that_embeds_again(
    folder: Path, docs: Path
) -> None:
    synced(folder, docs)
    other = Words(sha256="b" * 64, name="other")
    with pytest.raises(UserError, match="made by words") as refused:
        sync(folder, docs, SPLITTER, other, "en")
    assert f"advisor index {docs} --out {folder} --embedder other --re-embed" in refused.value.hint
    change = synced(folder, docs, other, re_embed=True)
    assert (len(change.updated), change.embedded) == (3, 3), "no vector of another embedder is taken over"
    open_index(folder, other).close()


def test_an_empty_folder_does_not_silently_empty_the_index(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    for path in docs.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="none of the 3 documents") as refused:
        synced(folder, docs)
    assert "--empty" in refused.value.hint
    assert answers(folder, "red lamp")[0] == {"lamp.md"}
    assert synced(folder, docs, empty=True).deleted == ("door.md", "lamp.md", "tree.md")
    assert answers(folder, "red lamp") == (set(), set())
    assert synced(folder, write(docs, lamp="red lamp")).added == ("lamp.md",), "and it can be filled again"


def test_what_lies_in_a_folder_that_cannot_be_opened_is_not_deleted(folder: Path, docs: Path) -> None:
    (docs / "sub").mkdir()
    (docs / "sub" / "zebra.md").write_text("a zebra grazes", encoding="utf-8")
    (docs / "other.md").write_text("an otter swims", encoding="utf-8")
    synced(folder, docs)
    shutil.rmtree(docs / "sub")
    (docs / "sub").symlink_to(docs / "sub")  # cannot be opened, whoever asks
    (docs / "other.md").unlink()
    change = synced(folder, docs)
    assert change.deleted == ("other.md",)
    assert any("sub" in problem.message for problem in change.skipped)
    assert "sub/zebra.md" in answers(folder, "zebra")[0]


@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_that_is_gone_is_an_error(empty: bool, folder: Path, docs: Path) -> None:
    synced(folder, docs)
    docs.rename(docs.with_name("elsewhere"))
    with pytest.raises(UserError, match="no such folder"):
        synced(folder, docs, empty=empty)
    with pytest.raises(UserError, match="no such folder"):
        stale(folder)
    assert answers(folder, "red lamp")[0] == {"lamp.md"}
    assert not stale(folder, docs.with_name("elsewhere"))
    assert not synced(folder, docs.with_name("elsewhere")), "the same files in another place"


def test_the_index_of_other_documents_is_not_overwritten(folder: Path, docs: Path, tmp_path: Path) -> None:
    synced(folder, docs)
    with pytest.raises(UserError, match="none of the 3 documents"):
        synced(folder, write(tmp_path / "other", roof="A flat roof."))


def test_documents_of_which_none_can_be_read_do_not_empty_the_index(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    for path in docs.iterdir():
        path.write_bytes(b"\0\1\2\3" * 200)
    with pytest.raises(UserError, match="nothing was deleted"):
        synced(folder, docs)
    assert answers(folder, "red lamp")[0] == {"lamp.md"}


def test_a_new_folder_without_text_makes_no_index(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no document with text"):
        synced(folder, write(tmp_path / "docs", blank=" \n"))
    with pytest.raises(UserError, match="no index here"):
        open_index(folder, Words())
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="empty"):
        synced(folder, tmp_path / "nothing")


# -- files that cannot be read -------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_listed_and_not_fatal(folder: Path, docs: Path) -> None:
    (docs / "binary.txt").write_bytes(b"\0\1\2\3" * 200)
    change = synced(folder, docs)
    assert change.added == ("door.md", "lamp.md", "tree.md")
    assert [("binary" in p.message, "binary" in p.told("zh").message) for p in change.skipped] == [(True, True)]
    assert not stale(folder), "it is known that it cannot be read"
    assert len(synced(folder, docs).skipped) == 1, "and said each time"


def test_a_file_that_can_no_longer_be_read_does_not_answer_with_what_it_said(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    (docs / "lamp.md").write_bytes(b"\0\1\2\3" * 200)
    change = synced(folder, docs)
    assert change.deleted == ("lamp.md",)
    assert len(change.skipped) == 1
    assert answers(folder, "red lamp")[0] == set()


def test_a_file_that_changes_while_it_is_read_answers_as_before(
    folder: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced(folder, docs)
    write(docs, lamp="half of a", door="# Door\n\nA white door.")
    really = syncing.read_document

    def growing(path: Path, root: Path) -> object:
        found = really(path, root)
        if path.name == "lamp.md":
            with path.open("a") as out:
                out.write(" sentence")
        return found

    monkeypatch.setattr(syncing, "read_document", growing)
    change = synced(folder, docs)
    assert change.updated == ("door.md",)
    assert change.kept == ("lamp.md",)
    assert [p.message for p in change.skipped] == [f"{docs / 'lamp.md'}: changed while it was read"]
    assert answers(folder, "red lamp")[0] == {"lamp.md"}
    assert stale(folder).updated == ("lamp.md",)
    monkeypatch.undo()
    assert synced(folder, docs).updated == ("lamp.md",)
    assert answers(folder, "sentence")[0] == {"lamp.md"}


# -- interruptions -------------------------------------------------------------------------------------


def test_vectors_made_before_an_interruption_are_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "BATCH_TEXTS", 4)
    docs = write(tmp_path / "docs", **{f"f{n}": f"word{n} lamp" for n in range(10)})
    embedder = Words()
    embedder.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        synced(folder, docs, embedder)
    with pytest.raises(UserError, match="no index here"):
        open_index(folder, embedder)
    embedder.stop_after, embedder.calls = 10**9, []
    assert synced(folder, docs, embedder).embedded == 2
    assert embedder.calls == [2]
    assert not list(folder.glob("pending*"))


def test_vectors_kept_of_another_embedder_are_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "BATCH_TEXTS", 4)
    docs = write(tmp_path / "docs", **{f"f{n}": f"word{n} lamp" for n in range(10)})
    embedder, other = Words(), Words(sha256="b" * 64)
    embedder.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        synced(folder, docs, embedder)
    assert synced(folder, docs, other).embedded == 10


def test_a_second_writer_is_told_and_the_index_answers_on(folder: Path, docs: Path) -> None:
    synced(folder, docs)
    with writing.locked(folder):
        with pytest.raises(UserError, match="another process is writing this index"):
            synced(folder, write(docs, roof="A flat roof."), wait=0.05)
        assert answers(folder, "red lamp")[0] == {"lamp.md"}
    assert synced(folder, docs).added == ("roof.md",)


Steps = Callable[[pytest.MonkeyPatch], None]


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_for_pages(more: int) -> Steps:
    """A database that may grow by so many pages and no further."""

    @contextmanager
    def limited(folder: Path) -> Iterator[Store]:
        with open_to_write(folder) as store:
            pages = store.one("PRAGMA page_count")
            store.database.execute(f"PRAGMA max_page_count = {pages + more}")
            yield store

    return lambda patch: patch.setattr(syncing, "open_to_write", limited)


FULL: dict[str, Steps] = {
    "the lock": lambda patch: patch.setattr(Path, "mkdir", _no_space),
    "the first page": no_space_for_pages(0),
    "the tenth page": no_space_for_pages(10),
    "the fortieth page": no_space_for_pages(40),
    "vectors kept for an interruption": lambda patch: patch.setattr(syncing._Kept, "put", _no_space),
    "the FAISS file": lambda patch: patch.setattr(vectors.os, "fsync", _no_space),
    "its name": lambda patch: patch.setattr(Path, "replace", _no_space),
    "its folder": lambda patch: patch.setattr(vectors, "sync_folder", _no_space),
}


@pytest.mark.parametrize("step", FULL)
def test_a_full_disk_leaves_the_index_as_it_was(
    step: str, folder: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "BATCH_TEXTS", 16)
    synced(folder, docs)
    before = contents(folder)
    write(docs, **{f"f{n}": f"word{n} " * 400 for n in range(40)})
    with monkeypatch.context() as patch:
        FULL[step](patch)
        with pytest.raises(UserError, match="the disk is full"):
            sync(folder, docs, Splitter(400, 0), Words(), "en")
    assert contents(folder) == before
    assert audit(folder).problems == ()
    assert len(sync(folder, docs, Splitter(400, 0), Words(), "en").added) == 40, "with space it goes on"
    assert audit(folder).problems == ()


def contents(folder: Path) -> set[tuple[str, str]]:
    """All passages of an index, through both searches."""
    with open_index(folder, Words()) as index:
        dense = index.passages([i for i, _ in index.dense(Words().embed(["word"]), 10**6)[0]])
        assert len(dense) == len(index)
        return {(p.source, p.text) for p in dense}


UNIX = pytest.mark.skipif(sys.platform == "win32", reason="processes there cannot be made of a prepared one")


@pytest.fixture
def states(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that have some files in common, and some that differ."""
    return (
        write(tmp_path / "one", **{f"f{n}": f"old{n} word" for n in range(30)}),
        write(tmp_path / "two", **{f"f{n}": f"new{n} word" for n in range(10, 50)}),
    )


def texts(docs: Path) -> set[tuple[str, str]]:
    return {(path.name, path.read_text()) for path in docs.iterdir()}


def prepared() -> multiprocessing.context.ForkServerContext:
    """Makes processes that need not load torch first."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "faiss", "tests.syncing_forever"])
    return processes


@UNIX
def test_a_kill_at_any_moment_leaves_the_old_index_or_the_new_one(folder: Path, states: tuple[Path, Path]) -> None:
    moments, seen = random.Random(5), []
    synced(folder, states[0])
    for _ in range(12):
        here, there = prepared().Pipe(duplex=False)
        writer = prepared().Process(target=sync_forever, args=(folder, states, there), daemon=True)
        writer.start()
        assert here.recv()
        begun = time.perf_counter()
        for _ in range(moments.randint(1, 3)):
            assert here.recv()
        spent = time.perf_counter() - begun
        time.sleep(moments.uniform(0, spent))  # whatever the machine is doing, somewhere in a later sync
        writer.kill()  # SIGKILL
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        assert audit(folder).problems == ()
        seen.append(contents(folder))
        assert seen[-1] in [texts(docs) for docs in states]
    assert len({len(found) for found in seen}) == 2, "it was killed in both states"


@UNIX
def test_a_kill_between_any_two_writes_leaves_the_old_index_or_the_new_one(
    folder: Path, states: tuple[Path, Path], tmp_path: Path
) -> None:
    def started(step: int) -> multiprocessing.process.BaseProcess:
        shutil.copytree(folder, tmp_path / "copy")
        writer = prepared().Process(target=sync_until, args=(tmp_path / "copy", states[1], step, there), daemon=True)
        writer.start()
        return writer

    synced(folder, states[0])
    here, there = prepared().Pipe(duplex=False)
    started(0)
    calls = here.recv()
    shutil.rmtree(tmp_path / "copy")
    seen = []
    for step in [*random.Random(5).sample(range(1, calls - 24), 6), *range(calls - 24, calls + 1)]:
        writer = started(step)
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        assert audit(tmp_path / "copy").problems == (), f"killed before step {step} of {calls}"
        seen.append(contents(tmp_path / "copy") == texts(states[1]))
        assert seen[-1] or contents(tmp_path / "copy") == texts(states[0])
        assert synced(tmp_path / "copy", states[1]).passages == 40, "and the next sync goes on from there"
        assert len(list((tmp_path / "copy").glob("vectors*"))) == 1
        shutil.rmtree(tmp_path / "copy")
    assert seen == sorted(seen), "old up to one moment, new from then on"
    assert set(seen) == {False, True}


# -- many passages -------------------------------------------------------------------------------------


def test_a_large_index_is_not_written_anew_for_a_small_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "FLAT_MOST", 50)
    docs = write(tmp_path / "docs", **{f"f{n}": f"word{n} lamp{n % 9}" for n in range(300)})
    synced(folder, docs)
    first = read_manifest(folder).vectors
    assert first is not None
    assert first.kind.startswith("IVF")
    (docs / "f7.md").unlink()
    write(docs, f8="word8 changed", new="word300 lamp")
    synced(folder, docs)
    assert read_manifest(folder).vectors == first, "what changed is applied when it is opened"
    assert "f7.md" not in answers(folder, "word7 lamp7")[0] | answers(folder, "word7 lamp7")[1]
    with open_index(folder, Words()) as index:
        best = index.dense(Words().embed(["word300 lamp", "word8 changed"]), 1)
        assert [index.passages([row[0][0]])[0].source for row in best] == ["new.md", "f8.md"]
    write(docs, **{f"f{n}": f"other{n}" for n in range(40)})
    synced(folder, docs)
    second = read_manifest(folder).vectors
    assert second is not None
    assert second.file != first.file, "many changes are worth a new one"
    assert not (folder / first.file).exists()


def test_a_problem_is_told_in_both_languages() -> None:
    from executors.retriever.index import faults

    told = [
        faults.changing(Path("a.md")),
        *(e.problem for e in (faults.busy(Path("i"), 1), faults.no_index(Path("i")))),
    ]
    assert all(isinstance(p.zh, Problem) and p.zh.message != p.message for p in told)
    with pytest.raises(sqlite3.OperationalError), faults.disk_errors(Path(".")):
        sqlite3.connect(":memory:").execute("SELECT nothing")
