"""The chart drawn: what each format says, and the command that prints them."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len
from rich.console import Console

from advisor import report
from advisor.answers import read_answers
from advisor.decision import Decision, decide
from advisor.drawing.mermaid import draw_mermaid, draw_mermaid_trail
from advisor.drawing.outline import draw_outline
from advisor.drawing.scene import Box, Link, Scene, path_alone, retrace, scene
from advisor.drawing.svg import COLOURS, draw_chart, draw_chart_file
from advisor.drawing.trail import PAGES, draw_trail
from advisor.flowchart import load_chart
from advisor.texts import LANGUAGES
from executors.base import UserError, write_json
from tests.samples import DECISION

Advisor = Callable[..., tuple[int, str, str]]
HOSTILE = """1. <script>alert("x")</script> & #35; `a` *b* _c_ [d](e) {f} end %% ; | \\n 'q'"""
SVG = "{http://www.w3.org/2000/svg}"


def decided(**answers: object) -> Decision:
    """A decision with answers by which facts and behaviour both are wanting."""
    both = {"failure": "both", "labelled_examples": 2000, "knowledge_tokens": 500_000, "training_budget": "small"}
    return decide(read_answers({**both, **answers}), run="r1", created="2026-11-21T10:15:00+00:00")


def hostile() -> Scene:
    """A scene of three nodes whose every text tries to be markup, and whose ids are words of Mermaid."""
    boxes = {
        "end": Box("end", "ask", HOSTILE, walked=True),
        "style": Box("style", "test", f"- {HOSTILE}", walked=True),
        "o x": Box("o x", "end", HOSTILE, walked=True, outcome=HOSTILE),
    }
    links = (
        Link("end", "style", HOSTILE, (HOSTILE,), HOSTILE, HOSTILE, HOSTILE, walked=True),
        Link("style", "o x", f"# {HOSTILE}", (), HOSTILE, HOSTILE, HOSTILE, walked=True, assumed=True),
    )
    return Scene("end", boxes, links, "en", HOSTILE, HOSTILE)


# -- the scene ---------------------------------------------------------------------------------------


def test_a_decision_is_retraced_edge_by_edge() -> None:
    decision = decided()
    edges = retrace(load_chart(), decision.path)
    assert edges is not None
    assert [edge.to for edge in edges[:-1]] == [step.node for step in decision.path[1:]]


@pytest.mark.parametrize(
    "change", [{"why": {"en": "else", "zh": "别的"}}, {"source": "elsewhere"}, {"node": "freshness"}], ids=str
)
def test_a_path_that_the_chart_no_longer_has_is_not_drawn_in_it(change: dict[str, object]) -> None:
    decision = decided()
    path = (decision.path[0], dataclasses.replace(decision.path[1], **change), *decision.path[2:])  # type: ignore[arg-type]
    assert retrace(load_chart(), path) is None
    with pytest.raises(UserError, match="another version of the chart"):
        scene(load_chart(), "en", dataclasses.replace(decision, path=path))


def test_a_path_cut_short_is_not_drawn() -> None:
    assert retrace(load_chart(), decided().path[:-1]) is None
    assert retrace(load_chart(), ()) is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_trail_is_the_decisions_path_and_ends_at_its_methods(lang: str) -> None:
    decision = decided()
    trail = list(scene(load_chart(), lang, decision).trail())
    assert [box.id for box, _ in trail[:-1]] == [step.node for step in decision.path]
    assert [link.answer for _, link in trail if link] == [step.answer[lang] for step in decision.path]
    assert trail[-1][0].kind == "end"
    assert trail[-1][0].outcome
    assert trail[-1][1] is None


def test_without_a_decision_nothing_is_walked() -> None:
    bare = scene(load_chart(), "en")
    assert list(bare.trail()) == []
    assert not any(link.walked for link in bare.links)


def test_a_path_of_an_earlier_chart_is_drawn_alone() -> None:
    alone = path_alone(DECISION, "en")
    assert [box.text for box, _ in alone.trail()][-1] == "Retrieval (RAG)"
    assert len(list(alone.trail())) == len(DECISION.path) + 1


# -- pictures ----------------------------------------------------------------------------------------


def elements(svg: str, tag: str, *names: str) -> list[ElementTree.Element]:
    """The elements of a tag that have all the class names."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}{tag}" if "xmlns" in svg else tag)
    return [element for element in found if set(names) <= set(element.get("class", "").split())]


def letters(element: ElementTree.Element) -> str:
    return "".join("".join(text.itertext()) for text in element.iter() if text.tag.endswith("tspan"))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_file_names_and_describes_itself_and_fetches_nothing(lang: str) -> None:
    svg = draw_chart_file(scene(load_chart(), lang, decided()))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    named = {e.get("id"): e.text for e in root if e.tag in (f"{SVG}title", f"{SVG}desc")}
    assert set(named) == set((root.get("aria-labelledby") or "").split())
    assert all(named.values())
    assert "prefers-color-scheme: dark" in svg
    assert not re.search(r"<script|href|url\(|@import|<image", svg)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_node_and_answer_is_in_the_picture_once(lang: str) -> None:
    chart = load_chart()
    svg = draw_chart_file(scene(chart, lang))
    shown = sorted(letters(group).replace(" ", "") for group in elements(svg, "g", "node"))
    assert shown == sorted(node.text[lang].replace(" ", "") for node in chart.nodes.values())
    branches = [edge for node in chart.nodes.values() for edge in node.edges if len(node.edges) > 1]
    assert len(elements(svg, "g", "answer")) == len(branches)
    assert len(elements(svg, "path", "edge")) == sum(len(node.edges) for node in chart.nodes.values())
    kinds = [group.get("class", "").split()[1] for group in elements(svg, "g", "node")]
    assert sorted(kinds) == sorted(node.kind for node in chart.nodes.values())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_boxes_do_not_overlap_and_lie_within_the_picture(lang: str) -> None:
    svg = draw_chart_file(scene(load_chart(), lang, decided()))
    wide, high = (float(ElementTree.fromstring(svg).get(side, 0)) for side in ("width", "height"))
    boxes = [_extent(g) for g in elements(svg, "g", "node") + elements(svg, "g", "answer")]
    assert all(left >= 0 and top >= 0 and right <= wide and bottom <= high for left, top, right, bottom in boxes)
    _check_apart(boxes)


def _check_apart(boxes: list[tuple[float, float, float, float]]) -> None:
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def _extent(group: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a node or an answer."""
    shape = next(e for e in group if e.tag.endswith(("rect", "path")))
    if shape.tag.endswith("rect"):
        x, y, wide, high = (float(shape.get(name, 0)) for name in ("x", "y", "width", "height"))
        return x, y, x + wide, y + high
    points = [float(number) for number in re.findall(r"[\d.]+", shape.get("d", ""))]
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def test_exactly_the_walked_path_is_highlighted() -> None:
    decision = decided()
    svg = draw_chart(scene(load_chart(), "en", decision))
    assert len(elements(svg, "path", "edge", "on")) == len(decision.path)
    assert len(elements(svg, "g", "node", "on")) == len(decision.path) + 1
    assert len(elements(svg, "path", "edge", "assumed")) == sum(step.assumed for step in decision.path) > 0
    assert not elements(draw_chart(scene(load_chart(), "en")), "path", "edge", "on")


def test_methods_added_stand_on_their_edges() -> None:
    svg = draw_chart(scene(load_chart(), "en", decided()))
    taken = [letters(group) for group in elements(svg, "g", "answer", "on")]
    added = [words.split("+ ")[1].replace(" ", "") for words in taken if "+ " in words]  # lines are joined without one
    assert added == ["Retrieval(RAG)", "Parameter-efficienttuning(LoRA)"]


@pytest.mark.parametrize("page", PAGES)
def test_the_path_shows_what_was_taken_and_stubs_of_what_was_not(page: str) -> None:
    drawn = scene(load_chart(), "en", decided())
    svg = draw_trail(drawn, PAGES[page])
    walked = [box.id for box, _ in drawn.trail()]
    branches = [link for name in walked for link in drawn.leaving(name)]
    answers = elements(svg, "g", "answer")
    assert len(answers) == len(branches)
    assert len(elements(svg, "g", "answer", "on")) == len(walked) - 1
    extents = [_extent(group) for group in answers + elements(svg, "g", "node")]
    assert min(e[0] for e in extents) >= 0
    assert max(e[2] for e in extents) <= PAGES[page].width
    _check_apart(extents)
    nodes = [_extent(group) for group in elements(svg, "g", "node")]
    assert all(upper[3] < lower[1] for upper, lower in pairwise(nodes))


def test_a_bare_scene_has_no_trail() -> None:
    assert draw_trail(scene(load_chart(), "en"), PAGES["wide"]) == ""
    assert draw_mermaid_trail(scene(load_chart(), "en")) == ""


@pytest.mark.parametrize(
    "draw", [draw_chart_file, draw_chart, lambda s: draw_trail(s, PAGES["narrow"])], ids=["file", "page", "trail"]
)
def test_hostile_text_stays_text_in_a_picture(draw: Callable[[Scene], str]) -> None:
    svg = draw(hostile())
    root = ElementTree.fromstring(svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert letters(root).replace(" ", "").count(HOSTILE.replace(" ", "")) >= 4


def test_a_file_has_the_colours_of_a_page() -> None:
    page = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    for ground in (page, COLOURS):
        assert "prefers-color-scheme: dark" in ground
    ours, theirs = (set(re.findall(r"--([a-z-]+): (#\w+)", css)) for css in (COLOURS, page))
    assert len(ours) == 2 * 9
    assert {(name, _long(value)) for name, value in ours} <= {(name, _long(value)) for name, value in theirs}


def _long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])


# -- mermaid -----------------------------------------------------------------------------------------

NODE = re.compile(r'  (n_\w+)(\["|\{\{"|\(\[")([^"]*)("\]|"\}\}|"\]\))')
EDGE = re.compile(r'  (n_\w+) (-->|-\.->)(\|"[^"]*"\|)? (n_\w+)')
RULE = re.compile(r"  classDef (question|test|result|walked|outcome) \S+")
MEMBERS = re.compile(r"  class ((?:n_\w+,?)+) (question|test|result|walked|outcome)")


def parts(text: str) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """The nodes and edges of a Mermaid text, each of whose lines must be of a known form."""
    first, *lines = text.splitlines()
    assert first == "flowchart TD"
    rest = re.compile(rf"{RULE.pattern}|{MEMBERS.pattern}|  linkStyle [\d,]+ \S+")
    assert all(NODE.fullmatch(line) or EDGE.fullmatch(line) or rest.fullmatch(line) for line in lines)
    return [m for line in lines if (m := NODE.fullmatch(line))], [m for line in lines if (m := EDGE.fullmatch(line))]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_mermaid_has_every_node_once_and_every_edge_between_them(lang: str) -> None:
    chart = load_chart()
    nodes, edges = parts(draw_mermaid(scene(chart, lang)))
    assert [m[1] for m in nodes] == [f"n_{name}" for name in chart.nodes]
    expected = [(f"n_{node.id}", f"n_{edge.to}") for node in chart.nodes.values() for edge in node.edges]
    assert [(m[1], m[4]) for m in edges] == expected


def test_mermaid_marks_the_walked_edges_by_their_number() -> None:
    drawn = scene(load_chart(), "en", decided())
    text = draw_mermaid(drawn)
    (numbers,) = re.findall(r"linkStyle ([\d,]+) ", text)
    walked = [n for n, link in enumerate(drawn.links) if link.walked]
    assert [int(n) for n in numbers.split(",")] == walked
    assert len(walked) == len(decided().path)
    assert "linkStyle" not in draw_mermaid(scene(load_chart(), "en"))


def test_hostile_text_stays_text_in_mermaid() -> None:
    nodes, edges = parts(draw_mermaid(hostile()))
    assert [m[1] for m in nodes] == ["n_end", "n_style", "n_o_x"]
    assert len(edges) == 2
    for label in [m[3] for m in nodes]:
        assert not set(label.replace("<br>", "")) & set('<>"`*_\\')
        assert re.search(r"#60;script#62;alert\(#34;x#34;\)", label)


# -- the outline -------------------------------------------------------------------------------------


def outline(drawn: Scene, columns: int) -> str:
    page = Console(file=io.StringIO(), width=columns, no_color=True, highlight=False)
    page.print(draw_outline(drawn))
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


@pytest.mark.parametrize("walked", [False, True], ids=["bare", "walked"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_outline_shows_every_node_once_and_refers_to_it_elsewhere(lang: str, walked: bool) -> None:
    chart = load_chart()
    text = outline(scene(chart, lang, decided() if walked else None), 1000)
    shown = dict(re.findall(r"(\d+) [?◇●] (.+?) *$", text, re.MULTILINE))
    assert sorted(map(int, shown)) == list(range(1, len(chart.nodes) + 1))
    references = re.findall(r"→ (\d+) (.+?) *$", text, re.MULTILINE)
    assert all(shown[number].startswith(words) for number, words in references)
    edges = sum(len(node.edges) for node in chart.nodes.values())
    assert len(shown) - 1 + len(references) == edges


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_outline_folds_at_the_terminals_width(lang: str, columns: int) -> None:
    text = outline(scene(load_chart(), lang, decided()), columns)
    assert max(cell_len(line) for line in text.splitlines()) <= columns


def test_chinese_is_folded_between_characters() -> None:
    lines = outline(scene(load_chart(), "zh"), 80).splitlines()
    folded = [line for line, after in pairwise(lines) if re.match(r"[│ ]*[\u4e00-\u9fff]+[^→◇]*$", after)]
    assert folded
    assert all(cell_len(line.rstrip()) >= 80 - 24 for line in folded)  # a long Latin piece may not fit any more


def test_the_outline_follows_the_walked_path_down() -> None:
    lines = outline(scene(load_chart(), "en", decided()), 1000).splitlines()
    walked = [n for n, line in enumerate(lines) if re.search(r"▶ \d+ ", line)]
    assert len(walked) == len(decided().path) + 1
    assert all(re.search("▶ |↓ ", lines[n - 1]) for n in walked[1:])  # each below the answer that led to it


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def run(workdir: Path) -> str:
    """The name of a run that has a decision."""
    folder = workdir / "runs" / "20261121-101500-ab12"
    folder.mkdir(parents=True)
    write_json(folder / "decision.json", dataclasses.replace(decided(), run=folder.name))
    return folder.name


@pytest.mark.parametrize(
    ("kind", "start", "end"), [("svg", "<svg ", "</svg>"), ("mermaid", "flowchart TD", ""), ("text", "How ", "")]
)
def test_only_the_drawing_is_printed(kind: str, start: str, end: str, advisor: Advisor) -> None:
    status, out, err = advisor("chart", "--format", kind, "--lang", "en")
    assert (status, err) == (0, "")
    assert out.startswith(start)
    assert out.rstrip().endswith(end)
    assert "\x1b" not in out


def test_a_run_is_named_by_its_outcome_in_every_format(run: str, advisor: Advisor) -> None:
    for kind in ("svg", "mermaid", "text"):
        status, out, _ = advisor("chart", run[:12], "--format", kind, "--lang", "en")
        assert status == 0
        assert "Retrieval (RAG) + Parameter-efficient tuning (LoRA)" in out
    assert "Outcome: Retrieval (RAG) + Parameter-efficient tuning (LoRA)" in out


@pytest.mark.parametrize("kind", ["svg", "mermaid", "text"])
def test_output_goes_to_a_file_and_its_path_is_printed(kind: str, run: str, workdir: Path, advisor: Advisor) -> None:
    status, out, _ = advisor("chart", "last", "--format", kind, "--lang", "zh", "--output", "drawn")
    assert (status, out) == (0, "drawn\n")
    assert "检索增强（RAG）" in (workdir / "drawn").read_text(encoding="utf-8").replace("\n", "")


def test_a_folder_that_is_not_there_is_a_users_error(advisor: Advisor) -> None:
    status, out, err = advisor("chart", "--format", "svg", "--output", "pictures/chart.svg")
    assert (status, out) == (1, "")
    assert "there is no folder pictures" in err


def test_a_run_of_another_chart_is_a_users_error(workdir: Path, advisor: Advisor) -> None:
    folder = workdir / "runs" / DECISION.run
    folder.mkdir(parents=True)
    write_json(folder / "decision.json", DECISION)
    status, _, err = advisor("chart", "last")
    assert status == 1
    assert "another version of the chart" in err
    assert "advisor ask --answers" in err


def test_an_unknown_run_is_a_users_error(workdir: Path, advisor: Advisor) -> None:
    status, out, err = advisor("chart", "nowhere")
    assert (status, out) == (1, "")
    assert "nowhere" in err


def test_a_report_into_a_folder_that_is_missing_is_refused_the_same_way(run: str, advisor: Advisor) -> None:
    status, out, err = advisor("report", "last", "--format", "html", "--output", "pages/report.html")
    assert (status, out) == (1, "")
    assert "--output: there is no folder pages" in err
