"""Retrieval: what is read, how it is cut and found, and how an answer is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from executors.base import DataSpec, Input, Job, Passage, Plan, Problem, Reporter, Row, UserError, silent
from executors.models import Embedder, load_embedder
from executors.retriever import RagExecutor, RagPredictor, documents_language, read_documents, speaks
from executors.retriever.documents import Document
from executors.retriever.index import embedded_text, open_index, read_manifest, write_index
from executors.retriever.lexical import count_words, overlap, terms
from executors.retriever.reader import Reader, answer_spans
from executors.retriever.splitting import readable, sections, sentences, split_documents
from tests.conftest import DEMO
from tests.test_probe import WordEmbedder
from tests.test_prompt import Scripted

PAGE = """# Lamps

Introduction with a [link](other.md).

## Colours

| Lamp | Meaning |
|---|---|
| green | **all** is well |
| red | call us |

### Blinking

Twice a second. It stops after 4 minutes.

```
# not a heading
```

## Prices

A lamp costs 12 pounds.
"""
ZH = """# 门铃手册

## 保修

门铃的保修期为三年。电池不在保修范围内。

## 安装

安装高度应为一米四。使用附带的螺丝固定。
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return load_embedder("all-minilm-l6-v2")


# -- documents -----------------------------------------------------------------------------------------


def test_documents_are_read_from_sub_folders_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_bytes("保修期为三年，电池除外。请保留购买凭证。".encode("gb18030"))
    (tmp_path / "a.md").write_bytes("\ufeff# Title\n\nText.".encode())
    (tmp_path / "c.txt").write_bytes("plain words".encode("utf-16"))
    (tmp_path / ".hidden.md").write_text("secret")
    documents = read_documents(tmp_path)
    assert [d.path for d in documents] == ["a.md", "c.txt", "sub/b.txt"]
    assert [d.title for d in documents] == ["Title", "c", "b"]
    assert "保修期" in documents[2].text


def test_files_that_cannot_be_read_are_listed_and_not_fatal(tmp_path: Path) -> None:
    write(tmp_path, good="# A\n\ntext", empty=" \n")
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01\x02" * 99)
    skipped: list[Problem] = []
    assert [d.path for d in read_documents(tmp_path, skipped)] == ["good.md"]
    assert len(skipped) == 2
    assert any("binary" in p.message for p in skipped)


def test_one_file_is_a_folder_of_one(tmp_path: Path) -> None:
    assert [d.path for d in read_documents(write(tmp_path, one="text") / "one.md")] == ["one.md"]


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "it is empty"), ({"a.pdf": "x"}, "only .pdf"), ({"a.md": "  "}, "no document with text")],
)
def test_a_folder_without_text_is_an_error(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_documents(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_documents(tmp_path / "nothing")


# -- splitting -----------------------------------------------------------------------------------------


def test_sections_carry_their_heading_path() -> None:
    found = dict(sections(Document("lamps.md", PAGE, "Lamps")))
    assert list(found) == ["Lamps", "Lamps > Colours", "Lamps > Colours > Blinking", "Lamps > Prices"]
    assert "# not a heading" in found["Lamps > Colours > Blinking"]


def test_table_cells_are_named_by_their_column() -> None:
    text = dict(sections(Document("lamps.md", PAGE, "Lamps")))["Lamps > Colours"]
    assert text == "Lamp: green | Meaning: all is well\nLamp: red | Meaning: call us"


def test_links_are_read_by_their_text() -> None:
    assert readable("See [the page](x.md) and ![a picture](y.png).") == "See the page and a picture."


def test_passages_keep_to_the_limit_and_lose_nothing() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(60))
    passages = split_documents([Document("a.md", text, "T")], count_words, 30, 6)
    assert len(passages) > 5
    assert all(count_words(p.text) <= 30 for p in passages)
    assert all(p.text.endswith(".") for p in passages), "sentences are not cut"
    joined = " ".join(p.text for p in passages)
    assert all(f"number {n} " in joined for n in range(60))


def test_chinese_is_cut_at_its_sentences() -> None:
    text = "。".join(f"这是第{n}句话，它不太长" for n in range(30)) + "。"
    passages = split_documents([Document("a.md", text, "题")], count_words, 40, 0)
    assert len(passages) > 5
    assert all(p.text.endswith("。") for p in passages)
    assert sentences("甲。乙！\n丙？") == ["甲。", "乙！", "丙？"]


# -- searching -----------------------------------------------------------------------------------------


def test_chinese_terms_are_characters_and_pairs() -> None:
    assert terms("保修期3 Years") == ["保", "修", "期", "保修", "修期", "3", "years"]
    assert overlap("保修期", "门铃的保修期为三年") == 1
    assert overlap("red lamp", "A red door") == pytest.approx(3 / 7)


def make_index(folder: Path, embedder: Embedder | None, texts: Sequence[str]) -> list[Passage]:
    passages = [Passage(text, f"{n}.md", f"H{n}") for n, text in enumerate(texts)]
    vectors = embedder.embed([embedded_text(p) for p in passages]) if embedder else None
    write_index(passages, vectors, embedder, folder)
    return passages


def test_lexical_and_dense_search_are_joined_by_rank(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    make_index(tmp_path / "ix", embedder, ["red lamp", "blue door", "green lamps stand here"])
    index = open_index(tmp_path / "ix", embedder)
    assert len(index) == 3
    for how in ("hybrid", "dense", "lexical"):
        assert index.search(["red lamp"], 1, how)[0][0].source == "0.md"  # type: ignore[arg-type]
    assert {p.source for p in index.search(["lamp"], 5, "lexical")[0]} == {"0.md", "2.md"}, "words are stemmed"
    assert len(index.search(["anything"], 5)[0]) == 3, "no more than there are"


def test_a_question_of_signs_alone_breaks_nothing(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", None, ["red lamp"])
    index = open_index(tmp_path / "ix", None)
    assert index.search(['"?!', "AND OR NOT *", "red"], 3) == [[], [], index.search(["red"], 3)[0]]


def test_an_index_is_refused_to_another_embedder_of_the_same_size(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WordEmbedder(), ["red lamp"])
    with pytest.raises(UserError, match=r"made by words .* not by other"):
        open_index(tmp_path / "ix", WordEmbedder(sha256="b" * 64, name="other"))
    with pytest.raises(UserError, match="made with an embedder"):
        open_index(tmp_path / "ix", None)


@pytest.mark.parametrize("name", ["vectors.faiss", "passages.sqlite", "manifest.json"])
def test_a_damaged_index_is_an_error_and_not_an_answer(name: str, tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WordEmbedder(), ["red lamp", "blue door"])
    raw = (tmp_path / "ix" / name).read_bytes()
    (tmp_path / "ix" / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError):
        open_index(tmp_path / "ix", WordEmbedder())


def test_writing_again_replaces_the_index(tmp_path: Path) -> None:
    make_index(tmp_path / "ix", WordEmbedder(), ["red lamp"])
    make_index(tmp_path / "ix", WordEmbedder(), ["blue door", "green tree"])
    assert len(open_index(tmp_path / "ix", WordEmbedder())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["ix"]


def test_the_handbook_s_pages_are_found(tmp_path: Path, minilm: Embedder) -> None:
    passages = split_documents(read_documents(DEMO / "handbook"), minilm.count, 96, 24)
    assert all(minilm.count(embedded_text(p)) < minilm.window for p in passages)
    write_index(passages, minilm.embed([embedded_text(p) for p in passages]), minilm, tmp_path / "ix")
    lines = (DEMO / "questions-train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = open_index(tmp_path / "ix", minilm).search([row["question"] for row in rows], 5)
    hits = [row["page"] in {p.source for p in passages} for row, passages in zip(rows, found, strict=True)]
    assert np.mean(hits) >= 0.9


def test_vectors_are_unit_length_and_in_order(minilm: Embedder) -> None:
    texts = ["a long text about taxes " * 9, "cat", "dog on a sofa"]
    vectors = minilm.embed(texts)
    assert vectors.shape == (3, minilm.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], minilm.embed(["cat"])[0], atol=1e-5)
    assert minilm.embed([]).shape == (0, minilm.dimension)


# -- reading -------------------------------------------------------------------------------------------


def test_answers_are_words_that_stand_together() -> None:
    spans = answer_spans("It costs £17, paid within 3 days (or later).")
    assert {"£17", "3 days", "within 3 days", "later", "paid"} <= set(spans)
    assert not any(" paid" in span for span in spans), "not across a comma"
    assert "the" not in answer_spans("the cat")
    assert "green" in answer_spans("Lamp: green | Meaning: all is well")


class Likes(Scripted):
    """Finds one answer likely, when asked the one question it belongs to."""

    def __init__(self, question: str, answer: str) -> None:
        super().__init__("what I think")
        self.question, self.answer = question, answer

    def score(self, chats, continuations, report: Reporter = silent):  # type: ignore[no-untyped-def]
        self.asked += chats
        asked = [self.question in chat[-1]["content"] for chat in chats]
        return [[0.0 if hit and text == self.answer else -5.0 for text in continuations] for hit in asked]


def test_the_words_likely_for_this_question_are_extracted() -> None:
    passages = [Passage("The lamp is red. It costs 12 pounds.", "a.md", "Lamp")]
    question = "How much does it cost?"
    model = Likes(question, "12 pounds")
    assert Reader(model, None).extract(question, passages) == "12 pounds"
    assert Reader(model, None).extract("anything", []) == ""


# -- the executor --------------------------------------------------------------------------------------


def job(tmp_path: Path, docs: Path, rows: Sequence[Row] = (), **params: object) -> Job:
    plan = Plan("rag", "question_answering", DataSpec("x.csv"), docs=str(docs), params=params)
    (tmp_path / "work").mkdir(exist_ok=True)
    return Job(plan, tuple(rows), (), tmp_path / "work")


def test_chinese_documents_are_quoted_where_the_models_speak_english(tmp_path: Path) -> None:
    predictor = RagExecutor().build(job(tmp_path, write(tmp_path / "docs", bell=ZH)))
    prediction = predictor.predict([Input("保修期是几年？")])[0]
    assert prediction.text == "门铃的保修期为三年。"
    assert prediction.passages[0].source == "bell.md"
    assert prediction.passages[0].heading == "门铃手册 > 保修"
    said = " ".join(note["en"] for note in predictor.notes)
    assert "qwen2.5-0.5b-instruct" in said
    assert "bge-small-zh-v1.5" in said
    assert predictor.model is None
    assert read_manifest(predictor.folder)["embedder"] is None


def test_a_model_the_catalogue_does_not_know_is_trusted_with_any_language() -> None:
    assert documents_language([Document("a", ZH, "")]) == "zh"
    assert documents_language([Document("a", PAGE, "")]) == "en"
    assert speaks("owner/model", "zh")
    assert speaks("qwen3-0.6b", "zh")
    assert not speaks("all-minilm-l6-v2", "zh")


def test_the_default_models_answer_from_a_page_and_name_it(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", lamps=PAGE, doors="# Doors\n\nA door is made of oak. It weighs 40 kilograms.")
    predictor = RagExecutor().build(job(tmp_path, docs))
    assert any("reader: extract" in note["en"] for note in predictor.notes)
    asked = [Input("How much does a lamp cost?"), Input("What is a door made of?")]
    lamp, door = predictor.predict(asked)
    assert "12" in lamp.text
    assert lamp.passages[0].source == "lamps.md"
    assert "oak" in door.text
    (tmp_path / "saved").mkdir()
    predictor.save(tmp_path / "saved")
    assert RagPredictor.load(tmp_path / "saved").predict(asked) == [lamp, door]


def test_a_row_that_stands_among_the_held_out_ones_is_no_demonstration(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", lamp="# Lamp\n\nA lamp costs 12 pounds. It is lit at dusk.")
    rows = [Row("1", Input("What does a lamp cost?"), ("12 pounds",)), Row("2", Input("When is it lit?"), ("dusk",))]
    leaking = replace(job(tmp_path, docs, rows, reader="quote", shots=2), leaks=lambda given: frozenset({"1"}))
    predictor = RagExecutor().build(leaking)
    assert [row.id for row in predictor.setup.demonstrations] == ["2"]
    assert any("1 training row equals or nearly equals" in note["en"] for note in predictor.notes)


def predictor_with(tmp_path: Path, model: Scripted, **setup: object) -> RagPredictor:
    """The predictor of two pages with a model that says what it is told."""
    from dataclasses import replace

    docs = write(tmp_path / "docs", lamps=PAGE, doors="# Doors\n\nA door is made of oak.")
    built = RagExecutor().build(job(tmp_path, docs, reader="quote", search="lexical"))
    ready = RagPredictor(replace(built.setup, **setup), built.folder, model, built.embedder)  # type: ignore[arg-type]
    return ready


def test_the_reader_that_writes_sees_the_best_passages(tmp_path: Path) -> None:
    model = Scripted("12 pounds")
    predictor = predictor_with(tmp_path, model, reader="generate", passages_read=2, k=5)
    prediction = predictor.predict([Input("How much does a lamp cost?")])[0]
    assert prediction.text == "12 pounds"
    asked = model.asked[-1][-1]["content"]
    assert "A lamp costs 12 pounds." in asked
    assert "<passage 2>" in asked
    assert "<passage 3>" not in asked
    assert len(prediction.passages) > 2


def test_passages_that_do_not_fit_are_dropped_and_it_is_said(tmp_path: Path) -> None:
    model = Scripted("12 pounds", window=82)
    predictor = predictor_with(tmp_path, model, reader="generate", passages_read=3, k=3)
    predictor.predict([Input("How much does a lamp cost?")])
    assert "<passage 3>" not in model.asked[-1][-1]["content"]
    assert "1 questions were asked with fewer passages" in predictor.notes[-1]["en"]


def test_the_reader_is_chosen_by_training_questions(tmp_path: Path) -> None:
    from executors.retriever import _choose_reader

    rows = [Row(str(n), Input("How much does a lamp cost?"), ("oak and beech",), "lamps.md") for n in range(5)]
    predictor = predictor_with(tmp_path, Scripted("oak and beech"), reader="generate")
    _choose_reader(predictor, job(tmp_path, tmp_path / "docs", rows), "en")
    assert predictor.setup.reader == "generate"
    assert "generate, the better on 5 training questions" in predictor.notes[-1]["en"]


def test_faults_of_a_plan_are_told_at_once_and_without_work(tmp_path: Path) -> None:
    params = {"k": 0, "chunk_tokens": 20, "overlap": 30}
    plan = Plan(
        "rag", "question_answering", DataSpec("x"), docs=str(tmp_path), embedder="smollm2-135m-instruct", params=params
    )
    messages = " ".join(p.message for p in RagExecutor().check(plan))
    for part in ("params.k", "params.overlap", "it is empty", "writes text"):
        assert part in messages


def test_vectors_made_before_an_interruption_are_kept(tmp_path: Path, minilm: Embedder) -> None:
    docs = write(tmp_path / "docs", lamps=PAGE)
    RagExecutor().build(job(tmp_path, docs, reader="quote"))
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("embeddings-*.npy")}
    assert kept
    RagExecutor().build(job(tmp_path, docs, reader="quote"))
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").glob("embeddings-*.npy")} == kept
