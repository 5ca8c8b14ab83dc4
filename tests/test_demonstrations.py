"""Demonstrations: which rows are shown with an input, in which order, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from executors.base import Input, Reporter, Row, UserError, silent
from executors.models import Embedder, load_embedder
from executors.models.embed import Role
from executors.prompt.demonstrations import (
    Demonstrations,
    Neighbour,
    by_turns,
    choose_fixed,
    compared_text,
    highest,
    marginal_relevance,
    needs_context,
    read_manifest,
)
from executors.prompt.given import listed, read_demonstrations

ANGLES = {"ask": 0, "a": 10, "b": 20, "c": 30, "d": -40, "e": 90}  # degrees: a cosine that can be worked out by hand


class Compass(Embedder):
    """Each known text points into its direction of a plane, an unknown one to 180 degrees; keeps what it was given."""

    def __init__(self, angles: dict[str, float] | None = None, sha256: str = "5ea" * 8) -> None:
        self.angles: dict[str, float] = {**ANGLES, **(angles or {})}
        self.name, self.sha256, self.dimension, self.pooling = "compass", sha256, 2, "mean"
        self.batches: list[list[str]] = []

    def embed(self, texts: Sequence[str], report: Reporter = silent, role: Role = "document") -> NDArray[np.float32]:
        self.batches.append(list(texts))
        turns = np.radians([self.angles.get(text, 180) for text in texts])
        return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def row(text: str, label: str = "x", context: str = "", name: str = "") -> Row:
    return Row(name or f"rows:{text}", Input(text, context), (label,))


def made(rows: Sequence[Row], embedder: Embedder | None = None) -> Demonstrations:
    embedder = embedder or Compass()
    return Demonstrations(rows, embedder.embed([r.input.text for r in rows]), embedder)


def texts(chosen: Sequence[Neighbour]) -> list[str]:
    return [neighbour.row.input.text for neighbour in chosen]


ROWS = [row("e", "far"), row("c", "x"), row("a", "x"), row("d", "y"), row("b", "x")]


# -- the same for every input --------------------------------------------------------------------------

SEEDED = {  # as drawn before the choice had a module of its own: published figures rest on it
    (0, "random"): [6, 17, 0, 14, 11, 7],
    (0, "balanced"): [7, 0, 17, 14, 5, 21],
    (7, "random"): [7, 5, 14, 15, 18, 22],
    (7, "balanced"): [15, 5, 13, 21, 18, 22],
}
DRAWN = [Row(str(n), Input(f"text {n}"), (label,)) for n, label in enumerate(["bad", "good", "bad", "bad"] * 6)]


@pytest.mark.parametrize(("seed", "selection"), SEEDED)
def test_a_seed_draws_the_demonstrations_it_always_drew(seed: int, selection: str) -> None:
    chosen = choose_fixed(DRAWN, 6, selection, "classification", seed)  # type: ignore[arg-type]
    assert [int(r.id) for r in chosen] == SEEDED[seed, selection]


def test_balanced_shows_every_label_alike_and_random_as_they_come() -> None:
    assert Counter(r.target for r in choose_fixed(DRAWN, 6, "balanced", "classification", 3)) == {"bad": 3, "good": 3}
    assert len(choose_fixed(DRAWN, 99, "random", "generation", 3)) == 24
    assert choose_fixed(DRAWN, 0, "random", "generation", 3) == ()


def test_refusing_a_row_changes_nothing_else() -> None:
    before = {r.id for r in choose_fixed(DRAWN, 6, "random", "classification", 0)}
    shown, other = next(iter(before)), next(r.id for r in DRAWN if r.id not in before)
    assert {r.id for r in choose_fixed(DRAWN, 6, "random", "classification", 0, {other})} == before
    after = {r.id for r in choose_fixed(DRAWN, 6, "random", "classification", 0, {shown})}
    assert len(after) == 6
    assert after & before == before - {shown}


def test_turns_give_every_label_once_before_any_twice() -> None:
    rows = [row("1", "x"), row("2", "x"), row("3", "y"), row("4", "x"), row("5", "y")]
    assert [r.input.text for r in by_turns(rows)] == ["1", "3", "2", "5", "4"]


# -- nearest -------------------------------------------------------------------------------------------


def test_the_nearest_stand_next_to_the_question() -> None:
    (chosen,) = made(ROWS).choose([Input("ask")], 3)
    assert texts(chosen) == ["c", "b", "a"]
    assert [n.similarity for n in chosen] == pytest.approx([0.8660, 0.9397, 0.9848])  # cosines of 30, 20, 10 degrees


@pytest.mark.parametrize(("order", "expected"), [("nearest_first", "abc"), ("nearest_last", "cba")])
def test_the_order_is_the_one_asked_for(order: str, expected: str) -> None:
    (chosen,) = made(ROWS).choose([Input("ask")], 3, order=order)  # type: ignore[arg-type]
    assert texts(chosen) == list(expected)


def test_a_shuffled_order_depends_on_the_seed_and_the_input_alone() -> None:
    rows = [row(str(n)) for n in range(12)]
    found = made(rows, Compass({str(n): n for n in range(12)}))
    alone = found.choose([Input("ask")], 12, order="shuffled")[0]
    among = found.choose([Input("a"), Input("ask"), Input("south"), Input("also south")], 12, order="shuffled")
    assert alone == among[1]
    assert texts(among[2]) != texts(among[3])  # the same rows equally near
    assert texts(alone) != texts(found.choose([Input("ask")], 12, order="shuffled", seed=1)[0])
    assert sorted(texts(alone)) == sorted(str(n) for n in range(12))


def test_equally_near_rows_come_in_their_own_order() -> None:
    rows = [row("far"), *(row(f"same {n}") for n in range(6))]
    found = made(rows, Compass({f"same {n}": 5 for n in range(6)}))
    assert texts(found.choose([Input("ask")], 4, order="nearest_first")[0]) == [f"same {n}" for n in range(4)]


def test_all_inputs_are_embedded_in_one_batch_and_none_where_nothing_is_shown() -> None:
    embedder = Compass()
    found = made(ROWS, embedder)
    found.choose([Input("ask"), Input("a"), Input("b")], 2)
    assert embedder.batches[1:] == [["ask", "a", "b"]]
    assert found.choose([Input("ask")], 0) == [[]]
    assert found.choose([], 3) == []
    assert Demonstrations.of((), embedder, Path()).choose([Input("ask")], 3) == [[]]
    assert len(embedder.batches) == 2


def test_vectors_that_are_at_hand_are_not_made_again() -> None:
    embedder = Compass()
    found = made(ROWS, embedder)
    asked = found.embed([Input("ask")])
    assert found.choose([Input("ask")], 3, vectors=asked) == found.choose([Input("ask")], 3)
    assert len(embedder.batches) == 3  # rows, the input, and the input where no vectors were given


def test_an_input_is_served_alike_alone_and_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    angles = {f"row {n}": float(a) for n, a in enumerate(rng.uniform(0, 360, 300))}
    found = made([row(t, f"label {n % 7}") for n, t in enumerate(angles)], Compass(angles))
    inputs = [Input(f"row {n}") for n in range(40)]  # rows themselves: each has another one to leave out
    for selection in ("nearest", "nearest_balanced", "diverse"):
        together = found.choose(inputs, 6, selection)  # type: ignore[arg-type]
        monkeypatch.setattr("executors.prompt.demonstrations.BLOCK", 900)  # three inputs at once
        assert found.choose(inputs, 6, selection) == together  # type: ignore[arg-type]
        monkeypatch.undo()
        assert [found.choose([i], 6, selection)[0] for i in inputs] == together  # type: ignore[arg-type]


def test_the_highest_are_found_and_barred_ones_never() -> None:
    values = np.array([0.1, -np.inf, 0.7, 0.3, 0.7], dtype=np.float32)
    assert highest(values, 3).tolist() == [2, 4, 3]
    assert highest(values, 9).tolist() == [2, 4, 3, 0]
    assert highest(values, 0).tolist() == []


# -- a row never demonstrates itself -------------------------------------------------------------------


def test_a_row_that_is_the_input_is_never_shown() -> None:
    rows = [*ROWS, row("Ask ", name="spaced"), row("ask", name="twin")]
    found = made(rows, Compass({"Ask ": 0}))
    assert texts(found.choose([Input("ask")], 2)[0]) == ["b", "a"]
    assert texts(found.choose([Input("ask")], 99)[0]) == ["e", "d", "c", "b", "a"]


def test_rows_excluded_for_one_input_are_shown_with_another() -> None:
    exclude = [{"rows:a", "no such row"}, set[str]()]
    first, second = made(ROWS).choose([Input("ask"), Input("ask")], 2, exclude=exclude)
    assert (texts(first), texts(second)) == (["c", "b"], ["b", "a"])


def test_a_question_on_another_passage_is_another_input() -> None:
    rows = [row("a", context="Paris"), row("b", context="Rome"), row("c")]
    found = made(rows)
    assert texts(found.choose([Input("a", "Rome")], 3, order="nearest_first")[0]) == ["a", "b", "c"]
    assert texts(found.choose([Input("a", " paris")], 3, order="nearest_first")[0]) == ["b", "c"]
    assert texts(found.choose([Input("a")], 3, order="nearest_first")[0]) == ["b", "c"]  # nothing tells them apart


def test_rows_without_some_are_the_same_rows_and_nothing_is_embedded_again() -> None:
    embedder = Compass()
    fewer = made(ROWS, embedder).without({"rows:a", "rows:c"})
    assert len(fewer) == 3
    assert len(embedder.batches) == 1
    assert texts(fewer.choose([Input("ask")], 2)[0]) == ["d", "b"]


# -- by labels, and by difference ----------------------------------------------------------------------


def test_labels_take_turns_among_the_nearest() -> None:
    # nearest first: a x, b x, c x, d y, e far. Two shots look at eight candidates, so all labels are among them.
    (two,) = made(ROWS).choose([Input("ask")], 2, "nearest_balanced", "nearest_first")
    assert [(n.row.input.text, n.row.target) for n in two] == [("a", "x"), ("d", "y")]
    (four,) = made(ROWS).choose([Input("ask")], 4, "nearest_balanced", "nearest_first")
    assert texts(four) == ["a", "b", "d", "e"]  # 4 of 3 labels: 2 of x, whose second is nearest


def test_a_label_that_is_far_away_is_no_candidate() -> None:
    rows = [*(row(f"near {n}", "x") for n in range(8)), row("far", "y")]
    found = made(rows, Compass({f"near {n}": n for n in range(8)} | {"far": 170}))
    assert texts(found.choose([Input("ask")], 2, "nearest_balanced", "nearest_first")[0]) == ["near 0", "near 1"]
    assert "far" in texts(found.choose([Input("ask")], 3, "nearest_balanced")[0])  # twelve candidates


def test_marginal_relevance_is_the_one_worked_out_by_hand() -> None:
    # at 10, 20, 30, -40 and 90 degrees, the input at 0. Cosines: .98481 .93969 .86603 .76604 .0
    # second choice, half of (cosine to the input - cosine to the one at 10):
    #   20: .93969 - .98481 < 0   30: .86603 - .93969 < 0   -40: .76604 - cos 50 = .12325   90: 0 - cos 80 = -.17365
    # third, against the nearer of 10 and -40: 20: .93969 - .98481 = -.04512   30: .86603 - .93969 = -.07366
    #   90: 0 - .17365
    turns = np.radians([10, 20, 30, -40, 90])
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
    alike = np.round(vectors[:, 0], 5)
    assert marginal_relevance(alike, vectors, 3) == [0, 3, 1]
    assert marginal_relevance(alike, vectors, 3, relevance=1) == [0, 1, 2]  # nearness alone
    assert marginal_relevance(alike, vectors, 9, relevance=0) == [0, 4, 3, 2, 1]  # difference alone
    assert marginal_relevance(alike[:0], vectors[:0], 3) == []


def test_diverse_demonstrations_are_shown_by_nearness() -> None:
    (chosen,) = made(ROWS).choose([Input("ask")], 3, "diverse")
    assert texts(chosen) == ["d", "b", "a"]
    (near,) = made(ROWS).choose([Input("ask")], 3, "diverse", relevance=1)
    assert texts(near) == ["c", "b", "a"]


# -- what is compared ----------------------------------------------------------------------------------


def test_the_text_is_compared_and_the_passage_only_under_one_instruction() -> None:
    questions = [row("a", context="long passage"), row("b", context="another")]
    assert not needs_context(questions)
    summaries = [row("Summarise.", context=f"article {n}") for n in range(3)]
    assert needs_context(summaries)
    assert not needs_context([row("same"), row("same"), row("same")])
    assert compared_text(Input("Summarise.", "article 1"), True) == "Summarise.\narticle 1"
    assert compared_text(Input("a", "passage"), False) == "a"


def test_under_one_instruction_passages_decide_also_after_saving(tmp_path: Path) -> None:
    embedder = Compass({f"Sum up.\narticle {n}": n for n in range(4)})
    rows = [row("Sum up.", f"answer {n}", f"article {n}", str(n)) for n in range(4)]
    found = Demonstrations.of(rows, embedder, tmp_path / "new" / "pool")
    asked = [Input("Sum up.", "article 3")]
    assert [n.row.id for n in found.choose(asked, 2)[0]] == ["1", "2"]
    found.without({"0", "1", "2"}).save(tmp_path / "one")  # its one row alone would not tell
    assert read_manifest(tmp_path / "one")["with_context"] is True
    assert (
        Demonstrations.load(tmp_path / "one", embedder).choose([Input("Sum up.", "article 1")], 1)[0][0].row.id == "3"
    )
    assert embedder.batches[-1] == ["Sum up.\narticle 1"]


# -- files ---------------------------------------------------------------------------------------------


def test_what_is_saved_chooses_alike(tmp_path: Path) -> None:
    odd = Row("odd", Input("line\u2028break “引号”", "上下文"), ("eins", "zwei"), "doc.md")
    found = made([*ROWS, odd])
    found.save(tmp_path / "demonstrations")
    loaded = Demonstrations.load(tmp_path / "demonstrations", Compass())
    assert loaded.rows == (*ROWS, odd)
    assert loaded.choose([Input("ask")], 4, "diverse") == found.choose([Input("ask")], 4, "diverse")
    assert read_manifest(tmp_path / "demonstrations")["embedder"]["name"] == "compass"
    assert not list((tmp_path / "demonstrations").glob("*.p*kl*"))


def test_vectors_of_another_encoder_are_refused_in_both_languages(tmp_path: Path) -> None:
    made(ROWS).save(tmp_path)
    with pytest.raises(UserError, match="embedded by another encoder") as refused:
        Demonstrations.load(tmp_path, Compass(sha256="0" * 24))
    assert "run the plan again" in refused.value.hint
    assert "另一个编码器" in refused.value.told("zh").message
    assert "重新运行" in refused.value.told("zh").hint
    other = Compass()
    other.pooling = "cls"
    with pytest.raises(UserError, match="compass, 2, cls"):
        Demonstrations.load(tmp_path, other)


def test_an_encoder_that_only_changed_its_name_is_accepted(tmp_path: Path) -> None:
    made(ROWS).save(tmp_path)
    moved = Compass()
    moved.name = "/models/compass"
    assert len(Demonstrations.load(tmp_path, moved)) == 5


@pytest.mark.parametrize("name", ["rows.jsonl", "vectors.safetensors"])
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    made(ROWS).save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(UserError, match=f"{name}: missing or damaged"):
        Demonstrations.load(tmp_path, Compass())
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing or damaged"):
        Demonstrations.load(tmp_path, Compass())


def test_a_folder_without_demonstrations_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no demonstrations here"):
        Demonstrations.load(tmp_path, Compass())


# -- the real encoder ----------------------------------------------------------------------------------


def test_the_real_encoder_finds_what_means_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    rows = [
        row("My card has been stolen", "lost_card"),
        row("What is the exchange rate for euros?", "exchange_rate"),
        row("How do I change my PIN?", "change_pin"),
        row("Someone took my bank card from my bag", "lost_card"),
    ]
    embedder = load_embedder("all-minilm-l6-v2")
    found = Demonstrations.of(rows, embedder, tmp_path)
    asked = [
        Input("I cannot find my card, was it robbed?"),
        Input("how many dollars do I get for 10 euros"),
        Input("?"),
    ]
    together = found.choose(asked, 2)
    assert {n.row.target for n in together[0]} == {"lost_card"}
    assert together[1][-1].row.target == "exchange_rate"
    assert [[n.row for n in found.choose([given], 2)[0]] for given in asked] == [[n.row for n in c] for c in together]
    found.save(tmp_path / "kept")
    assert Demonstrations.load(tmp_path / "kept", embedder).choose(asked, 2) == together


# -- LangChain -----------------------------------------------------------------------------------------


def test_a_langchain_template_shows_the_chosen_rows() -> None:
    from langchain_core.prompts import ChatPromptTemplate, FewShotChatMessagePromptTemplate

    from executors.prompt.selector import DemonstrationSelector

    turns = FewShotChatMessagePromptTemplate(
        example_selector=DemonstrationSelector(made(ROWS), 2),
        example_prompt=ChatPromptTemplate([("human", "{text}"), ("ai", "{answer}")]),
        input_variables=["text"],
    )
    prompt = ChatPromptTemplate([("system", "Classify."), turns, ("human", "{text}")])
    messages = prompt.invoke({"text": "ask"}).to_messages()
    assert [(m.type, m.content) for m in messages] == [
        ("system", "Classify."),
        ("human", "b"), ("ai", "x"), ("human", "a"), ("ai", "x"),
        ("human", "ask"),
    ]  # fmt: skip


def test_an_example_that_is_added_is_chosen_from_then_on() -> None:
    from executors.prompt.selector import DemonstrationSelector

    before = made(ROWS)
    selector = DemonstrationSelector(before, 1)
    assert selector.select_examples({"text": "ask"}) == [{"text": "a", "context": "", "answer": "x"}]
    assert selector.add_example({"text": "close by", "context": "p", "answer": "z"}) == "example:6"
    selector.demonstrations.embedder.angles["close by"] = 1  # type: ignore[attr-defined]
    assert selector.add_example({"text": "close by", "answer": "new"}) == "example:7"
    assert selector.select_examples({"text": "ask"}) == [{"text": "close by", "context": "", "answer": "new"}]
    assert len(before) == 5
    with pytest.raises(UserError, match="'answer' is missing"):
        selector.add_example({"text": "no answer"})
    with pytest.raises(UserError, match=r"'text' is missing.*'question'"):
        selector.select_examples({"question": "ask"})


def test_langchain_is_loaded_by_the_selector_alone() -> None:
    code = "import sys, executors.prompt.demonstrations, executors.prompt.given; print('langchain_core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- rows the user wrote -------------------------------------------------------------------------------

LABELS = ("refund", "order_status", "address")


@pytest.mark.parametrize("name", ["demos.csv", "demos.jsonl", "demos.json", "demos.xlsx"])
def test_demonstrations_are_read_from_every_format(name: str, tmp_path: Path) -> None:
    path, rows = tmp_path / name, [("my money", "refund"), ("where is it", "order_status")]
    records = [{"text": text, "label": label} for text, label in rows]
    if name.endswith("xlsx"):
        import openpyxl

        book = openpyxl.Workbook()
        for cells in [("text", "label"), *rows]:
            book.active.append(cells)
        book.save(path)
    elif name.endswith("csv"):
        path.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows), encoding="utf-8")
    else:
        lines = json.dumps(records) if name.endswith("json") else "\n".join(map(json.dumps, records))
        path.write_text(lines, encoding="utf-8")
    found = read_demonstrations(path, "classification", {}, LABELS)
    assert [(r.input.text, r.targets) for r in found] == [(text, (label,)) for text, label in rows]


def test_every_faulty_demonstration_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "demos.csv"
    path.write_text(
        "text,label\nmy money,refund\nno label,\nmoney,refnd\n,refund\nagain no label,\nyet another,\nback,refnd\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError) as refused:
        read_demonstrations(path, "classification", {}, LABELS)
    assert refused.value.message.splitlines() == [
        "3 problems:",
        "  1. demos.csv: no label or answer in column 'label' (3 rows: lines 3, 6–7)",
        "  2. demos.csv: no text in column 'text' (line 5)",
        "  3. demos.csv: unknown label 'refnd' (did you mean 'refund'?) (2 rows: lines 4, 8)",
    ]
    assert "known labels (3): refund, order_status, address" in refused.value.hint
    chinese = refused.value.told("zh")
    assert "“label”列没有标签或答案（共 3 行：第 3, 6–7 行）" in chinese.message
    assert "是不是“refund”" in chinese.message
    assert "已知标签（3 个）" in chinese.hint


def test_a_row_too_wide_for_its_columns_is_no_silent_loss(tmp_path: Path) -> None:
    path = tmp_path / "demos.csv"
    path.write_text("text,label\n" + "fine,refund\n" * 9 + "one, two,refund\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"more cells than there are column names \(line 11\)"):
        read_demonstrations(path, "classification", {}, LABELS)


def test_answers_and_numbers_are_checked_by_their_task(tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    path.write_text('{"text": "a", "score": "1,234"}\n{"text": "b", "score": "many"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"no number in column 'score' \(line 2\)"):
        read_demonstrations(path, "regression", {"label": "score"})
    assert [r.target for r in read_demonstrations(path, "generation", {"label": "score"})] == ["1,234", "many"]


def test_line_numbers_that_follow_each_other_are_joined() -> None:
    assert listed([9, 2, 3, 4, 7]) == "2–4, 7, 9"
