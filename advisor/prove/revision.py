"""The decision taken up again by what was measured: facts go back into it, the chart is walked again, and rules that
the rows contradict are named.

What a user said stands unless the measurement contradicts it: a score outside its 95 % interval, a cause that was found
where it was denied or ruled out where it was named, a competence that no part of the interval allows. It is then told
of. See `evidence` for how each value follows from answers.

Covered: `baseline_score`, `failure`, `base_competence`; claims of the chart's edges (`knowledge/claims.yaml`) and the
recommendation itself against comparisons on the same rows. Not covered: vetoes, which no race can test, and facts that
no answer tells of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor import formats, words
from advisor.conditions import Value
from advisor.decision import Decision, Step, decision_of, methods_in_words
from advisor.facts import Fact
from advisor.flowchart import Edge, load_chart
from advisor.profile.trial import LEAST
from advisor.prove import evidence
from advisor.prove.evidence import FLOOR, LOOKING_UP, Answered, Finding, Ground
from advisor.prove.records import FOLDER, Race
from advisor.revisit.compare import Difference, differ
from advisor.texts import LANGUAGES, read_knowledge, text
from executors.base import SCHEMA_VERSION, Problem, Row, Score, Text, UserError, write_json

FILE = "revision.json"  # in the race's folder
PARTS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "facts": frozenset({"facts"}),
    "behaviour": frozenset({"behaviour"}),
    "both": frozenset({"facts", "behaviour"}),
}
LEVEL = 0.05


@dataclass(frozen=True)
class Contradiction:
    """A rule that the rows contradict: `one` scores `difference` more than `other`, which the rule holds no worse.

    `rule`, `source` and `strength` are of the edge taken at `node`; `p` is two-sided, corrected (Holm) for all rules
    that were looked at. `difference` is positive where `one` is better, whatever the metric's direction.
    """

    node: str
    rule: Text
    source: str
    strength: str
    one: str
    other: str
    difference: Score
    p: float
    text: Text


@dataclass(frozen=True)
class Revision:
    """A decision before and after a race. `facts`: those that the race put in; `overruled`: answers it contradicts."""

    before: Decision
    after: Decision
    facts: tuple[Fact, ...]
    overruled: tuple[Text, ...]
    contradictions: tuple[Contradiction, ...]
    difference: Difference
    told: tuple[Text, ...] = ()  # all of it in sentences


def revise(decision: Decision, race: Race, folder: Path) -> Revision:
    """Take up a run's decision by its race, and record it as `RUN/prove/revision.json`."""
    tried = any(one.pilot for one in race.standings if one.name != FLOOR)
    chosen, rule = (race.choice.chosen, race.choice.rule) if race.choice and tried else ("", "")
    found = revised(decision, read_ground(race, folder, decision.facts), chosen, rule)
    write_json(folder / FOLDER / FILE, {"schema_version": SCHEMA_VERSION, **_plain(found)})
    return found


def revised(decision: Decision, ground: Ground, chosen: str = "", rule: str = "") -> Revision:
    """The same of any answers; nothing is recorded. `chosen`: what they were found to speak for, by which `rule`."""
    from advisor.commands.ask import complete
    from advisor.revisit import known_facts, profile_warnings

    measured = measure(ground, decision.facts)
    kept, overruled = merge(measured, decision.facts, ground)
    facts = known_facts(decision).with_(*kept)
    after = complete(facts, decision.inputs, decision.run, profile_warnings(decision)) if kept else decision
    contradictions = tuple(contradicted(decision, ground))
    difference = differ(decision, after)
    told = tuple(_told(decision, after, kept, overruled, contradictions, difference, chosen, rule))
    return Revision(decision, after, kept, overruled, contradictions, difference, told)


def measured_facts(race: Race, folder: Path) -> tuple[Fact, ...]:
    """What the answers of a race say: `baseline_score`, `failure`, `base_competence`, as far as they say anything."""
    return measure(read_ground(race, folder))


# -- the answers of a race -----------------------------------------------------------------------------------


def read_ground(race: Race, folder: Path, believed: Mapping[str, Fact] | None = None) -> Ground:
    """The held-out rows of a race in `folder`, and what each candidate's latest pilot answered."""
    place = folder / FOLDER
    pilots = {one.name: one.pilot for one in race.standings if one.pilot and one.pilot.score}
    answered = {
        name: read_answered(name, tuple(race.standing(name).methods), place / pilot.folder, whole=pilot.share >= 1)
        for name, pilot in pilots.items()
    }
    rows = read_rows(place / next(iter(pilots.values())).folder) if pilots else ()
    return ground_of(race.task, race.metric, rows, answered, race.target, believed)


def ground_of(
    task: str,
    metric: str,
    rows: tuple[Row, ...],
    answered: Mapping[str, Answered],
    target: float | None,
    believed: Mapping[str, Fact] | None = None,
) -> Ground:
    """Answers draw on documents where a candidate looked something up, or where a body of text is believed to be."""
    tokens = (believed or {}).get("knowledge_tokens")
    documents = bool(tokens and float(tokens.value) >= 1) or any(name in answered for name in LOOKING_UP)
    return Ground(task, metric, rows, answered, target, documents)


def read_answered(name: str, methods: tuple[str, ...], run: Path, *, whole: bool = True) -> Answered:
    """What a finished run answered, with the causes of its triage."""
    from advisor.report.triage import read_triage
    from executors.run import read_predictions

    triage = read_triage(run)
    causes = {str(one["id"]): str(one["kind"]) for one in triage["failures"]} if triage else {}
    return Answered(name, methods, read_predictions(run / "predictions.jsonl"), causes, whole, _writes(run, methods))


def _writes(run: Path, methods: tuple[str, ...]) -> bool:
    """Whether the language model answers, by writing or by weighing passages: without one, sentences are quoted."""
    from executors.retriever.params import SPEC, read_setup

    path = run / "artifact" / SPEC
    return methods != ("rag",) or not path.is_file() or read_setup(path).reader != "quote"


def read_rows(run: Path) -> tuple[Row, ...]:
    """All held-out rows of a finished run's plan."""
    from dataclasses import replace

    from advisor.plan import plan_of
    from executors.data import load_dataset
    from executors.run import read_about

    plan = plan_of(read_about(run)["plan"])
    return load_dataset(replace(plan.data, rows=0, scored=0), plan.task, plan.seed).test


# -- facts ---------------------------------------------------------------------------------------------------


def measure(ground: Ground, believed: Mapping[str, Fact] | None = None) -> tuple[Fact, ...]:
    """The facts that follow from answers. `believed`: what a cause that was not tried stays at."""
    found = (_baseline(ground), _failure(ground, (believed or {}).get("failure")), _competence(ground))
    return tuple(fact for fact in found if fact is not None)


def _baseline(ground: Ground) -> Fact | None:
    found = evidence.prompt_score(ground)
    if found is None:
        return None
    metric, score = found
    told = text(
        "revision.baseline" if ground.answered[evidence.PROMPT].whole else "revision.baseline_part",
        metric={lang: words.label("metric", metric, lang) for lang in LANGUAGES},
        score=formats.score(score.value),
        low=formats.score(score.low),
        high=formats.score(score.high),
        n=score.n,
    )
    return Fact("baseline_score", round(score.value, 3), "measured", told)


def _competence(ground: Ground) -> Fact | None:
    found = evidence.base_competence(ground)
    return Fact("base_competence", found.level, "measured", found.why) if found else None


def _failure(ground: Ground, believed: Fact | None) -> Fact | None:
    """What is wrong: the causes that were found, and those that were believed and not tried. None where none was found.

    Where the prompt is surely at the target nothing is; where it is surely below and one cause is ruled out, the other
    is there by elimination.
    """
    found = evidence.prompt_score(ground)
    at_target = evidence.reaches(ground, found[1]) if found else None
    if found and at_target:
        told = {"low": formats.score(found[1].low), "high": formats.score(found[1].high)}
        why = text("revision.nothing_wrong", target=formats.score(ground.target or 0), **told)
        return Fact("failure", "none", "measured", why)
    findings = {"facts": evidence.facts_missing(ground), "behaviour": evidence.behaviour_wrong(ground)}
    causes = {cause: finding.why for cause, finding in findings.items() if finding.there}
    if not causes and at_target is False:
        causes = _by_elimination(findings)
    if not causes:
        return None
    before = PARTS[str(believed.value)] if believed else frozenset()
    carried = [cause for cause in before if cause not in causes and findings[cause].there is None]
    reasons = [*causes.values(), *(text("revision.carried", cause=_cause(cause)) for cause in carried)]
    reasons += [finding.why for cause, finding in findings.items() if finding.there is False and cause not in causes]
    value = next(name for name, parts in PARTS.items() if parts == {*causes, *carried})
    return Fact("failure", value, "measured", _joined(reasons))


def _by_elimination(findings: Mapping[str, Finding]) -> dict[str, Text]:
    """The cause that is left where the other is ruled out."""
    for out, left in (("facts", "behaviour"), ("behaviour", "facts")):
        if findings[out].there is False and findings[left].there is None:
            return {left: text("revision.by_elimination", cause=_cause(left), other=findings[out].why)}
    return {}


def _cause(cause: str) -> Text:
    return text(f"revision.cause.{cause}")


def _joined(reasons: Iterable[Text]) -> Text:
    told = [reason for reason in reasons if reason]
    return {lang: text("revision.and")[lang].join(reason[lang] for reason in told) for lang in LANGUAGES}


def merge(
    measured: Iterable[Fact], before: Mapping[str, Fact], ground: Ground
) -> tuple[tuple[Fact, ...], tuple[Text, ...]]:
    """(facts to put in, what was said and is contradicted). What was asked and is not contradicted is left as it is."""
    kept, overruled = [], []
    for fact in measured:
        earlier = before.get(fact.id)
        if earlier is not None and earlier.origin == "asked":
            if not _contradicts(fact, earlier.value, ground):
                continue
            overruled.append(_overruling(earlier, fact))
        kept.append(fact)
    return tuple(kept), tuple(overruled)


def _contradicts(fact: Fact, asked: Value, ground: Ground) -> bool:
    if fact.id == "baseline_score":
        found = evidence.prompt_score(ground)
        return found is not None and not found[1].low <= float(asked) <= found[1].high
    if fact.id == "base_competence":
        level = evidence.base_competence(ground)
        return level is not None and asked not in level.possible
    found = evidence.prompt_score(ground)
    if asked == "none" and found and evidence.reaches(ground, found[1]) is not False:
        return False  # that a cure exists does not make answers bad that are good enough
    return fact.value != asked


def _overruling(asked: Fact, measured: Fact) -> Text:
    return text(
        "revision.overruled",
        fact=_fact_name(measured.id),
        asked=_value(asked),
        measured=_value(measured),
        why=measured.evidence,
    )


def _fact_name(name: str) -> Text:
    return {lang: words.fact_name(name, lang) for lang in LANGUAGES}


def _value(fact: Fact) -> Text:
    return {lang: words.value_text(fact.id, fact.value, lang) for lang in LANGUAGES}


# -- rules against rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Claim:
    """What the rule of one step holds: `other` is no worse than `one`."""

    step: Step
    one: str
    other: str


def contradicted(decision: Decision, ground: Ground) -> Iterable[Contradiction]:
    """The rules of the path that rows contradict, each by the comparison that does so most."""
    from executors.metrics.compare import better, holm, mean_difference, p_value, row_values

    made = (*_recommended(decision, ground), *_claims(decision, ground))
    claims = list({(one.step.node, one.one, one.other): one for one in made}.values())
    gaps = []
    for claim in claims:
        rows = ground.shared(claim.one, claim.other)
        one, other = (
            better(row_values(ground.task, ground.metric, rows, ground.given(name, rows)), ground.metric)
            for name in (claim.one, claim.other)
        )
        gaps.append(one - other)
    worst: dict[str, Contradiction] = {}
    for claim, gap, p in zip(claims, gaps, holm([p_value(gap) for gap in gaps]), strict=True):
        found = mean_difference(gap)
        if p >= LEVEL or found.value <= 0:
            continue
        earlier = worst.get(claim.step.node)
        if earlier is None or found.value > earlier.difference.value:
            worst[claim.step.node] = _contradiction(claim, found, p)
    return worst.values()


def _claims(decision: Decision, ground: Ground) -> Iterable[_Claim]:
    """What the edges of the path claim of candidates that were raced. The best of those held to be better stands."""
    for step in decision.path:
        for raw in read_knowledge("claims.yaml")["claims"]:
            if raw["node"] != step.node or not _same_edge(step, raw):
                continue
            held = [name for name in ground.answered if name in raw["better"] and ground.answered[name].whole]
            others = [name for name in ground.answered if name in raw["than"]]
            yield from _against_best(step, held, others, ground)


def _recommended(decision: Decision, ground: Ground) -> Iterable[_Claim]:
    """That nothing which was raced is better than what is recommended; the rule is the step that brought it."""
    name = "+".join(decision.methods)
    if name not in ground.answered or not ground.answered[name].whole or not decision.path:
        return
    edges = {step.node: _edge(step) for step in decision.path}
    adding = [step for step in decision.path if (edge := edges[step.node]) and {*edge.add} & {*decision.methods}]
    step = (adding or [decision.path[-1]])[-1]
    others = [other for other in ground.answered if other not in (name, FLOOR)]
    yield from _against_best(step, [name], others, ground)


def _against_best(step: Step, held: list[str], others: list[str], ground: Ground) -> Iterable[_Claim]:
    """Each of `others` against the best of `held`, on rows enough to tell."""
    from executors.metrics import HIGHER_IS_BETTER

    if not held:
        return
    sign = 1 if HIGHER_IS_BETTER.get(ground.metric, True) else -1
    best = max(held, key=lambda name: sign * ground.scores(name, ground.shared(name))[ground.metric].value)
    yield from (_Claim(step, one, best) for one in others if len(ground.shared(one, best)) >= LEAST)


def _same_edge(step: Step, raw: Mapping[str, Any]) -> bool:
    edge = _edge(step)
    return edge is not None and edge.to == raw["to"] and ("adds" not in raw or raw["adds"] in edge.add)


def _edge(step: Step) -> Edge | None:
    """The edge of today's chart that a recorded step took; None where the chart has changed since."""
    node = load_chart().nodes.get(step.node)
    edges = node.edges if node else ()
    return next((edge for edge in edges if (edge.why, edge.source) == (dict(step.why), step.source)), None)


def _contradiction(claim: _Claim, found: Score, p: float) -> Contradiction:
    step = claim.step
    told = text(
        "revision.contradicted",
        rule=step.why,
        strength={lang: words.label("strength", step.strength, lang) for lang in LANGUAGES},
        source=step.source,
        one=_method(claim.one),
        other=_method(claim.other),
        difference=formats.score(found.value),
        low=formats.score(found.low),
        high=formats.score(found.high),
        n=found.n,
        p=f"{p:.2g}",
    )
    return Contradiction(step.node, step.why, step.source, step.strength, claim.one, claim.other, found, p, told)


def _method(name: str) -> Text:
    return {lang: words.method_name(name, lang) for lang in LANGUAGES}


# -- in sentences ----------------------------------------------------------------------------------------------


def _told(
    before: Decision,
    after: Decision,
    facts: Iterable[Fact],
    overruled: tuple[Text, ...],
    contradictions: tuple[Contradiction, ...],
    difference: Difference,
    chosen: str,
    rule: str,
) -> Iterable[Text]:
    """What was found, whether the recommendation moves and why, and which rules do not hold here."""
    said = {fact.id for fact in before.facts.values() if fact.origin == "asked"}
    for fact in facts:
        if fact.id not in said:
            yield text("revision.found", fact=_fact_name(fact.id), measured=_value(fact), why=fact.evidence)
    yield from overruled
    methods = {"before": methods_in_words(before.methods), "after": methods_in_words(after.methods)}
    if difference.stands:
        yield text("revision.stands", after=methods["after"])
    elif difference.parting:
        step = difference.parting.after
        yield text("revision.moved", step=step.text, answer=step.answer, why=step.why, **methods)
    else:
        yield text("revision.moved_end", **methods)
    if rule == "floor":
        yield text("revision.chart_and_floor", after=methods["after"])
    elif chosen and {*chosen.split("+")} != {*after.methods}:
        yield text("revision.chart_and_race", after=methods["after"], chosen=_method(chosen))
    yield from (one.text for one in contradictions)


# -- the record ------------------------------------------------------------------------------------------------


def _plain(revision: Revision) -> dict[str, Any]:
    """All but the difference, which follows from the two decisions."""
    from dataclasses import fields

    from executors.base import to_dict

    kept = [one.name for one in fields(Revision) if one.name != "difference"]
    return {name: to_dict(getattr(revision, name)) for name in kept}


def read_revision(folder: Path) -> Revision | None:
    """The revision of a run; None where there is none. Raises `UserError` where the record is damaged."""
    path = folder / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        return _revision_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = f"advisor prove {folder.name}"
        zh = Problem(f"无法读取 {path}：{error}", f"删除后重新运行：{again}")
        raise UserError(f"{path} cannot be read: {error}", f"delete it and race again: {again}", zh) from error


def _revision_of(raw: Mapping[str, Any]) -> Revision:
    before, after = decision_of(raw["before"]), decision_of(raw["after"])
    return Revision(
        before=before,
        after=after,
        facts=tuple(Fact(**one) for one in raw["facts"]),
        overruled=tuple(raw["overruled"]),
        contradictions=tuple(
            Contradiction(**{**one, "difference": Score(**one["difference"])}) for one in raw["contradictions"]
        ),
        difference=differ(before, after),
        told=tuple(raw["told"]),
    )
