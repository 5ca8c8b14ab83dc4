"""The chart: `knowledge/flowchart.yaml`, loaded, checked, and walked.

A node asks for a fact, tests conditions, or ends. The edge taken may add methods to the outcome, so that a hybrid is
the path that gathered it and no rule has to be written twice. One traversal serves both uses: with a view of what is
known it stops at the first question whose answer it needs; with assumptions filled in it always arrives.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from advisor.cards import METHODS, STRENGTHS, load_cards
from advisor.conditions import All, Condition, View, parse, translated
from advisor.facts import FactSpec, load_vocabulary
from advisor.texts import KNOWLEDGE, read_knowledge, read_yaml
from executors.base import Text, did_you_mean


@dataclass(frozen=True)
class Edge:
    """One branch: when it is taken, what it adds to the outcome, and why. `when` is None on the last: otherwise."""

    when: Condition | None
    to: str
    add: tuple[str, ...]
    answer: Text
    why: Text
    source: str
    strength: str


@dataclass(frozen=True)
class Node:
    """A place in the chart. `fact` of an ask, `edges` of an ask or test, `methods` of an end."""

    id: str
    kind: Literal["ask", "test", "end"]
    text: Text
    fact: str = ""
    edges: tuple[Edge, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A checked chart: every walk through it ends in an outcome."""

    root: str
    nodes: Mapping[str, Node]

    def conditions(self) -> Iterator[Condition]:
        """The condition of every edge that has one."""
        for node in self.nodes.values():
            yield from (edge.when for edge in node.edges if edge.when)


@dataclass(frozen=True)
class Taken:
    """An edge as it was walked. `facts` are those that settled it."""

    node: Node
    edge: Edge
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A fact the walk cannot go on without, and why it is asked."""

    fact: str
    why: Text


@dataclass(frozen=True)
class Outcome:
    """Where a walk ended: the methods in the chart's order, the edges that led there, and the end node."""

    methods: tuple[str, ...]
    path: tuple[Taken, ...]
    end: Node


def walk(chart: Chart, view: View) -> Question | Outcome:
    """Follow the chart as far as the facts in `view` go: to the first question, or to the outcome."""
    path: list[Taken] = []
    node = chart.nodes[chart.root]
    while node.kind != "end":
        taken = _choose(node, view)
        if isinstance(taken, Question):
            return taken
        path.append(taken)
        node = chart.nodes[taken.edge.to]
    return Outcome(_methods(node, [taken.edge for taken in path]), tuple(path), node)


def methods_for(chart: Chart, view: View) -> tuple[str, ...]:
    """The outcome's methods alone, for a view that leaves nothing open. Some thousand of these make a decision."""
    edges: list[Edge] = []
    node = chart.nodes[chart.root]
    while node.kind != "end":
        edge = next(e for e in node.edges if e.when is None or e.when.holds(view))
        edges.append(edge)
        node = chart.nodes[edge.to]
    return _methods(node, edges)


def _methods(end: Node, edges: list[Edge]) -> tuple[str, ...]:
    """What was gathered on the way. `prompt` stands alone: every other method has a prompt anyway."""
    gathered = {method for edge in edges for method in edge.add} | set(end.methods)
    chosen = gathered - {"prompt"} or gathered
    return tuple(method for method in METHODS if method in chosen)


def _choose(node: Node, view: View) -> Taken | Question:
    if node.kind == "ask" and view.value(node.fact) is None:
        return Question(node.fact, load_vocabulary()[node.fact].why)
    refused: list[Condition] = []
    for edge in node.edges:
        truth = True if edge.when is None else edge.when.holds(view)
        if truth is None:
            assert edge.when is not None  # only a condition is open
            missing = edge.when.missing(view)
            if missing:
                return Question(missing, load_vocabulary()[missing].why)
        if truth:
            grounds = (node.fact,) if node.kind == "ask" else _grounds(edge, refused, view)
            return Taken(node, edge, grounds)
        if edge.when is not None:
            refused.append(edge.when)
    raise AssertionError(f"node {node.id} has no edge to take")  # the loader checks that the last edge is open


def _grounds(edge: Edge, refused: list[Condition], view: View) -> tuple[str, ...]:
    """The facts that settled a test: those of the condition that held, or of all that did not."""
    settling = [edge.when] if edge.when else refused
    return tuple(dict.fromkeys(name for condition in settling for name in condition.support(view)))


# -- loading -----------------------------------------------------------------------------------------


@functools.cache
def load_chart() -> Chart:
    """The product's chart. Raises `ValueError` listing every fault."""
    return read_chart((KNOWLEDGE / "flowchart.yaml").read_text(encoding="utf-8"))


def read_chart(source: str) -> Chart:
    """The chart that a YAML text describes. Raises `ValueError` listing every fault, repeated keys among them."""
    raw, repeated = read_yaml(source)
    return parse_chart(raw, repeated)


def parse_chart(raw: Mapping[str, Any], known_faults: Iterable[str] = ()) -> Chart:
    """The chart that `raw` describes. Raises `ValueError` listing every fault, after those already known.

    Checked: facts and options, methods, sources, translations, `why`, that the last edge of a test is open and no
    earlier one is, that every condition is used and every node reached, that no path comes back, and that every end
    has an outcome. Not checked: that facts exist by which an edge is taken (tests find such facts for each).
    """
    faults = list(known_faults)
    specs = load_vocabulary()
    named = _Names(specs, faults)
    for name, body in (raw.get("conditions") or {}).items():
        named.known[name] = parse(body, specs, f"conditions.{name}", faults, named.read)
    bodies: Mapping[str, Any] = raw.get("nodes") or {}
    nodes = {name: _node(name, body, bodies, named, faults) for name, body in bodies.items()}
    root = str(raw.get("root"))
    if root not in nodes:
        faults.append(f"root: unknown node '{root}'{did_you_mean(root, nodes)}")
    chart = Chart(root, nodes)
    faults += [f"conditions.{name}: never used" for name in named.known if name not in named.used]
    if root in nodes:
        faults += _shape_faults(chart)
    if faults:
        raise ValueError("flowchart.yaml:\n" + "\n".join(f"  {fault}" for fault in faults))
    return chart


BLANK = {"en": "?", "zh": "？"}  # stands for the text of a node whose kind is not known


class _Names:
    """Reads ``{feasible: method}`` and ``{condition: name}``."""

    def __init__(self, specs: Mapping[str, FactSpec], faults: list[str]) -> None:
        self.known: dict[str, Condition] = {}
        self.used: set[str] = set()

    def read(self, kind: str, body: Any, where: str, faults: list[str]) -> Condition | None:
        never = All(())
        if kind == "feasible":
            cards = load_cards()
            if body in METHODS:
                return cards[body].feasible()
            faults.append(f"{where}: unknown method '{body}'{did_you_mean(str(body), METHODS)}")
            return never
        if kind == "condition":
            if body in self.known:
                self.used.add(body)
                return self.known[body]
            faults.append(f"{where}: unknown condition '{body}'{did_you_mean(str(body), self.known)}")
            return never
        return None


KEYS = {"ask": {"ask", "edges"}, "test": {"test", "edges"}, "end": {"end", "text"}}


def _node(name: str, raw: object, nodes: Mapping[str, Any], named: _Names, faults: list[str]) -> Node:
    body = raw if isinstance(raw, Mapping) else {}
    kinds = [kind for kind in KEYS if kind in body]
    if len(kinds) != 1:
        faults.append(f"{name}: a node is one of ask, test, end; got {', '.join(kinds) or 'none'}")
        kinds, body = ["test" if "edges" in body else "end"], {"test": BLANK, "end": ["prompt"], "text": BLANK, **body}
    else:
        faults += [f"{name}: unknown key '{key}'" for key in body if key not in KEYS[kinds[0]]]
    if kinds == ["end"]:
        methods = _method_names(body["end"], name, faults)
        return Node(name, "end", translated(body.get("text"), name, faults), methods=methods)
    edges = tuple(
        _edge(edge, f"{name}.edges[{number}]", nodes, named, faults)
        for number, edge in enumerate(body.get("edges") or (), 1)
    )
    faults += _edge_faults(name, edges)
    if kinds == ["test"]:
        return Node(name, "test", translated(body["test"], f"{name}.test", faults), edges=edges)
    fact, specs = str(body["ask"]), load_vocabulary()
    if fact not in specs:
        faults.append(f"{name}: unknown fact '{fact}'{did_you_mean(fact, specs)}")
    return Node(name, "ask", specs[fact].question if fact in specs else {}, fact=fact, edges=edges)


def _edge_faults(name: str, edges: tuple[Edge, ...]) -> Iterator[str]:
    if not edges:
        yield f"{name}: no edges"
    elif edges[-1].when is not None:
        yield f"{name}: missing branch: the last edge has a condition, so a walk can get stuck"
    for number, edge in enumerate(edges[:-1], 1):
        if edge.when is None:
            yield f"{name}.edges[{number}]: no condition, so the edges after it are never taken"


def _edge(body: object, where: str, nodes: Mapping[str, Any], named: _Names, faults: list[str]) -> Edge:
    raw = body if isinstance(body, Mapping) else {}
    to = str(raw.get("to"))
    if to not in nodes:
        faults.append(f"{where}: unknown node '{to}'{did_you_mean(to, nodes)}")
    source, strength = str(raw.get("source", "")), str(raw.get("strength", ""))
    if source not in read_knowledge("sources.yaml")["sources"]:
        faults.append(f"{where}: unknown source '{source}'" if source else f"{where}: no source")
    if strength not in STRENGTHS:
        faults.append(f"{where}: strength must be one of {', '.join(STRENGTHS)}, got {strength!r}")
    strange = set(raw) - {"when", "to", "add", "answer", "why", "source", "strength"}
    faults += [f"{where}: unknown key '{key}'" for key in sorted(strange)]
    return Edge(
        when=parse(raw["when"], load_vocabulary(), where, faults, named.read) if "when" in raw else None,
        to=to,
        add=_method_names(raw.get("add") or [], where, faults),
        answer=translated(raw.get("answer"), f"{where}.answer", faults),
        why=translated(raw.get("why"), f"{where}.why", faults),
        source=source,
        strength=strength,
    )


def _method_names(raw: Any, where: str, faults: list[str]) -> tuple[str, ...]:
    names = tuple(raw) if isinstance(raw, list) else (raw,)
    faults += [f"{where}: unknown method '{n}'{did_you_mean(str(n), METHODS)}" for n in names if n not in METHODS]
    return names


def _shape_faults(chart: Chart) -> Iterator[str]:
    """Faults of the whole: nodes never reached, paths that come back, ends that may have no outcome."""
    order, cycles = _order(chart)
    yield from (f"cycle: {cycle}" for cycle in cycles)
    yield from (f"{name}: unreachable" for name in chart.nodes if name not in order)
    empty = {chart.root}  # reached by a path that has added nothing
    for name in order:
        node = chart.nodes[name]
        if name in empty and node.kind == "end" and not node.methods:
            yield f"{name}: can be reached with no method at all"
        empty |= {edge.to for edge in node.edges if name in empty and not edge.add}


def _order(chart: Chart) -> tuple[list[str], list[str]]:
    """The nodes that are reached, each before those it leads to; and each way back into a path, in words."""
    done: list[str] = []
    trail: list[str] = []
    cycles: list[str] = []

    def visit(name: str) -> None:
        if name in trail:
            cycles.append(" → ".join([*trail[trail.index(name) :], name]))
        elif name not in done and name in chart.nodes:
            trail.append(name)
            for target in dict.fromkeys(edge.to for edge in chart.nodes[name].edges):
                visit(target)
            trail.pop()
            done.append(name)

    visit(chart.root)
    return done[::-1], cycles
