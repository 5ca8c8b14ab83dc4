"""What the chosen candidate gets wrong, in groups with a next action; and held-out rows whose label may be wrong.

A group is told of only where its rows go wrong more often than the others (Fisher's exact test, Holm's correction over
all groups of length and language), or where at least `LEAST` rows share a cause: the same two labels confused, the
same finding of the triage. Candidates that agree with each other against a label, or do not agree at all, point to
labels worth checking (as disagreement does in confident learning, Northcutt et al. 2021; here by votes, since
probabilities of different methods cannot be compared).

Wrong: another class; for answers with a right and a wrong, none of the targets, nor holding one, nor near one. Numbers
and whole texts are never simply wrong: there it is the quarter furthest from right.

Covered: groups, disagreements, the file of labels to check. Not covered: why retrieval failed, see
`executors.retriever.triage`; labels of whole texts, of which no two answers are the same.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from advisor import formats
from advisor.prove.records import FOLDER, Race, read_race
from advisor.texts import LANGUAGES, say, section_texts, text
from executors.base import Prediction, Row, Text, write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

Answers = Mapping[str, Mapping[str, Prediction]]
"""Of each candidate, its predictions by row id."""

FILE = "check_labels.csv"  # in the race's folder
FLOOR = "baseline"
LEAST = 3  # rows that make a cause worth naming
LEVEL = 0.05
NEAR = 0.5  # token F1 from which an answer in other words counts as right
QUARTER = 0.25  # what counts as wrong where nothing simply is
KEPT = 40  # rows that are wrong, of which the page shows text and answer
SHOWN = 5  # ids of examples that a group names


@dataclass(frozen=True)
class Group:
    """Rows that go wrong alike. `kind`: confusion | triage | length | language.

    `rows` are in the group, `wrong` of them; `elsewhere` is the share that is wrong of all other rows, and `adjusted`
    the test's corrected p: None where the group is a cause and holds wrong rows only.
    """

    kind: str
    name: Text
    rows: int
    wrong: int
    elsewhere: float
    action: Text
    command: str = ""
    adjusted: float | None = None
    examples: tuple[str, ...] = ()  # ids of wrong rows, the first few


@dataclass(frozen=True)
class Disagreement:
    """A row that not all candidates answer as it is labelled. `against` of `of` give the same other answer, `other`.

    `suspicion`, 0 to 1, that the label is wrong: these candidates' share of all votes, each weighed by how often it is
    right; of numbers how far all candidates lie to the same side of the label, d/(d + the labels' deviation).
    """

    id: str
    text: str
    label: str
    says: Mapping[str, str]
    suspicion: float
    against: int
    of: int
    other: str = ""


@dataclass(frozen=True)
class Wrong:
    """A row that the chosen candidate answers wrong, and its answer; empty where it gave none."""

    id: str
    text: str
    label: str
    answer: str


@dataclass(frozen=True)
class Failures:
    """Of the candidate `name`. `graded`: nothing is simply wrong here, `wrong` are those furthest from right."""

    name: str
    rows: int
    wrong: int
    graded: bool
    groups: tuple[Group, ...]
    disagreements: tuple[Disagreement, ...]
    notes: tuple[Text, ...] = field(default=())
    wrongs: tuple[Wrong, ...] = ()  # the rows themselves, `KEPT` at most


def find(
    task: str,
    metric: str,
    rows: Sequence[Row],
    answers: Answers,
    chosen: str,
    triage: Mapping[str, Any] | None = None,
) -> Failures:
    """What `chosen` gets wrong of the held-out rows that it answered, and where candidates disagree.

    `triage`: what the chosen one's run left as `triage.json`. Raises `ValueError` where it answered no row.
    """
    given = answers[chosen]
    own = [row for row in rows if row.id in given]
    if not own:
        raise ValueError(f"{chosen} answered none of the rows")
    wrong, graded = wrongs(task, metric, own, [given[row.id] for row in own])
    groups = [] if graded or task != "classification" else _confusions(own, given, wrong)
    groups += _causes(triage, len(own), wrong)
    groups += _apart(own, wrong)
    groups = [] if chosen == FLOOR else groups  # it answers without looking: what it gets wrong tells nothing
    shown = [_wrong(row, given[row.id]) for row, failed in zip(own, wrong, strict=True) if failed][:KEPT]
    apart = disagreements(task, rows, answers)
    return Failures(chosen, len(own), int(wrong.sum()), graded, tuple(groups), apart, wrongs=tuple(shown))


def _wrong(row: Row, given: Prediction) -> Wrong:
    return Wrong(row.id, row.input.text, row.target, "" if given.abstained else given.text)


def wrongs(task: str, metric: str, rows: Sequence[Row], predictions: Sequence[Prediction]) -> tuple[Flags, bool]:
    """(whether each row is wrong, [n]; whether that only means the quarter furthest from right)."""
    import numpy as np

    from executors.metrics import EXACT_TASKS, OVERLAP_TASKS
    from executors.metrics.compare import better, row_values
    from executors.metrics.texts import text_figures

    pairs = list(zip(rows, predictions, strict=True))
    if task == "classification":
        return np.array([row.target != answer.text.strip() for row, answer in pairs]), False
    if task == "regression" or task in OVERLAP_TASKS:
        values = better(row_values(task, metric, rows, predictions), metric)
        worst = np.argsort(values, kind="stable")[: round(QUARTER * len(values))]
        found = np.zeros(len(values), bool)
        found[worst] = values[worst] < values.max()  # rows that are all as good are none of them wrong
        return found, True
    figures = text_figures(task, rows, predictions)
    right = figures[:, 1] == 1 if task in EXACT_TASKS else (figures[:, 2] == 1) | (figures[:, 0] >= NEAR)
    abstained = np.array([answer.abstained for _, answer in pairs])
    return np.asarray(~right | abstained), False


# -- groups --------------------------------------------------------------------------------------------


def _confusions(rows: Sequence[Row], given: Mapping[str, Prediction], wrong: Flags) -> list[Group]:
    """Pairs of labels taken for each other at least `LEAST` times in all, the commonest first."""
    taken: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row, failed in zip(rows, wrong, strict=True):
        if failed:
            taken[row.target, given[row.id].text.strip()].append(row.id)
    of_label = Counter(row.target for row in rows)
    found = []
    for (wanted, got), ids in sorted(taken.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        back = taken.get((got, wanted), [])
        told_already = (len(back), wanted) > (len(ids), got)  # by the other way round, which is commoner or comes first
        if told_already or len(ids) + len(back) < LEAST:
            continue
        both = "_both" if back else ""
        values = {"wanted": wanted, "got": got, "count": len(ids), "back": len(back)}
        values |= {"of": of_label[wanted], "of_back": of_label[got]}
        name, action = text(f"failures.confusion{both}", **values), text(f"failures.confused{both}", **values)
        n = len(ids) + len(back)
        elsewhere = _share(int(wrong.sum()) - n, len(rows) - n)
        found.append(Group("confusion", name, n, n, elsewhere, action, examples=tuple([*ids, *back][:SHOWN])))
    return sorted(found, key=lambda group: -group.wrong)


def _causes(triage: Mapping[str, Any] | None, rows: int, wrong: Flags) -> list[Group]:
    """What the triage found at least `LEAST` times, with the command that addresses most of them."""
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for failure in (triage or {}).get("failures", ()):
        by_kind[failure["kind"]].append(failure)
    found = []
    for kind, failures in sorted(by_kind.items(), key=lambda pair: -len(pair[1])):
        if len(failures) < LEAST:
            continue
        commands = Counter(one["command"] for one in failures)
        command = commands.most_common(1)[0][0]
        why = _why([one for one in failures if one["command"] == command])
        name = _named("triage", f"kind_{kind}", kind)
        ids = tuple(one["id"] for one in failures[:SHOWN])
        elsewhere = _share(int(wrong.sum()) - len(failures), rows - len(failures))
        found.append(Group("triage", name, len(failures), len(failures), elsewhere, why, command, examples=ids))
    return found


def _why(failures: Sequence[Mapping[str, Any]]) -> Text:
    """What addresses them; where each tells of itself, of the first, named as an example."""
    first: Text = failures[0]["why"]
    if all(one["why"] == first for one in failures):
        return first
    return text("failures.for_example", id=str(failures[0]["id"]), why=first)


def _apart(rows: Sequence[Row], wrong: Flags) -> list[Group]:
    """Lengths and languages that go wrong more often than the other rows, told apart from chance."""
    import numpy as np
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]

    from executors.metrics.compare import holm

    parts = [*_lengths(rows), *_languages(rows)]
    tables = [(int((within & wrong).sum()), int(within.sum())) for *_, within in parts]
    failed, n = int(wrong.sum()), len(rows)
    ps = [fisher_exact([[w, r - w], [failed - w, n - r - failed + w]]).pvalue for w, r in tables]
    found = []
    for (kind, name, action, within), (w, r), adjusted in zip(parts, tables, holm(ps), strict=True):
        elsewhere = _share(failed - w, n - r)
        if adjusted < LEVEL and w / r > elsewhere:
            ids = tuple(rows[place].id for place in np.flatnonzero(within & wrong)[:SHOWN])
            found.append(Group(kind, name, r, w, elsewhere, action, "", float(adjusted), ids))
    return sorted(found, key=lambda group: group.adjusted or 0.0)


def _lengths(rows: Sequence[Row]) -> list[tuple[str, Text, Text, Flags]]:
    """The quarters of the rows by characters of the text, with the action for each; none where all are alike long."""
    import numpy as np

    sizes = np.array([len(row.input.text) for row in rows])
    bounds = [float(bound) for bound in np.quantile(sizes, (0.25, 0.5, 0.75))]
    quarter = np.searchsorted(bounds, sizes, side="left")
    names = ("shortest", "middle", "middle", "longest")
    found = []
    for place, action in enumerate(names):
        within = quarter == place
        if 0 < within.sum() < len(rows):
            low, high = int(sizes[within].min()), int(sizes[within].max())
            name = text(f"failures.length_{action}", low=low, high=high)
            found.append(("length", name, text(f"failures.{action}", low=low, high=high), within))
    return found


def _languages(rows: Sequence[Row]) -> list[tuple[str, Text, Text, Flags]]:
    """The rows of each script; none where there is only one."""
    import numpy as np

    from advisor.profile.language import script_of

    scripts = np.array([script_of(row.input.text) for row in rows])
    found = []
    for script in sorted(set(scripts.tolist()) - {""}):
        within = scripts == script
        if not within.all():
            name = _named("failures", f"script_{script}", script)
            found.append(("language", name, text("failures.language", language=name), within))
    return found


def _named(section: str, key: str, fallback: str) -> Text:
    """A text; `fallback` where it has none: methods bring causes of their own."""
    return text(f"{section}.{key}") if key in section_texts(section) else dict.fromkeys(LANGUAGES, fallback)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


# -- labels worth checking -----------------------------------------------------------------------------


def disagreements(task: str, rows: Sequence[Row], answers: Answers) -> tuple[Disagreement, ...]:
    """Rows whose label may be wrong, the most suspect first, of those that every candidate but the floor answered.

    Empty with fewer than two candidates, and for whole texts.
    """
    from executors.metrics import OVERLAP_TASKS

    said = {name: given for name, given in answers.items() if name != FLOOR and given}
    asked = [row for row in rows if row.targets and all(row.id in given for given in said.values())]
    if len(said) < 2 or not asked or task in OVERLAP_TASKS:
        return ()
    found = _of_numbers(asked, said) if task == "regression" else _of_votes(task, asked, said)
    return tuple(sorted(found, key=lambda one: -one.suspicion))  # stable: rows alike stay in the order given


def _of_votes(task: str, rows: Sequence[Row], said: Answers) -> Iterable[Disagreement]:
    right = {name: ~wrongs(task, "", rows, [given[row.id] for row in rows])[0] for name, given in said.items()}
    weights = {name: float(hits.mean()) for name, hits in right.items()}
    total = sum(weights.values())
    for place, row in enumerate(rows):
        if all(hits[place] for hits in right.values()):
            continue
        votes: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, given in said.items():
            if not right[name][place] and not given[row.id].abstained:
                votes[_plain(task, given[row.id].text)].append(name)
        most = max(votes.values(), key=lambda names: sum(weights[name] for name in names), default=[])
        suspicion = sum(weights[name] for name in most) / total if total else 0.0
        other = said[most[0]][row.id].text.strip() if most else ""
        yield _disagreement(row, said, suspicion, len(most), other)


def _plain(task: str, answer: str) -> tuple[str, ...]:
    """What must be equal for two answers to be the same."""
    from executors.metrics import tokens

    return (answer.strip(),) if task == "classification" else tuple(tokens(answer))


def _of_numbers(rows: Sequence[Row], said: Answers) -> Iterable[Disagreement]:
    """Rows that all candidates put on the same side of the label, half a deviation off or more, or put far apart."""
    import numpy as np

    from executors.metrics import read_number

    labels = [read_number(row.target) or 0.0 for row in rows]
    deviation = float(np.std(labels))
    if not deviation:
        return
    for row, label in zip(rows, labels, strict=True):
        read = [read_number(given[row.id].text) for given in said.values()]
        values = [value for value in read if value is not None]
        if len(values) < 2:
            continue
        off = [value - label for value in values]
        pull = min(map(abs, off)) if min(off) > 0 or max(off) < 0 else 0.0
        if pull >= deviation / 2 or max(values) - min(values) >= deviation:
            against = len(values) if pull else 0
            yield _disagreement(row, said, pull / (pull + deviation), against, formats.number(median(values)))


def _disagreement(row: Row, said: Answers, suspicion: float, against: int, other: str) -> Disagreement:
    says = {name: given[row.id].text for name, given in said.items()}
    return Disagreement(row.id, row.input.text, row.target, says, round(suspicion, 4), against, len(said), other)


def write_labels(path: Path, found: Sequence[Disagreement]) -> None:
    """The rows to check as CSV that spreadsheets take for UTF-8: id, text, label, suspicion, what each candidate says.

    A file of an earlier race is removed where nothing is to be checked.
    """
    if not found:
        path.unlink(missing_ok=True)
        return
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = list(found[0].says)
    table.writerow(["id", "text", "label", "suspicion", *names])
    for one in found:
        table.writerow([one.id, one.text, one.label, f"{one.suspicion:.3f}", *(one.says[name] for name in names)])
    write_atomic(path, f"\ufeff{out.getvalue()}")


# -- of a race -----------------------------------------------------------------------------------------


def read_failures(folder: Path) -> Failures | None:
    """What the chosen candidate of the race in a run's folder gets wrong; the labels to check are written beside it.

    None where there is no race, or nothing was chosen or kept. Raises `UserError` where the rows cannot be read.
    """
    race = read_race(folder)
    if race is None or race.choice is None or not race.choice.chosen:
        return None
    place = folder / FOLDER
    answers = _answers(race, place)
    rows = _rows(race, place)
    if not rows or not answers.get(race.choice.chosen):
        return None
    triage = _triage(race, place, folder.name)
    found = find(race.task, race.metric, rows, answers, race.choice.chosen, triage)
    write_labels(place / FILE, found.disagreements)
    return found


def _answers(race: Race, place: Path) -> dict[str, Mapping[str, Prediction]]:
    """What candidates answered that were not stopped: of those few answers are known, from little learning."""
    from executors.run import read_predictions

    return {
        one.name: read_predictions(place / one.pilot.folder / "predictions.jsonl")
        for one in race.standings
        if one.pilot and one.state in ("raced", "finished")
    }


def _rows(race: Race, place: Path) -> Sequence[Row]:
    """The held-out rows, by the plan that the floor's pilot kept."""
    from advisor.plan import plan_of
    from executors.data import load_dataset
    from executors.run import read_about

    floor = next((pilot for pilot in race.pilots if pilot.candidate == FLOOR and not pilot.error), None)
    if floor is None:
        return ()
    plan = plan_of(read_about(place / floor.folder)["plan"])
    data = dataclasses.replace(plan.data, rows=0, scored=0)
    return load_dataset(data, plan.task, plan.seed).test


def _triage(race: Race, place: Path, run: str) -> Mapping[str, Any] | None:
    """What the chosen one's pilot found, its commands naming the run that was raced instead of the pilot."""
    from advisor.prove.candidates import run_command
    from advisor.report.triage import read_triage

    assert race.choice is not None
    pilot = race.standing(race.choice.chosen).pilot
    record = read_triage(place / pilot.folder) if pilot else None
    if record is None or pilot is None:
        return None
    own = Path(pilot.folder).name
    named = f"advisor run {run}", run_command(run, race.choice.chosen)  # the run may recommend another method
    commands = [_renamed(one["command"], own, run).replace(*named, 1) for one in record["failures"]]
    failures = [{**one, "command": command} for one, command in zip(record["failures"], commands, strict=True)]
    return {**record, "failures": failures}


def _renamed(command: str, old: str, new: str) -> str:
    return " ".join(new if word == old else word for word in command.split(" "))


def told(found: Failures, lang: str) -> list[str]:
    """The groups as lines: name, how many are wrong, and what to do."""
    head = say("failures.graded" if found.graded else "failures.lead", lang, wrong=found.wrong, rows=found.rows)
    lines = [head]
    for group in found.groups:
        wrong, elsewhere = (formats.percent(share, lang) for share in (group.wrong / group.rows, group.elsewhere))
        key = "failures.cause" if group.adjusted is None else "failures.group"
        values = {"name": group.name, "wrong": group.wrong, "rows": group.rows, "share": wrong, "elsewhere": elsewhere}
        action = group.action[lang] + (f"{say('word.colon', lang)}`{group.command}`" if group.command else "")
        lines.append(say(key, lang, **values, action=action))
    if found.disagreements:
        count, suspect = len(found.disagreements), suspects(found)
        key = "failures.labels" if suspect else "failures.labels_open"
        lines.append(say(key, lang, count=count, suspect=suspect, file=f"{FOLDER}/{FILE}"))
    return lines


def suspects(found: Failures) -> int:
    """Rows on which most candidates agree on another answer than the label."""
    return sum(2 * one.against > one.of for one in found.disagreements)
