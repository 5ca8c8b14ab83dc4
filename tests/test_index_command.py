"""`advisor index`: made, brought up to date, checked and followed; what it refuses, and what it says.

The documents are Chinese and no encoder here knows Chinese, so no model is loaded, except where an encoder is meant.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from advisor.indexing import Given, Keeper, Target, beside, find_target
from executors.base import UserError
from executors.models.fetch import locate
from executors.models.folder import weights_sha256
from executors.retriever.index import open_index

Advisor = Callable[..., tuple[int, str, str]]

PAGES = {
    "退货.md": "# 退货\n\n收到商品后三十天内可以退货，运费由卖家承担。\n",
    "保修.md": "# 保修\n\n## 期限\n\n水表保修五年，电池保修两年。\n",
    "配送.txt": "包裹由快递在三个工作日内送达，节假日顺延。\n",
}


def write(pages: dict[str, str], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def docs(workdir: Path) -> Path:
    write(PAGES, workdir / "docs")
    for path in (workdir / "docs").iterdir():
        os.utime(path, (1_600_000_000,) * 2)  # long ago: what was just written is compared by content anyway
    return Path("docs")


@pytest.fixture
def index(docs: Path, advisor: Advisor) -> Path:
    """The index of `docs`, made."""
    assert advisor("index", "docs", "--lang", "en")[0] == 0
    return Path("docs.index")


def test_what_is_found_is_shown_by_place(docs: Path, advisor: Advisor) -> None:
    status, out, _ = advisor("index", "docs", "--search", "电池保修多久？", "--lang", "zh")
    assert status == 0
    first, text, *_ = out.splitlines()
    assert first.startswith("[1] 保修.md › 保修 > 期限")
    assert "水表保修五年，电池保修两年。" in text
    (docs / "保修.md").unlink()
    told = json.loads(advisor("index", "docs", "--search", "电池", "--json")[1])
    assert told == [], "it is brought up to date before it is searched"
    assert "没有找到" in advisor("index", "docs", "--search", "电池", "--lang", "zh")[1]


@pytest.mark.parametrize("other", ["--check", "--watch"])
def test_a_search_goes_without_check_and_watch(other: str, docs: Path, advisor: Advisor) -> None:
    status, _, err = advisor("index", "docs", "--search", "x", other, "--lang", "en")
    assert status == 1
    assert f"{other} goes without --search" in err


def found(question: str, index: Path = Path("docs.index")) -> list[str]:
    """The files whose passages hold a word of the question."""
    with open_index(index, None) as opened:
        return [passage.source for passage in opened.passages([i for i, _ in opened.lexical(question, 9)])]


# -- made, and brought up to date --------------------------------------------------------------------------


def test_an_index_is_made_beside_the_documents_and_counted(docs: Path, advisor: Advisor) -> None:
    status, out, _ = advisor("index", "docs/", "--lang", "en")
    assert status == 0
    assert out.splitlines()[:2] == ["Made docs.index", "  + 3 files  (new)"]
    assert "3 passages, 0 embedded now; counted: SQLite 3 · lexical 3" in out
    assert "better: --embedder bge-small-zh-v1.5" in " ".join(out.split())
    assert found("保修几年")[0] == "保修.md"


def test_files_are_added_updated_and_deleted_and_each_is_named(index: Path, docs: Path, advisor: Advisor) -> None:
    write({"安装.md": "# 安装\n\n请先关闭总阀。\n", "退货.md": "# 退货\n\n七天内可以退货。\n"}, docs)
    (docs / "配送.txt").unlink()
    status, out, _ = advisor("index", "docs", "--lang", "en")
    assert status == 0
    for line in ("  + 安装.md  (new)", "  ~ 退货.md  (changed)", "  - 配送.txt  (deleted)", "  = 1 files  (unchanged)"):
        assert line in out.splitlines()
    assert "配送.txt" not in found("快递包裹节假日配送")
    assert found("总阀") == ["安装.md"]


def test_where_nothing_changed_nothing_is_done(index: Path, advisor: Advisor) -> None:
    before = (index / "index.sqlite").read_bytes()
    assert advisor("index", "docs", "--lang", "en")[1] == "docs.index is up to date: nothing changed in docs\n"
    assert advisor("index", "docs", "--lang", "zh")[1].startswith("docs.index 已是最新")
    assert (index / "index.sqlite").read_bytes() == before


def test_what_an_index_was_made_with_stays_until_it_is_said_otherwise(docs: Path, advisor: Advisor) -> None:
    write({"长.md": "水表要装在总阀之后。" * 30}, docs)
    made = json.loads(advisor("index", "docs", "--chunk-tokens", "40", "--overlap", "0", "--json")[1])
    kept = json.loads(advisor("index", "docs", "--json")[1])
    assert kept["passages"] == made["passages"]
    status, out, _ = advisor("index", "docs", "--chunk-tokens", "80", "--lang", "en")
    assert (status, out.splitlines()[0]) == (0, "Made docs.index anew with other settings")
    assert json.loads(advisor("index", "docs", "--json")[1])["passages"] < made["passages"]


def test_files_that_cannot_be_read_are_listed_with_the_reason(docs: Path, advisor: Advisor) -> None:
    write({"空.md": "  \n"}, docs)
    status, out, _ = advisor("index", "docs", "--lang", "en")
    assert status == 0
    assert "! 空.md: no text in it  (left out)" in out
    assert "未收录" in advisor("index", "docs", "--lang", "zh", "--chunk-tokens", "50")[1]


def test_json_is_all_that_is_printed(docs: Path, advisor: Advisor) -> None:
    made = json.loads(advisor("index", "docs", "--json")[1])
    assert (made["index"], made["docs"], made["passages"]) == ("docs.index", "docs", 3)
    assert sorted(made["added"]) == sorted(PAGES)
    assert {name: made["counts"][name] for name in ("sources", "passages", "lexical")} == {
        "sources": 3,
        "passages": 3,
        "lexical": 3,
    }
    assert json.loads(advisor("index", "docs", "--json")[1])["added"] == []


def test_an_index_never_loses_all_its_documents_unless_told_to(index: Path, docs: Path, advisor: Advisor) -> None:
    for name in PAGES:
        (docs / name).unlink()
    status, _, err = advisor("index", "docs", "--lang", "en")
    assert status == 1
    assert "nothing was deleted" in err
    assert "--empty" in err
    assert found("保修") == ["保修.md"]
    assert advisor("index", "docs", "--empty")[0] == 0
    assert found("保修") == []


def test_an_index_whose_first_making_was_broken_off_is_made(docs: Path, advisor: Advisor) -> None:
    Path("docs.index").mkdir()
    sqlite3.connect("docs.index/index.sqlite").close()
    assert advisor("index", "docs", "--lang", "en")[1].startswith("Made docs.index")


def test_ctrl_c_says_what_is_kept(docs: Path, advisor: Advisor, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("executors.retriever.index.sync", interrupted)
    status, _, err = advisor("index", "docs", "--out", "my index", "--lang", "en")
    assert status == 130
    assert "my index is as it was before" in err
    assert "go on with: advisor index docs --out 'my index'" in err


# -- proved ------------------------------------------------------------------------------------------------


def test_a_whole_and_fresh_index_passes(index: Path, advisor: Advisor) -> None:
    status, out, _ = advisor("index", "docs", "--check", "--lang", "en")
    assert status == 0
    for part in ("3 passages of 3 files; SQLite 3 · lexical 3", "none changed since", "✓ whole, and what the"):
        assert part in " ".join(out.split())


def test_documents_that_changed_since_are_named_with_status_3(index: Path, docs: Path, advisor: Advisor) -> None:
    size, times = (docs / "退货.md").stat().st_size, (docs / "退货.md").stat()
    write({"退货.md": PAGES["退货.md"].replace("三十", "四十")}, docs)

    os.utime(
        docs / "退货.md", ns=(times.st_atime_ns, times.st_mtime_ns)
    )  # of the same size and time: only content tells
    assert (docs / "退货.md").stat().st_size == size
    status, out, _ = advisor("index", "docs", "--check", "--lang", "en")
    assert status == 3
    assert "changed 退货.md" in out
    assert "! stale; bring it up to date: advisor index docs" in out


def test_a_tampered_index_fails_with_status_1(index: Path, advisor: Advisor) -> None:
    with sqlite3.connect(index / "index.sqlite") as database:
        database.execute("UPDATE passage SET text = replace(text, '五年', '九年')")
    database.close()
    status, out, _ = advisor("index", "docs", "--check", "--lang", "en")
    assert status == 1
    assert "✗ passages were changed from outside" in out
    assert "every passage is what was written" not in out
    checked = json.loads(advisor("index", "docs", "--check", "--json")[1])
    assert (checked["whole"], checked["fresh"], checked["status"]) == (False, True, 1)


def test_documents_that_cannot_be_compared_are_no_proof(index: Path, docs: Path, advisor: Advisor) -> None:
    shutil.rmtree(docs)
    status, out, _ = advisor("index", "docs.index", "--check", "--lang", "en")
    assert status == 1
    assert "no such folder of documents" in out


def test_where_there_is_no_index_the_check_says_how_to_make_one(docs: Path, advisor: Advisor) -> None:
    status, _, err = advisor("index", "docs", "--check", "--lang", "zh")
    assert (status, err) == (1, "错误：docs.index：还没有索引\n  → advisor index docs\n")


# -- what is meant -----------------------------------------------------------------------------------------


def test_an_index_by_itself_knows_its_documents(index: Path, docs: Path, advisor: Advisor) -> None:
    write({"安装.md": "请先关闭总阀。"}, docs)
    assert advisor("index", "docs.index", "--check")[0] == 3
    assert "安装.md" in advisor("index", "docs.index")[1]
    assert advisor("index", "docs.index", "--check")[0] == 0


@pytest.mark.parametrize("name", ["r1", "last", "runs/r1"])
def test_the_index_of_a_run_is_brought_up_to_date_in_its_place(
    index: Path, docs: Path, advisor: Advisor, name: str
) -> None:
    shutil.copytree(index, "runs/r1/artifact/index")
    write({"安装.md": "请先关闭总阀。"}, docs)
    status, out, _ = advisor("index", name, "--lang", "en")
    assert status == 0
    assert "安装.md" in out
    assert "The scores of run r1 are those of the documents before" in " ".join(out.split())
    assert found("总阀", Path("runs/r1/artifact/index")) == ["安装.md"]
    assert found("总阀") == []


@pytest.mark.parametrize(("docs", "index"), [("a/b", "a/b.index"), ("a/b/", "a/b.index"), ("b.pdf", "b.pdf.index")])
def test_an_index_lies_beside_its_documents(docs: str, index: str) -> None:
    assert beside(Path(docs)) == Path(index)


def test_the_index_of_this_folder_lies_beside_it(workdir: Path) -> None:
    assert beside(Path(".")) == workdir.with_name(f"{workdir.name}.index")


@pytest.mark.parametrize(
    ("call", "told", "told_zh"),
    [
        (["no/docs"], "there is no folder no/docs", "没有文件夹 no/docs"),
        (["r2"], "r2: this run has no index", "r2：该运行没有文档索引"),
        (["nothing"], "no run 'nothing'", "没有运行“nothing”"),
        (["store"], "a FAISS store of LangChain. Its texts are in index.pkl, a pickle", "pickle 在读取时可能执行代码"),
        (["docs", "--out", "store"], "a FAISS store of LangChain", "LangChain 的 FAISS 存储"),
        (["docs", "--check", "--re-embed"], "--check goes without --re-embed", "--check 不能与 --re-embed 同时使用"),
        (["docs", "--check", "--watch"], "--check goes without --watch", "--check 不能与 --watch 同时使用"),
        (["docs", "--model", "m"], "--model: only for --draft-questions", "--model 只用于 --draft-questions"),
        (["docs", "--overlap", "96"], "--overlap: at least 0 and less than", "--overlap：不小于 0 且小于"),
    ],
)
def test_what_cannot_be_is_refused_in_both_languages(
    docs: Path, advisor: Advisor, call: list[str], told: str, told_zh: str
) -> None:
    Path("store").mkdir()
    for name in ("index.faiss", "index.pkl"):
        Path("store", name).write_bytes(b"x")
    Path("runs/r2/artifact").mkdir(parents=True)
    for lang, words in (("en", told), ("zh", told_zh)):
        status, out, err = advisor("index", *call, "--lang", lang)
        assert (status, out) == (1, "")
        assert words in err
    assert not Path("docs.index").exists()


def test_every_fault_of_the_settings_is_said_at_once(docs: Path, advisor: Advisor) -> None:
    err = advisor("index", "docs", "--chunk-tokens", "8", "--overlap", "-1", "--lang", "en")[2]
    assert "--chunk-tokens: at least 16, got 8" in err
    assert "--overlap: at least 0" in err


def test_the_place_of_a_runs_index_is_fixed(index: Path) -> None:
    shutil.copytree(index, "runs/r1/artifact/index")
    for name in ("r1", "docs.index"):
        with pytest.raises(UserError, match="--out"):
            find_target(name, "elsewhere")


# -- before much work --------------------------------------------------------------------------------------


def test_hours_of_embedding_are_told_before_and_seconds_are_not(workdir: Path) -> None:
    (workdir / "big").mkdir()
    page = "The meter closes the valve when water runs for too long at night. " * 3_000
    for n in range(110):
        (workdir / "big" / f"{n}.md").write_text(page if n else "short")
    told = [Keeper(Target(Path("i"), docs), Given()) for docs in ("big", "big/0.md")]
    long, short = (keeper.estimate(keeper.stale()) for keeper in told)
    assert long is not None
    assert "110 files" in long["en"]
    assert "110 个文件" in long["zh"]
    assert short is None


# -- questions, where there are none -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drafts.csv", "drafts.jsonl"])
def test_questions_are_drafted_into_a_file_that_says_so(docs: Path, advisor: Advisor, name: str) -> None:
    status, out, err = advisor("index", "docs", "--draft-questions", "2", "--out", name, "--lang", "en")
    assert status == 0
    assert "smollm2-135m-instruct does not speak the documents' language" in " ".join(err.split())
    assert "They are drafts: a person should correct" in out
    assert f"--data {name} --docs docs" in out
    drafts = read_rows(Path(name))
    assert len(drafts) == 2
    assert {draft["source"] for draft in drafts} <= set(PAGES)
    assert all(draft["answer"] in PAGES[draft["source"]] for draft in drafts)
    assert not Path("docs.index").exists()


def test_a_file_that_a_person_may_have_corrected_is_never_written_over(docs: Path, advisor: Advisor) -> None:
    Path("drafts.csv").write_text("question,answer\n")
    for lang, told in (("en", "drafts.csv is there already"), ("zh", "drafts.csv 已存在")):
        status, _, err = advisor("index", "docs", "--draft-questions", "2", "--out", "drafts.csv", "--lang", lang)
        assert (status, told in err) == (1, True)
    assert Path("drafts.csv").read_text() == "question,answer\n"


def test_every_fault_of_a_draft_is_said_at_once(docs: Path, advisor: Advisor) -> None:
    err = advisor("index", "docs", "--draft-questions", "0", "--lang", "en")[2]
    assert "--draft-questions: at least 1, got 0" in err
    assert "--out: drafts are written to a .csv or .jsonl file, got none" in err


def read_rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return [json.loads(line) for line in text.splitlines()]


# -- the encoder ---------------------------------------------------------------------------------------------


def test_another_encoder_of_equal_dimension_is_refused_until_passages_are_embedded_anew(
    workdir: Path, advisor: Advisor
) -> None:
    write({"meter.md": "# Meter\n\nThe meter lasts five years.\n"}, workdir / "docs")
    other = _altered(workdir / "other")
    assert advisor("index", "docs")[0] == 0
    status, _, err = advisor("index", "docs", "--embedder", other, "--lang", "en")
    assert status == 1
    assert "its vectors were made by all-minilm-l6-v2 (weights" in err
    assert f"embed anew: advisor index docs --embedder {other} --re-embed" in err
    assert advisor("index", "docs", "--check")[0] == 0, "it is as it was"
    assert advisor("index", "docs", "--embedder", other, "--re-embed", "--lang", "en")[0] == 0
    assert advisor("index", "docs", "--check")[0] == 0
    _alter(Path(other) / "model.safetensors")
    status, out, _ = advisor("index", "docs", "--check", "--lang", "en")
    assert (status, "its vectors were made by" in out) == (1, True)


def _altered(folder: Path) -> str:
    """A copy of the default encoder with one weight changed."""
    here = locate("all-minilm-l6-v2")
    assert here is not None
    shutil.copytree(here, folder)
    _alter(folder / "model.safetensors")
    assert weights_sha256(folder) != weights_sha256(here)
    return str(folder)


def _alter(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    time.sleep(0.01)  # another time than the manifest's
    path.write_bytes(raw)


# -- followed ------------------------------------------------------------------------------------------------


@pytest.fixture
def watch(docs: Path) -> Iterator[pexpect.spawn]:
    call = ["-m", "advisor", "index", "docs", "--watch", "--json", "--lang", "en"]
    child = pexpect.spawn(sys.executable, call, dimensions=(40, 200), timeout=90, encoding="utf-8", echo=False)
    child.expect("Following docs")
    yield child
    child.close(force=True)


def test_a_folder_is_followed_until_ctrl_c(watch: pexpect.spawn, docs: Path) -> None:
    write({"安装.md": "请先关闭总阀。"}, docs)
    watch.expect('"added": \\["安装.md"\\]')
    (docs / "安装.md").unlink()
    watch.expect('"deleted": \\["安装.md"\\]')
    for name in PAGES:
        (docs / name).unlink()
    watch.expect("nothing was deleted")
    watch.sendcontrol("c")
    watch.expect(r"interrupted: docs.index is kept as of its last update \(3 passages\)")
    watch.expect(pexpect.EOF)
    watch.close()
    assert watch.exitstatus == 130
    assert found("总阀") == []
    assert found("保修") == ["保修.md"]
