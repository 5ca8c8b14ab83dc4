"""Reading rows: every format and encoding, which column is what, clean and separate sides, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.base import DataSpec, UserError
from executors.data import (
    Dataset,
    guess_task,
    load_dataset,
    parse_targets,
    read_inputs,
    read_table,
    recognise_columns,
    squad_paragraphs,
)
from executors.data.encoding import detect_encoding

Write = Callable[[str, str | bytes], Path]

ENGLISH = "text,label\n" + "".join(f"{w} number {n},{w}\n" for n in range(20) for w in ("apple", "pear"))
CHINESE = "文本,标签\n我想退货,退款\n什么时候发货？,物流\n水管漏水了怎么办，很急,报警\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def refused(call: Callable[[], object]) -> UserError:
    """The error of a call, which must name a next step."""
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.hint
    return caught.value


def load(path: Path, task: str = "classification", test: Path | None = None, seed: int = 0, **more: float) -> Dataset:
    return load_dataset(DataSpec(str(path), str(test) if test else None, **more), task, seed)  # type: ignore[arg-type]


# -- encodings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
    ],
)
def test_chinese_is_read_in_every_encoding(encoding: str, expected: str, write: Write) -> None:
    table = read_table(write("zh.csv", CHINESE.encode(encoding)))
    assert table.encoding == expected
    assert table.columns == ("文本", "标签")
    assert table.rows[1] == {"文本": "什么时候发货？", "标签": "物流"}


@pytest.mark.parametrize(("codec", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_both_byte_orders_of_utf16_are_read(codec: str, mark: bytes, write: Write) -> None:
    assert read_table(write("zh.tsv", mark + CHINESE.replace(",", "\t").encode(codec))).rows[0]["标签"] == "退款"


@pytest.mark.parametrize("text", ["退货", "文,签\n", "text,label\n退货,1\n", "a,b\n好,x\n" * 3, "id,名称\n1,订单\n"])
def test_a_few_characters_are_enough_to_tell_gb18030(text: str, write: Write) -> None:
    assert detect_encoding(write("short.csv", text.encode("gb18030"))) == "gb18030"


def test_traditional_chinese_in_big5_is_told_from_gb18030(write: Write) -> None:
    text = "文本,標籤\n我想退貨，請問怎麼辦理？,退款\n什麼時候出貨,物流\n"
    assert detect_encoding(write("tw.csv", text.encode("big5"))) == "big5"
    assert detect_encoding(write("cn.csv", text.encode("gb18030"))) == "gb18030"


@pytest.mark.parametrize("text", ["café très bon,à voir\n", "naïve,Straße\nüber,größer\n", "it’s “fine” – really,€5\n"])
def test_western_text_is_told_from_chinese(text: str, write: Write) -> None:
    assert detect_encoding(write("west.csv", ("text,label\n" + text).encode("cp1252"))) == "cp1252"


def test_a_concluded_encoding_is_said_in_a_note(write: Write) -> None:
    (note,) = read_table(write("zh.csv", CHINESE.encode("gb18030"))).notes
    assert "GB18030" in note["en"]
    assert "GB18030" in note["zh"]
    assert read_table(write("u.csv", CHINESE)).notes == ()


def test_chinese_far_into_an_ascii_file_is_found(write: Write) -> None:
    text = "text,label\n" + "plain ascii words,x\n" * 80_000 + "退货和退款,退款\n"
    table = read_table(write("late.csv", text.encode("gb18030")))
    assert (table.encoding, table.rows[-1]["text"]) == ("gb18030", "退货和退款")


def test_a_damaged_utf8_file_is_not_taken_for_another_encoding(write: Write) -> None:
    good = (CHINESE * 30).encode()
    error = refused(lambda: read_table(write("cut.csv", good[:200] + b"\xff" + good[200:])))
    assert "damaged" in error.message
    line = 1 + good[:200].count(b"\n")
    assert f"line {line}:" in error.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(range(256)) * 40, "binary"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0rest", "Office"),
        (b"PAR1rest", "Parquet"),
        (b"%PDF-1.7", "PDF"),
        ("text,label\n한국어 문장입니다,긍정\n아주 좋아요,부정\n".encode("johab"), "encoding"),
        (b"\xff\xfea\x00b", "UTF-16"),
    ],
)
def test_what_is_no_readable_text_is_refused(content: bytes, said: str, write: Write) -> None:
    assert said in refused(lambda: read_table(write("x.csv", content))).message


# -- formats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str, write: Write) -> None:
    content = f"text{separator}score\nfine{separator}3\nwell then, no; yes{separator}4\n"
    rows = 'text,score\nfine,3\n"well then, no; yes",4\n' if separator == "," else content
    rows = rows.replace("well then, no; yes", '"well then, no; yes"') if separator == ";" else rows
    table = read_table(write("x.csv", rows))
    assert table.rows == [{"text": "fine", "score": "3"}, {"text": "well then, no; yes", "score": "4"}]


def test_quoted_cells_may_hold_lines_separators_and_quotes(write: Write) -> None:
    table = read_table(write("x.csv", 'text,label\r\n"first\nsecond, ""third""", a\r\nnext,b\r\n'))
    assert table.rows[0] == {"text": 'first\nsecond, "third"', "label": "a"}
    assert table.lines == [2, 4]


def test_quote_marks_of_a_tsv_are_text_where_they_are_not_closed(write: Write) -> None:
    table = read_table(write("x.tsv", 'text\tlabel\n"Hello he said\ta\n6" pipe\tb\n'))
    assert [row["text"] for row in table.rows] == ['"Hello he said', '6" pipe']


def test_a_quote_mark_never_closed_is_named_with_its_line(write: Write) -> None:
    error = refused(lambda: read_table(write("x.csv", 'text,label\nfine,a\n"never, closed,a\nmore,b\n')))
    assert "line 3" in error.message


def test_rows_with_too_many_cells_are_left_out_and_said(write: Write) -> None:
    table = read_table(write("x.csv", ENGLISH + "too, many,cells\n,\n\nshort\n"))
    assert len(table.rows) == 41
    assert table.rows[-1] == {"text": "short", "label": ""}
    assert table.ragged == (42,)
    assert "lines 42" in table.notes[0]["en"]
    assert load(table.path).removed == {"ragged": 1, "empty_label": 1}


def test_a_file_of_rows_with_too_many_cells_is_refused(write: Write) -> None:
    error = refused(lambda: read_table(write("x.csv", "text,label\n" + "one, two, three,a\n" * 5 + "a,b\n")))
    assert "5 of 6 rows" in error.message


def test_blank_and_repeated_column_names_are_made_distinct(write: Write) -> None:
    assert read_table(write("x.csv", "text,,text,\na,b,c,\n")).columns == ("text", "column 2", "text (2)")


def test_jsonl_cells_become_text(write: Write) -> None:
    lines = [
        '{"text": "a", "label": 3.0, "ok": true, "none": null}',
        "",
        '{"text": "b", "label": 2.5, "more": {"x": 1}}',
    ]
    table = read_table(write("x.jsonl", "\n".join(lines)))
    assert table.columns == ("text", "label", "ok", "none", "more")
    assert table.rows[0] == {"text": "a", "label": "3", "ok": "true", "none": "", "more": ""}
    assert table.rows[1]["more"] == '{"x": 1}'
    assert table.lines == [1, 3]


def test_json_and_jsonl_are_told_apart_by_content(write: Write) -> None:
    records = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    lines = "\n".join(map(json.dumps, records))
    for name, content in (
        ("a.json", json.dumps(records, indent=1)),
        ("b.json", lines),
        ("c.json", json.dumps({"version": 1, "data": records})),
        ("d.jsonl", json.dumps(records)),
        ("e.ndjson", lines),
        ("f.json", json.dumps({"rows": records}, indent=2)),
    ):
        assert read_table(write(name, content)).rows == records, name


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "line 2"),
        ("x.jsonl", '{"text": "a"}\n["b"]\n', "line 2"),
        ("x.json", '[{"text": "a"},\n {"text" "b"}]', "line 2, column 10"),
        ("x.json", "[1, 2]", "entry 1"),
        ("x.json", '"text"', "str"),
    ],
)
def test_malformed_json_is_named_with_its_place(name: str, content: str, said: str, write: Write) -> None:
    assert said in refused(lambda: read_table(write(name, content))).message


def test_conversations_end_in_their_target(write: Write) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "Price?"}]},
        {"role": "assistant", "content": "£5"},
        {"role": "user", "content": "Thanks"},
    ]
    table = read_table(write("x.jsonl", json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns[1:3]})))
    assert table.rows[0] == {"prompt": "Be kind.\n\nuser: Hi\nassistant: Hello\nuser: Price?", "response": "£5"}
    assert table.rows[1] == {"prompt": "Hi", "response": "Hello"}
    columns, _ = recognise_columns(table, {})
    assert columns == {"text": "prompt", "label": "response"}
    assert guess_task(table, columns)[0] == "dialogue"


def test_preference_pairs_have_the_chosen_answer_as_target(write: Write) -> None:
    record = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"value": "yes"},
        "rejected": {"value": "no"},
    }
    table = read_table(write("x.json", json.dumps([record])))
    assert table.rows == [{"prompt": "Hi", "chosen": "yes", "rejected": "no"}]
    assert recognise_columns(table, {})[0]["label"] == "chosen"


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Super Bowl/50",
            "paragraphs": [
                {
                    "context": "One.",
                    "qas": [{"id": "q1", "question": "Who?", "answers": [{"text": "A"}, {"text": "B"}]}],
                },
                {"context": "Two.", "qas": [{"id": "q2", "question": "Why?", "answers": []}]},
            ],
        },
        {"paragraphs": [{"context": "三。", "qas": []}]},
    ],
}


def test_squad_files_are_flattened_and_their_paragraphs_named(write: Write) -> None:
    path = write("x.json", json.dumps(SQUAD))
    table = read_table(path)
    assert table.format == "squad"
    assert table.rows[0] == {
        "id": "q1", "question": "Who?", "answers": '["A", "B"]', "context": "One.", "source": "Super_Bowl_50-0000.txt",
    }  # fmt: skip
    named = list(squad_paragraphs(path))
    assert named == [
        ("Super_Bowl_50-0000.txt", "One."),
        ("Super_Bowl_50-0001.txt", "Two."),
        ("paragraph-0002.txt", "三。"),
    ]
    assert table.rows[1]["source"] == named[1][0]


def test_hub_style_answers_are_references(write: Write) -> None:
    record = {"question": "Who?", "answers": {"text": ["A", "A", "B"], "answer_start": [1, 1, 2]}}
    assert read_table(write("x.jsonl", json.dumps(record))).rows[0]["answers"] == '["A", "B"]'


def test_xlsx_cells_become_text_and_the_sheet_read_is_said(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["text", "label", None, "when"])  # type: ignore[union-attr]
    book.active.append([])  # type: ignore[union-attr]
    book.active.append(["漏水", 3.0, None, None])  # type: ignore[union-attr]
    book.active.append(["gas", 2.5, None, None])  # type: ignore[union-attr]
    book.create_sheet("more").append(["other"])
    book.save(tmp_path / "x.xlsx")
    table = read_table(tmp_path / "x.xlsx")
    assert table.columns == ("text", "label", "column 3", "when")
    assert [row["label"] for row in table.rows] == ["3", "2.5"]
    assert table.lines == [3, 4]
    assert "'Sheet'" in table.notes[0]["en"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b"text,label\na,b\n", b"\xd0\xcf\x11\xe0old"])
def test_a_damaged_xlsx_is_refused(content: bytes, write: Write) -> None:
    assert "xlsx" in refused(lambda: read_table(write("x.xlsx", content))).message


def test_an_empty_xlsx_is_refused(tmp_path: Path) -> None:
    from openpyxl import Workbook

    Workbook().save(tmp_path / "x.xlsx")
    assert "empty" in refused(lambda: read_table(tmp_path / "x.xlsx")).message


# -- files that are not there or hold nothing ------------------------------------------------------------


def test_a_missing_file_names_one_like_it(write: Write, tmp_path: Path) -> None:
    write("rows.csv", ENGLISH)
    error = refused(lambda: read_table(tmp_path / "rowz.csv"))
    assert "did you mean" in error.message
    assert "rows.csv" in error.hint
    assert "nowhere" in refused(lambda: read_table(tmp_path / "nowhere" / "rows.csv")).message


def test_a_folder_names_the_files_in_it(write: Write, tmp_path: Path) -> None:
    write("rows.csv", ENGLISH)
    error = refused(lambda: read_table(tmp_path))
    assert "folder" in error.message
    assert "rows.csv" in error.hint


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.xlsx"])
@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_file_is_refused(name: str, content: bytes, write: Write) -> None:
    if name.endswith("xlsx") and content:
        return  # blanks are no .xlsx at all
    assert "empty" in refused(lambda: read_table(write(name, content))).message


@pytest.mark.parametrize(
    ("name", "content"), [("x.csv", "text,label\n"), ("x.json", "[]"), ("x.csv", "text,label\n,\n")]
)
def test_a_file_without_rows_is_refused(name: str, content: str, write: Write) -> None:
    assert "no rows" in refused(lambda: read_table(write(name, content))).message


def test_an_unknown_ending_names_those_known(write: Write) -> None:
    error = refused(lambda: read_table(write("rows.parquet", "x")))
    assert ".parquet" in error.message
    assert ".jsonl" in error.hint


# -- columns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text,category", {"text": "text", "label": "category"}),
        ("ID,Sentence,Sentiment", {"text": "Sentence", "label": "Sentiment"}),
        ("mr,ref", {"text": "mr", "label": "ref"}),
        ("prompt,completion", {"text": "prompt", "label": "completion"}),
        ("question,answer,page", {"text": "question", "label": "answer", "source": "page"}),
        ("question,answer,source file", {"text": "question", "label": "answer", "source": "source file"}),
        ("question,context,answer", {"text": "question", "label": "answer", "context": "context"}),
        ("question,text,answer", {"text": "question", "label": "answer", "context": "text"}),
        ("question,answer,category", {"text": "question", "label": "answer"}),
        ("instruction,input,output", {"text": "instruction", "label": "output", "context": "input"}),
        ("input,output", {"text": "input", "label": "output"}),
        ("source,target", {"text": "source", "label": "target"}),
        ("text,label,source", {"text": "text", "label": "label", "source": "source"}),
        ("document,summary", {"text": "document", "label": "summary"}),
        ("文本,标签", {"text": "文本", "label": "标签"}),
        ("问题,答案,来源", {"text": "问题", "label": "答案", "source": "来源"}),
        ("指令,输入,输出", {"text": "指令", "label": "输出", "context": "输入"}),
    ],
)
def test_columns_are_recognised_by_name(header: str, expected: dict[str, str], write: Write) -> None:
    row = ",".join("abcd"[: header.count(",") + 1])
    columns, reasons = recognise_columns(read_table(write("x.csv", f"{header}\n{row}\n")), {})
    assert columns == expected
    assert all(f"'{columns[role]}'" in reasons[role]["en"] for role in columns)
    assert all(reason["zh"] for reason in reasons.values())


def test_a_document_column_is_a_passage_where_it_holds_prose_and_else_a_source(write: Write) -> None:
    prose = "word " * 40
    assert recognise_columns(read_table(write("a.csv", f"question,answer,document\nq,a,{prose}\n")), {})[0] == {
        "text": "question", "label": "answer", "context": "document",
    }  # fmt: skip
    assert recognise_columns(read_table(write("b.csv", "question,answer,document\nq,a,guide.md\n")), {})[0] == {
        "text": "question", "label": "answer", "source": "document",
    }  # fmt: skip


def test_the_task_decides_between_two_targets(write: Write) -> None:
    table = read_table(write("x.csv", "text,intent,urgency\na,x,1.5\nb,y,2\n"))
    columns, reasons = recognise_columns(table, {})
    assert columns["label"] == "intent"
    assert "'urgency'" in reasons["label"]["en"]
    assert recognise_columns(table, {}, "regression")[0]["label"] == "urgency"
    assert recognise_columns(table, {"label": "urgency"}, "classification")[0]["label"] == "urgency"


def test_what_the_user_names_is_taken_and_every_fault_in_it_is_said(write: Write) -> None:
    table = read_table(write("x.csv", "body,kind,note\na,b,c\n"))
    columns, reasons = recognise_columns(table, {"text": "body", "label": "kind"})
    assert columns == {"text": "body", "label": "kind"}
    assert "named by you" in reasons["text"]["en"]
    error = refused(
        lambda: recognise_columns(table, {"text": "bdy", "lable": "kind", "label": "note", "context": "note"})
    )
    for part in ("3 problems", "did you mean 'body'", "did you mean 'label'", "both label and context"):
        assert part in error.message
    assert "columns of x.csv: body, kind, note" in error.hint


def test_an_optional_role_can_be_left_out(write: Write) -> None:
    table = read_table(write("x.csv", "question,answer,page\na,b,c\n"))
    assert recognise_columns(table, {"source": ""})[0] == {"text": "question", "label": "answer"}


def test_no_column_is_taken_only_because_it_is_left(write: Write) -> None:
    error = refused(lambda: recognise_columns(read_table(write("x.csv", "text,height\na,1\n")), {}))
    assert "label" in error.message
    assert "--columns label=NAME (columns: text, height)" in error.hint
    error = refused(lambda: recognise_columns(read_table(write("y.csv", "foo,bar\na,1\n")), {}))
    assert error.message.startswith("2 problems")


@pytest.mark.parametrize(
    "content",
    [
        "where is it,refund\nwhere was it,refund\n",
        "1,what a day\n2,fine\n",
        "I am still waiting on my card today,x\nb,y\n",
    ],
)
def test_a_file_without_column_names_is_told_so(content: str, write: Write) -> None:
    error = refused(lambda: recognise_columns(read_table(write("x.csv", content)), {}))
    assert "first line" in error.message
    assert "text,label" in error.hint


def test_several_targets_are_read_from_lists(write: Write) -> None:
    assert parse_targets('["a", " b ", "a", 3]', "answer", "question_answering") == ("a", "b", "3")
    assert parse_targets('["a", "b"]', "answer", "extraction") == ('["a", "b"]',)
    assert parse_targets('["a", "b"]', "answers", "extraction") == ("a", "b")
    assert parse_targets("[sic", "answer", "generation") == ("[sic",)
    assert parse_targets("[1] as cited]", "answer", "generation") == ("[1] as cited]",)
    assert parse_targets("[]", "answers", "question_answering") == ()


# -- the task ------------------------------------------------------------------------------------------


def _guess(write: Write, header: str, rows: list[str]) -> str:
    table = read_table(write("g.csv", "\n".join([header, *rows]) + "\n"))
    task, reason = guess_task(table, recognise_columns(table, {})[0])
    assert reason["en"]
    assert reason["zh"]
    return task


def test_the_task_follows_the_values_of_the_target(write: Write) -> None:
    assert _guess(write, "text,label", [f"t{n},{n % 3}" for n in range(60)]) == "classification"
    assert _guess(write, "text,rating", [f"t{n},{n % 5 + 1}" for n in range(60)]) == "classification"
    assert _guess(write, "text,rating", [f"t{n},{n / 7:.2f}" for n in range(60)]) == "regression"
    assert _guess(write, "text,price", [f'"t{n}","{n},000"' for n in range(60)]) == "regression"
    assert _guess(write, "question,answer", [f"q{n},a{n}" for n in range(60)]) == "question_answering"
    assert _guess(write, "question,answer", [f"q{n},{'yes' if n % 2 else 'no'}" for n in range(60)]) == "classification"
    assert _guess(write, "question,answer", [f"q{n},first #### {n}" for n in range(60)]) == "reasoning"
    assert _guess(write, "mr,ref", [f"t{n % 9},sentence {n}" for n in range(60)]) == "generation"
    assert _guess(write, "article,summary", [f"t{n},s{n}" for n in range(60)]) == "summarisation"
    assert _guess(write, "source,target", [f"t{n},s{n}" for n in range(60)]) == "translation"
    assert _guess(write, "question,sql", [f"t{n},SELECT {n}" for n in range(60)]) == "structured_output"
    assert _guess(write, "prompt,output", [f't{n},"{{""n"": {n}}}"' for n in range(60)]) == "structured_output"


# -- two sides -----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_split_and_another_seed_another(write: Write) -> None:
    path = write("x.csv", ENGLISH)
    assert load(path, seed=3) == load(path, seed=3)
    assert load(path, seed=3).test != load(path, seed=4).test


def test_classes_are_held_out_in_proportion(write: Write) -> None:
    rows = [f"text {n},{'rare' if n < 10 else 'single' if n == 10 else 'common'}" for n in range(100)]
    dataset = load(write("x.csv", "\n".join(["text,label", *rows])), held_out=0.2)
    assert len(dataset.test) == 20
    assert sum(row.target == "rare" for row in dataset.test) == 2
    assert "single" in {row.target for row in dataset.train}
    assert dataset.labels == ("common", "rare", "single")


def test_many_small_classes_still_hold_out_their_share(write: Write) -> None:
    rows = [f"text {n},class {n % 30}" for n in range(90)]
    dataset = load(write("x.csv", "\n".join(["text,label", *rows])))
    assert (len(dataset.train), len(dataset.test)) == (72, 18)
    assert {row.target for row in dataset.train} == {f"class {n}" for n in range(30)}


def test_rows_stay_in_order_and_are_named_by_their_line(write: Write) -> None:
    dataset = load(write("x.csv", ENGLISH))
    lines = [int(row.id.removeprefix("x.csv:")) for row in dataset.train]
    assert lines == sorted(lines)
    assert {row.id for row in dataset.train + dataset.test} == {f"x.csv:{n}" for n in range(2, 42)}


def test_a_text_stands_on_one_side_only(write: Write) -> None:
    rows = [f"Text  {n // 4},answer {n}" for n in range(80)] + [f"text {n},another {n}" for n in range(20)]
    dataset = load(write("x.csv", "\n".join(["text,answer", *rows])), "generation")
    keys = [{" ".join(r.input.text.casefold().split()) for r in side} for side in (dataset.train, dataset.test)]
    assert not keys[0] & keys[1]
    assert len(dataset.test) == 4
    assert all(len(row.targets) == 5 for row in dataset.test)
    assert "scored once" in dataset.notes[0]["en"]


def test_the_same_question_on_another_passage_is_another_input(write: Write) -> None:
    rows = [f"What year?,passage {n},{1900 + n}" for n in range(20)]
    dataset = load(write("x.csv", "\n".join(["question,context,answer", *rows])), "question_answering")
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert dataset.removed == {}


def test_what_cannot_be_used_is_counted_and_said(write: Write) -> None:
    extra = "apple number 0,apple\n  APPLE  number 1,apple\n,apple\nno label,\napple number 2,pear\n"
    dataset = load(write("x.csv", ENGLISH + extra))
    assert dataset.removed == {"duplicate": 2, "empty_text": 1, "empty_label": 1}
    assert len(dataset.train) + len(dataset.test) == 41
    said = " ".join(note["en"] for note in dataset.notes)
    assert "2 rows left out, as the same row" in said
    assert all(note["zh"] for note in dataset.notes)


def test_texts_with_two_labels_are_said(write: Write) -> None:
    dataset = load(write("x.csv", ENGLISH + "apple number 2,pear\n"), test=write("t.csv", "text,label\nnew,apple\n"))
    assert any("1 training texts have more than one label" in n["en"] for n in dataset.notes)


def test_training_rows_that_stand_in_the_test_file_are_removed(write: Write) -> None:
    test = write("t.csv", "text,label\nAPPLE  number 3,apple\nnew one,pear\nnew one,pear\n")
    dataset = load(write("x.csv", ENGLISH), test=test)
    assert dataset.removed == {"leak": 1}
    assert (len(dataset.train), len(dataset.test)) == (39, 3)
    assert any("in the test rows" in n["en"] for n in dataset.notes)


def test_a_test_file_with_all_training_rows_is_refused(write: Write) -> None:
    path = write("x.csv", ENGLISH)
    assert "all 40 training rows" in refused(lambda: load(path, test=path)).message


def test_a_test_file_needs_the_same_columns(write: Write) -> None:
    test = write("t.csv", "texts,category\na,apple\n")
    error = refused(lambda: load(write("x.csv", ENGLISH), test=test))
    assert "2 problems" in error.message
    assert "did you mean 'texts'" in error.message
    assert "texts, category" in error.hint


def test_classes_of_the_test_rows_unseen_in_training_are_said(write: Write) -> None:
    dataset = load(write("x.csv", ENGLISH), test=write("t.csv", "text,label\na,plum\nb,apple\n"))
    assert dataset.labels == ("apple", "pear")
    assert any("not in training (plum)" in n["en"] for n in dataset.notes)


def test_few_rows_to_score_on_are_said(write: Write) -> None:
    assert "only 8 rows" in load(write("x.csv", ENGLISH)).notes[-1]["en"]


@pytest.mark.parametrize(
    ("content", "task", "said"),
    [
        ("text,label\n" + "".join(f"row {n},same\n" for n in range(40)), "classification", "one class only"),
        ("text,score\n" + "".join(f"row {n},3\n" for n in range(40)), "regression", "one number only"),
        ("text,label\n" + "".join(f"row {n},\n" for n in range(40)), "classification", "labels are absent"),
        ("text,label\n" + "".join(f",c{n % 2}\n" for n in range(40)), "classification", "every text is empty"),
        ("text,label\n" + "".join(f"row {n},c{n % 2}\n" for n in range(7)), "classification", "too few rows: 7"),
        ("text,label\n" + "".join(f"row {n},c{n}\n" for n in range(40)), "classification", "no class has two"),
        ("text,score\n" + "".join(f"row {n},n{n}\n" for n in range(40)), "regression", "holds numbers"),
        ('text,label\n' + '"a","[""x"", ""y""]"\nb,z\n', "classification", "several labels"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_learnt_from_are_refused(content: str, task: str, said: str, write: Write) -> None:
    assert said in refused(lambda: load(write("x.csv", content), task)).message


def test_a_share_to_hold_out_must_be_one(write: Write) -> None:
    assert "1.5" in refused(lambda: load(write("x.csv", ENGLISH), held_out=1.5)).message


def test_numbers_are_read_as_people_write_them(write: Write) -> None:
    values = ["3", "2.5", '"1,200"', "−4", "about 5", *map(str, range(20))]
    dataset = load(
        write("x.csv", "\n".join(["text,score", *(f"row {n},{v}" for n, v in enumerate(values))])), "regression"
    )
    targets = {row.target for row in dataset.train + dataset.test}
    assert {"3", "2.5", "1200.0", "-4.0"} <= targets
    assert dataset.removed == {"not_a_number": 1}
    assert dataset.labels == ()


def test_a_column_named_as_a_number_that_holds_none_is_refused(write: Write) -> None:
    path = write("x.csv", "text,grade\n" + "".join(f"row {n},{'good' if n % 9 else '3'}\n" for n in range(40)))
    error = refused(lambda: load_dataset(DataSpec(str(path), columns={"label": "grade"}), "regression", 0))
    assert "35 of 40" in error.message or "no numbers" in error.message
    assert "text, grade" in error.hint


# -- inputs without targets ------------------------------------------------------------------------------


def test_inputs_need_no_target(write: Write) -> None:
    inputs = read_inputs(write("x.csv", "question,context\na,b\nc,\n"), {})
    assert [(i.text, i.context) for i in inputs] == [("a", "b"), ("c", "")]
    assert [i.text for i in read_inputs(write("y.csv", "anything\nfirst\nsecond\n"), {})] == ["first", "second"]
    assert [i.text for i in read_inputs(write("z.csv", "foo,bar\na,b\n"), {"text": "bar"})] == ["b"]


def test_an_input_without_text_is_named_by_its_line(write: Write) -> None:
    error = refused(lambda: read_inputs(write("x.csv", "text,id\na,1\n,2\nb,3\n"), {}))
    assert "lines 3" in error.message


# -- public data -----------------------------------------------------------------------------------------

PUBLIC = {
    "banking77/train.csv": ("text", "category", "classification"),
    "xquad/xquad.en.json": ("question", "answers", "question_answering"),
    "xquad/xquad.zh.json": ("question", "answers", "question_answering"),
    "cmrc2018/dev.json": ("question", "answers", "question_answering"),
    "gsm8k/train.jsonl": ("question", "answer", "reasoning"),
    "alpaca/alpaca_en.json": ("instruction", "output", "generation"),
    "alpaca/alpaca_zh.json": ("instruction", "output", "generation"),
    "alpaca/dpo_en.json": ("prompt", "chosen", "dialogue"),
    "e2e/test.csv": ("mr", "ref", "generation"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_published_files_are_read_without_being_told_how(name: str, bench_data: Path) -> None:
    table = read_table(bench_data / name)
    columns, _ = recognise_columns(table, {})
    text, label, task = PUBLIC[name]
    assert (columns["text"], columns["label"], guess_task(table, columns)[0]) == (text, label, task)
    assert load(bench_data / name, task).test


def test_every_paragraph_a_row_names_is_there(bench_data: Path) -> None:
    for name in ("xquad/xquad.en.json", "xquad/xquad.zh.json", "cmrc2018/dev.json"):
        names = [name for name, _ in squad_paragraphs(bench_data / name)]
        assert len(names) == len(set(names))
        assert {row["source"] for row in read_table(bench_data / name).rows} <= set(names)


def test_ten_thousand_rows_are_ready_in_a_second_of_this_process(bench_data: Path) -> None:
    begin = time.process_time()
    dataset = load(bench_data / "banking77" / "train.csv", test=bench_data / "banking77" / "test.csv")
    assert time.process_time() - begin < 1
    assert len(dataset.labels) == 77
    assert (len(dataset.train), len(dataset.test), dataset.removed) == (9992, 3080, {"duplicate": 4, "leak": 7})
