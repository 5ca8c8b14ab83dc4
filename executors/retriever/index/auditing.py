"""Whether an index is whole: counts across SQLite, FAISS and the lexical index, and every row by its hash.

The counts are audited within each write as well (`writing.finish`); here the content is gone through, which takes as
long as reading it. What is found is told, not mended: a FAISS file is made anew when the index is opened, a row that
somebody changed only by indexing its document again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from executors.base import Passage, Problem
from executors.retriever.index import faults
from executors.retriever.index.records import Audit, Manifest, embedded_text
from executors.retriever.index.store import Store, open_to_read, seal, text_hash
from executors.retriever.index.vectors import read_vectors
from executors.retriever.index.writing import vectors_count
from executors.retriever.lexical import terms

NAMED = 3  # of the passages that are wrong


def audit(folder: Path) -> Audit:
    """Compare everything that an index has twice, and every passage with its hash.

    Raises `UserError` where there is no index, or none that can be read at all.
    """
    store = open_to_read(folder)
    try:
        with faults.disk_errors(folder):
            store.database.execute("BEGIN")  # one state of the index, whatever a writer does meanwhile
            manifest = store.manifest()
            if manifest is None:
                raise faults.no_index(folder)
            return _audited(store, manifest)
    finally:
        store.close()


def _audited(store: Store, manifest: Manifest) -> Audit:
    counts = {**store.counts(), "manifest": manifest.passages}
    problems = [*_file_problems(store, manifest)]
    if manifest.embedder is not None:
        counts["vectors"] = vectors_count(store, manifest.vectors)
        problems += _vectors_problems(store, manifest)
    compared = {name: n for name, n in counts.items() if name != "sources"}
    if len(set(compared.values())) > 1:
        problems.append(
            _told("counts differ", "数量不一致", ", ".join(f"{k} {v}" for k, v in compared.items()), manifest)
        )
    if counts["sources"] != manifest.sources:
        told = f"sources {counts['sources']}, manifest {manifest.sources}"
        problems.append(_told("counts differ", "数量不一致", told, manifest))
    return Audit(counts, (*problems, *_orphans(store, manifest), *_row_problems(store, manifest)))


def _file_problems(store: Store, manifest: Manifest) -> list[Problem]:
    """What SQLite itself finds wrong with its file."""
    found = [row[0] for row in store.database.execute("PRAGMA quick_check(5)")]
    return (
        [] if found == ["ok"] else [_told("index.sqlite is damaged", "index.sqlite 已损坏", "; ".join(found), manifest)]
    )


def _vectors_problems(store: Store, manifest: Manifest) -> list[Problem]:
    """The FAISS file: is it the one that was written, and has it the passages it should have?"""
    if manifest.vectors is None:
        return []
    index = read_vectors(store.folder, manifest.vectors)
    if index is None:
        hint = "it is made again from index.sqlite when the index is next opened"
        zh = Problem(f"{manifest.vectors.file}：缺失或已损坏", "下次打开索引时会由 index.sqlite 重新生成")
        return [Problem(f"{manifest.vectors.file}: missing or damaged", hint, zh)]
    if index.ntotal != manifest.vectors.count:
        told = f"{manifest.vectors.file} {index.ntotal}, manifest {manifest.vectors.count}"
        return [_told("counts differ", "数量不一致", told, manifest)]
    return []


def _orphans(store: Store, manifest: Manifest) -> list[Problem]:
    """Rows whose counterpart is missing; each of these answers, or fails to, where it should not."""
    checks = {
        (
            "passages without a source",
            "段落没有来源",
        ): "SELECT id FROM passage WHERE source NOT IN (SELECT id FROM source)",
        (
            "passages without words",
            "段落没有词条",
        ): "SELECT id FROM passage WHERE id NOT IN (SELECT id FROM words_docsize)",
        (
            "words without a passage",
            "词条没有段落",
        ): "SELECT id FROM words_docsize WHERE id NOT IN (SELECT id FROM passage)",
        ("sources with another number of passages", "来源的段落数不符"): (
            "SELECT path FROM source WHERE passages != (SELECT count(*) FROM passage WHERE source = source.id)"
        ),
    }
    if manifest.embedder is not None:
        checks["passages without a vector", "段落没有向量"] = "SELECT id FROM passage WHERE vector IS NULL"
    problems = []
    for (told, zh), statement in checks.items():
        found = [row[0] for row in store.database.execute(statement)]
        if found:
            problems.append(_told(told, zh, _named(found), manifest))
    return problems


def _row_problems(store: Store, manifest: Manifest) -> list[Problem]:
    """Passages that are not what was written, by the hash of all their row says, and by the words kept of them."""
    changed, other_words = [], []
    rows = store.database.execute(
        "SELECT passage.id, path, ordinal, text, heading, page, row, passage.sha256, seal, vector, words.terms "
        "FROM passage LEFT JOIN source ON source.id = passage.source LEFT JOIN words ON words.rowid = passage.id"
    )
    for i, path, ordinal, text, heading, page, row, digest, sealed, vector, words in rows:
        whole = embedded_text(Passage(text, path or "", heading))
        sound = sealed == seal(path, ordinal, text, heading, page, row, vector) and digest == text_hash(whole)
        if not sound or not _is_unit(vector):
            changed.append(f"{path} ({i})")
        elif words is not None and words != " ".join(terms(whole)):
            other_words.append(f"{path} ({i})")
    problems = []
    if changed:
        problems.append(_told("passages were changed from outside", "段落被外部改动", _named(changed), manifest))
    if other_words:
        problems.append(
            _told("words of other texts in the lexical index", "词条与段落不符", _named(other_words), manifest)
        )
    return problems


def _is_unit(vector: bytes | None) -> bool:
    if vector is None:
        return True
    length = float(np.linalg.norm(np.frombuffer(vector, dtype="<f4")))
    return abs(length - 1) < 1e-3


def _named(found: list[object] | list[str]) -> str:
    more = f", … ({len(found)})" if len(found) > NAMED else ""
    return ", ".join(map(str, found[:NAMED])) + more


def _told(what: str, zh: str, detail: str, manifest: Manifest) -> Problem:
    hint = f"delete the index and make it again: advisor index {manifest.docs or 'DOCS'}"
    return Problem(
        f"{what}: {detail}",
        hint,
        Problem(f"{zh}：{detail}", f"请删除索引后重建：advisor index {manifest.docs or 'DOCS'}"),
    )
