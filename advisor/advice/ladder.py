"""The ladder: the steps from here to the target, cheapest first, each with its gate, its cost and its command. Pure.

A step costs what its method's quote says, which `priced` puts in; until then a cost is in words. Steps name methods
that this version runs; where it does not run the one that is meant, the nearest that the facts allow stands in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import executors
from advisor import formats
from advisor.advice.forms import variants
from advisor.advice.warnings import LEAST_EVALUATION, TELLING_EVALUATION
from advisor.cards import load_cards
from advisor.decision import Inputs, Rung, in_words, methods_in_words
from advisor.facts import Assuming, Fact
from advisor.moves import Move
from advisor.texts import LANGUAGES, text
from executors import EXECUTORS
from executors.base import DataSpec, Text, to_dict

ENOUGH_EVALUATION = 2000  # rows; tells about 2 points apart, and costs hours where hundreds of thousands cost days
PILOT = 50  # rows labelled before labels are bought
LABEL_MINUTES = (1, 3)  # of a person a row; an assumption that is said
ORDER = ("prompt", "long_context", "rag", "pretrain", "cpt", "probe", "small_encoder", "peft", "full", "preference")
"""The order in which the parts of a hybrid are built: what retrieves, what reads, what is then tuned."""


@dataclass(frozen=True)
class _Situation:
    """What every step is built from."""

    view: Assuming
    facts: Mapping[str, Fact]
    run: str
    inputs: Inputs
    moves: Sequence[Move]
    forms: Mapping[str, str]
    target: Text

    def command(self, method: str) -> str:
        """A command of this run; what was not given yet stands as a placeholder."""
        data = "" if self.inputs.data else " --data FILE"
        documented = any(executors.method(part).needs_docs for part in method.split("+"))
        docs = " --docs DIR" if documented and not self.inputs.docs else ""
        test = " --test FILE" if not self.inputs.data and rows_to_score(self.facts)[1] == "many" else ""
        return f"advisor run {self.run} --method {method}{data}{test}{docs}"

    def known(self, fact: str) -> float | None:
        """A number that was said or measured."""
        value = self.view.value(fact) if self.view.known(fact) else None
        return None if value is None else float(value)


def ladder(
    methods: Sequence[str],
    view: Assuming,
    facts: Mapping[str, Fact],
    run: str,
    inputs: Inputs,
    moves: Sequence[Move] = (),
) -> tuple[Rung, ...]:
    """Evaluation and the floor, plain prompting, a pilot where labels would change the methods, then each method.

    `moves` are what would change the methods: they say how many labels a pilot is the first part of. It follows the
    method where it only gives that one more to learn from.
    """
    at = _Situation(view, facts, run or "last", inputs, moves, variants(methods, view), _target(facts))
    built = [method for method in ORDER if method in methods and method != "prompt"]
    stages = [_method_rung(method, built[:n], built[n + 1 :], at) for n, method in enumerate(built)]
    labels = _labels_that_would_help(at)
    pilot = [_pilot_rung(labels, at)] if labels else []
    way = [*stages, *pilot] if pilot and pilot[0].command in {stage.command for stage in stages} else [*pilot, *stages]
    return (_evaluation_rung(at), _prompt_rung(at, last=not built), *way, _use_rung(at))


def _target(facts: Mapping[str, Fact]) -> Text:
    target = facts["target_score"]
    value = in_words("target_score", target.value)
    return text("ladder.assumed", value=value) if target.origin == "assumed" else value


# -- before anything is trained ------------------------------------------------------------------------


def rows_to_score(facts: Mapping[str, Fact]) -> tuple[int, str]:
    """How many rows methods are scored on, and where they come from.

    ``floor``: they are there already; ``share``: a share of the labelled ones; ``many``: some of these, where their
    share is more than anyone needs; ``evaluation``: somebody labels them first.
    """
    had, labels = (float(facts[name].value) for name in ("evaluation_examples", "labelled_examples"))
    share = int(labels * DataSpec.held_out)
    if facts["evaluation_examples"].origin != "assumed":
        return (int(had), "floor") if had >= LEAST_EVALUATION else (LEAST_EVALUATION, "evaluation")
    if facts["labelled_examples"].origin != "assumed" and share >= LEAST_EVALUATION:
        return (share, "share") if share <= ENOUGH_EVALUATION else (ENOUGH_EVALUATION, "many")
    return LEAST_EVALUATION, "evaluation"


def _evaluation_rung(at: _Situation) -> Rung:
    """Rows to score on, and the floor on them."""
    rows, key = rows_to_score(at.facts)
    counts = {"rows": f"{rows:,}", "least": LEAST_EVALUATION, "telling": TELLING_EVALUATION}
    work = {"few": _labelling(LEAST_EVALUATION), "many": _labelling(TELLING_EVALUATION), "minutes": _minutes()}
    return Rung(
        text=text(f"ladder.step_{key}", **counts),
        gate=text("ladder.gate_evaluation" if key == "evaluation" else "ladder.gate_floor", **counts),
        cost=text("ladder.cost_evaluation" if key == "evaluation" else "ladder.cost_floor", **counts, **work),
        command=at.command("baseline"),
    )


def _prompt_rung(at: _Situation, *, last: bool) -> Rung:
    """Plain prompting: the first method that may reach the target, and the last where nothing else is advised."""
    score = at.known("baseline_score")
    if last:
        what = _noted(text("ladder.step_prompting", what=_named("prompt", at)), _about_form("prompt", at))
    elif score is not None:
        what = text("ladder.step_prompt_again", score=formats.number(score))
    else:
        what = text("ladder.step_prompt")
    gate = text("ladder.gate_last" if last else "ladder.gate_target", target=at.target)
    return Rung(what, gate, text("ladder.cost_prompt"), at.command("prompt"), "prompt", "prompt")


def _labels_that_would_help(at: _Situation) -> Move | None:
    """The number of labels that would change the methods, where fewer than a pilot's rows are known."""
    if (at.known("labelled_examples") or 0) >= PILOT:
        return None
    return next((move for move in at.moves if move.fact == "labelled_examples" and move.direction > 0), None)


def _pilot_rung(labels: Move, at: _Situation) -> Rung:
    """A pilot before labels are bought: with a head where a pilot's rows can train one, else as demonstrations."""
    with_pilot = Assuming({**at.view.values, "labelled_examples": PILOT}, presumed=at.view.presumed)
    method = "probe" if load_cards()["probe"].feasible().holds(with_pilot) else "prompt"
    key = "pilot" if float(labels.value) > PILOT else "few"
    goal = in_words("labelled_examples", labels.value)
    return Rung(
        text=text(f"ladder.step_{key}", rows=PILOT, goal=goal, methods=methods_in_words(labels.methods)),
        gate=text(f"ladder.gate_{key}", target=at.target, goal=goal, run=at.run, rows=PILOT),
        cost=text("ladder.cost_pilot", rows=PILOT, time=_labelling(PILOT), minutes=_minutes()),
        command=at.command(method),
    )


def _labelling(rows: int) -> Text:
    """How long a person labels."""
    low, high = (rows * minutes * 60 for minutes in LABEL_MINUTES)
    return {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}


def _minutes() -> str:
    return "–".join(map(str, LABEL_MINUTES))


# -- the methods ---------------------------------------------------------------------------------------


def _method_rung(method: str, earlier: Sequence[str], later: Sequence[str], at: _Situation) -> Rung:
    """One stage of the recommendation, run with those before it as one chain. `later` are the stages after it."""
    card = load_cards()[method]
    runs = method if _runs(method, at) else _nearest(method, later, at)
    what = text("ladder.step_method", method=_named(method, at), what=card.what)
    gate = text("ladder.gate_target" if later else "ladder.gate_last", target=at.target)
    chain = _chain(method, earlier, at) if runs == method else runs
    what = _noted(what, _about_running(method, runs, later, at))
    what = _noted(what, text("ladder.note_chain") if chain != runs else {})
    return Rung(what, gate, card.cost_training, at.command(chain), method, runs)


def _chain(method: str, earlier: Sequence[str], at: _Situation) -> str:
    """The method with the stages before it that run here, as one chain; by itself where none can be made of them."""
    from advisor.chains import chain_faults  # it makes plans of decisions, which hold ladders

    parts = [*(name for name in earlier if _runs(name, at)), method]
    return method if chain_faults(parts) else "+".join(parts)


def _nearest(method: str, later: Sequence[str], at: _Situation) -> str:
    """What this version runs in the place of a method: the stage that trains after it, its nearest relative, or
    prompting where the facts allow neither."""
    card = load_cards()[method]
    options = [*(name for name in later if card.trains), card.nearest]
    return next((n for n in options if _runs(n, at) and load_cards()[n].feasible().holds(at.view)), "prompt")


def _runs(method: str, at: _Situation) -> bool:
    """Whether this version has the method, and has it for the task."""
    return method in EXECUTORS and at.facts["task"].value in executors.method(method).tasks


def _about_running(method: str, runs: str, later: Sequence[str], at: _Situation) -> Text:
    """Where what is run is not quite what is meant: another method, or another form."""
    card = load_cards()[method]
    if runs == method:
        return _about_form(method, at)
    if runs in later:
        return text("ladder.note_next")
    if runs == "prompt":
        return text("ladder.note_none")
    return text("ladder.note_nearest", nearest=load_cards()[runs].title, how=card.nearest_how)


def _about_form(method: str, at: _Situation) -> Text:
    """What form is run instead of the one that is advised; empty where that one runs."""
    from advisor.plan import RUNNABLE_FORMS  # it reads decisions, which hold ladders

    runnable, forms = RUNNABLE_FORMS.get(method, ()), load_cards()[method].variants
    if not runnable or at.forms.get(method, "") in ("", *runnable):
        return {}
    return text("ladder.note_form", form=forms[runnable[0]].title)


def _noted(what: Text, note: Text) -> Text:
    return text("ladder.with_note", what=what, note=note) if note else what


def _named(method: str, at: _Situation) -> Text:
    """A method with the form that is advised, where its name does not say it already."""
    card = load_cards()[method]
    form = card.variants.get(at.forms.get(method, ""))
    if method == "rag" and form is not None and form.name == "tuned_reader":
        return card.title  # its reader is tuned by the step after it
    if form is None or f"（{form.title['zh']}）" in card.title["zh"]:
        return card.title
    return text("ladder.form", method=card.title, form=form.title)


def _use_rung(at: _Situation) -> Rung:
    """The last step that ran holds what is used: each step is a run of its own."""
    return Rung(
        text=text("ladder.step_use"),
        gate=text("ladder.gate_use", run=at.run),
        cost=text("ladder.cost_use"),
        command="advisor predict last --input FILE",
    )


# -- what it costs -------------------------------------------------------------------------------------


def quoted(rungs: Sequence[Rung], methods: Sequence[str]) -> tuple[str, ...]:
    """The methods whose quotes `priced` needs, `methods` among them."""
    named = (name for rung in rungs for name in (rung.method, rung.runs) if name)
    return tuple(dict.fromkeys((*named, *methods)))


def priced(
    rungs: Sequence[Rung], methods: Sequence[str], quotes: Mapping[str, Any], facts: Mapping[str, Fact]
) -> tuple[Rung, ...]:
    """The same steps with figures for costs: building and scoring by the quotes, and at last 1,000 answers."""
    plain = {method: to_dict(quote) for method, quote in quotes.items()}
    rows, _ = rows_to_score(facts)
    costed = [_priced(rung, plain, rows, methods) if rung.method else rung for rung in rungs]
    return (*costed[:-1], replace(costed[-1], cost=_answers([plain[method] for method in methods], facts)))


def _priced(rung: Rung, quotes: Mapping[str, Any], rows: int, methods: Sequence[str]) -> Rung:
    """A step with its cost, and that of the method in its place unless a step of its own has it."""
    cost = _cost(rung.method, quotes[rung.method], rows)
    if rung.runs not in (rung.method, "prompt", *methods):
        instead = _cost(rung.runs, quotes[rung.runs], rows)
        cost = text("ladder.cost_nearest", cost=cost, nearest=load_cards()[rung.runs].title, instead=instead)
    return replace(rung, cost=cost)


def _cost(method: str, quote: Mapping[str, Any], rows: int) -> Text:
    share, answering = rows / 1000, quote["per_1000_hours"]
    figures = {
        "hours": _range(formats.hours, quote["train_hours"]),
        "build": _range(formats.dollars, quote["train_usd"]),
        "time": _range(formats.hours, answering, share) if answering[1] else text("ladder.by_provider"),
        "usd": _range(formats.dollars, quote["per_1000_usd"], share),
    }
    key = "trained" if load_cards()[method].trains else "built" if quote["train_hours"][1] > 0 else "asked"
    return text(f"ladder.cost_{key}", rows=f"{rows:,}", hardware=quote["hardware"], **figures)


def _range(told: Any, ends: Sequence[float], times: float = 1) -> Text:
    return {lang: told(ends[0] * times, ends[1] * times, lang) for lang in LANGUAGES}


def _answers(quotes: Sequence[Mapping[str, Any]], facts: Mapping[str, Fact]) -> Text:
    """The price of 1,000 answers (of a hybrid, between those of its parts), and of a day where requests are known."""
    ends = min(q["per_1000_usd"][0] for q in quotes), max(q["per_1000_usd"][1] for q in quotes)
    each, requests = _range(formats.dollars, ends), facts.get("requests_per_day")
    if requests is None or requests.origin == "assumed":
        return text("ladder.cost_answers", usd=each)
    a_day = _range(formats.dollars, ends, float(requests.value) / 1000)
    return text("ladder.cost_day", usd=each, day=a_day, requests=in_words("requests_per_day", requests.value))
