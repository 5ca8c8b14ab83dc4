"""What is drawn: the chart's nodes and edges in one language, and which of them a decision walked. No positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from advisor import words
from advisor.decision import Decision, Step
from advisor.flowchart import Chart, Edge, Node
from advisor.sources import cite_briefly
from advisor.texts import say
from executors.base import Problem, UserError


@dataclass(frozen=True)
class Box:
    """A node. `outcome` names the recommended methods where the walk ended."""

    id: str
    kind: Literal["ask", "test", "end"]
    text: str
    walked: bool = False
    outcome: str = ""


@dataclass(frozen=True)
class Link:
    """An edge. `answer` is empty where nothing branches; `adds` names the methods it puts into the outcome."""

    start: str
    end: str
    answer: str
    adds: tuple[str, ...]
    why: str
    source: str  # in brief, e.g. Lewis et al. 2020
    strength: str
    walked: bool = False
    assumed: bool = False

    @property
    def added(self) -> str:
        """The methods added, in one line: ``+ Retrieval (RAG)``; empty where there are none."""
        return " ".join(f"+ {name}" for name in self.adds)


@dataclass(frozen=True)
class Scene:
    """A chart to draw. Boxes stand in the order of the chart's file, links in that of each node's edges."""

    root: str
    boxes: Mapping[str, Box]
    links: tuple[Link, ...]
    lang: str
    title: str
    alt: str

    def leaving(self, box: str) -> tuple[Link, ...]:
        return tuple(link for link in self.links if link.start == box)

    def trail(self) -> Iterator[tuple[Box, Link | None]]:
        """The boxes walked, each with the link that was taken from it; the last has none. Empty without a walk."""
        box = self.boxes[self.root] if self.boxes[self.root].walked else None
        while box:
            taken = next((link for link in self.leaving(box.id) if link.walked), None)
            yield box, taken
            box = self.boxes[taken.end] if taken else None


def scene(chart: Chart, lang: str, decision: Decision | None = None) -> Scene:
    """The chart in `lang`, with the decision's path where one is given.

    Raises `UserError` where the path is not one of this chart: the run was decided by another version of it.
    """
    if decision is None:
        return _scene(chart, lang, (), "", say("chart.title", lang), say("chart.alt", lang, count=len(chart.nodes)))
    edges = retrace(chart, decision.path)
    if edges is None:
        raise _outdated(decision.run)
    methods = words.methods_name(decision.methods, lang)
    title = say("chart.title_walked", lang, methods=methods)
    return _scene(chart, lang, tuple(zip(edges, decision.path, strict=True)), methods, title, describe(decision, lang))


def path_alone(decision: Decision, lang: str) -> Scene:
    """The path without the chart around it, for a decision of an earlier version of the chart."""
    methods = words.methods_name(decision.methods, lang)
    names = [step.node for step in decision.path]
    boxes = {step.node: Box(step.node, "test", step.text[lang], walked=True) for step in decision.path}
    links = tuple(_walked(step, end, lang) for step, end in zip(decision.path, [*names[1:], "outcome"], strict=True))
    boxes["outcome"] = Box("outcome", "end", methods, walked=True)
    title = say("chart.title_walked", lang, methods=methods)
    return Scene(names[0], boxes, links, lang, title, describe(decision, lang))


def _walked(step: Step, end: str, lang: str) -> Link:
    strength = words.label("strength", step.strength, lang)
    source = cite_briefly(step.source)
    return Link(step.node, end, step.answer[lang], (), step.why[lang], source, strength, True, step.assumed)


def _outdated(run: str) -> UserError:
    zh = Problem(
        f"运行 {run} 是按另一版流程图得出的", f"请用其回答重新判断：advisor ask --answers RUNS/{run}/answers.yaml"
    )
    return UserError(
        f"run {run} was decided by another version of the chart",
        f"decide again from its answers: advisor ask --answers RUNS/{run}/answers.yaml",
        zh,
    )


def describe(decision: Decision, lang: str) -> str:
    """The path in words, for those who do not see it."""
    steps = say("chart.alt_next", lang).join(f"{step.text[lang]} {step.answer[lang]}" for step in decision.path)
    return say("chart.alt_walked", lang, steps=steps, methods=words.methods_name(decision.methods, lang))


def retrace(chart: Chart, path: Sequence[Step]) -> tuple[Edge, ...] | None:
    """The chart's edges that the steps of a decision took; None where the chart has them no longer."""
    found: list[Edge] = []
    at = chart.root
    for step in path:
        edges = chart.nodes[step.node].edges if step.node == at else ()
        edge = next((e for e in edges if (e.why, e.source) == (step.why, step.source)), None)
        if edge is None:
            return None
        found.append(edge)
        at = edge.to
    return tuple(found) if found and chart.nodes[at].kind == "end" else None


def _scene(chart: Chart, lang: str, walked: tuple[tuple[Edge, Step], ...], methods: str, title: str, alt: str) -> Scene:
    taken = {id(edge): step for edge, step in walked}
    visited = {step.node for _, step in walked} | ({walked[-1][0].to} if walked else set())
    boxes = {name: _box(node, lang, name in visited, methods) for name, node in chart.nodes.items()}
    links = tuple(_link(node, edge, lang, taken.get(id(edge))) for node in chart.nodes.values() for edge in node.edges)
    return Scene(chart.root, boxes, links, lang, title, alt)


def _box(node: Node, lang: str, walked: bool, methods: str) -> Box:
    outcome = methods if walked and node.kind == "end" else ""
    return Box(node.id, node.kind, node.text[lang], walked, outcome)


def _link(node: Node, edge: Edge, lang: str, step: Step | None) -> Link:
    answer = edge.answer[lang] if len(node.edges) > 1 else ""
    return Link(
        start=node.id,
        end=edge.to,
        answer=step.answer[lang] if step else answer,
        adds=tuple(words.method_name(method, lang) for method in edge.add),
        why=edge.why[lang],
        source=cite_briefly(edge.source),
        strength=words.label("strength", edge.strength, lang),
        walked=step is not None,
        assumed=step is not None and step.assumed,
    )
