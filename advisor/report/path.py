"""The path of a decision: drawn, told step by step with its sources, and shown within the whole chart."""

from __future__ import annotations

from advisor import words
from advisor.decision import Decision, Step
from advisor.drawing.scene import path_alone, retrace, scene
from advisor.flowchart import load_chart
from advisor.report.blocks import Block, Prose, Stop, Walk
from advisor.sources import cite, link
from advisor.texts import say


def path(decision: Decision, lang: str) -> list[Block]:
    """The section's blocks. A path that today's chart no longer has is drawn without the rest of the chart."""
    if not decision.path:
        return []
    whole = retrace(load_chart(), decision.path) is not None
    drawn = scene(load_chart(), lang, decision) if whole else path_alone(decision, lang)
    stops = tuple(_stop(step, lang) for step in decision.path)
    methods, title = words.methods_name(decision.methods, lang), say("chart.whole", lang) if whole else ""
    walk = Walk(stops, methods, drawn, say("chart.shapes", lang), title)
    return [Prose(say("report.path_lead", lang), "lead"), walk]


def _stop(step: Step, lang: str) -> Stop:
    return Stop(
        question=step.text[lang],
        answer=step.answer[lang],
        why=step.why[lang],
        source=cite(step.source),
        href=link(step.source),
        strength=words.label("strength", step.strength, lang),
        assumed=step.assumed,
    )
