"""The report: everything is on it, nothing in it is taken for markup, and it reads in both languages."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from advisor import report
from advisor.answers import read_answers
from advisor.decision import Decision, Flip, Inputs, decide
from advisor.report.page import compare, make_page, run_command
from advisor.texts import LANGUAGES, say
from executors.base import Result, Score
from tests.samples import DECISION, FLOOR, RESULT, with_text

SECTIONS = (
    "measured", "warnings", "path", "recommended", "ranking", "flips", "confidence", "quote", "ladder", "next", "risks",
    "facts", "details", "sources",
)  # fmt: skip
AFTER_A_RUN = ("measured", "details")
HOSTILE = '<script>alert("x")</script> | `a` *b* [c](javascript:d) </td>'
VOID = {"meta", "link", "br", "img", "line", "rect", "circle", "path", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting, and collects what a test asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html(lang: str = "en", result: Result | None = RESULT, floor: Result | None = FLOOR) -> str:
    return report.render(DECISION, result, floor, "html", lang)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_every_section_is_there(form: str, lang: str) -> None:
    page = report.render(DECISION, RESULT, FLOOR, form, lang)
    for name in SECTIONS:
        title = say(f"report.{name}", lang)
        assert (f"## {title}\n" if form == "md" else f">{title}</h2>") in page


@pytest.mark.parametrize("form", ["md", "html"])
def test_before_a_run_nothing_is_said_to_be_measured(form: str) -> None:
    page = report.render(DECISION, None, None, form, "en")
    for name in SECTIONS:
        title = say(f"report.{name}", "en")
        assert ((f"## {title}\n" if form == "md" else f">{title}</h2>") in page) == (name not in AFTER_A_RUN)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_whole_and_asks_for_nothing_outside(lang: str) -> None:
    page = Page(html(lang))
    assert page.open == []
    assert page.named("html")[0]["lang"] == {"en": "en", "zh": "zh-Hans"}[lang]
    assert not page.named("script")
    assert not page.named("link")
    assert not page.named("img")
    assert "@import" not in html(lang)
    assert "url(" not in html(lang)


def test_the_page_can_be_read_without_seeing_it() -> None:
    page = Page(html())
    tags = [tag for tag, _ in page.tags]
    assert {"header", "nav", "main", "footer", "h1"} <= set(tags)
    assert tags.count("h1") == 1
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.named("svg"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.named("th"))
    assert tags.count("table") == tags.count("caption")
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"][1:] for link in page.named("a") if (link["href"] or "").startswith("#")} <= targets  # type: ignore[index]


def decided() -> Decision:
    """A decision of today's chart, unlike the hand-made one."""
    answers = {"failure": "both", "labelled_examples": 2000, "knowledge_tokens": 500_000, "training_budget": "small"}
    return decide(read_answers(answers), run="r1", created="2026-11-21T10:15:00+00:00")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_path_is_drawn_for_wide_and_narrow_screens_and_within_the_whole_chart(lang: str) -> None:
    decision = decided()
    page = Page(report.render(decision, None, None, "html", lang))
    drawn = [svg for svg in page.named("svg") if (svg["class"] or "").startswith("flow")]
    assert [svg["class"] for svg in drawn] == ["flow trail wide", "flow trail narrow", "flow whole"]
    assert all(svg["role"] == "img" for svg in drawn)
    told = drawn[0]["aria-label"] or ""
    assert all(step.text[lang] in told and step.answer[lang] in told for step in decision.path)
    walked = [a for a in page.named("path") if (a.get("class") or "").startswith("edge on")]
    assert len(walked) == 3 * len(decision.path)
    assert len(page.named("details")) == 1
    assert say("chart.whole", lang) in page.text


def test_every_text_colour_of_the_drawing_stands_out_from_what_is_behind_it() -> None:
    """WCAG 2 AA: 4.5 to 1 for text, 3 to 1 for the lines of boxes and edges, in light and dark."""
    for colours in _palettes(html()):
        for ink, grounds in {
            "ink": ("paper", "card", "accent-soft"),
            "soft": ("paper", "card", "accent-soft"),
            "accent": ("paper", "accent-soft"),
            "paper": ("accent",),
        }.items():
            assert all(_contrast(colours[ink], colours[ground]) >= 4.5 for ground in grounds), (ink, colours)
        assert all(_contrast(colours[line], colours["paper"]) >= 3 for line in ("floor", "accent", "warn"))


def _palettes(page: str) -> list[dict[str, str]]:
    """The custom colours of the page: light, then dark over light."""
    blocks = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", b)) for b in re.findall(r":root \{(.*?)\}", page, re.S)]
    return [blocks[0], {**blocks[0], **blocks[1]}]


def _contrast(one: str, other: str) -> float:
    """The ratio of relative luminances (WCAG 2.2)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    shares = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_path_that_todays_chart_does_not_have_is_drawn_without_the_rest() -> None:
    page = Page(html())
    assert [svg["class"] for svg in page.named("svg") if "flow" in (svg["class"] or "")] == [
        "flow trail wide",
        "flow trail narrow",
    ]
    assert not page.named("details")


@pytest.mark.parametrize("decision", [DECISION, decided()], ids=["hand-made", "today's"])
def test_markdown_draws_the_walked_path_alone(decision: Decision) -> None:
    (drawn,) = re.findall(r"^```mermaid\n(.*?)\n```$", report.render(decision, None, None, "md", "en"), re.M | re.S)
    assert drawn.startswith("flowchart TD\n")
    edges = re.findall(r"^  n_(\w+) -\.?->(?:\|.*\|)? n_(\w+)$", drawn, re.M)
    assert [start for start, _ in edges] == [step.node for step in decision.path]
    assert [end for _, end in edges][:-1] == [step.node for step in decision.path][1:]


def test_hostile_text_does_not_leave_the_drawing_in_markdown() -> None:
    page = report.render(with_text(DECISION, f"```{HOSTILE}```"), None, None, "md", "en")
    (drawn,) = re.findall(r"^```mermaid\n(.*?)\n```$", page, re.M | re.S)
    assert "<script" not in drawn
    assert "`" not in drawn


def test_hostile_text_is_shown_not_run() -> None:
    page = report.render(with_text(DECISION, HOSTILE), RESULT, FLOOR, "html", "en")
    parsed = Page(page)
    assert parsed.open == []
    assert "<script" not in page
    assert 'alert("x")' in parsed.text
    assert all((link["href"] or "").startswith(("#", "https://")) for link in parsed.named("a"))


def test_hostile_text_leaves_markdown_tables_whole() -> None:
    page = report.render(with_text(DECISION, HOSTILE), RESULT, FLOOR, "md", "en")
    _check_tables(page)
    assert "<script" not in page.replace("\\<script", "")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_markdown_tables_have_as_many_cells_as_heads(lang: str) -> None:
    _check_tables(report.render(DECISION, RESULT, FLOOR, "md", lang))


def _check_tables(page: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) >= 7
    for table in tables:
        rows = table.strip().split("\n")
        assert re.fullmatch(r"\|(---\|)+", rows[1])
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {rows[1].count("|")}


def test_markdown_renders_every_table_as_one() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    page = report.render(with_text(DECISION, HOSTILE), RESULT, FLOOR, "md", "en")
    rendered = markdown_it.MarkdownIt("commonmark").enable("table").render(page)
    assert "<script" not in rendered
    assert "javascript:d" not in re.findall(r'href="([^"]*)"', rendered)
    assert len(re.findall("<table>", rendered)) == len(re.findall(r"^\|---", page, re.MULTILINE))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_facts_are_told_with_their_origin(lang: str) -> None:
    page = report.render(DECISION, None, None, "md", lang)
    for origin in ("asked", "measured", "assumed"):
        assert f"| {say(f'word.origin.{origin}', lang)} |" in page
    assert DECISION.facts["knowledge_tokens"].evidence[lang] in page


def test_scores_stand_beside_the_floors_with_their_intervals() -> None:
    page = report.render(DECISION, RESULT, FLOOR, "md", "en")
    row = next(line for line in page.splitlines() if line.startswith("| token F1"))
    assert row == "| token F1<br>decides | **0.412** | 0.331 – 0.498 | **0.083** | 0.051 – 0.121 |"


def test_the_chart_draws_the_score_and_its_interval_to_scale() -> None:
    bars = html().split('<figure class="chart">')[1].split("</figure>")[0]
    assert 'x="0.0%" y="7" width="41.2%"' in bars
    assert 'x1="33.1%" x2="49.8%"' in bars


def _score(low: float, high: float) -> dict[str, Score]:
    return {"f1": Score((low + high) / 2, low, high, 50)}


@pytest.mark.parametrize(
    ("own", "verdict"), [((0.5, 0.6), "above"), ((0.2, 0.5), "near"), ((0.1, 0.2), "below")], ids=str
)
def test_better_than_the_floor_is_said_only_when_the_intervals_do_not_meet(
    own: tuple[float, float], verdict: str
) -> None:
    floor = dataclasses.replace(FLOOR, scores=_score(0.3, 0.4))
    result = dataclasses.replace(RESULT, scores=_score(*own))
    assert compare(result, floor) == verdict
    assert say(f"report.{verdict}_floor", "en", method="Retrieval (RAG)") in report.render(
        DECISION, result, floor, "md", "en"
    )


def test_an_error_is_better_when_it_is_lower() -> None:
    low, high = ({"mae": Score(value, value - 0.1, value + 0.1, 50)} for value in (1.0, 2.0))
    result = dataclasses.replace(RESULT, metric="mae", scores=low)
    floor = dataclasses.replace(FLOOR, metric="mae", scores=high)
    assert compare(result, floor) == "above"


def test_an_unfinished_run_is_not_given_a_score() -> None:
    result = dataclasses.replace(RESULT, status="failed", error="RuntimeError: out of memory", scores={})
    page = report.render(DECISION, result, None, "md", "en")
    assert "This run is failed. RuntimeError: out of memory" in page
    assert "decides" not in page


def test_the_command_asks_for_what_is_still_missing() -> None:
    assert run_command(DECISION) == f"advisor run {DECISION.run}"
    nothing = dataclasses.replace(DECISION, inputs=Inputs())
    assert run_command(nothing) == f"advisor run {DECISION.run} --data ROWS.csv --docs FOLDER"


def test_a_method_that_cannot_be_run_is_said_to_be_so() -> None:
    decision = dataclasses.replace(DECISION, methods=("pretrain",))
    page = report.render(decision, None, None, "md", "en")
    assert "does not run" in page
    assert f"advisor run {DECISION.run}\n" not in page


def test_json_is_the_records_themselves() -> None:
    page = json.loads(report.render(DECISION, RESULT, None, "json", "en"))
    assert page["decision"]["run"] == DECISION.run
    assert page["result"]["scores"]["f1"] == {"value": 0.412, "low": 0.331, "high": 0.498, "n": 70}
    assert page["floor"] is None


def test_rendering_twice_gives_the_same_page() -> None:
    assert html() == html()
    assert make_page(DECISION, RESULT, FLOOR, "zh") == make_page(DECISION, RESULT, FLOOR, "zh")


def test_values_that_flip_it_the_same_way_share_a_row() -> None:
    flips = tuple(Flip("task", "generation", to, ("peft",), DECISION.summary) for to in ("dialogue", "reasoning"))
    number = Flip("labelled_examples", 70, 500, ("rag", "peft"), DECISION.summary, "at_least")
    page = report.render(dataclasses.replace(DECISION, flips=(*flips, number)), None, None, "md", "en")
    rows = [line for line in page.splitlines() if line.startswith(("| **Task**", "| **Labelled examples**"))]
    assert "| Holding a conversation; Reasoning in several steps, mathematics |" in rows[0]
    assert "| ≥ 500 examples | Retrieval (RAG) + " in rows[1]
