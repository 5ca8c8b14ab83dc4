"""Search for the prompt: candidates raced on development rows taken from the training side, by successive halving.

Successive halving (Jamieson & Talwalkar 2016): all candidates answer a few rows, the better half goes on to twice as
many. A row a candidate has answered is not asked again, neither in the next round nor after an interruption. Held-out
rows never come near: the job does not hold them. Calibration and the weight of nearness are compared on the same
answers. Not covered: writing new instructions.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from executors.base import Event, Job, Prediction, Row, Text
from executors.data.near import find_leaks, find_twins
from executors.metrics import HIGHER_IS_BETTER
from executors.metrics import score as score_rows
from executors.models import LanguageModel
from executors.prompt.build import Builder, parsed
from executors.prompt.candidates import candidates
from executors.prompt.demonstrations import by_turns
from executors.prompt.kept import KeptOutcomes, Outcome, candidate_name
from executors.prompt.labels import LabelScores, average, prior
from executors.prompt.params import PromptParams, given_names
from executors.prompt.predictor import PromptPredictor
from executors.prompt.record import Seen, guard_notes, mark_collapse, trap_flags
from executors.trials import SearchRecord, Trial, changes

FIRST_ROWS = 16  # of the first round
MOST_ROWS = 256  # development rows at most
LEAST_ROWS = 8  # training rows a side, below which nothing can be compared
LUCK = 2.0  # standard errors by which the best of many trials may stand above what it is worth
NEARNESS = (0.0, 0.5, 1.0, 2.0)  # weights of the demonstrations' nearness that are compared
FILE = "search.jsonl"


@dataclass
class Runner:
    """One candidate: its predictor, and the outcome of each development row it has answered."""

    params: PromptParams
    predictor: PromptPredictor
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: list[int] = field(default_factory=list)
    content_free: dict[str, float] | None = None  # labels' priors on inputs that say nothing
    best: PromptParams | None = None


class Search:
    """A search over the prompts of one job."""

    def __init__(
        self, builder: Builder, base: PromptParams, given: frozenset[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`given` are the parameters that the plan names itself: they stay."""
        self.builder, self.base, self.given, self.clock = builder, base, given, clock
        self.job = builder.job
        self.development = development_rows(builder)
        own = frozenset(row.id for row in self.development)
        rest = [row for row in self.job.rows if row.id not in own]
        self.near = find_leaks(rest, self.development)  # would flatter a prompt that shows them
        self.twins = find_twins(self.development)
        self.barred = own | self.near
        self.kept = KeptOutcomes(self.job.folder / FILE)
        self.trials: list[Trial] = []
        self.runners: list[Runner] = []

    def run(self) -> tuple[PromptPredictor, SearchRecord]:
        """The best predictor, not yet calibrated, and the record. The same answers give the same choice."""
        runners = [Runner(params, self.builder.build(params, self.barred)) for params in self._candidates()]
        self.runners = runners
        total, began, stopped = len(runners), self.clock() - self.kept.seconds, "finished"
        field_, rung, count = runners, 0, min(FIRST_ROWS, len(self.development))
        while True:
            done = self._round(field_, count, began)
            if not done:
                stopped = "budget"
                break
            trials = mark_collapse([self._trial(runner, rung, count) for runner in done], self._chance(count))
            order = sorted(range(len(done)), key=lambda n: self._rank(trials[n]))
            keep = self._keeps(done[order[0]], len(done)) if count < len(self.development) else 1
            kept = set(order[:keep])
            self.trials += [replace(trial, kept=n in kept) for n, trial in enumerate(trials)]
            best = done[order[0]]
            if len(done) < len(field_):
                stopped = "budget"
            if stopped == "budget" or len(kept) == 1 or count == len(self.development):
                break
            field_, rung, count = [done[n] for n in order[:keep]], rung + 1, min(2 * count, len(self.development))
        return self._finished(best, runners[0], total, began, stopped)

    def _keeps(self, best: Runner, runners: int) -> int:
        """How many go on: half of them, and enough for an ensemble where the best could be part of one."""
        return max((runners + 1) // 2, min(self.base.ensemble, runners) if _can_join(best) else 1)

    def _candidates(self) -> list[PromptParams]:
        job, free = self.job, len(self.job.rows) - len(self.barred)
        grounded = any(row.input.context for row in job.rows[:100])
        base = self.builder.resolved(self.base)  # else a candidate with as many demonstrations would be it again
        scores = self.builder.model.can_score
        found = candidates(base, self.given, job.plan.task, len(job.labels), free, grounded, scores)
        return [params for params in found if params.answers == "written" or self.builder.lang == "en"]

    # -- a round -----------------------------------------------------------------------------------------

    def _round(self, runners: Sequence[Runner], count: int, began: float) -> list[Runner]:
        """The runners that have answered the first `count` rows: all while there is time, one in the first round."""
        done: list[Runner] = []
        for runner in runners:
            missing = [row for row in self.development[:count] if row.id not in self._known(runner)]
            late = self._spent(began) + self._expected(runner, done, len(missing)) > self._budget
            if late and missing and (done or count > FIRST_ROWS):
                continue
            self._answer(runner, missing)
            done.append(runner)
            spent = min(self._spent(began), self._budget)
            self.job.report(Event("search", round(spent, 1), self._budget, f"{len(done)}/{len(runners)} × {count}"))
        return done

    def _spent(self, began: float) -> float:
        return self.clock() - began

    @property
    def _budget(self) -> float:
        return self.base.search_seconds

    def _expected(self, runner: Runner, done: Sequence[Runner], rows: int) -> float:
        """Seconds that `rows` will take, by what this runner took before, else the slowest of the others."""
        if runner.outcomes:
            return rows * runner.seconds / len(runner.outcomes)
        return rows * max((other.seconds / max(len(other.outcomes), 1) for other in done), default=0.0)

    def _known(self, runner: Runner) -> dict[str, Outcome]:
        if not runner.outcomes:
            runner.outcomes, runner.seconds, runner.tokens = self.kept.read(candidate_name(runner.params))
        return runner.outcomes

    def _answer(self, runner: Runner, rows: Sequence[Row]) -> None:
        if not rows:
            return
        begin = self.clock()
        exclude = [{row.id, *self.near, *self.twins.get(row.id, ())} for row in rows]
        asked = runner.predictor.render([row.input for row in rows], exclude)
        tokens = [self.builder.model.count_chat(one.chat) for one in asked[:4]]
        if runner.predictor.scores_labels:
            found: Sequence[Outcome] = runner.predictor.score(asked)
        else:
            found = runner.predictor.answer(asked)
        seconds = self.clock() - begin
        runner.seconds, runner.tokens = runner.seconds + seconds, runner.tokens + tokens
        outcomes = {row.id: outcome for row, outcome in zip(rows, found, strict=True)}
        runner.outcomes.update(outcomes)
        self.kept.write(candidate_name(runner.params), outcomes, seconds, tokens)

    # -- judging -----------------------------------------------------------------------------------------

    def _trial(self, runner: Runner, rung: int, count: int) -> Trial:
        """The runner's best reading of its answers to the first `count` rows."""
        rows = self.development[:count]
        read = [(params, *self._judged(runner, params, rows)) for params in self._readings(runner)]
        params, score, tie, answers = max(read, key=lambda r: r[2])  # a proper score: moved less by luck than accuracy
        runner.best = params
        shown = runner.predictor.prompt.demonstrations
        budget = runner.predictor.budget.counts
        seen = Seen(answers, rows, shown[-1].target if shown else "", budget.fewer / max(len(rows), 1), self.job.labels)
        return Trial(
            changes=changes(params, self.base),
            rung=rung,
            rows=count,
            score=round(score, 4),
            tie=round(tie, 4),
            seconds=round(runner.seconds, 2),
            tokens=round(sum(runner.tokens) / max(len(runner.tokens), 1), 1),
            flags=trap_flags(seen),
        )

    def _readings(self, runner: Runner) -> list[PromptParams]:
        """The runner's parameters with each way of reading a label from the same likelihoods; the given ones stand."""
        params = runner.predictor.prompt.params
        if not runner.predictor.scores_labels:
            return [params]
        found = [params]
        if params.candidates == "all" and "calibration" not in self.given:
            found = [replace(params, calibration=c) for c in ("training", "none")]
        if params.retrieves and "neighbours" not in self.given:
            found = [replace(p, neighbours=weight) for p in found for weight in NEARNESS]
        return found

    def _judged(self, runner: Runner, params: PromptParams, rows: Sequence[Row]) -> tuple[float, float, list[str]]:
        """(score, tie-breaker, answers) of one reading."""
        predictions = self._read(runner, params, rows)
        score, tie = self._measured(rows, predictions)
        if not runner.predictor.scores_labels:
            tie = -sum(runner.tokens) / max(len(runner.tokens), 1)  # of equals, the shorter prompt
        return score, tie, [p.text for p in predictions]

    def _read(self, runner: Runner, params: PromptParams, rows: Sequence[Row]) -> list[Prediction]:
        """The runner's answers under `params`."""
        outcomes = [runner.outcomes[row.id] for row in rows]
        offsets: dict[str, float] = {}
        if params.candidates == "all" and params.calibration == "training":
            offsets = prior([outcome for outcome in outcomes if isinstance(outcome, LabelScores)])
        elif params.candidates == "all" and params.calibration == "contextual":
            offsets = self._content_free(runner)
        return [o.read(offsets, params.neighbours) if isinstance(o, LabelScores) else o for o in outcomes]

    def _content_free(self, runner: Runner) -> dict[str, float]:
        if runner.content_free is None:
            contextual = replace(runner.predictor.prompt.params, calibration="contextual")
            runner.content_free = self.builder.prior_of(runner.predictor, contextual)
        return runner.content_free

    def _measured(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[float, float]:
        """(score, mean log-probability of the right label)."""
        metric, scores = score_rows(self.job.plan.task, rows, predictions)
        return scores[metric].value, _confidence(rows, predictions)

    def _signed(self, score: float) -> float:
        return score if self._higher else -score

    @property
    def _higher(self) -> bool:
        return HIGHER_IS_BETTER[self._metric]

    @property
    def _metric(self) -> str:
        row = self.development[0]
        return score_rows(self.job.plan.task, [row], [Prediction(row.target)])[0]

    def _rank(self, trial: Trial) -> tuple[bool, float, float]:
        """Best first; what fell into a trap last."""
        return (bool(set(trial.flags) - {"cut"}), -self._signed(trial.score), -trial.tie)

    def _chance(self, count: int) -> float:
        """What always answering the commonest label of the first `count` rows would score there."""
        rows = self.development[:count]
        return Counter(row.target for row in rows).most_common(1)[0][1] / len(rows) if self.job.labels else 0.0

    # -- the end -----------------------------------------------------------------------------------------

    def _finished(
        self, best: Runner, first: Runner, total: int, began: float, stopped: str
    ) -> tuple[PromptPredictor, SearchRecord]:
        chosen = replace(_best(best), search_seconds=self.base.search_seconds)
        last = next(t for t in reversed(self.trials) if t.changes == changes(_best(best), self.base))
        rows = self.development[: last.rows]
        members, score = self._ensemble(best, last, rows)
        barred = frozenset[str]() if members else self.barred  # no member was chosen for its demonstrations alone
        predictor = self.builder.build(chosen, barred).joined([self.builder.build(_best(m), barred) for m in members])
        record = SearchRecord(
            metric=self._metric,
            higher_is_better=self._higher,
            development_rows=last.rows,
            training_rows=len(self.job.rows),
            chance=round(self._chance(last.rows), 4),
            budget_seconds=self._budget,
            seconds=round(self._spent(began), 1),
            stopped=stopped,
            candidates=total,
            trials=tuple(self.trials),
            chosen=changes(chosen, self.base),
            score=round(score, 4),
            plain=self._plain(first, rows, began),
            floor=self._floor(rows),
            members=tuple(changes(_best(m), self.base) for m in members),
            guards=guard_notes(self.trials, self._metric, last.changes),
        )
        return predictor.remarked(*search_notes(record), record=record), record

    def _plain(self, first: Runner, rows: Sequence[Row], began: float) -> float | None:
        """What the plan's own prompt scores on the rows that decided; None where the time was up for that."""
        missing = [row for row in rows if row.id not in first.outcomes]
        if missing and self._spent(began) + self._expected(first, [], len(missing)) > self._budget:
            return None
        self._answer(first, missing)
        return round(self._judged(first, self._readings(first)[0], rows)[0], 4)

    def _ensemble(self, best: Runner, last: Trial, rows: Sequence[Row]) -> tuple[list[Runner], float]:
        """(the runners whose label probabilities are averaged with the best one's, the score of the mean).

        Prompts err differently, above all by their demonstrations, so their mean errs less (Khalifa et al. 2023). The
        best of some dozens on few rows is so in part by luck, the mean of several is not: it is taken unless it scores
        lower by more than two standard errors, which is about what luck gives.
        """
        fellows = [runner for runner in self._last_round(last) if runner is not best and _can_join(runner)]
        fellows = fellows[: self.base.ensemble - 1] if _can_join(best) else []
        if not fellows:
            return [], last.score
        members = [self._read(runner, _best(runner), rows) for runner in (best, *fellows)]
        score, _ = self._measured(rows, [average(one) for one in zip(*members, strict=True)])
        error = math.sqrt(max(last.score * (1 - last.score), 0.0) / len(rows))
        return (fellows, score) if score >= last.score - LUCK * error else ([], last.score)

    def _last_round(self, last: Trial) -> list[Runner]:
        """The runners that answered as many rows as the chosen one, best first, those in a trap left out."""
        trials = {repr(t.changes): t for t in self.trials if t.rows == last.rows and not set(t.flags) - {"cut"}}
        pairs = [(trials.get(repr(changes(r.best, self.base))), r) for r in self.runners if r.best is not None]
        ranked = sorted(((self._rank(t), n) for n, (t, _) in enumerate(pairs) if t is not None))
        return [pairs[n][1] for _, n in ranked]

    def _floor(self, rows: Sequence[Row]) -> float | None:
        """What copying the nearest training row's answer would score; None where no embeddings were made."""
        if not self.builder.has_pool:
            return None
        near = self.builder.pool.choose(
            [row.input for row in rows], 1, exclude=[{row.id, *self.near, *self.twins.get(row.id, ())} for row in rows]
        )
        copied = [Prediction(found[0].row.target if found else "") for found in near]
        metric, scores = score_rows(self.job.plan.task, rows, copied)
        return round(scores[metric].value, 4)


def _best(runner: Runner) -> PromptParams:
    """The runner's parameters with the reading that suits its answers best."""
    return runner.best or runner.params


def _can_join(runner: Runner) -> bool:
    """Whether the runner's answers are probabilities of all labels, so that they can be averaged with others'."""
    return runner.predictor.scores_labels and runner.predictor.prompt.params.candidates == "all"


def development_rows(builder: Builder) -> list[Row]:
    """Rows set apart to compare prompts on: half of the training rows, at most 256, labels by turns."""
    rows = list(builder.showable)  # the others would tell of the held-out rows which prompt suits them
    random.Random(f"development {builder.job.plan.seed}").shuffle(rows)
    if builder.job.plan.task == "classification":
        rows = by_turns(rows)
    return rows[: min(len(rows) // 2, MOST_ROWS)]


def can_search(builder: Builder) -> bool:
    """Whether there are rows enough to compare prompts at all."""
    return len(builder.showable) // 2 >= LEAST_ROWS


def _confidence(rows: Sequence[Row], predictions: Sequence[Prediction]) -> float:
    """Mean log-probability of the right label, at least 1e-6 each."""
    values = [math.log(max(p.scores.get(row.target, 0.0), 1e-6)) for row, p in zip(rows, predictions, strict=True)]
    return sum(values) / len(values)


def search_notes(record: SearchRecord) -> tuple[Text, ...]:
    """What a reader of the score must know of the search."""
    n, tried, secs = record.development_rows, record.candidates, f"{record.seconds:.0f}"
    before = f" ({record.plain:.3f} before)" if record.plain is not None else ""
    before_zh = f"（此前 {record.plain:.3f}）" if record.plain is not None else ""
    cut, cut_zh = (", stopped by its budget", "，因时间预算用完而停止") if record.stopped == "budget" else ("", "")
    size = len(record.members) + 1
    joined = f", as the mean of {size} prompts: each answer costs {size} times one" if record.members else ""
    joined_zh = f"，取 {size} 个提示的平均：每次回答的开销是单个提示的 {size} 倍" if record.members else ""
    notes: list[Text] = [
        {
            "en": f"searched: {tried} prompts on {n} development rows of the training side in {secs} s{cut}; "
            f"{record.metric} there {record.score:.3f}{before}{joined}",
            "zh": f"已搜索：在训练侧的 {n} 条开发数据上比较 {tried} 种提示，用时 {secs} 秒{cut_zh}；"
            f"其 {record.metric} 为 {record.score:.3f}{before_zh}{joined_zh}",
        }
    ]
    if record.floor is not None and (record.floor >= record.score) == record.higher_is_better:
        notes.append(
            {
                "en": f"copying the answer of the nearest training row does as well there: {record.floor:.3f}",
                "zh": f"直接照抄最相近训练样例的答案也能达到：{record.floor:.3f}",
            }
        )
    return (*notes, *record.guards)


def build_prompt(job: Job, model: LanguageModel) -> PromptPredictor:
    """The predictor of `job` with `model`, searched for where the plan gives time for it.

    Raises `UserError` for wrong parameters, targets that are no numbers, and demonstrations that cannot be shown.
    """
    params, builder = parsed(job), Builder(job, model)
    if params.search_seconds and can_search(builder):
        predictor, _ = Search(builder, params, given_names(job.plan.params)).run()
        return builder.calibrate(predictor)
    predictor = builder.build(params)
    if params.search_seconds:
        rows, least = len(builder.showable), 2 * LEAST_ROWS
        en = f"no search: {rows} training rows, and at least {least} are needed to compare prompts"
        zh = f"未搜索：训练数据只有 {rows} 行，至少 {least} 行才能比较提示"
        predictor = predictor.remarked({"en": en, "zh": zh})
    return builder.calibrate(predictor)
