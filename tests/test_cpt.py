"""Continued pre-training: what is read, how it stands in windows, what is replayed and held out, and that it helps."""

from __future__ import annotations

import itertools
import json
import math
import signal
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Row, UserError
from executors.models import load_causal
from executors.tuning.batches import completion_loss
from executors.tuning.corpus import (
    CptExecutor,
    CptParams,
    hold_out,
    in_parts,
    measure,
    read_corpus,
    replay_pieces,
)
from executors.tuning.params import rate_of
from executors.tuning.predictor import TunedPredictor
from executors.tuning.windows import OVERLAP, Piece, Window, WindowBatcher, cut, encode_document, pack
from tests.tiny import write_tiny

QUICK = {
    "min_steps": 6,
    "epochs": 1,
    "checkpoint_steps": 2,
    "max_length": 64,
    "learning_rate": 3e-3,
    "compare": 0,
    "forgetting": False,
}
ROWS = tuple(Row(str(n), Input(f"Is the valve number {n} open?"), ("yes" if n % 2 else "no",)) for n in range(8))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(tiny: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny, local_files_only=True)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short documents with one wording, so that reading some of them helps with the others."""
    folder = tmp_path_factory.mktemp("docs")
    for n in range(12):
        text = f"Valve {n} is opened with the red key. Turn it twice, then wait until the lamp is green. " * (1 + n % 3)
        (folder / f"{n:02}.md").write_text(f"# Valve {n}\n\n{text}\n", encoding="utf-8")
    return folder


def plan_of(tiny: str, docs: Path | None, **params: object) -> Plan:
    given = {**QUICK, **params}
    return Plan("cpt", "question_answering", DataSpec("x.csv"), docs=str(docs), model=tiny, params=given)


def build(plan: Plan, folder: Path, **more: Any) -> TunedPredictor:
    folder.mkdir(exist_ok=True)
    return CptExecutor().build(Job(plan, ROWS, (), folder, **more))


def perplexity(tuned: TunedPredictor) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((tuned.folder / "perplexity.json").read_text(encoding="utf-8"))
    return found


# -- windows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [16, 64, 200])
def test_every_token_of_a_document_is_trained_on_once(length: int) -> None:
    tokens = list(range(1000, 1777))
    pieces = cut(tokens, length)
    assert [i for piece in pieces for i in piece.ids[piece.context :]] == tokens[1:]  # the mark it begins with is given
    assert max(map(len, pieces)) <= length
    assert [piece.context for piece in pieces] == [1] + [min(OVERLAP, length // 4)] * (len(pieces) - 1)
    assert all(list(b.ids[: b.context]) == list(a.ids[-b.context :]) for a, b in itertools.pairwise(pieces))


def test_a_document_stands_between_the_marks_that_models_know(tokenizer: Any) -> None:
    ids = encode_document(tokenizer, "The end <|im_end|> is a word here.")
    end = tokenizer.get_vocab()["<|endoftext|>"]
    assert ids[0] == ids[-1] == end
    assert not set(ids[1:-1]) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids[1:-1]) == "The end <|im_end|> is a word here."


def test_windows_hold_every_piece_once_and_are_full() -> None:
    pieces = [Piece(array("i", range(10 + n % 50)), 1) for n in range(200)]
    windows = pack(pieces, 64, 0)
    assert sorted(len(p) for w in windows for p in w.pieces) == sorted(map(len, pieces))
    assert max(map(len, windows)) <= 64
    assert sum(map(len, windows)) / len(windows) > 0.9 * 64
    assert windows == pack(pieces, 64, 0)
    assert windows != pack(pieces, 64, 1)


def test_packed_documents_see_nothing_of_each_other(tiny: str, tokenizer: Any) -> None:
    """The loss and the gradients of a batch of windows are those of each piece alone."""
    import torch

    model, _ = load_causal(tiny)
    texts = ("One text. " * 9, "Another one, longer than the first. " * 6, "A third.", "And the last of them.")
    pieces = [piece for text in texts for piece in cut(encode_document(tokenizer, text), 40)]
    total, count = torch.zeros(()), 0
    for piece in pieces:
        ids = torch.tensor([piece.ids.tolist()])
        steps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        own = -steps.gather(1, ids[0, 1:, None])[piece.context - 1 :]
        total, count = total + own.sum(), count + len(own)
    expected: Any = total / count
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    windows = pack(pieces, 64, 0)
    assert max(len(window.pieces) for window in windows) > 1
    batch = WindowBatcher(0, apart=False)([windows])
    assert batch["attention_mask"].dim() == 4
    labels = batch.pop("labels")
    loss: Any = completion_loss(model(**batch), labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    for name, p in model.named_parameters():
        assert float((p.grad - gradients[name]).abs().max()) < 1e-5


def test_windows_of_one_piece_need_no_mask_of_our_own() -> None:
    pieces = [Piece(array("i", range(9)), 1), Piece(array("i", range(5)), 1)]
    batch = WindowBatcher(7, apart=False)([[Window((piece,)) for piece in pieces]])
    assert batch["attention_mask"].tolist() == [[1] * 9, [1] * 5 + [0] * 4]
    assert batch["input_ids"][1].tolist() == [0, 1, 2, 3, 4, 7, 7, 7, 7]
    assert batch["labels"][1].tolist() == [-100, 1, 2, 3, 4, -100, -100, -100, -100]


# -- texts ---------------------------------------------------------------------------------------------


def test_texts_are_held_out_whole_and_equal_ones_together() -> None:
    texts = [(str(n), f"text {n % 10} " * 20) for n in range(20)]
    read, held = hold_out(texts, 0.2, 0)
    assert len(read) + len(held) == 20
    assert not {text for _, text in read} & {text for _, text in held}
    assert 0.15 <= sum(len(t) for _, t in held) / sum(len(t) for _, t in texts) <= 0.3
    assert hold_out(texts, 0.2, 0) == (read, held)
    assert hold_out(texts[:3], 0.2, 0) == (texts[:3], [])
    assert sum(len(text) for _, text in hold_out(texts, 0.5, 0, most=300)[1]) < 1000


def test_one_text_that_is_most_of_a_corpus_is_read() -> None:
    texts = [("book", "long " * 4000), *((str(n), f"short {n} " * 9) for n in range(9))]
    for seed in range(5):
        read, held = hold_out(texts, 0.1, seed)
        assert texts[0] in read
        assert held


def test_one_long_text_is_held_out_in_parts() -> None:
    text = "\n\n".join(f"Paragraph {n} says this and that. " * 10 for n in range(40))
    parts = in_parts([("book.txt", text)])
    assert len(parts) >= 4
    assert "\n\n".join(part for _, part in parts) == text
    assert len(hold_out(parts, 0.1, 0)[1]) >= 1


def test_a_file_of_texts_is_a_corpus_too(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(
        "\n".join(json.dumps({"text": f"Text number {n}."}) for n in range(5)), encoding="utf-8"
    )
    texts, skipped = read_corpus(tmp_path / "texts.jsonl")
    assert [text for _, text in texts] == [f"Text number {n}." for n in range(5)]
    assert skipped == []


# -- replay --------------------------------------------------------------------------------------------


def test_general_text_is_the_stated_share_of_what_is_trained_on() -> None:
    general = [Piece(array("i", range(51)), 1) for _ in range(40)]
    found = replay_pieces(general, corpus=10_000, share=0.05, seed=0)
    assert found.share == pytest.approx(0.05, abs=0.003)
    assert found.share == sum(p.trained for p in found.pieces) / (10_000 + sum(p.trained for p in found.pieces))


def test_a_small_general_text_is_not_read_over_and_over() -> None:
    found = replay_pieces([Piece(array("i", range(51)), 1)], corpus=10_000, share=0.25, seed=0)
    assert len(found.pieces) == 4
    assert found.share == pytest.approx(200 / 10_200)


def test_what_of_the_share_was_reached_is_said(tiny: str, docs: Path, tmp_path: Path) -> None:
    (tmp_path / "general.txt").write_text("Good day.", encoding="utf-8")
    tuned = build(
        plan_of(tiny, docs, replay=0.5, replay_file=str(tmp_path / "general.txt"), min_steps=1), tmp_path / "w"
    )
    [told] = [note for note in tuned.notes if "general text" in note["en"]]
    assert "50% were asked for and the text has no more: params.replay_file=FILE" in told["en"]
    assert "要求 50%" in told["zh"]


# -- the method ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["all", "low_rank"])
def test_reading_lowers_the_perplexity_of_what_was_not_read(
    weights: str, tiny: str, docs: Path, tmp_path: Path
) -> None:
    tuned = build(plan_of(tiny, docs, weights=weights, rank=8, min_steps=20, learning_rate=1e-2), tmp_path / "work")
    found = perplexity(tuned)
    assert found["before"]["perplexity"] == pytest.approx(math.exp(found["before"]["loss"]), rel=1e-3)
    assert found["after"]["perplexity"] < 0.8 * found["before"]["perplexity"]
    assert (tuned.folder / ("model" if weights == "all" else "adapter")).is_dir()
    assert any("perplexity of the held-out text" in note["en"] for note in tuned.notes)
    assert any("8 labelled training rows were not trained on" in note["en"] for note in tuned.notes)
    [answer] = tuned.predict([ROWS[0].input])
    tuned.save(tmp_path / "artifact")
    assert TunedPredictor.load(tmp_path / "artifact").predict([ROWS[0].input]) == [answer]


def test_the_saved_model_has_the_perplexity_that_is_told(tiny: str, docs: Path, tmp_path: Path) -> None:
    from executors.tuning.corpus import make_corpus

    plan = plan_of(tiny, docs, min_steps=10)
    tuned = build(plan, tmp_path / "work")
    model, tokenizer = load_causal(str(tuned.folder / "model"))
    corpus = make_corpus(Job(plan, ROWS, (), tmp_path), CptParams(max_length=64), 64, True, tokenizer)
    again = measure(model, corpus.held, WindowBatcher(0, apart=True))
    assert again["loss"] == pytest.approx(perplexity(tuned)["after"]["loss"], abs=1e-5)


def test_an_interrupted_reading_ends_the_same(tiny: str, docs: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny, docs)
    straight = build(plan, tmp_path / "straight")

    def stop(event: Event) -> None:
        if event.stage == "train" and event.done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(plan, tmp_path / "broken", report=stop)
    resumed = build(plan, tmp_path / "broken")
    assert perplexity(resumed) == perplexity(straight)
    assert (resumed.folder / "training.jsonl").read_text() == (straight.folder / "training.jsonl").read_text()


def test_all_weights_take_a_tenth_of_the_rate_of_low_rank_updates() -> None:
    assert rate_of(CptParams(weights="all"), 135_000_000) == pytest.approx(5e-5)
    assert rate_of(CptParams(weights="low_rank"), 135_000_000) == pytest.approx(5e-4)


# -- faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"replay": 1.0}, "params.replay: must be from 0 to below 1, got 1.0"),
        ({"rank": 0}, "params.rank: must be above 0, got 0"),
        ({"replay_file": "nowhere.txt"}, "params.replay_file: no file nowhere.txt"),
    ],
)
def test_faults_are_told_before_any_work(params: dict[str, object], said: str, tiny: str, docs: Path) -> None:
    assert said in [problem.message for problem in CptExecutor().check(plan_of(tiny, docs, **params))]


def test_an_encoder_does_not_read_on(docs: Path) -> None:
    plan = plan_of("all-minilm-l6-v2", docs)
    for task in ("question_answering", "classification"):
        [problem] = CptExecutor().check(replace(plan, task=task))
        assert "all-minilm-l6-v2" in problem.message


def test_a_folder_without_documents_is_told(tiny: str, tmp_path: Path) -> None:
    [problem] = CptExecutor().check(replace(plan_of(tiny, tmp_path)))
    assert "no documents" in problem.message


def test_documents_without_text_are_told(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(" \n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no document with text|no token to read"):
        build(plan_of(tiny, tmp_path / "docs"), tmp_path / "work")
