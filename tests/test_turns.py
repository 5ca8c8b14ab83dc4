"""Conversations and pairs: every shape they come in, real turns in the prompt, and each answer trained on once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Input, Prediction, Row, UserError
from executors.data import Pair, load_dataset, load_pairs, read_table, read_texts, recognise_columns
from executors.data.layout import recognise_layout
from executors.fitting import shorten
from executors.messages import chat
from executors.metrics import score
from executors.models import encode_answer, encode_chat
from executors.models.template import answer_end, stop_ids, template_end
from executors.tuning.cleaning import each_turn
from executors.tuning.rows import encode_rows
from tests.tiny import write_tiny

TURNS = (("user", "Hi"), ("assistant", "Hello"), ("user", "Price?"))
TALK = Row("x:1", Input("user: Hi\nassistant: Hello\nuser: Price?", "", TURNS), ("£5",))
MESSAGES = [{"role": role, "content": said} for role, said in (*TURNS, ("assistant", "£5"))]
SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in MESSAGES]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_tiny(tmp_path_factory.mktemp("m") / "tiny"), local_files_only=True)


def write(folder: Path, *records: object, name: str = "x.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return path


def many(*records: dict[str, Any]) -> list[dict[str, Any]]:
    """Enough different rows for a split."""
    made = []
    for n in range(12):
        for record in records:
            text = json.dumps(record, ensure_ascii=False).replace("Price?", f"Price of {n * 37}?")
            made.append(json.loads(text))
    return made


def rows_of(path: Path, task: str = "dialogue") -> tuple[Row, ...]:
    dataset = load_dataset(DataSpec(str(path)), task, 0)
    return dataset.train + dataset.test


def refused(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read_table(path)
    return caught.value


# -- shapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [{"messages": MESSAGES}, {"conversations": SHAREGPT}], ids=["messages", "sharegpt"])
def test_a_conversation_keeps_its_turns_beside_its_transcript(record: dict[str, Any], tmp_path: Path) -> None:
    row = rows_of(write(tmp_path, *many(record)))[0]
    assert [role for role, _ in row.input.turns] == ["user", "assistant", "user"]
    assert row.input.is_multi_turn
    assert row.input.text == f"user: Hi\nassistant: Hello\nuser: {row.input.turns[-1][1]}"
    assert row.target == "£5"


def test_one_exchange_is_a_plain_text_and_a_system_turn_makes_turns(tmp_path: Path) -> None:
    alone = {"messages": [{"role": "user", "content": "Price?"}, MESSAGES[-1]]}
    ruled = {"messages": [{"role": "system", "content": "Be kind."}, *alone["messages"]]}
    plain, led = rows_of(write(tmp_path, *many(alone)))[0], rows_of(write(tmp_path, *many(ruled), name="y.jsonl"))[0]
    assert plain.input.turns == ()
    assert led.input.turns[0] == ("system", "Be kind.")
    assert not led.input.is_multi_turn


def test_tools_and_neighbours_of_one_role_are_turns_of_user_and_assistant(tmp_path: Path) -> None:
    talk = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": "get()"},
        {"from": "observation", "value": "rain"},
        {"from": "human", "value": "Price?"},
        {"from": "gpt", "value": "wet"},
    ]
    row = rows_of(write(tmp_path, *many({"conversations": talk, "system": "Speak plainly."})))[0]
    assert [role for role, _ in row.input.turns] == ["system", "user", "assistant", "user"]
    assert row.input.turns[-1][1].startswith("rain\n\nPrice of")


@pytest.mark.parametrize(
    ("messages", "field", "said"),
    [
        ([{"role": "asistant", "content": "x"}], "messages[0].role", "did you mean 'assistant'"),
        ([{"role": "user"}], "messages[0].content", "no text"),
        ([{"content": "x"}], "messages[0].role", "who speaks"),
        (["hello"], "messages[0]", "'hello'"),
    ],
)
def test_a_broken_turn_is_named_by_file_line_and_field(
    messages: list[Any], field: str, said: str, tmp_path: Path
) -> None:
    error = refused(write(tmp_path, {"messages": MESSAGES}, {"messages": messages}))
    assert "x.jsonl: line 2" in error.message
    assert field in error.message
    assert said in error.message
    assert "第 2 行" in error.told("zh").message
    assert field in error.told("zh").message
    whole = tmp_path / "x.json"
    whole.write_text(json.dumps([{"messages": MESSAGES}, {"messages": messages}], indent=1))
    assert "x.json: entry 2" in refused(whole).message


def test_alpaca_joins_what_is_worked_on_and_takes_system_and_history(tmp_path: Path) -> None:
    plain = {"instruction": "Translate.", "input": "Price?", "output": "Preis?"}
    led = {**plain, "system": "Be brief.", "history": [["Hi", "Hello"]]}
    one, other = (
        rows_of(write(tmp_path, *many(r), name=f"{n}.jsonl"), "generation")[0] for n, r in enumerate((plain, led))
    )
    assert one.input.text.startswith("Translate.\n\nPrice of")
    assert one.input.context == ""
    assert [role for role, _ in other.input.turns] == ["system", "user", "assistant", "user"]
    assert other.input.turns[-1][1].startswith("Translate.\n\nPrice of")


def test_a_passage_of_a_question_stays_a_passage(tmp_path: Path) -> None:
    row = rows_of(write(tmp_path, *many({"question": "Price?", "context": "It is £5.", "answer": "£5"})))[0]
    assert row.input.context == "It is £5."


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"messages": MESSAGES}, "messages"),
        ({"conversations": SHAREGPT}, "sharegpt"),
        ({"instruction": "a", "input": "Price?", "output": "b"}, "alpaca"),
        ({"prompt": "Price?", "completion": "b"}, "prompt_completion"),
        ({"prompt": "Price?", "chosen": "b", "rejected": "c"}, "preference"),
        ({"text": "Price?", "label": "b"}, "classification"),
        ({"question": "Price?", "answer": "b"}, "table"),
    ],
)
def test_the_shape_of_a_file_is_recognised_and_said(record: dict[str, Any], name: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path, *many(record)))
    task = "classification" if name == "classification" else "generation"
    columns, _ = recognise_columns(table, {}, task)
    found, reason = recognise_layout(table, columns, task)
    assert found == name
    assert reason["en"]
    assert reason["zh"]
    if name == "messages":
        assert "12 of 12 of several turns" in reason["en"]


# -- pairs and texts -----------------------------------------------------------------------------------

ASKED = [{"role": "user", "content": "Price?"}]
PAIRS = {
    "texts": {"prompt": "Price?", "chosen": "£5", "rejected": "no"},
    "lists": {
        "chosen": [*ASKED, {"role": "assistant", "content": "£5"}],
        "rejected": [*ASKED, {"role": "assistant", "content": "no"}],
    },
    "prompt list": {
        "prompt": ASKED,
        "chosen": [{"role": "assistant", "content": "£5"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    },
    "alpaca": {"instruction": "Price?", "input": "", "output": ["£5", "no"]},
    "beside": {
        "conversations": [{"from": "human", "value": "Price?"}],
        "chosen": {"from": "gpt", "value": "£5"},
        "rejected": {"from": "gpt", "value": "no"},
    },
}


@pytest.mark.parametrize("shape", PAIRS)
def test_every_shape_of_a_pair_gives_the_same_pair(shape: str, tmp_path: Path) -> None:
    pairs = load_pairs(DataSpec(str(write(tmp_path, *many(PAIRS[shape])))), 0)
    assert (len(pairs.train), len(pairs.test)) == (10, 2)
    assert (pairs.train[0].chosen, pairs.train[0].rejected) == ("£5", "no")
    assert pairs.train[0].input.text.startswith("Price of")


def test_pairs_are_on_the_side_where_the_run_has_their_input(tmp_path: Path) -> None:
    spec = DataSpec(str(write(tmp_path, *many(PAIRS["texts"], {**PAIRS["texts"], "rejected": "never"}))))
    pairs, dataset = load_pairs(spec, 3), load_dataset(spec, "generation", 3)
    assert {pair.input for pair in pairs.test} == {row.input for row in dataset.test}
    assert {pair.input for pair in pairs.train} == {row.input for row in dataset.train}
    assert len(pairs.train) == 2 * len(dataset.train)  # another worse answer makes another pair


def test_pairs_that_cannot_be_used_are_counted_and_columns_can_be_named(tmp_path: Path) -> None:
    good = many(PAIRS["texts"])
    bad = [{**good[0], "rejected": ""}, {**good[1], "rejected": "£5"}, good[2]]
    pairs = load_pairs(DataSpec(str(write(tmp_path, *good, *bad))), 0)
    assert pairs.removed == {"empty_rejected": 1, "same_answer": 1, "duplicate": 1}
    assert len(pairs.notes) == 3
    other = [{"ask": g["prompt"], "good": "£5", "bad": "no"} for g in good]
    spec = DataSpec(str(write(tmp_path, *other)), columns={"text": "ask", "label": "good", "rejected": "bad"})
    assert isinstance(load_pairs(spec, 0).train[0], Pair)
    with pytest.raises(UserError, match="worse answer"):
        load_pairs(replace(spec, columns={"text": "ask", "label": "good"}), 0)


def test_texts_come_from_plain_files_and_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\ntext\n", encoding="utf-8")
    assert read_texts(tmp_path / "a.md") == [("a.md", "# One\n\ntext")]
    path = write(tmp_path, {"text": "first"}, {"text": " "}, {"text": "second"})
    assert read_texts(path) == [("x.jsonl:1", "first"), ("x.jsonl:3", "second")]
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(UserError, match="no text"):
        read_texts(tmp_path / "b.txt")


# -- prompts -------------------------------------------------------------------------------------------


def test_turns_are_turns_of_the_prompt() -> None:
    messages = chat("dialogue", (), TALK.input)
    assert [(m["role"], m["content"]) for m in messages[1:]] == list(TURNS)
    assert messages[0]["content"].startswith("Reply to the user")
    led = replace(TALK.input, turns=(("system", "Be kind."), *TURNS))
    assert chat("dialogue", (), led)[0]["content"] == "Be kind."
    assert chat("dialogue", (), led, instruction="Rule.")[0]["content"] == "Rule.\n\nBe kind."


def test_an_input_comes_back_from_json_as_it_was() -> None:
    from executors.base import to_dict

    assert Input(**json.loads(json.dumps(to_dict(TALK.input)))) == TALK.input
    assert hash(Input("a", turns=[["user", "a"]])) == hash(Input("a", turns=(("user", "a"),)))  # type: ignore[arg-type]


def test_the_earliest_exchanges_are_cut_first_then_the_last_turn() -> None:
    turns = (("system", "S"), ("user", "aaaa"), ("assistant", "bbbb"), ("user", "cccccc"))
    given = Input("whole", "", turns)

    def length(one: Input) -> int:
        return sum(len(content) for _, content in one.turns)

    assert shorten(given, 15, length) == given
    shorter = shorten(given, 8, length)
    assert shorter is not None
    assert shorter.turns == (("system", "S"), ("user", "cccccc"))
    assert shorter.text == "S\n\ncccccc"
    least = shorten(given, 3, length)
    assert least is not None
    assert least.turns == (("system", "S"), ("user", "cc"))
    assert shorten(given, 0, length) is None


# -- training ------------------------------------------------------------------------------------------


def test_every_answer_of_a_conversation_is_trained_on_after_what_precedes_it(tokenizer: Any) -> None:
    rows = each_turn([TALK])
    assert [(row.id, row.target) for row in rows] == [("x:1#1", "Hello"), ("x:1", "£5")]
    first, last = encode_rows(tokenizer, "dialogue", (), rows, 512).rows
    messages = [*chat("dialogue", (), TALK.input), {"role": "assistant", "content": "£5"}]
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert list(last.tokens) == whole[: len(last)]
    assert whole[: len(first)] == list(first.tokens)  # one line of tokens, of which each answer is trained on once
    assert tokenizer.decode(first.answer) == "Hello<|im_end|>"
    assert last.prompt[: len(first.tokens)] == first.tokens


def test_a_conversation_is_scored_apart_from_single_questions() -> None:
    single = Row("y:1", Input("Price?"), ("£5",))
    _, scores = score("dialogue", [TALK, single], [Prediction("£5"), Prediction("no")])
    assert scores["f1_multi_turn"].value == 1
    assert scores["f1_single_turn"].value == 0


def test_a_template_that_refuses_the_turns_is_told_with_the_row(tokenizer: Any) -> None:
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UserError, match="row x:1#1: the model's chat template refuses its turns: roles must alternate"):
        encode_rows(strict, "dialogue", (), each_turn([TALK]), 512)


def test_the_end_of_an_answer_is_the_templates_own(tokenizer: Any) -> None:
    import copy

    assert tokenizer.decode([answer_end(tokenizer)]) == "<|im_end|>"
    other = copy.deepcopy(tokenizer)
    other.eos_token = "<|endoftext|>"  # as Qwen's base models and Gemma have it: not what the template writes
    assert tokenizer.decode([answer_end(other)]) == "<|im_end|>"
    assert encode_answer(other, "yes")[-1] == answer_end(tokenizer)
    assert answer_end(other) in stop_ids(None, other)
    other.chat_template = None
    assert template_end(other) is None
    assert answer_end(other) == other.eos_token_id
    assert encode_chat(other, chat("dialogue", (), TALK.input))  # plain lines


@pytest.mark.parametrize(
    "guard",
    ["{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}", "SILENT"],
    ids=["refuses", "drops"],
)
def test_a_template_without_a_system_turn_gets_it_within_the_first_user_turn(guard: str, tokenizer: Any) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    turn = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    skip = "{% if m['role'] != 'system' %}" + turn + "{% endif %}" if guard == "SILENT" else turn
    other.chat_template = guard.replace("SILENT", "") + "{% for m in messages %}" + skip + "{% endfor %}"
    text = other.decode(encode_chat(other, chat("dialogue", (), Input("Price?"))))
    assert text == "<|im_start|>user\nReply to the user, helpfully and briefly.\n\nPrice?<|im_end|>\n"


def test_a_file_of_texts_alone_is_told_what_it_is_for(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, {"text": "first"}, {"text": "second"}))
    with pytest.raises(UserError) as caught:
        recognise_columns(table, {})
    assert "--method cpt --docs FILE" in caught.value.hint
    assert "--method cpt --docs" in caught.value.told("zh").hint
