"""The ladder climbed by itself: run the cheapest rung, measure, read what is wrong, pull the lever that this names.

It begins with the cheaper of plain prompting and the first stage of the recommendation. After each rung the facts that
its answers measured go into the decision and the chart is walked again (`revision`). The next rung is the first of what
it now recommends, stage by stage, that was not run; else the cheapest method left that cures the failure that was read:
of missing facts what looks up, of wrong behaviour what learns from labelled rows, of both either. While no failure was
read any allowed method is a lever. It stops at the target, at the budget, or when no lever is left. Every rung is a run
to the end, as of `advisor run`, in a folder of its own, and is kept; a climb that was broken off goes on.

The target is reached by the point estimate; whether the whole 95 % interval is above it is told as well. Not covered:
a correction for the number of looks: of several rungs near the target one passes it by luck more easily than one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from advisor import formats
from advisor.advice.ladder import ORDER
from advisor.decision import Decision, decide
from advisor.facts import Fact, Facts
from advisor.prove.candidates import FLOOR, Candidate, candidates
from advisor.prove.evidence import LOOKING_UP, PROMPT, Answered
from advisor.prove.learning import learns
from advisor.prove.pilots import sharing_cap
from advisor.prove.records import Standing
from advisor.prove.revision import ground_of, measure, merge, read_answered, read_rows
from advisor.texts import LANGUAGES, say, text
from advisor.words import method_name
from executors.base import SCHEMA_VERSION, Plan, Problem, Result, Score, Text, UserError, write_json

if TYPE_CHECKING:
    from executors.chain import Chain

FOLDER = "until"  # in the run's folder
FILE = "climb.json"
CRASH = "crash.txt"

Status = Literal["running", "reached", "budget", "exhausted", "interrupted"]


@dataclass(frozen=True)
class RungRun:
    """One rung: a method run to the end. `folder` is within the climb's; `read`: the failure that was then read.

    `surely`: the whole interval is at or above the target; `foretold` and `seconds` of the run, its floor included.
    """

    name: str
    methods: tuple[str, ...]
    folder: str
    why: Text
    state: Literal["running", "done", "failed"] = "running"
    score: Score | None = None
    reached: bool = False
    surely: bool = False
    foretold: float = 0.0
    seconds: float = 0.0
    read: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # wrong answers by kind of cause, where the method tells
    error: str = ""


@dataclass(frozen=True)
class Climb:
    """All of it. `budget` and `spent` in seconds, None for no limit; `skipped`: levers not pulled, with the reason."""

    run: str
    target: float
    budget: float | None
    metric: str = ""
    spent: float = 0.0
    status: Status = "running"
    rungs: tuple[RungRun, ...] = ()
    skipped: Mapping[str, Text] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()  # that the rungs measured
    told: Text = field(default_factory=dict)  # why it ended
    created: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION

    @property
    def best(self) -> RungRun | None:
        """The rung with the best score, the floor aside; the first of equal ones."""
        from executors.metrics import HIGHER_IS_BETTER

        sign = 1 if HIGHER_IS_BETTER.get(self.metric, True) else -1
        scored = [one for one in self.rungs if one.score and one.name != FLOOR]
        return max(scored, key=lambda one: sign * one.score.value if one.score else 0.0) if scored else None


Run = Callable[[Path, "Plan | Chain", str], Result]
"""Runs a plan in a folder, where it goes on from what was done; the last is the command that goes on."""


def run_until(
    folder: Path,
    decision: Decision,
    target: float,
    minutes: float | None,
    lang: str,
    *,
    as_json: bool = False,
    seed: int = 0,
    endpoint: Mapping[str, Any] | None = None,
) -> Climb:
    """Climb the ladder of a run until `target`, of the deciding metric (an error: until it is as low), or `minutes`.

    Prints a line a rung and at last all of them. Raises `UserError` for data that cannot be used, and
    `KeyboardInterrupt` with every rung kept.
    """
    from advisor.commands.shared import console
    from advisor.screen.until import show_climb, tell_rung

    screen = console(stderr=True)
    climbing = Climbing(folder, decision, target, minutes, _runner(lang, screen), seed, endpoint)
    climbing.shown = lambda climb: tell_rung(climb, lang, screen)
    try:
        climb = climbing.climb()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(say("until.kept", lang, again=climbing.again)) from None
    if as_json:
        click.echo((folder / FOLDER / FILE).read_text(encoding="utf-8").rstrip())
    else:
        show_climb(climb, lang, console())
    return climb


def _runner(lang: str, screen: Any) -> Run:
    """As `advisor run` does it: plan written and shown, estimate, floor, report."""

    def run(folder: Path, plan: Plan | Chain, again: str) -> Result:
        from advisor.commands import chained
        from advisor.commands import run as single
        from advisor.commands.report import write_reports

        if isinstance(plan, Plan):
            result, _ = single.carry_out(folder, single.begin(folder, plan, lang, screen), lang, screen, again)
        else:
            chained.check(plan)
            chained.begin(folder, plan, lang, screen)
            result, _ = chained.carry_out(folder, plan, lang, screen, again)
        write_reports(folder, lang)
        return result

    return run


class Climbing:
    """The state of a climb: its record, and what the rungs have answered so far."""

    def __init__(
        self,
        folder: Path,
        decision: Decision,
        target: float,
        minutes: float | None,
        run: Run,
        seed: int = 0,
        endpoint: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.decision, self.now = folder, decision, decision
        self.run, self.seed, self.endpoint = run, seed, endpoint
        self.shown: Callable[[Climb], None] = lambda climb: None
        self.earlier = read_climb(folder)
        budget = None if minutes is None else 60 * minutes
        created = self.earlier.created if self.earlier else ""
        created = created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.record = Climb(folder.name, target, budget, created=created)
        self.answered: dict[str, Answered] = {}
        self._made: dict[object, tuple[list[Candidate], list[Standing]]] = {}
        self.dear: dict[str, Text] = {}  # levers that the budget cannot pay
        self.task = ""

    @property
    def again(self) -> str:
        return f"advisor prove {self.folder.name} --until {self.record.target:g}"

    def climb(self) -> Climb:
        try:
            while self.record.status == "running":
                self._step()
        except KeyboardInterrupt:
            self._change(status="interrupted")
            raise
        return self.record

    def _step(self) -> None:
        """Run the next rung, or end."""
        open_ = self._open()
        if not self.record.rungs:
            floor = next(one for one in open_ if one.name == FLOOR)
            self._pull(floor, text("until.why_floor"))
            return
        chosen = self._next([one for one in open_ if one.name != FLOOR])
        if chosen is None:
            self._end()
        else:
            self._pull(*chosen)

    # -- which rung ------------------------------------------------------------------------------------

    def _open(self) -> list[Candidate]:
        """What can be run by today's decision and was not run, cheapest first."""
        found, refused = self._candidates()
        run = {rung.name for rung in self.record.rungs}
        skipped = {one.name: one.why for one in refused if one.name not in run}
        self.record = replace(self.record, skipped=skipped)
        return [one for one in found if one.name not in run]

    def _candidates(self) -> tuple[list[Candidate], list[Standing]]:
        """Made anew only where the decision allows or advises others than before: each is planned and estimated."""
        verdicts = tuple((ranked.method, ranked.verdict) for ranked in self.now.ranking)
        key = (self.now.methods, frozenset(verdicts), tuple(self.now.variants.items()))
        if key not in self._made:
            self._made[key] = candidates(self.now, self.now.inputs, self.seed, self.endpoint)
        return self._made[key]

    def _next(self, open_: list[Candidate]) -> tuple[Candidate, Text] | None:
        """The lever to pull and why; None where none is left that the budget can pay."""
        for candidate, why, paid in (*self._replayed(open_), *((*one, False) for one in self._levers(open_))):
            if paid or self.record.budget is None or self.record.spent + candidate.seconds <= self.record.budget:
                return candidate, why
            self._skip(candidate)
        return None

    def _replayed(self, open_: list[Candidate]) -> list[tuple[Candidate, Text, bool]]:
        """The rung that this very climb had here before, so that one that goes on takes the same way; whether it is
        done and costs nothing any more."""
        number = len(self.record.rungs)
        if self.earlier is None or number >= len(self.earlier.rungs):
            return []
        rung = self.earlier.rungs[number]
        return [(one, rung.why, rung.state == "done") for one in open_ if one.name == rung.name]

    def _levers(self, open_: list[Candidate]) -> Iterable[tuple[Candidate, Text]]:
        """Levers in the order in which they are pulled."""
        by_name = {one.name: one for one in open_}
        advised = [by_name[name] for name in stages(self.now) if name in by_name]
        if len(self.record.rungs) == 1:  # nothing but the floor was run
            first = [one for one in open_ if one.name == PROMPT or one in advised[:1]]
            yield from ((one, text("until.why_first")) for one in first)
            return
        yield from ((one, text("until.why_chart")) for one in advised)
        failure = self._failure()
        for one in open_:
            if one not in advised and cures(one.methods, failure):
                yield one, text(f"until.why_{failure or 'open'}")

    def _failure(self) -> str:
        """The failure that was read; empty while none was."""
        fact = next((one for one in self.record.facts if one.id == "failure"), None)
        return "" if fact is None or fact.value == "none" else str(fact.value)

    def _skip(self, candidate: Candidate) -> None:
        left = max(0.0, (self.record.budget or 0.0) - self.record.spent)
        need, rest = (
            {lang: formats.seconds(seconds, None, lang) for lang in LANGUAGES} for seconds in (candidate.seconds, left)
        )
        self.dear[candidate.name] = text("until.too_dear", time=need, left=rest)
        self.record = replace(self.record, skipped={**self.record.skipped, **self.dear})

    # -- one rung --------------------------------------------------------------------------------------

    def _pull(self, candidate: Candidate, why: Text) -> None:
        """Run one rung, measure it, and walk the chart again. What it crashes of is recorded; the climb goes on."""
        number = len(self.record.rungs)
        name = f"{number}-{candidate.name}"
        rung = RungRun(candidate.name, candidate.methods, name, why, foretold=candidate.seconds)
        before, place = self._spent_before(rung), self.folder / FOLDER / name
        place.mkdir(parents=True, exist_ok=True)
        self._change(rungs=(*self.record.rungs, rung))
        begin = time.monotonic()
        try:
            write_json(place / "decision.json", dataclasses.replace(self.now, run=str(place)))
            rung = self._measured(
                rung, self.run(place, sharing_cap(candidate.plan, place.parent, place), self.again), place
            )
        except Exception as error:  # noqa: BLE001 (whatever one rung fails of, the next may do)
            (place / CRASH).write_text(traceback.format_exc(), encoding="utf-8")
            rung = replace(rung, state="failed", error=" ".join(f"{type(error).__name__}: {error}".split()))
        finally:
            rung = replace(rung, seconds=round(before + time.monotonic() - begin, 2))
            self._put(rung)
        self._read()
        if self.record.rungs[-1].reached:
            self._end()
        self._write()
        self.shown(self.record)

    def _spent_before(self, rung: RungRun) -> float:
        """Seconds that this rung took in an earlier call."""
        earlier = self.earlier.rungs if self.earlier else ()
        return next((one.seconds for one in earlier if one.folder == rung.folder), 0.0)

    def _measured(self, rung: RungRun, result: Result, place: Path) -> RungRun:
        from advisor.report.triage import read_triage
        from executors.metrics import HIGHER_IS_BETTER

        self.task = result.task
        self.record = replace(self.record, metric=result.metric)
        score, target = result.scores[result.metric], self.record.target
        up = HIGHER_IS_BETTER.get(result.metric, True)
        self.answered[rung.name] = read_answered(rung.name, rung.methods, place)
        triage = read_triage(place)
        return replace(
            rung,
            state="done",
            score=score,
            reached=rung.name != FLOOR and (score.value >= target if up else score.value <= target),
            surely=rung.name != FLOOR and (score.low >= target if up else score.high <= target),
            counts=dict(triage["counts"]) if triage else {},
        )

    def _put(self, rung: RungRun) -> None:
        """The rung as it is now, and what all of them took."""
        rungs = (*self.record.rungs[:-1], rung)
        self._change(rungs=rungs, spent=sum(one.seconds for one in rungs))

    def _read(self) -> None:
        """Read the failure from all rungs, and decide anew by what they measured."""
        from advisor.revisit import known_facts

        if not self.answered:
            return
        place = self.folder / FOLDER
        done = next(one for one in self.record.rungs if one.state == "done")
        believed, metric = self.decision.facts, self.record.metric
        target = self.record.target if self.task != "regression" else None
        ground = ground_of(self.task, metric, read_rows(place / done.folder), self.answered, target, believed)
        measured = measure(ground, believed)
        kept, _ = merge(measured, believed, ground)
        aim = [] if target is None or target > 1 else [Fact("target_score", target, "asked")]
        self.now = decide(Facts(known_facts(self.decision)).with_(*aim, *kept), self.decision.run, self.decision.inputs)
        self.record = replace(self.record, facts=measured)
        self._put(replace(self.record.rungs[-1], read=self._failure()))

    # -- the end ---------------------------------------------------------------------------------------

    def _end(self) -> None:
        last, target = self.record.rungs[-1], formats.score(self.record.target)
        if last.reached and last.score:
            key = "surely" if last.surely else "by_estimate"
            scored = {name: formats.score(getattr(last.score, name)) for name in ("value", "low", "high")}
            told = text(f"until.ended_{key}", name=_name(last.name), target=target, n=last.score.n, **scored)
            self._change(status="reached", told=told)
            return
        dear = bool(self.dear)
        best = self.record.best
        shown = {"best": _name(best.name), "score": formats.score(best.score.value)} if best and best.score else None
        told = text(f"until.ended_{'budget' if dear else 'exhausted'}", target=target)
        if shown:
            after = text("until.best", **shown)
            told = {lang: told[lang] + after[lang] for lang in LANGUAGES}
        self._change(status="budget" if dear else "exhausted", told=told)

    def _change(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        self._write()

    def _write(self) -> None:
        (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FOLDER / FILE, self.record)


def stages(decision: Decision) -> list[str]:
    """The stages of a recommendation as candidates, each with those before it: of rag and peft, rag and rag+peft."""
    built = [method for method in ORDER if method in decision.methods]
    return ["+".join(built[: number + 1]) for number in range(len(built))]


def cures(methods: tuple[str, ...], failure: str) -> bool:
    """Whether a candidate is a lever for a failure; any is while none was read."""
    looks_up = any(method in LOOKING_UP for method in methods)
    return {"facts": looks_up, "behaviour": learns(methods), "both": looks_up or learns(methods)}.get(failure, True)


def _name(name: str) -> Text:
    return {lang: method_name(name, lang) for lang in LANGUAGES}


# -- the record --------------------------------------------------------------------------------------------


def read_climb(folder: Path) -> Climb | None:
    """The climb of a run; None where none was begun. Raises `UserError` where the record is damaged."""
    path = folder / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rungs = tuple(_rung(one) for one in raw["rungs"])
        return Climb(**{**raw, "rungs": rungs, "facts": tuple(Fact(**one) for one in raw["facts"])})
    except (ValueError, KeyError, TypeError) as error:
        hint = f"delete it and begin again; finished rungs are kept: advisor prove {folder.name} --until SCORE"
        zh = Problem(
            f"无法读取 {path}：{error}", f"删除后重新开始，已完成的步骤会保留：advisor prove {folder.name} --until 分数"
        )
        raise UserError(f"{path} cannot be read: {error}", hint, zh) from error


def _rung(raw: Mapping[str, Any]) -> RungRun:
    return RungRun(
        **{**raw, "methods": tuple(raw["methods"]), "score": Score(**raw["score"]) if raw["score"] else None}
    )
