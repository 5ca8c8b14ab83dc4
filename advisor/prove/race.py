"""The race: candidates piloted cheapest first, on growing shares of the work, all scored on the same held-out rows.

Successive halving (Jamieson and Talwalkar, 2016) with two changes for few candidates of very different cost. What is
cheap runs to the end at once, and so does what the rules recommend where the budget has room for it: the others are
held against that. And it is not a fixed half that goes on: the next share goes to whichever candidate
could still score highest, by its pilots' curve, until the budget is spent; one whose upper end lies below another's
lower end cannot reach it and is stopped. Everything that is done is kept: a race that was broken off goes on.

Covered: budgets, pilots, standings, what is chosen. Not covered: what follows for the decision (`revision`), curves
(`learning`), wrong answers (`failures`).
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from advisor import formats
from advisor.decision import Decision, Inputs
from advisor.prove import learning
from advisor.prove.candidates import FLOOR, Candidate, candidates, in_order
from advisor.prove.choice import choose, compare, listed
from advisor.prove.pilots import Price, Size, foretold_pilot, run_pilot, sizes
from advisor.prove.records import FILE, FOLDER, Choice, Pilot, Race, Standing, read_race
from advisor.texts import LANGUAGES, text
from advisor.words import method_name
from executors.base import Plan, Problem, Reporter, Text, UserError, silent, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from executors.chain import Chain
    from executors.data import Dataset

SHARE = 0.25  # of what all candidates would take to the end: the budget where none is given
FIRST = 0.7  # of the budget that a first pilot, or the run of what is recommended, may take
LEAST_SECONDS = 60.0  # of such a budget
CHEAP = 0.03  # of what all would take: who takes no more runs to the end at once
QUICK = 15.0  # seconds, likewise
NO_PILOT = 0.5  # of a full run's time: what takes more of it is run in full
CURVE = 0.05  # of the budget: what a pilot may take that only tells of the curve
LEAST_CURVE = 8  # rows that it learns from
MARGIN = 0.02  # of the metric: what a cheaper candidate may lie below the best
REQUESTS = 1000  # a day, where that is not known
DAYS = 30  # over whose requests the cost of building is shared
TELLING = 100  # held-out rows from which methods can be told apart, as a rule of thumb

Shown = Callable[[Race, str], None]
"""Called after every change, with the candidate that runs now (empty: none)."""


@dataclass(frozen=True)
class Options:
    """How a race is run. `seconds` None: a share of what all candidates would take, see `SHARE`. `metric`: what decides
    it, where not the task's own."""

    margin: float = MARGIN
    target: float | None = None
    seconds: float | None = None
    seed: int = 0
    metric: str = ""


def race(
    decision: Decision,
    folder: Path,
    inputs: Inputs,
    options: Options = Options(),
    report: Reporter = silent,
    shown: Shown = lambda race, running: None,
    endpoint: Mapping[str, object] | None = None,
) -> Race:
    """Race the candidates of a decision in `folder`/prove and record it; a race that is done is not run again.

    Raises `UserError` for data that cannot be used and a budget too small for any pilot, and `KeyboardInterrupt` with
    everything kept.
    """
    found, refused = candidates(decision, inputs, options.seed, endpoint)
    return _Racing(decision, folder, options, found, refused, report, shown).run()


class _Racing:
    """The state of a race that runs: the record of it, and what each candidate has shown so far."""

    def __init__(
        self,
        decision: Decision,
        folder: Path,
        options: Options,
        found: list[Candidate],
        refused: list[Standing],
        report: Reporter,
        shown: Shown,
    ) -> None:
        self.decision, self.folder, self.options = decision, folder, options
        self._report, self._shown = report, shown
        self.data, self.metric = _load(found[0].plan, options.metric)
        self.price = _price()
        stamp = _stamp(found, options, self.metric)
        earlier = read_race(folder)
        same = earlier if earlier and earlier.stamp == stamp else None
        foretold = {**{one.name: one.seconds for one in found}, **(same.foretold if same else {})}
        self.found = in_order(replace(one, seconds=foretold[one.name]) for one in found)
        known = [pilot for pilot in same.pilots if not pilot.error] if same else []  # what failed is tried again
        self._kept = {(p.candidate, p.folder, p.scored): p for p in known}
        self.race = Race(
            task=_spec(found[0].plan).task,
            metric=self.metric,
            train=len(self.data.train),
            test=len(self.data.test),
            margin=options.margin,
            target=options.target,
            budget=0.0,
            spent=0.0,
            full=0.0,
            status="running",
            standings=(*(one.standing() for one in self.found), *refused),
            notes=(*self.data.notes, *_few(len(self.data.test))),
            foretold=foretold,
            created=same.created if same else datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            stamp=stamp,
        )
        self._budget()
        self._at_once = {one.name for one in self.found if self._goes_at_once(one)}

    # -- the course of it ------------------------------------------------------------------------------

    def run(self) -> Race:
        self._check_budget()
        self._show()
        try:
            for candidate in sorted(self.found, key=lambda one: one.name not in self._at_once):
                self._first(candidate, FIRST * self.race.budget)
            self._grow()
            for candidate in self.found:  # what was too dear beside the others, where budget is left
                self._first(candidate, self.race.budget)
            self._grow()
            self._score_finalists()
            self._fill_curves()
        except KeyboardInterrupt:
            self._change(status="interrupted")
            self._save()
            raise
        self._settle()
        return self.race

    def _check_budget(self) -> None:
        """Raise `UserError` where what is allowed is too little for any candidate but the floor."""
        if self.options.seconds is None or self._kept:
            return
        least = min((self._foretold(one, self._sizes(one)[0]) for one in self.found[1:]), default=0.0)
        if self.options.seconds < least:
            need, have = (formats.seconds(s, None, "en") for s in (least, self.options.seconds))
            need_zh, have_zh = (formats.seconds(s, None, "zh") for s in (least, self.options.seconds))
            minutes = f"--minutes {math.ceil(1.25 * least / 60)}"  # the floor takes something, too
            zh = Problem(f"--minutes：{have_zh}不够任何一次试跑（最小的约需{need_zh}）", f"至少给 {minutes}")
            told = f"--minutes: {have} is too little for any pilot, the smallest takes about {need}"
            raise UserError(told, f"give at least {minutes}", zh)

    def _first(self, candidate: Candidate, most: float) -> None:
        """A candidate's first pilot, which may take `most` of what is left; or what keeps it from one."""
        if self._pilot_of(candidate) or self.race.standing(candidate.name).state == "failed":
            return
        size = self._sizes(candidate)[0]
        if candidate.name == FLOOR or self._payable(candidate, size, min(most, self._left())):
            self._pilot(candidate, size)
        else:
            self._stand(candidate.name, state="raced", why=self._too_dear(candidate, size))

    def _grow(self) -> None:
        """Larger pilots, until none can be paid."""
        while (move := self._next()) is not None:
            self._pilot(*move)

    def _next(self) -> tuple[Candidate, Size] | None:
        """The next pilot: of the candidate that could still score highest, of those that can be paid."""
        self._stop_hopeless()
        open_ = sorted(self._open(), key=lambda one: -self._upper(one.name))
        for candidate in open_:
            size = self._larger(candidate)
            if size is not None and self._payable(candidate, size, self._left()):
                return candidate, size
        for candidate in open_:
            size = self._larger(candidate)
            why = self._too_dear(candidate, size) if size else {}
            self._stand(candidate.name, state="raced", why=why)
        return None

    def _open(self) -> list[Candidate]:
        return [one for one in self.found if self.race.standing(one.name).state == "waiting" and self._pilot_of(one)]

    def _larger(self, candidate: Candidate) -> Size | None:
        """The pilot after the one that a candidate has done; None where that was the last."""
        done = self._pilot_of(candidate)
        assert done is not None
        after = (s for s in self._sizes(candidate) if (s.share, s.scored) > (done.share, done.scored))
        return next(after, None)

    def _stop_hopeless(self) -> None:
        """Stop those whose upper end as a full run lies below the lower end of another's."""
        scored = [one for one in self.race.standings if one.at_full and one.state in ("waiting", "finished")]
        if not scored:
            return
        leader = max(scored, key=lambda one: self._ends(one)[0])
        for standing in scored:
            if standing.state == "waiting" and self._ends(standing)[1] < self._ends(leader)[0]:
                named = {lang: method_name(leader.name, lang) for lang in LANGUAGES}
                ends = {"upper": self._told(standing, 1), "lower": self._told(leader, 0)}
                why = text("race.cannot_reach", leader=named, **ends)
                self._stand(standing.name, state="stopped", why=why, saved=self._saved(standing))

    def _score_finalists(self) -> None:
        """Let those who may still be the best answer all held-out rows, so that they are compared on the same."""
        scored = [one for one in self.race.standings if one.at_full and one.state in ("raced", "finished")]
        if not scored:
            return
        lower = max(self._ends(one)[0] for one in scored)
        for standing in sorted(scored, key=lambda one: -self._upper(one.name)):
            candidate, done = self._candidate(standing.name), standing.pilot
            if done is None or done.scored >= self.race.test or self._upper(standing.name) < lower:
                continue
            size = Size(done.rows, done.share, self.race.test)
            begun = self._foretold(candidate, replace(size, scored=done.scored))
            if self._payable(candidate, size, self._left() + begun):
                self._pilot(candidate, size, done, state=standing.state, why=standing.why)

    def _fill_curves(self) -> None:
        """Cheap pilots on a part of the rows, of candidates that learn and have been run on all of them only."""
        for candidate in self.found:
            standing = self.race.standing(candidate.name)
            if standing.state != "finished" or candidate.name == FLOOR or not learning.learns(candidate.methods):
                continue
            for share in (1 / 4, 1 / 2):
                size = Size(round(share * self.race.train), share, self.race.test)
                most = min(self._left(), CURVE * self.race.budget)
                if size.rows >= LEAST_CURVE and self._payable(candidate, size, most):
                    self._pilot(candidate, size, beside=True)

    # -- one pilot -------------------------------------------------------------------------------------

    def _pilot(
        self,
        candidate: Candidate,
        size: Size,
        earlier: Pilot | None = None,
        *,
        state: str = "",
        why: Text | None = None,
        beside: bool = False,
    ) -> None:
        """Run a pilot, or take it from the record of this very race. `beside`: it only tells of the curve."""
        before = self.race.standing(candidate.name)
        self._stand(candidate.name, state="running")
        self._show(candidate.name)
        if earlier is None:
            earlier = next((p for p in reversed(self._pilots(candidate)) if p.share == size.share), None)
        place = self.folder / FOLDER
        done = self._recorded(candidate, size)
        if done is None:
            done = run_pilot(candidate, size, place, self.price, earlier, self._report, self.metric)
        spent = sum(done.seconds.values()) - (sum(earlier.seconds.values()) if earlier else 0.0)
        self._change(pilots=(*self.race.pilots, done), spent=self.race.spent + max(spent, 0.0))
        if done.error:
            after = {"state": before.state} if beside else {"state": "failed", "why": _crashed(done)}
            self._stand(candidate.name, **after)
        elif beside:
            self._stand(candidate.name, state=before.state)
        else:
            ended = "finished" if done.share >= 1 and done.scored >= self.race.test else "waiting"
            self._stand(candidate.name, state=state or ended, why=why or {}, pilot=done)
            self._renew(candidate)
        self._budget()
        self._show()

    def _recorded(self, candidate: Candidate, size: Size) -> Pilot | None:
        name = f"{candidate.name}/{size.folder}"
        return self._kept.get((candidate.name, name, size.scored))

    def _renew(self, candidate: Candidate) -> None:
        """What a candidate's pilots say of a full run: its score, and its time."""
        done = self._pilot_of(candidate)
        assert done is not None
        pilots = [replace(p, rows=round(p.share * self.race.train)) for p in self._pilots(candidate)]
        at_full = learning.project(pilots, self.race.train, self.metric)
        self._stand(candidate.name, at_full=at_full, seconds_full=candidate.seconds * self._pace(candidate))

    def _pilots(self, candidate: Candidate) -> list[Pilot]:
        return [p for p in self.race.pilots if p.candidate == candidate.name and p.score is not None]

    def _pilot_of(self, candidate: Candidate) -> Pilot | None:
        return self.race.standing(candidate.name).pilot

    # -- time and money --------------------------------------------------------------------------------

    def _sizes(self, candidate: Candidate) -> list[Size]:
        """A candidate's pilots that cost less than a full run; only that where it is run at once."""
        *parts, full = sizes(candidate, self.race.train, self.race.test)
        if candidate.name in self._at_once:
            return [full]
        most = NO_PILOT * self._estimate(candidate, full)
        return [*(size for size in parts if self._estimate(candidate, size) <= most), full]

    def _goes_at_once(self, candidate: Candidate) -> bool:
        """Whether it costs little beside all others, or is what the rules recommend and there is room for it."""
        recommended = candidate.verdict == "recommended" and candidate.seconds <= FIRST * self.race.budget
        return recommended or candidate.seconds <= max(QUICK, CHEAP * sum(one.seconds for one in self.found))

    def _payable(self, candidate: Candidate, size: Size, most: float) -> bool:
        """Whether a pilot takes no more than that, or was done already: nothing that was measured is lost."""
        return self._recorded(candidate, size) is not None or self._foretold(candidate, size) <= most

    def _foretold(self, candidate: Candidate, size: Size) -> float:
        """Seconds of a pilot: as foretold, at the pace of the candidate's latest."""
        return self._estimate(candidate, size) * self._pace(candidate)

    def _estimate(self, candidate: Candidate, size: Size) -> float:
        """As foretold, once: a race that goes on weighs by the same figures, so it takes the same course."""
        name = f"{candidate.name}/{size.folder}/{size.scored}"
        if name not in self.race.foretold:
            self._change(foretold={**self.race.foretold, name: foretold_pilot(candidate, size)})
        return self.race.foretold[name]

    def _pace(self, candidate: Candidate) -> float:
        """What its latest pilot took, as a multiple of what was foretold of it; 1 before any."""
        done = self._pilot_of(candidate)
        if done is None:
            return 1.0
        return sum(done.seconds.values()) / self._estimate(candidate, Size(done.rows, done.share, done.scored))

    def _budget(self) -> None:
        """What may be spent: as given, else a share of what all would take by what is known now."""
        full = sum(one.seconds_full for one in self.race.standings)
        budget = self.options.seconds if self.options.seconds is not None else max(LEAST_SECONDS, SHARE * full)
        self._change(full=full, budget=budget)

    def _left(self) -> float:
        return self.race.budget - self.race.spent

    def _saved(self, standing: Standing) -> float:
        spent = sum(standing.pilot.seconds.values()) if standing.pilot else 0.0
        return max(0.0, standing.seconds_full - spent)

    def _too_dear(self, candidate: Candidate, size: Size) -> Text:
        need, left = self._foretold(candidate, size), max(0.0, self._left())
        times = {lang: formats.seconds(need, None, lang) for lang in LANGUAGES}
        return text("race.too_dear", share=f"{100 * size.share:.0f}", time=times,
                    left={lang: formats.seconds(left, None, lang) for lang in LANGUAGES})  # fmt: skip

    # -- scores ----------------------------------------------------------------------------------------

    def _ends(self, standing: Standing) -> tuple[float, float]:
        """Lower and upper end as a full run, turned so that higher is better."""
        found = standing.at_full
        assert found is not None
        return (found.low, found.high) if self._sign() > 0 else (-found.high, -found.low)

    def _upper(self, name: str) -> float:
        standing = self.race.standing(name)
        return self._ends(standing)[1] if standing.at_full else float("-inf")

    def _told(self, standing: Standing, end: int) -> str:
        return formats.score(abs(self._ends(standing)[end]))

    # -- the end ---------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Compare those that answered all held-out rows, else the same part of them, and choose."""
        for standing in self.race.standings:
            if standing.state in ("raced", "stopped"):
                self._stand(standing.name, saved=self._saved(standing))
        from executors.metrics.compare import span

        values, gains = self._values(), self._gains()
        costs = {name: self._cost(name) for name in values}
        sign, target = self._sign(), self.options.target
        goal = None if target is None else sign * target
        scale = span(self.metric, self.data.test)
        choice = choose(values, costs, FLOOR, self.options.margin, goal, gains, scale=scale, sign=sign)
        choice = self._without_early_winner(choice)
        self._change(pairs=compare(values, choice.best), choice=choice, status="done")
        self._show()

    def _without_early_winner(self, choice: Choice) -> Choice:
        """No winner while one that was run on a part only could still reach it, or was not run at all for its price."""
        if not choice.winner:
            return choice
        low = self._ends(self.race.standing(choice.winner))[0]
        open_ = [
            s.name for s in self.race.standings if s.state == "raced" and (not s.at_full or self._ends(s)[1] > low)
        ]
        if not open_:
            return choice
        named = {lang: listed([method_name(name, lang) for name in open_], lang) for lang in LANGUAGES}
        more = text("race.still_open", names=named)
        return replace(choice, winner="", why={lang: f"{choice.why[lang]} {more[lang]}".strip() for lang in LANGUAGES})

    def _sign(self) -> int:
        """-1 where the metric is an error, and values are turned for comparing them."""
        from executors.metrics import HIGHER_IS_BETTER

        return 1 if HIGHER_IS_BETTER[self.metric] else -1

    def _values(self) -> dict[str, NDArray[np.float64]]:
        """The rows' values of those still in the race, on the rows that all of them answered; higher is better."""
        from executors.metrics.compare import better, row_values
        from executors.run import read_predictions

        still = [s for s in self.race.standings if s.pilot and s.state in ("raced", "finished")]
        whole = [s for s in still if s.pilot and s.pilot.scored >= self.race.test]
        answers = {
            s.name: read_predictions(self.folder / FOLDER / s.pilot.folder / "predictions.jsonl")
            for s in whole or still
            if s.pilot
        }
        rows = [row for row in self.data.test if all(row.id in given for given in answers.values())]
        return {
            name: better(row_values(self.race.task, self.metric, rows, [given[row.id] for row in rows]), self.metric)
            for name, given in answers.items()
        }

    def _gains(self) -> dict[str, float]:
        """What a full run is expected to add to what was measured."""
        return {
            s.name: self._sign() * (s.at_full.value - s.pilot.score.value)
            for s in self.race.standings
            if s.at_full and s.pilot and s.pilot.score and s.pilot.share < 1
        }

    def _cost(self, name: str) -> float:
        """USD for 1,000 answers, the cost of building shared over a month's requests; seconds where prices lack."""
        standing = self.race.standing(name)
        assert standing.pilot is not None
        done, requests = standing.pilot, self.decision.facts.get("requests_per_day")
        daily = float(requests.value) if requests is not None and requests.origin != "assumed" else REQUESTS
        build = done.seconds.get("build", 0.0) / done.share
        answering = done.usd_per_1000
        if answering is None:
            answering = 1000 * done.seconds.get("predict", 0.0) / max(done.scored, 1)
            return answering + build / (DAYS * max(daily, 1) / 1000)
        return answering + (self.price(build) or 0.0) / (DAYS * max(daily, 1) / 1000)

    # -- the record ------------------------------------------------------------------------------------

    def _candidate(self, name: str) -> Candidate:
        return next(one for one in self.found if one.name == name)

    def _stand(self, name: str, **changes: object) -> None:
        standings = tuple(replace(s, **changes) if s.name == name else s for s in self.race.standings)  # type: ignore[arg-type]
        self._change(standings=standings)

    def _change(self, **changes: object) -> None:
        self.race = replace(self.race, **changes)  # type: ignore[arg-type]

    def _show(self, running: str = "") -> None:
        self._save()
        self._shown(self.race, running)

    def _save(self) -> None:
        place = self.folder / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / FILE, self.race)


# -- what a race begins with -----------------------------------------------------------------------------


def _spec(plan: Plan | Chain) -> Plan:
    """The plan that answers."""
    return plan if isinstance(plan, Plan) else plan.last.plan


def _load(plan: Plan | Chain, metric: str) -> tuple[Dataset, str]:
    """The rows, and the metric that decides on them. Raises `UserError` where `metric` is given and does not fit."""
    from executors.data import load_dataset
    from executors.metrics import check_metric, deciding_metric

    one = _spec(plan)
    if metric:
        check_metric(one.task, metric)
    data = load_dataset(one.data, one.task, one.seed)
    return data, metric or deciding_metric(one.task, data.test)


def _few(rows: int) -> tuple[Text, ...]:
    return (text("race.few_rows", rows=rows, enough=TELLING),) if rows < TELLING else ()


def _crashed(pilot: Pilot) -> Text:
    return text("race.crashed", error=pilot.error)


def _stamp(found: list[Candidate], options: Options, metric: str) -> str:
    """What the race depends on: every plan with its files, seed, metric. Not the budget: with more it goes on."""
    from executors.chain import chain_stamp
    from executors.run import fingerprint

    parts = [fingerprint(one.plan) if isinstance(one.plan, Plan) else chain_stamp(one.plan) for one in found]
    return hashlib.sha256("".join([*parts, str(options.seed), metric]).encode()).hexdigest()


def _price() -> Price:
    """USD for seconds of this machine: the middle of what one like it is rented for."""
    from advisor.estimate import rig_of
    from advisor.profile.machine import measure_machine

    low, high = rig_of(measure_machine()).usd_hour
    return lambda seconds: (low + high) / 2 * seconds / 3600
