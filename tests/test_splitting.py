"""Documents cut into passages: where they are cut, and what each passage knows of its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from executors.models import Embedder, load_embedder
from executors.retriever.documents import Document, Part, read_documents
from executors.retriever.lexical import count_words
from executors.retriever.splitting import Section, readable, sections, sentences, split_documents
from tests.conftest import DEMO

PAGE = """# Lamps

Introduction with a [link](other.md).

## Colours

| Lamp | Meaning |
|---|---|
| green | **all** is well |
| red \\| pink | call us |

### Blinking

Twice a second. It stops after 4 minutes.

```
# not a heading
```

## Prices

A lamp costs 12 pounds.
"""


def pieces(text: str, limit: int, overlap: int = 0, count: Callable[[str], int] = count_words) -> list[str]:
    return [p.text for p in split_documents([Document("a.md", text, "")], count, limit, overlap)]


# -- sections ------------------------------------------------------------------------------------------


def test_sections_carry_their_heading_path() -> None:
    found = {section.heading: section.text for section in sections(Document("lamps.md", PAGE, "Lamps"))}
    assert list(found) == ["Lamps", "Lamps > Colours", "Lamps > Colours > Blinking", "Lamps > Prices"]
    assert "# not a heading" in found["Lamps > Colours > Blinking"]


def test_an_underlined_heading_is_one_and_its_line_no_text() -> None:
    assert sections(Document("a.txt", "Guide\n=====\n\nIntro.\n\nUse\n---\n\nPress it.\n", "Guide")) == [
        Section("Guide", "Intro."),
        Section("Guide > Use", "Press it."),
    ]


def test_headings_go_on_over_pages_and_pages_are_known() -> None:
    parts = (Part("## Warranty\n\nThree years.", page=1), Part("Keep the receipt.\n\n### Batteries\n\nNone.", page=4))
    document = Document("m.pdf", "\n\n".join(p.text for p in parts), "Manual", parts)
    assert sections(document) == [
        Section("Manual > Warranty", "Three years.", page=1),
        Section("Manual > Warranty", "Keep the receipt.", page=4),
        Section("Manual > Warranty > Batteries", "None.", page=4),
    ]
    last = split_documents([document], count_words, 40, 0)[-1]
    assert last.place == "m.pdf › Manual > Warranty > Batteries, p. 4"


def test_rows_are_passages_of_their_own_and_never_markdown() -> None:
    parts = (Part("name: # lamp | price: 12", row=1), Part("name: door | note: [x](y)", row=2))
    passages = split_documents([Document("p.csv", "", "prices", parts)], count_words, 40, 0)
    assert [(p.text, p.heading, p.row) for p in passages] == [
        ("name: # lamp | price: 12", "prices", 1),
        ("name: door | note: [x](y)", "prices", 2),
    ]


def test_table_cells_are_named_by_their_column() -> None:
    found = {section.heading: section.text for section in sections(Document("lamps.md", PAGE, "Lamps"))}
    assert found["Lamps > Colours"] == "Lamp: green | Meaning: all is well\nLamp: red | pink | Meaning: call us"


def test_links_are_read_by_their_text() -> None:
    assert readable("See [the page](x.md) and ![a picture](y.png).") == "See the page and a picture."


# -- cuts ----------------------------------------------------------------------------------------------


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
    found = pieces(text, 40)
    assert len(found) > 5
    assert all(piece.endswith("。") for piece in found)
    assert "".join(found) == text
    assert sentences("甲。乙！\n丙？") == ["甲。", "乙！", "丙？"]


def test_marks_that_close_a_sentence_stay_with_it() -> None:
    assert sentences('他说：“走吧。”然后走了。（真的！）He said "Go." Then he left.') == [
        "他说：“走吧。”", "然后走了。", "（真的！）", 'He said "Go."', "Then he left.",
    ]  # fmt: skip
    assert all(piece[0] not in "”）" for piece in pieces("他说：“我们今天走吧。”（真的！）" * 9, 16))


def test_shortened_words_and_numbers_end_no_sentence() -> None:
    text = "Dr. Ames found 3.5 lamps, e.g. green ones. Mr. Lee found none."
    assert sentences(text) == ["Dr. Ames found 3.5 lamps, e.g. green ones.", "Mr. Lee found none."]


def test_rows_of_a_table_are_not_cut_where_they_fit() -> None:
    rows = "".join(f"| lamp {n} | it means that all is well. Truly. | call us. Now |\n" for n in range(20))
    found = pieces(f"| Lamp | Meaning | What to do |\n|---|---|---|\n{rows}", 50, overlap=16)
    assert len(found) > 5
    lines = [line for piece in found for line in piece.splitlines()]
    assert all(line.startswith("Lamp: lamp ") and line.endswith("What to do: call us. Now") for line in lines)


def test_a_row_longer_than_a_passage_is_cut_at_its_cells_and_then_at_sentences() -> None:
    row = Part(f"name: lamp | text: {'One sentence is here. ' * 12}| note: last", row=7)
    passages = split_documents([Document("a.csv", "", "", (row,))], count_words, 20, 0)
    assert [p.text for p in passages][:1] == ["name: lamp"]
    assert [p.text for p in passages][-1:] == ["note: last"]
    assert all(p.text.endswith("here.") and p.row == 7 for p in passages[1:-1])


def test_a_sentence_over_several_lines_is_not_cut_at_their_ends() -> None:
    wrapped = "This sentence was broken by its program at the width of\na page of a letter and it ends only here. "
    text = "\n".join(line.strip() for line in (wrapped * 12).splitlines())
    found = pieces(text.replace("here. This", "here.\nThis"), 35)
    assert len(found) > 3
    assert all(piece.startswith("This sentence") and piece.endswith("only here.") for piece in found)


@pytest.mark.parametrize("unit", ["word ", "字"])
def test_text_without_any_sentence_is_cut_all_the_same(unit: str) -> None:
    found = pieces(unit * 300, 40, overlap=8)
    assert len(found) >= 8
    assert all(0 < count_words(piece) <= 40 for piece in found)


def test_how_a_document_is_split_depends_on_it_alone() -> None:
    documents = [Document(f"{n}.md", PAGE * n, "Lamps") for n in range(1, 5)]
    alone = [passage for document in documents for passage in split_documents([document], count_words, 20, 4)]
    assert split_documents(documents, count_words, 20, 4) == alone


def test_the_handbook_fits_the_encoder_s_window() -> None:
    minilm: Embedder = load_embedder("all-minilm-l6-v2")
    passages = split_documents(read_documents(DEMO / "handbook"), minilm.count, 96, 24)
    assert len(passages) > 50
    assert all(minilm.count(f"{p.heading}\n{p.text}") <= 96 + 8 for p in passages)
