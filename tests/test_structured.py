"""Answers that must be JSON of a schema: the schema, finding JSON in a text, and asking again where it fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from executors.base import Event, Reporter, Usage, UserError, silent
from executors.data.values import parse_json, same_value
from executors.models import GREEDY, Chat, Completion, LanguageModel, Sampling
from executors.prompt.schemas import Schema, infer_schema, load_schema
from executors.prompt.structured import Structured, complete, find_json, instruct, one_line, repair_notes

ORDER = Schema(
    {
        "type": "object",
        "properties": {"item": {"type": "string"}, "n": {"type": "integer", "minimum": 1}},
        "required": ["item", "n"],
        "additionalProperties": False,
    }
)
GOOD = '{"item": "tea", "n": 2}'


class Replies(LanguageModel):
    """Gives each chat, known by its first user turn, its replies one after the other. A token is a character."""

    def __init__(self, replies: dict[str, list[str]], window: int = 100_000) -> None:
        self.name, self.window, self.can_score = "replies", window, False
        self.left = {asked: list(given) for asked, given in replies.items()}
        self.batches: list[list[Chat]] = []

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        self.batches.append(list(chats))
        answers = []
        for n, chat in enumerate(chats, 1):
            text = self.left[chat[0]["content"]].pop(0)
            finish = "length" if len(text) >= max_tokens else "stop"
            answers.append(Completion(text[:max_tokens], Usage(10, len(text)), finish))  # type: ignore[arg-type]
            report(Event("predict", n, len(chats)))
        return answers

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        raise AssertionError("this model cannot score")

    def count(self, text: str) -> int:
        return len(text)

    def count_chat(self, chat: Chat) -> int:
        return sum(len(m["content"]) for m in chat)


def asked(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def answered(*replies: str, **given: Any) -> tuple[Structured, Replies]:
    model = Replies({"q": list(replies)}, given.pop("window", 100_000))
    return complete(model, asked("q"), given.pop("schema", ORDER), **given)[0], model


# -- asking --------------------------------------------------------------------------------------------


def test_a_valid_answer_is_asked_once_and_kept_on_one_line() -> None:
    answer, model = answered('Here you are:\n```json\n{\n  "item": "tea",\n  "n": 2\n}\n```')
    assert answer == Structured(GOOD, True, 1, Usage(10, 55))
    assert len(model.batches) == 1


def test_only_the_failing_chats_are_asked_again_and_in_one_batch() -> None:
    model = Replies({"a": [GOOD], "b": ["no", GOOD], "c": ['{"item": "x"}', '{"item": "x", "n": 1}']})
    answers = complete(model, asked("a", "b", "c"), ORDER)
    assert [a.text for a in answers] == [GOOD, GOOD, '{"item": "x", "n": 1}']
    assert [a.attempts for a in answers] == [1, 2, 2]
    assert [[chat[0]["content"] for chat in batch] for batch in model.batches] == [["a", "b", "c"], ["b", "c"]]
    assert answers[1].usage == Usage(20, 2 + len(GOOD))


def test_a_repair_shows_the_answer_and_every_fault_with_place_rule_and_value() -> None:
    _, model = answered('{"item": 7, "n": "two", "x": 1}', GOOD)
    question, given, complaint = model.batches[1][0]
    assert [question["role"], given["role"], complaint["role"]] == ["user", "assistant", "user"]
    assert given["content"] == '{"item": 7, "n": "two", "x": 1}'
    lines = complaint["content"].splitlines()
    assert '- $.item: type is "string", got 7' in lines
    assert '- $.n: type is "integer", got "two"' in lines
    assert "- $: Additional properties are not allowed ('x' was unexpected)" in lines


def test_faults_beyond_eight_are_counted_and_long_values_cut() -> None:
    schema = Schema({"type": "array", "items": {"type": "integer"}})
    _, model = answered(json.dumps(["x" * 500] * 11), "[1]", schema=schema, max_tokens=10_000)
    lines = model.batches[1][0][-1]["content"].splitlines()
    assert sum(line.startswith("- $[") for line in lines) == 8
    assert "- and 3 more" in lines
    assert max(map(len, lines)) < 200


def test_a_complaint_in_chinese() -> None:
    _, model = answered("好的", GOOD, lang="zh")
    complaint = model.batches[1][0][-1]["content"]
    assert complaint.startswith("这个回答不符合要求：\n- no JSON object or array")
    assert "重新输出完整的 JSON" in complaint


def test_what_stays_invalid_is_kept_whole_and_the_best_attempt_wins() -> None:
    replies = ["I cannot do that", 'So: {"item": "tea", "n": 0}', '{"n": 0}']
    answer, _ = answered(*replies)  # no JSON; one fault; two faults
    assert answer == Structured(replies[1], False, 3, Usage(30, sum(map(len, replies))))


def test_no_repairs_means_one_attempt() -> None:
    answer, model = answered("no", repairs=0)
    assert (answer.text, answer.valid, answer.attempts, len(model.batches)) == ("no", False, 1, 1)


def test_the_same_answer_again_ends_greedy_repairs_but_not_sampled_ones() -> None:
    answer, _ = answered("no", "no", GOOD)
    assert (answer.valid, answer.attempts) == (False, 2)
    answer, _ = answered("no", "no", GOOD, sampling=Sampling(temperature=0.7))
    assert (answer.valid, answer.attempts) == (True, 3)


def test_a_repair_that_does_not_fit_the_window_is_not_asked_and_counted() -> None:
    answer, model = answered("x" * 100, GOOD, window=150, max_tokens=100)
    assert answer == Structured("x" * 100, False, 1, Usage(10, 100), crowded=True)
    assert len(model.batches) == 1
    assert "1 of them because a repair no longer fitted" in repair_notes([answer])[0]["en"]


def test_an_answer_cut_at_the_maximum_is_told_so() -> None:
    _, model = answered('{"item": "a very long name that never ends', GOOD, max_tokens=30)
    complaint = model.batches[1][0][-1]["content"]
    assert "the JSON ends before it is complete" in complaint
    assert "cut after 30 tokens" in complaint


def test_an_empty_answer_is_repaired_too() -> None:
    answer, model = answered("", GOOD)
    assert answer.valid
    assert all(m["content"] for m in model.batches[1][0])  # chat templates refuse empty turns
    assert "the answer is empty" in model.batches[1][0][-1]["content"]


def test_of_several_values_the_first_that_suits_the_schema_is_taken() -> None:
    answer, _ = answered(f"As [1] says: {GOOD}")
    assert (answer.text, answer.attempts) == (GOOD, 1)


def test_nothing_asked_is_nothing_answered() -> None:
    assert complete(Replies({}), [], ORDER) == []


def test_progress_is_reported() -> None:
    seen: list[Event] = []
    complete(Replies({"a": [GOOD], "b": [GOOD]}), asked("a", "b"), ORDER, report=seen.append)
    assert [(e.done, e.total) for e in seen] == [(1, 2), (2, 2)]


def test_notes_count_repaired_and_invalid_answers_in_both_languages() -> None:
    usage = Usage(1, 1)
    once, repaired = Structured("{}", True, 1, usage), Structured("{}", True, 2, usage)
    assert repair_notes([once]) == []
    notes = repair_notes([once, repaired, repaired, Structured("x", False, 3, usage)])
    assert [note["en"].split()[0] for note in notes] == ["2", "1"]
    assert [note["zh"].split()[0] for note in notes] == ["2", "1"]
    assert "stayed invalid" in notes[1]["en"]


def test_the_instruction_holds_the_schema_without_its_administration() -> None:
    schema = Schema({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array"})
    assert instruct(schema).endswith('JSON Schema: {"type":"array"}')
    assert instruct(schema, "zh").endswith('JSON Schema：{"type":"array"}')


# -- finding JSON --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": 1}\n```\nAnything else?', {"a": 1}),
        ('```\n[1, 2]\n``` and {"b": 2}', [1, 2]),
        ('The result is {"a": "}"} as asked, not {"a": 2}.', {"a": "}"}),
        ('{name} is a placeholder; {"a": 1}', {"a": 1}),
        ('{"a": "```x```"}', {"a": "```x```"}),
        ('<think>perhaps {"a": 0}</think>{"a": 1}', {"a": 1}),
        ('perhaps {"a": 0}</think>{"a": 1}', {"a": 1}),
        ('As [1] has it:\n```json\n{"a": 1}\n```', {"a": 1}),
        ("{'k': 1, \"a\": \"{\"} or rather {\"a\": 1}", {"a": 1}),
        ("\ufeff7", 7),
        ("7", 7),
        ("null", None),
        ("结果：{“a”: 1} 应为 {\"a\": 1}", {"a": 1}),
    ],
)  # fmt: skip
def test_json_is_found(text: str, value: object) -> None:
    assert find_json(text) == (value, "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the answer is empty"),
        ("<think>{}", "the answer is empty"),
        ("I do not know", "no JSON object or array"),
        ("{'a': 1}", "no valid JSON: Expecting property name"),
        ('{"a": 1,}', "no valid JSON"),
        ('{"a": {"b": 1},}', "no valid JSON"),  # the inner object is not the answer
        ('{"a": [1, 2', "ends before it is complete"),
        ('{"a": "x', "ends before it is complete"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": 1e999}', "1e999 is no JSON value"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 80 + "]" * 80, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "no valid JSON"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_not_mended_but_named(text: str, fault: str) -> None:
    value, found = find_json(text)
    assert value is None
    assert fault in found


def test_values_keep_their_keys_order_and_any_character_can_be_saved() -> None:
    assert one_line({"b": "茶", "a": [1.0, None, True]}) == '{"b": "茶", "a": [1.0, null, true]}'
    assert one_line({"a": "\ud800"}).encode() == b'{"a": "\\ud800"}'


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1}', True),
        ("[1]", "[true]", False),
        ("{\"a\": 0}", "{\"a\": false}", False),
        ("[1, 2]", "[2, 1]", False),
        ("[1]", "[1, 1]", False),
        ('{"a": null}', "{}", False),
        ('"1"', "1", False),
    ],
)  # fmt: skip
def test_values_are_compared_as_json_does(one: str, other: str, same: bool) -> None:
    assert same_value(parse_json(one), parse_json(other)) is same


# -- schemas -------------------------------------------------------------------------------------------


@pytest.fixture
def schema_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "order.json"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_schema_is_read_from_a_file_and_checks_values(schema_file: Callable[[str], Path]) -> None:
    text = '{"$defs": {"n": {"minimum": 1}}, "properties": {"n": {"$ref": "#/$defs/n"}, "day": {"format": "date"}}}'
    schema = load_schema(schema_file("\ufeff" + text))
    assert schema.faults({"n": 1, "day": "2026-02-28"}) == []
    assert schema.faults({"n": 0, "day": "2026-02-30"}) == [
        "$.n: minimum is 1, got 0",
        '$.day: format is "date", got "2026-02-30"',
    ]


def test_of_alternatives_the_fault_of_the_nearest_is_told() -> None:
    schema = Schema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}]})  # fmt: skip  # noqa: E501
    assert schema.faults({"a": "x"}) == ['$.a: type is "integer", got "x"']


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('{"type": "objekt"}', ["$.type: no type \"objekt\" (did you mean 'object'?)"]),
        ('{"required": "a", "minLength": -1}', ['$.required: expected type "array", got "a"', "$.minLength: expected"]),
        ('{"properties": {"a": {"pattern": "("}}}', ['$.properties.a.pattern: no valid regex: "("']),
        ('{"items": {"$ref": "#/$defs/x"}}', ["$ref #/$defs/x: leads nowhere"]),
        ('{"items": {"$ref": "https://example.org/x"}}', ["$ref https://example.org/x: leads nowhere"]),
        ('{"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}', ["$ref #/$defs/x: leads back to itself"]),
        ('{"type": "object",}', ["no JSON", "line 1 column 19"]),
        ("[]", ["a schema is a JSON object, this is of type array"]),
        ('{"$schema": ["x"]}', ["$['$schema']: expected type"]),
    ],
)  # fmt: skip
def test_a_broken_schema_says_every_fault_and_where(
    text: str, faults: list[str], schema_file: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError) as caught:
        load_schema(schema_file(text))
    for fault in faults:
        assert fault in caught.value.message
    assert "order.json" in caught.value.message
    assert caught.value.told("zh").message != caught.value.message
    assert "schema 文件" in caught.value.told("zh").message


def test_a_schema_may_be_in_any_encoding_that_rows_may_be_in(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"enum": ["茶"]}', encoding="utf-16")
    assert load_schema(tmp_path / "order.json").faults("水") == ['$: enum is ["茶"], got "水"']


def test_a_missing_schema_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_schema(tmp_path / "none.json")


def test_a_schema_without_end_is_a_fault_and_no_crash() -> None:
    assert Schema({"allOf": [{"$ref": "#"}]}).faults(1) == ["$: nested too deeply to be checked"]


# -- schemas drafted from targets ----------------------------------------------------------------------


def inferred(*values: object) -> dict[str, Any]:
    schema = infer_schema([json.dumps(value) for value in values])
    assert schema is not None
    assert all(schema.faults(value) == [] for value in values)
    return {key: part for key, part in schema.document.items() if key != "$schema"}


def test_objects_have_their_keys_types_and_what_is_always_there() -> None:
    assert inferred({"a": "x", "n": 1, "in": {"k": None}}, {"a": "y", "n": 1.5, "in": {"k": "z"}, "o": True}) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "n": {"type": "number"},
            "in": {
                "type": "object",
                "properties": {"k": {"type": ["string", "null"]}},
                "required": ["k"],
                "additionalProperties": False,
            },
            "o": {"type": "boolean"},
        },
        "required": ["a", "n", "in"],
        "additionalProperties": False,
    }


def test_arrays_have_the_schema_of_all_their_entries() -> None:
    assert inferred([1, 2.0], [], ["a"]) == {"type": "array", "items": {"type": ["string", "integer"]}}
    assert inferred([]) == {"type": "array"}


def test_a_string_of_few_values_that_repeat_is_one_of_these() -> None:
    def kind(values: Sequence[object]) -> dict[str, Any]:
        return dict(inferred(*({"k": value} for value in values))["properties"]["k"])

    assert kind(["a", "b"] * 6) == {"type": "string", "enum": ["a", "b"]}
    assert kind([*["a", "b"] * 6, None]) == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert kind([*["a", "b"] * 6, 7]) == {"type": ["string", "integer"]}
    assert kind(["a"] * 11) == {"type": "string"}  # too few rows to know
    assert kind(["a"] * 20 + ["b"]) == {"type": "string"}  # what comes once says that more may come
    assert kind([str(n) for n in range(12)] * 3) == {"type": "string", "enum": [str(n) for n in range(12)]}
    assert kind([str(n) for n in range(13)] * 3) == {"type": "string"}
    assert kind([str(n) for n in range(7)] * 2) == {"type": "string"}  # 14 rows of the 21 it takes


def test_keys_that_differ_from_row_to_row_are_data() -> None:
    rows = [{f"name {n}": n, f"other {n}": n} for n in range(4)]
    assert inferred(*rows) == {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    "targets", [[], ["{}", "no"], ["{} and more"], ["SELECT 1"], ["1", "2"], ['"a"'], ['{"a": NaN}']]
)
def test_other_targets_have_no_schema(targets: list[str]) -> None:
    assert infer_schema(targets) is None


def test_a_drafted_schema_is_a_sound_one(schema_file: Callable[[str], Path]) -> None:
    schema = infer_schema(['{"a": ["x", {"b": 10000000000000000000000000}]}', '{"a": []}'])
    assert schema is not None
    assert load_schema(schema_file(json.dumps(schema.document))) == schema
