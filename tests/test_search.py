"""Search over an index: words, joining, filters by file, reranking, diversity, other wordings."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from executors.base import Passage, UserError
from executors.models import Embedder, resolve
from executors.retriever.index import Index, Splitter, build_index, embedded_text, open_index, sync
from executors.retriever.lexical import WordSearch, asked_terms, rarest, terms
from executors.retriever.rerank import load_reranker, reranker_problems
from executors.retriever.rewriting import INSTRUCTION, INSTRUCTION_ZH, rewrite
from executors.retriever.search import Searcher, SearchSettings, by_ranks, by_scores, mmr, search_problems
from tests.fakes import Acting, Scripted
from tests.test_probe import WordEmbedder

TEXTS = {
    "lamps/red.md": "red lamp means trouble",
    "lamps/green.md": "green lamps stand here",
    "doors/blue.md": "blue door at the end",
    "doors.md": "every door has a red lamp",
}


def make(folder: Path, texts: dict[str, str], embedder: Embedder | None = None) -> Index:
    passages = [Passage(text, source) for source, text in texts.items()]
    vectors = embedder.embed([embedded_text(p) for p in passages]) if embedder else None
    build_index(passages, vectors, embedder, folder)
    return open_index(folder, embedder)


@pytest.fixture
def words(tmp_path: Path) -> Index:
    """An index without vectors."""
    return make(tmp_path / "words", TEXTS)


@pytest.mark.parametrize("embedder", [None, WordEmbedder()])
def test_an_open_searcher_answers_from_the_index_as_it_is_now(embedder: Embedder | None, tmp_path: Path) -> None:
    docs, folder = tmp_path / "docs", tmp_path / "ix"
    docs.mkdir()
    (docs / "old.md").write_text("the red lamp", encoding="utf-8")
    (docs / "kept.md").write_text("a blue door", encoding="utf-8")
    sync(folder, docs, Splitter(), embedder, "en")
    searcher = Searcher(open_index(folder, embedder), embedder, SearchSettings(how="lexical"))
    assert sources(searcher.search(["red lamp"], 3)[0]) == ["old.md"]
    assert searcher.search(["zebra"], 3) == [[]]
    (docs / "old.md").unlink()
    (docs / "new.md").write_text("a zebra", encoding="utf-8")
    sync(folder, docs, Splitter(), embedder, "en")
    assert searcher.search(["red lamp"], 3) == [[]], "a deleted file never answers again"
    assert sources(searcher.search(["zebra"], 3)[0]) == ["new.md"], "a word that was not known before is found"


@pytest.fixture
def both(tmp_path: Path) -> Index:
    return make(tmp_path / "both", TEXTS, WordEmbedder())


def sources(found: Sequence[Passage]) -> list[str]:
    return [passage.source for passage in found]


# -- words ---------------------------------------------------------------------------------------------


def test_full_width_letters_are_read_as_plain_ones() -> None:
    assert terms("ＡＢＣ１２３ 保修") == ["abc123", "保", "修", "保修"]


def test_interrogatives_are_left_out_of_a_question_that_asks_for_something() -> None:
    assert asked_terms("Who has which red lamp?") == ["has", "red", "lamp"]
    assert asked_terms("保修期是多少年？") == ["保", "修", "期", "是", "保修", "修期", "期是", "年"]
    assert asked_terms("Who? Why?") == ["who", "why"], "nothing else is in it"
    assert asked_terms("谁？") == ["谁"]


def test_the_commonest_words_go_first_where_a_question_touches_too_much() -> None:
    counts = {"the": 900, "lamp": 40, "red": 60, "unknown": 0}
    assert rarest(counts, 1000) == ["lamp", "red", "the"]
    assert rarest(counts, 999) == ["lamp", "red"]
    assert rarest(counts, 10) == ["lamp"], "one at least"
    assert rarest({"unknown": 0}, 10) == []


def test_a_common_word_costs_nothing_once_there_are_too_many_passages() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE words USING fts5(terms, tokenize='porter unicode61')")
    rows = [(n, "common rare" if n % 50 == 0 else "common") for n in range(1, 201)]
    database.executemany("INSERT INTO words (rowid, terms) VALUES (?, ?)", rows)
    assert len(WordSearch(database).best("rare common", 500)) == 200
    assert {i for i, _ in WordSearch(database, most_rows=100).best("rare common", 500)} == {50, 100, 150, 200}
    assert [i for i, _ in WordSearch(database, 100).best("rare common", 500, allowed=[100, 7])] == [100]
    assert WordSearch(database).best("unheard of", 5) == []


def test_scores_of_words_are_positive_and_stems_are_found(words: Index) -> None:
    found = words.lexical("What lamp?", 5)
    assert {p.source for p in words.passages([i for i, _ in found])} == {"lamps/red.md", "lamps/green.md", "doors.md"}
    assert all(score > 0 for _, score in found)


def test_questions_of_signs_alone_find_nothing_and_break_nothing(words: Index) -> None:
    found = Searcher(words, None).search(['"?!', "AND OR NOT *", "", "red"], 1)
    assert [len(one) for one in found] == [0, 0, 0, 1]
    assert Searcher(words, None).search([], 3) == []
    assert Searcher(words, None).search(["red"], 0) == [[]]


# -- joining -------------------------------------------------------------------------------------------


def test_ranks_are_joined_by_their_reciprocal_and_weight() -> None:
    scores = by_ranks([[1, 2], [2, 3]], [1.0, 2.0])
    assert scores == pytest.approx({1: 1 / 61, 2: 1 / 62 + 2 / 61, 3: 2 / 62})


def test_scores_are_joined_as_shares_of_the_best() -> None:
    joined = by_scores([{1: 0.8, 2: 0.4, 3: -0.2}, {1: 0.0, 2: 6.0, 3: 12.0}], [1.0, 0.5])
    assert joined == pytest.approx({1: 1.0, 2: 0.5 + 0.25, 3: -0.25 + 0.5})
    assert by_scores([{1: -0.5}, {1: 0.0}], [1.0, 1.0]) == {1: -0.5}, "nothing is related"
    assert by_scores([{}, {}], [1.0, 1.0]) == {}


@pytest.mark.parametrize("fusion", ["scores", "ranks"])
def test_both_searches_bring_candidates_and_every_passage_carries_its_cosine(both: Index, fusion: str) -> None:
    embedder = WordEmbedder()
    settings = SearchSettings(fusion=fusion, candidates=1)  # type: ignore[arg-type]
    question = "stand here green lamp"
    vector = embedder.embed([question])[0]
    found = Searcher(both, embedder, settings).search([question], 4)[0]
    assert found[0].source == "lamps/green.md"
    for passage in found:
        assert passage.score == pytest.approx(float(embedder.embed([passage.text])[0] @ vector), abs=1e-4)


@pytest.fixture
def apart(tmp_path: Path) -> Index:
    """The two searches disagree on "lamp": one file has only a stem of it, and only the other's vector is near."""
    texts = {"word.md": "lamps lamps lamps", "vector.md": "blue lamp door is shut and stays so"}
    return make(tmp_path / "apart", texts, WordEmbedder())


def test_weights_decide_which_search_is_heard(apart: Index) -> None:
    def first(**weights: float) -> Passage:
        settings = SearchSettings(candidates=1, **weights)  # type: ignore[arg-type]
        return Searcher(apart, WordEmbedder(), settings).search(["lamp"], 1)[0][0]

    assert first(dense_weight=1, lexical_weight=0).source == "vector.md"
    word = first(dense_weight=0, lexical_weight=1)
    cosine = WordEmbedder().embed(["lamp"])[0] @ WordEmbedder().embed(["lamps lamps lamps"])[0]
    assert (word.source, word.score) == ("word.md", pytest.approx(float(cosine), abs=1e-4))


def test_the_way_to_search_decides_the_score_that_is_shown(both: Index) -> None:
    shown = {}
    for how in ("dense", "lexical", "hybrid"):
        searcher = Searcher(both, WordEmbedder(), SearchSettings(how=how))  # type: ignore[arg-type]
        assert searcher.dense == (how != "lexical")
        shown[how] = searcher.search(["red lamp means trouble"], 1)[0][0].score
    assert shown["dense"] == shown["hybrid"] == pytest.approx(1.0, abs=1e-4)
    assert shown["lexical"] != shown["dense"]


def test_without_vectors_every_way_goes_by_words(words: Index) -> None:
    ways = [Searcher(words, None, SearchSettings(how=how)) for how in ("hybrid", "dense", "lexical")]  # type: ignore[arg-type]
    first, *others = [searcher.search(["red lamp"], 3) for searcher in ways]
    assert first[0]
    assert others == [first, first]


# -- filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["lamps/*.md"], ["lamps/red.md", "lamps/green.md"]),
        (["doors.md"], ["doors.md"]),
        (["doors"], ["doors/blue.md"]),
        (["doors/", "lamps/red.md"], ["doors/blue.md", "lamps/red.md"]),
        (["*"], list(TEXTS)),
    ],
    ids=str,
)
def test_only_files_that_match_answer(patterns: list[str], kept: list[str], both: Index, words: Index) -> None:
    question = "red green blue lamp door"
    for searcher in (Searcher(both, WordEmbedder()), Searcher(words, None)):
        assert set(sources(searcher.search([question], 9, patterns)[0])) == set(kept)


def test_a_pattern_that_matches_no_file_is_an_error_not_an_empty_answer(words: Index) -> None:
    with pytest.raises(UserError, match=r"2 problems") as caught:
        Searcher(words, None).search(["red"], 3, ["lamps/rde.md", "doors.md", "*.pdf"])
    assert "did you mean 'lamps/red.md'" in caught.value.message
    assert "没有文档匹配" in caught.value.told("zh").message


# -- reranking -----------------------------------------------------------------------------------------


class Longest:
    """Prefers long texts, and keeps what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.read += texts
        return [float(len(text)) for text in texts]


def test_a_reranker_orders_the_candidates_and_reads_no_others(both: Index) -> None:
    reranker = Longest()
    settings = SearchSettings(how="lexical", candidates=2)
    plain = Searcher(both, WordEmbedder(), settings).search(["red lamp trouble"], 2)[0]
    found = Searcher(both, WordEmbedder(), settings, reranker).search(["red lamp trouble"], 2)[0]
    assert sources(plain) == ["lamps/red.md", "doors.md"]
    assert sources(found) == ["doors.md", "lamps/red.md"]
    assert {p.source: p.score for p in found} == {p.source: p.score for p in plain}, "scores stay the search's"
    assert len(reranker.read) == 2


def test_a_reranker_reads_no_more_than_the_candidates_though_two_searches_bring_more(apart: Index) -> None:
    reranker = Longest()
    Searcher(apart, WordEmbedder(), SearchSettings(candidates=1), reranker).search(["lamp"], 1)
    assert len(reranker.read) == 1


def write_cross_encoder(folder: Path, outputs: int = 1, kind: str = "BertForSequenceClassification") -> str:
    """A BERT that reads pairs, its weights drawn by chance, with MiniLM's tokenizer."""
    import torch
    import transformers
    from transformers import AutoTokenizer, BertConfig

    tokenizer = AutoTokenizer.from_pretrained(resolve("all-minilm-l6-v2"), local_files_only=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=outputs,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_cross_encoder_from_a_folder_reads_pairs(tmp_path: Path, words: Index) -> None:
    name = write_cross_encoder(tmp_path / "cross")
    reranker = load_reranker(name)
    texts = [*TEXTS.values(), "long " * 200]
    scores = reranker.score("red lamp", texts)
    assert len(set(scores)) == len(texts)
    assert reranker.score("red lamp", texts[::-1]) == pytest.approx(scores[::-1], abs=1e-5), "in the order given"
    assert reranker.score("blue door", texts) != scores, "the question is read too"
    assert reranker.score("red lamp", []) == []
    found = Searcher(words, None, SearchSettings(rerank=name)).search(["red lamp"], 3)[0]
    ranked = sorted(zip(scores, TEXTS, strict=False), reverse=True)
    assert sources(found) == [source for _, source in ranked if source in sources(found)]


def test_a_model_whose_scores_would_be_noise_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cross-encoder with one output"):
        load_reranker(str(resolve("all-minilm-l6-v2")))
    with pytest.raises(UserError, match="no cross-encoder with one output"):
        load_reranker(write_cross_encoder(tmp_path / "three", outputs=3))
    with pytest.raises(UserError, match="no cross-encoder with one output"):
        load_reranker(write_cross_encoder(tmp_path / "headless", kind="BertModel"))
    assert "no cross-encoder" in reranker_problems("all-minilm-l6-v2")[0].message, "seen without work"
    assert "no such folder" in reranker_problems("./nowhere")[0].message


# -- diversity -----------------------------------------------------------------------------------------


def test_mmr_takes_the_unlike_before_the_like() -> None:
    alike = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    relevance = np.array([1.0, 0.9, 0.5])
    assert mmr(relevance, alike, 3, 0.0) == [0, 1, 2]
    assert mmr(relevance, alike, 3, 0.5) == [0, 2, 1]
    assert mmr(relevance, alike, 9, 0.5) == [0, 2, 1], "no more than there are"


@pytest.mark.parametrize("vectors", [True, False])
def test_a_copy_gives_way_to_another_passage(vectors: bool, tmp_path: Path) -> None:
    texts = {"a.md": "red lamp trouble now", "copy.md": "red lamp trouble now", "b.md": "red door", "c.md": "cold soup"}
    embedder = WordEmbedder() if vectors else None
    index = make(tmp_path / "ix", texts, embedder)

    def two(share: float) -> set[str]:
        return set(sources(Searcher(index, embedder, SearchSettings(mmr=share)).search(["red lamp trouble"], 2)[0]))

    assert two(0.0) == {"a.md", "copy.md"}
    assert len(two(0.6) & {"a.md", "copy.md"}) == 1


# -- other wordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectors", [True, False])
def test_the_models_words_find_what_the_question_does_not_name(vectors: bool, tmp_path: Path) -> None:
    embedder = WordEmbedder() if vectors else None
    index = make(tmp_path / "ix", TEXTS, embedder)
    model = Scripted(says='"blue door"\nIt is the door.')
    settings = SearchSettings(rewrite=True, candidates=1, how="hybrid" if vectors else "lexical")
    question = "trouble"
    plain = Searcher(index, embedder, replace(settings, rewrite=False)).search([question], 4)[0]
    found = Searcher(index, embedder, settings, model=model).search([question], 4)[0]
    assert "doors/blue.md" in sources(found)
    assert set(sources(plain)) <= set(sources(found)), "the question as asked is searched too"
    assert model.asked[0][-1]["content"] == question


def test_a_model_without_words_leaves_the_question_as_it_is() -> None:
    model = Acting(lambda chat: " \n'' " if "lamp" in chat[-1]["content"] else "查询：保修\n")
    assert rewrite(["lamp?", "保修多久？"], model) == ["lamp?", "查询：保修"]
    assert [chat[0]["content"] for chat in model.asked] == [INSTRUCTION, INSTRUCTION_ZH]


def test_rewriting_needs_a_model(words: Index) -> None:
    with pytest.raises(UserError, match="needs a language model"):
        Searcher(words, None, SearchSettings(rewrite=True))


# -- settings ------------------------------------------------------------------------------------------


def test_every_fault_of_the_settings_is_told_at_once() -> None:
    wrong = SearchSettings(dense_weight=-1, candidates=0, mmr=1.0, rerank="smollm2-135m-instruct")
    told = search_problems(wrong)
    assert [p.message.partition(":")[0] for p in told] == [
        *("params.dense_weight", "params.candidates", "params.mmr", "params.rerank"),
    ]
    assert all(p.zh for p in told)
    silent_search = search_problems(SearchSettings(dense_weight=0, lexical_weight=0))
    assert "one of them above 0" in silent_search[0].message
    assert search_problems(SearchSettings()) == []
