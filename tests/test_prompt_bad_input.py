"""Models that cannot tell likelihoods or say nothing, answers that break their form, demonstrations that leak.

Nothing is lost, and what was done about it is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

import executors
from executors.base import DataSpec, Input, Job, Plan, Reporter, Row, UserError, parse_params, silent
from executors.models import Chat, LanguageModel
from executors.prompt import PromptExecutor, PromptParams, PromptPredictor, build_prompt, read_prompt
from executors.run import run_plan
from tests.fakes import Acting, Scripted

LABELS = ("card_lost", "other")


def job(tmp_path: Path, task: str, targets: Sequence[str], context: str = "", **params: Any) -> Job:
    rows = tuple(Row(f"r{n}", Input(f"text {n}", context), (target,)) for n, target in enumerate(targets))
    labels = tuple(sorted(set(targets))) if task == "classification" else ()
    return Job(Plan("prompt", task, DataSpec("x.csv"), params=params), rows, labels, tmp_path)


def writer(*answers: str) -> Acting:
    """A model that cannot score and writes `answers` in turn, the last again and again."""
    left = list(answers)
    return Acting(says=lambda chat: left.pop(0) if len(left) > 1 else left[0], can_score=False)


def answers(predictor: PromptPredictor, count: int = 1) -> list[str]:
    return [p.text for p in predictor.predict([Input(f"new {n}") for n in range(count)])]


def told(predictor: PromptPredictor, lang: str = "en") -> str:
    return "\n".join(note[lang] for note in predictor.notes)


# -- models that cannot score --------------------------------------------------------------------------

CARDS = ["card_lost", "other", "other"] * 4


def test_labels_are_read_from_what_is_written(tmp_path: Path) -> None:
    model = writer("Card Lost.", "It is: other", "card_lost")
    predictor = build_prompt(job(tmp_path, "classification", CARDS), model)
    assert predictor.prompt.offsets == ()  # no likelihoods, so nothing to calibrate and nothing asked for it
    assert model.asked == []
    assert answers(predictor, 3) == ["card_lost", "other", "card_lost"]
    assert "named no label" not in told(predictor)


def test_an_answer_that_names_no_label_becomes_the_commonest_and_is_counted(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "classification", CARDS), writer("no idea", "card lost", "hm"))
    assert answers(predictor, 3) == ["other", "card_lost", "other"]
    assert "2 answers named no label; the commonest label stands in for them" in told(predictor)
    assert "2 条回答没有给出任何标签" in told(predictor, "zh")


def test_labels_spelled_as_words_are_given_back_as_they_are(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "classification", CARDS, wording="cued"), writer("card lost"))
    assert "card lost" in predictor.prompt.instruction
    assert answers(predictor) == ["card_lost"]


@pytest.mark.parametrize(
    ("task", "targets", "says", "expected"),
    [
        ("classification", CARDS, "It is not with them.\nAnswer: Card lost.", "card_lost"),
        ("regression", ["1", "2", "3"] * 4, "Quite urgent, 9 of 10 people say.\nAnswer: 4.5", "4.5"),
        ("question_answering", ["a", "b"] * 6, "The text says nine.\nAnswer: nine o'clock.", "nine o'clock"),
        ("reasoning", ["1 + 1 = 2 #### 2"] * 12, "4 and 4 are 8.\n**Answer: 8**", "8"),
    ],
)
def test_after_steps_the_final_answer_is_taken(
    tmp_path: Path, task: str, targets: list[str], says: str, expected: str
) -> None:
    model = Acting(says=lambda chat: says)  # could score, but steps have to be written
    predictor = build_prompt(job(tmp_path, task, targets, chain_of_thought=True, shots=2), model)
    assert answers(predictor) == [expected]
    assert "not marked" not in told(predictor)
    assert "reasoning in steps first" in predictor.notes[0]["en"]
    system, *turns = model.asked[-1]
    assert "step by step" in system["content"]
    assert all("Answer: " in turn["content"] for turn in turns if turn["role"] == "assistant")


def test_steps_without_a_marked_answer_stand_whole_and_are_counted(tmp_path: Path) -> None:
    made = job(tmp_path, "question_answering", ["a", "b"] * 6, chain_of_thought=True, shots=0)
    predictor = build_prompt(made, writer("It opens at nine"))
    assert answers(predictor, 2) == ["It opens at nine"] * 2
    assert "2 answers were not marked as the final one; they stand whole" in told(predictor)


# -- nothing at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "targets", "expected", "note"),
    [
        ("classification", CARDS, "other", "3 answers named no label"),
        ("regression", ["1", "2", "6"] * 4, "3", "3 answers held no number"),
        ("generation", ["a"] * 12, "", "3 answers were empty"),
        ("structured_output", ['{"a": 1}'] * 12, "", "3 answers stayed invalid"),
    ],
)
def test_an_endpoint_that_returns_nothing_is_counted_and_no_row_is_lost(
    tmp_path: Path, task: str, targets: list[str], expected: str, note: str
) -> None:
    predictor = build_prompt(job(tmp_path, task, targets), writer(""))
    assert answers(predictor, 3) == [expected] * 3
    assert note in told(predictor)
    assert "3 answers were empty" in told(predictor)
    assert "3 条回答为空" in told(predictor, "zh")


# -- structured output ---------------------------------------------------------------------------------

ORDERS = [json.dumps({"item": item, "n": n}) for n, item in enumerate(["tea", "rice", "salt"] * 4)]


def test_json_of_a_given_schema_is_repaired_kept_and_counted(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema), encoding="utf-8")

    def says(chat: Chat) -> str:
        first, asked = chat[-1] if len(chat) == 2 else chat[1], chat[-1]["content"]
        if "new 0" in first["content"]:
            return '{"n": 5}'
        if "new 1" in first["content"]:
            return '{"n": 2}' if "not valid" in asked else '{"n": 0}'
        return '{"m": 1}'

    made = job(tmp_path, "structured_output", ORDERS, schema=str(path), shots=0)
    predictor = build_prompt(made, Acting(says=says, can_score=False))
    assert '"minimum":1' in predictor.prompt.instruction
    assert answers(predictor, 3) == ['{"n": 5}', '{"n": 2}', '{"m": 1}']
    assert "1 answers were not valid under the schema at first and were repaired" in told(predictor)
    assert "1 answers stayed invalid under the schema and are kept as they were written" in told(predictor)


def test_without_a_schema_the_one_that_all_training_answers_keep_holds(tmp_path: Path) -> None:
    model = writer('{"item": "tea", "n": "two"}', 'Here: {"n": 2, "item": "tea"}')
    predictor = build_prompt(job(tmp_path, "structured_output", ORDERS, shots=2), model)
    assert predictor.prompt.schema is not None
    assert predictor.prompt.schema["required"] == ["item", "n"]
    assert answers(predictor) == ['{"n": 2, "item": "tea"}']
    assert len(model.asked) == 2
    assert "were repaired" in told(predictor)


def test_no_repair_is_asked_for_where_none_is_wanted(tmp_path: Path) -> None:
    model = writer("nothing of the kind")
    predictor = build_prompt(job(tmp_path, "structured_output", ORDERS, shots=0, repairs=0), model)
    assert answers(predictor) == ["nothing of the kind"]
    assert len(model.asked) == 1


def test_where_no_schema_can_be_drafted_it_is_said_that_none_is_checked(tmp_path: Path) -> None:
    predictor = build_prompt(job(tmp_path, "structured_output", ["SELECT 1", "SELECT 2"] * 6), writer("SELECT 3"))
    assert predictor.prompt.schema is None
    assert answers(predictor) == ["SELECT 3"]
    assert "no schema: the training answers are not all JSON objects or arrays" in told(predictor)
    assert "未校验" in told(predictor, "zh")


# -- saved and loaded ----------------------------------------------------------------------------------


def saved(predictor: PromptPredictor, folder: Path, model: LanguageModel) -> PromptPredictor:
    folder.mkdir()
    predictor.save(folder)
    assert read_prompt(folder / "prompt.json") == predictor.prompt
    return PromptPredictor.load(folder, model=model)


def echo() -> Acting:
    """Answers with the turns before the last, so that other demonstrations are another answer."""
    return Acting(
        says=lambda chat: " | ".join(m["content"] for m in chat[1:]),
        likes=lambda chat, label: float(len(chat[-2]["content"]) % 7 if label == "other" else len(chat) % 3),
    )


@pytest.mark.parametrize(
    ("task", "targets", "params"),
    [
        ("classification", CARDS, {"shots": 3, "descriptions": {"other": "the rest"}, "stop": ["\n"]}),
        ("generation", [f"answer {n}" for n in range(12)], {"shots": 3, "temperature": 0.5, "cue": "Say"}),
        ("regression", ["1", "2", "6"] * 4, {"chain_of_thought": True}),
        ("structured_output", ORDERS, {"shots": 2}),
    ],
)
def test_a_saved_prompt_answers_the_same(tmp_path: Path, task: str, targets: list[str], params: dict[str, Any]) -> None:
    predictor = build_prompt(job(tmp_path, task, targets, **params), echo())
    loaded = saved(predictor, tmp_path / "saved", echo())
    given = [Input("one"), Input("two")]
    assert loaded.predict(given) == predictor.predict(given)
    assert loaded.notes == predictor.notes


@pytest.mark.parametrize(("selection", "neighbours"), [("nearest", 1.0), ("diverse", 0.0), ("nearest_balanced", 0.0)])
def test_a_saved_prompt_retrieves_the_same_with_the_real_encoder(
    tmp_path: Path, selection: str, neighbours: float
) -> None:
    made = job(tmp_path, "classification", CARDS, selection=selection, shots=3, neighbours=neighbours)
    predictor = build_prompt(made, echo())
    loaded = saved(predictor, tmp_path / "saved", echo())
    given = [Input("text 5 again"), Input("the 7th text")]
    assert loaded.predict(given) == predictor.predict(given)
    shown = [[n.row.id for n in one.shown] for one in loaded.render(given)]
    assert shown == [[n.row.id for n in one.shown] for one in predictor.render(given)]
    assert all(len(ids) == 3 for ids in shown)


# -- leaks, through a run ------------------------------------------------------------------------------

MODEL: list[Acting] = []


class ActedPredictor(PromptPredictor):
    @classmethod
    def load(cls, folder: Path, report: Reporter = silent, model: LanguageModel | None = None) -> Self:
        return super().load(folder, report, model or MODEL[0])


class ActedExecutor(PromptExecutor):
    """Prompting of a model that the test acts."""

    Predictor = ActedPredictor
    on_device: ClassVar[bool] = False

    def build(self, job: Job) -> PromptPredictor:
        return build_prompt(job, MODEL[0])


TRAIN = [
    ("red apples are on the table of the old house", "warm"),
    ("blue water runs down the long hill to the sea", "cold"),
    ("green tea was served in the garden at noon", "warm"),
    ("the north wind shook the windows all night", "cold"),
]
PLANTED = "Blue water runs down the long hills to the sea!"


@pytest.fixture
def acted(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Acting]]:
    """Runs a plan over `TRAIN` and a test file with a near copy of its second row."""
    monkeypatch.setitem(executors.EXECUTORS, "acted", f"{__name__}:ActedExecutor")
    Path("train.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in TRAIN), encoding="utf-8")
    Path("test.csv").write_text(f"text,label\n{PLANTED},cold\nsomething else entirely,warm\n", encoding="utf-8")

    def call(**params: Any) -> tuple[Any, Acting]:
        MODEL[:] = [Acting()]
        plan = Plan("acted", "classification", DataSpec("train.csv", test="test.csv"), params=params)
        return run_plan(plan, workdir / "r"), MODEL[0]

    return call


def test_a_training_row_that_nearly_equals_a_held_out_one_is_never_shown(acted: Any, workdir: Path) -> None:
    result, model = acted(shots=4, calibration="none")
    shown = read_prompt(workdir / "r" / "artifact" / "prompt.json").demonstrations
    assert sorted(row.id for row in shown) == ["train.csv:2", "train.csv:4", "train.csv:5"]
    assert all("blue water" not in turn["content"] for chat in model.asked for turn in chat[1:-1])
    assert any("1 training row equals or nearly equals a held-out row" in note["en"] for note in result.notes)


def test_the_users_own_demonstrations_are_shown_in_their_order(acted: Any, workdir: Path) -> None:
    Path("mine.csv").write_text("text,label\nice on the lake,cold\na hot stove,warm\n", encoding="utf-8")
    result, _ = acted(demonstrations="mine.csv", calibration="none")
    shown = read_prompt(workdir / "r" / "artifact" / "prompt.json").demonstrations
    assert [row.input.text for row in shown] == ["ice on the lake", "a hot stove"]
    assert not any("never shown" in note["en"] for note in result.notes)


def test_a_users_own_demonstration_that_leaks_ends_the_run_with_its_line(acted: Any) -> None:
    leaking = "blue water runs down the long hill to the sea"
    Path("mine.csv").write_text(f"text,label\nice on the lake,cold\n{leaking},cold\n", encoding="utf-8")
    with pytest.raises(UserError, match="1 of 2 demonstrations equal or nearly equal a row held out") as refused:
        acted(demonstrations="mine.csv")
    assert "mine.csv:3" in refused.value.message
    assert "hills" not in refused.value.message + refused.value.hint


def test_demonstrations_without_labels_are_refused_with_all_their_lines(acted: Any) -> None:
    Path("mine.csv").write_text("text,label\nice,cold\nstove,\nsnow,\nsand,wram\n", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        acted(demonstrations="mine.csv")
    message = refused.value.message
    assert "no label or answer in column 'label' (2 rows: lines 3–4)" in message
    assert "unknown label 'wram' (did you mean 'warm'?) (line 5)" in message
    assert "第 3–4 行" in refused.value.told("zh").message


def test_a_row_with_an_empty_label_is_left_out_and_counted(acted: Any, workdir: Path) -> None:
    with Path("train.csv").open("a", encoding="utf-8") as out:
        out.write("a text without any label at all,\n")
    result, _ = acted(shots=8)
    assert result.rows["empty_label"] == 1
    assert any("1 rows left out, as their label is empty" in note["en"] for note in result.notes)
    assert read_prompt(workdir / "r" / "artifact" / "prompt.json").labels == ("cold", "warm")


# -- a search, through a run ---------------------------------------------------------------------------


@pytest.fixture
def searched(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Acting], Any]:
    """Runs a plan that searches on forty rows, with three held out."""
    monkeypatch.setitem(executors.EXECUTORS, "acted", f"{__name__}:ActedExecutor")
    words = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty"]
    lines = [f"{words[n % 10]} {words[n // 4]} {words[-1 - n // 5]} row {n * 977},{'ab'[n % 2]}" for n in range(40)]
    Path("train.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    Path("test.csv").write_text("text,label\nheld out one,a\nheld out two,b\nheld out three,a\n", encoding="utf-8")
    params = {"search_seconds": 600, "selection": "balanced"}

    def call(model: Acting) -> Any:
        MODEL[:] = [model]
        return run_plan(
            Plan("acted", "classification", DataSpec("train.csv", test="test.csv"), params=params), Path("r")
        )

    return call


def likes(chat: Chat, label: str) -> float:
    return (len(chat) / 100) * (("row" in chat[-1]["content"]) == (label == "a"))


def test_held_out_rows_are_asked_about_once_after_the_search(searched: Callable[[Acting], Any]) -> None:
    model = Acting(likes=likes)
    result = searched(model)
    held_out = [n for n, chat in enumerate(model.asked) if any("held out" in turn["content"] for turn in chat)]
    assert held_out == [len(model.asked) - 3, len(model.asked) - 2, len(model.asked) - 1]
    record = json.loads(Path("r/artifact/search.json").read_text(encoding="utf-8"))
    assert record["training_rows"] == 40
    assert any("searched: " in note["en"] for note in result.notes)
    assert not Path("r/work").exists()


def test_a_run_interrupted_while_it_searches_goes_on_with_what_was_answered(
    searched: Callable[[Acting], Any], workdir: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        searched(Acting(likes=likes, breaks_at=75))
    kept = Path("r/work/search.jsonl").read_text(encoding="utf-8").splitlines()
    answered = sum(len(json.loads(line)["outcomes"]) for line in kept)
    assert answered > 50
    rest = Acting(likes=likes)
    resumed = searched(rest)
    chosen = read_prompt(Path("r/artifact/prompt.json"))
    Path("r").rename("first")
    whole = Acting(likes=likes)
    assert searched(whole).scores == resumed.scores
    assert read_prompt(Path("r/artifact/prompt.json")).params == chosen.params
    assert len(rest.asked) == len(whole.asked) - answered


def test_other_demonstrations_in_the_same_file_are_another_run(acted: Any, workdir: Path) -> None:
    Path("mine.csv").write_text("text,label\nice on the lake,cold\na hot stove,warm\n", encoding="utf-8")
    acted(demonstrations="mine.csv", calibration="none")
    Path("mine.csv").write_text("text,label\nsnow on the roof,cold\na hot stove,warm\n", encoding="utf-8")
    acted(demonstrations="mine.csv", calibration="none")
    shown = read_prompt(workdir / "r" / "artifact" / "prompt.json").demonstrations
    assert [row.input.text for row in shown] == ["snow on the roof", "a hot stove"]


def test_a_text_is_no_list_of_stops() -> None:
    _, problems = parse_params(PromptParams, {"stop": "abc", "descriptions": "foo"})
    assert [p.message for p in problems] == [
        "params.stop: expected a list, got 'abc'",
        "params.descriptions: expected a mapping, got 'foo'",
    ]


def test_every_described_label_the_rows_do_not_have_is_named(tmp_path: Path) -> None:
    plan = Plan(
        "prompt", "classification", DataSpec("x.csv"), params={"descriptions": {"god": "x", "zzz": "y", "bad": "z"}}
    )
    rows = (Row("1", Input("a"), ("good",)), Row("2", Input("b"), ("bad",)))
    with pytest.raises(UserError) as caught:
        build_prompt(Job(plan, rows, ("bad", "good"), tmp_path), Scripted())
    assert "'god' (did you mean 'good'?)" in caught.value.message
    assert "'zzz'" in caught.value.message
    assert "'bad'" not in caught.value.message
