"""The report's section on a training: its curves with a verdict, what it changed, and what was forgotten.

Covered: what a tuned run leaves in its artifact (`training.jsonl`, `aftermath.json`, `forgetting.json`, `tuned.json`)
and of encoders `encoder.json`, and the estimate that was made before it. Runs without a training have no such section.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor import formats, words
from advisor.estimated import Error, read_error
from advisor.report.blocks import Block, Cell, Command, Fold, Lines, Prose, Table
from advisor.report.lines import BOTTOM, LABEL_HEIGHT, LEFT, RIGHT, TOP, Box, Curve, Scale, draw, text_width
from advisor.texts import say, section_texts
from executors.base import ClassScore, Problem, Result, UserError

if TYPE_CHECKING:
    from executors.tuning.verdict import Point, Verdict

SHOWN = 300  # characters of a text in a table
MARK_GAP = 6
HIGHER_RATE = 2.5  # times the rate that hardly learnt
REPLAY = 0.2  # share of general rows proposed where something was forgotten
ABOUT = ("tuned.json", "encoder.json")  # of a language model, of an encoder
CLASSES = 10  # shown before the fold
CURVES = ("loss", "dev_loss")
NEEDED = {"metric", "rows", "trained_on", "before", "after", "samples"}, {"before", "after", "rise", "fallen", "forgot"}


@dataclass(frozen=True)
class Training:
    """What is known of a run's training; parts that the run does not have are empty. `plan`: its file, from which the
    next run is made with one thing changed."""

    plan: str
    log: Sequence[Mapping[str, float]] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    aftermath: Mapping[str, Any] | None = None
    forgetting: Mapping[str, Any] | None = None
    error: Error | None = None
    writes: bool = True  # what was trained writes text, so that it can forget how

    @property
    def verdict(self) -> Verdict | None:
        from executors.tuning.verdict import judge  # imports numpy: only the page of a training needs it

        return judge(self.log)

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the lowest development loss were kept."""
        return bool(self.params.get("patience"))


def read_training(folder: Path, result: Result | None = None) -> Training | None:
    """What a run's folder says of its training; None where there was none. Raises `UserError` for a damaged record."""
    artifact = folder / "artifact"
    log = artifact / "training.jsonl"
    if not log.is_file():
        return None
    try:
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line]
        _ = Training(folder.name, entries).verdict
        about = next(filter(None, (_json(artifact / name) for name in ABOUT)), {})
        params = dict(about.get("params", {}))
        records = _json(artifact / "aftermath.json"), _json(artifact / "forgetting.json")
        for record, needed in zip(
            records, ({"metric", "before", "after", "samples"}, {"before", "after"}), strict=True
        ):
            if record is not None and not needed <= set(record):
                raise KeyError(sorted(needed - set(record))[0])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        again = f"advisor run {folder.name}"
        zh = Problem(f"无法读取 {artifact} 中的训练记录：{error}", f"请删除 artifact 后重新运行：{again}")
        hint = f"delete the artifact and run it again: {again}"
        raise UserError(f"the record of the training in {artifact} cannot be read: {error}", hint, zh) from error
    writes = not (artifact / ABOUT[1]).is_file()
    plan = shlex.quote(str(folder / "plan.yaml"))
    return Training(plan, entries, params, *records, read_error(folder, result), writes)


def _json(path: Path) -> dict[str, Any] | None:
    read: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return read


def section(training: Training | None, lang: str) -> list[Block]:
    """The verdict with its next command, the curves, before and after, what was forgotten, and the estimate's error."""
    if training is None:
        return []
    blocks = _verdict(training, lang)
    blocks += [_drawing(training, lang)] if training.verdict else []
    blocks += _aftermath(training.aftermath, lang)
    blocks += _forgetting(training, lang)
    return blocks + [Prose(text) for text in error_texts(training.error, lang)]


# -- the verdict ---------------------------------------------------------------------------------------


def _verdict(training: Training, lang: str) -> list[Block]:
    verdict = training.verdict
    if verdict is None:
        return []
    tone = {"fine": "good", "unknown": "warn"}.get(verdict.fit, "warn")
    blocks: list[Block] = [Prose(verdict_text(verdict, lang), tone)]
    if verdict.kind == "rising" and training.keeps_best and verdict.lowest:
        return [*blocks, Prose(say("training.kept_best", lang, at=verdict.lowest[0]))]
    command = next_command(training)
    return [*blocks, Prose(say(f"training.next_{verdict.kind}", lang)), Command(command)] if command else blocks


def verdict_text(verdict: Verdict, lang: str) -> str:
    """What the curves show, with the figures it rests on."""
    from executors.tuning.verdict import LEARNT

    lowest, last = verdict.lowest or (0, 0.0), verdict.last or (0, 0.0)
    return say(
        f"training.{verdict.kind}",
        lang,
        at=lowest[0] if verdict.kind == "rising" else last[0],
        lowest=figure(lowest[1]),
        last=figure(last[1]),
        first=figure(verdict.first_loss),
        trained=figure(verdict.last_loss),
        steps=verdict.steps,
        least=f"{100 * LEARNT:.0f}",
    )


def next_command(training: Training) -> str:
    """The command that addresses the verdict; empty where nothing is to be done."""
    verdict, params = training.verdict, training.params
    if verdict is None or not params:
        return ""
    if verdict.kind == "falling":
        changed = _longer(verdict, params)
    elif verdict.kind == "hardly" and params.get("learning_rate"):
        changed = f"learning_rate={HIGHER_RATE * params['learning_rate']:.2g}"
    elif verdict.kind == "rising" and not training.keeps_best and "patience" in params:
        changed = "patience=3"
    else:
        return ""
    return f"advisor run {training.plan} --set {changed}"


def _longer(verdict: Verdict, params: Mapping[str, Any]) -> str:
    """Twice the steps, by whichever parameter set them."""
    if params.get("variant") == "setfit":
        return f"contrast_epochs={2 * int(params.get('contrast_epochs', 1))}"
    if params.get("min_steps", 0) >= verdict.steps:
        return f"min_steps={2 * verdict.steps}"
    return f"epochs={2 * params.get('epochs', 1):g}"


def signed(change: float, digits: int) -> str:
    """A change with its sign, of which nothing is left where it rounds to nothing."""
    told = f"{change:+.{digits}f}"
    return f"±{told[1:]}" if float(told) == 0 else told.replace("-", "−")


def figure(loss: float) -> str:
    """A loss, to three decimals."""
    return f"{loss:.3f}"


# -- the curves ----------------------------------------------------------------------------------------


class Plain(Scale):
    """Steps from `first` to `last` across, losses from 0 to `top` upwards."""

    def __init__(self, first: float, last: float, top: float) -> None:
        super().__init__(last)
        self.first, self.top = first, top

    def x(self, count: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (count - self.first) / max(self.most - self.first, 1), 1)

    def y(self, share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * share / self.top, 1)


def _drawing(training: Training, lang: str) -> Lines:
    from executors.tuning.verdict import FALLING, RISEN, curve

    points = {name: found for name in CURVES if len(found := curve(training.log, name)) > 1}
    steps = [step for found in points.values() for step, _ in found]
    ticks = loss_ticks(max(loss for found in points.values() for _, loss in found))
    scale = Plain(0, max(steps), ticks[-1])
    verdict = training.verdict
    marked = verdict.lowest if verdict and verdict.lowest else None
    at = scale.x(marked[0]) if marked else None
    label = say("training.mark", lang, at=marked[0]) if marked else ""
    turned = at is not None and at + MARK_GAP + text_width(label) > RIGHT
    wide = text_width(label)
    taken = [Box(at - (wide + MARK_GAP if turned else 0), TOP, wide + 2 * MARK_GAP)] if at is not None else []
    if at is not None:  # no name across the mark
        taken += [Box(at - MARK_GAP, top, 2 * MARK_GAP) for top in range(TOP, BOTTOM, LABEL_HEIGHT)]
    curves = [
        Curve(say(f"training.{name}", lang), name, [(s, loss, loss, loss) for s, loss in found])
        for name, found in points.items()
    ]
    return Lines(
        title=say("training.drawing", lang),
        alt=" ".join(_alt(name, found, lang) for name, found in points.items()),
        caption=say("training.caption", lang, risen=f"{100 * RISEN:.0f}", falling=f"{100 * FALLING:.0f}"),
        across=say("training.across", lang),
        upwards=say("training.upwards", lang),
        series=draw(curves, scale, taken),
        x_ticks=tuple((scale.x(step), formats.number(step)) for step in step_ticks(max(steps))),
        y_ticks=tuple((scale.y(loss), formats.number(loss)) for loss in ticks),
        mark=at,
        mark_label=label,
        mark_turned=turned,
        dots=((at, scale.y(marked[1]), "dev_loss"),) if at is not None and marked else (),
    )


def loss_ticks(most: float) -> list[float]:
    """Round figures from 0 to just above `most`, four to six of them."""
    return _ticks(most if most > 0 else 1.0)


def step_ticks(most: int) -> list[float]:
    """Round steps from 0 to `most`."""
    return [tick for tick in _ticks(most) if tick <= most]


def _ticks(most: float) -> list[float]:
    size = 10 ** math.floor(math.log10(most / 4))
    width = next(size * times for times in (1, 2, 2.5, 5, 10) if most / (size * times) <= 5)
    return [round(width * n, 10) for n in range(math.ceil(most / width - 1e-9) + 1)]


def _alt(name: str, points: Sequence[Point], lang: str) -> str:
    (start, first), (end, last) = points[0], points[-1]
    named = say(f"training.{name}", lang)
    return say("training.alt", lang, name=named, first=figure(first), start=start, last=figure(last), end=end)


# -- before and after ----------------------------------------------------------------------------------


def _aftermath(record: Mapping[str, Any] | None, lang: str) -> list[Block]:
    if record is None:
        return []
    blocks: list[Block] = [Prose(say("training.trained_on", lang), "warn")] if record["trained_on"] else []
    blocks += [Prose(say("training.before_head", lang))] if of_encoder(record) else []
    title = compared_title(record, lang)
    head = tuple(say(f"training.{name}", lang) for name in ("what", "before", "after"))
    rows = tuple(
        (Cell(name), Cell(before), Cell(after, tone="strong")) for name, before, after in compared(record, lang)
    )
    head_samples = tuple(say(f"training.{name}", lang) for name in ("input", "wanted", "before", "after"))
    samples = tuple(
        (
            Cell(cut(one["input"]), note=cut(one.get("context", ""))),
            Cell(cut(one["target"])),
            Cell(cut(one["base"]) or "–"),
            Cell(cut(one["tuned"]) or "–", tone="strong"),
        )
        for one in record["samples"]
    )
    shown = say("training.samples", lang)
    blocks += [Prose(title, "label"), Table(title, head, rows)]
    return [*blocks, Prose(shown, "label"), Table(shown, head_samples, samples)]


def of_encoder(record: Mapping[str, Any]) -> bool:
    """Whether what is compared is an encoder's head: before, of the encoder as it was."""
    return record.get("of") == "encoder"


def compared_title(record: Mapping[str, Any], lang: str) -> str:
    name = "compared_trained" if record["trained_on"] else "compared"
    return say(f"training.{name}", lang, rows=record["rows"])


def compared(record: Mapping[str, Any], lang: str) -> list[tuple[str, str, str]]:
    """(what, before, after) of the metric that decides and of the loss, as they are shown; of an encoder's head, which
    writes nothing, without a perplexity."""
    sides = record["before"], record["after"]
    scores = [side["score"] for side in sides]
    metric = words.label("metric", record["metric"], lang)
    told = [f"{formats.score(s['value'])} [{formats.score(s['low'])}, {formats.score(s['high'])}]" for s in scores]
    losses = [float(side["loss"]) for side in sides]
    if of_encoder(record):
        loss = say("training.loss_of_rows", lang)
        return [(metric, told[0], told[1]), (loss, figure(losses[0]), figure(losses[1]))]
    perplexities = [formats.number(math.exp(min(loss, 50))) for loss in losses]
    return [
        (metric, told[0], told[1]),
        (say("training.loss_of_answers", lang), figure(losses[0]), figure(losses[1])),
        (say("training.perplexity", lang), perplexities[0], perplexities[1]),
    ]


def cut(text: str, most: int = SHOWN) -> str:
    """A text on one line, at most so long as a table bears."""
    plain = " ".join(text.split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


# -- what was forgotten --------------------------------------------------------------------------------


def _forgetting(training: Training, lang: str) -> list[Block]:
    record = training.forgetting
    if record is None:
        return [] if training.writes else [Prose(say("training.no_general", lang))]
    blocks: list[Block] = [Prose(say("training.forgotten", lang), "label")]
    blocks.append(Prose(forgetting_text(record, lang), "warn" if record["forgot"] else "good"))
    if record["forgot"]:
        first, second = remedies(training)
        blocks += [Prose(say("training.next_replay", lang)), Command(first)]
        blocks += [Prose(say("training.next_less", lang)), Command(second)] if second else []
    head = tuple(say(f"training.{name}", lang) for name in ("what", "before", "after", "change"))
    rows = tuple((Cell(name), *map(Cell, figures)) for name, *figures in general_rows(record, lang))
    return [*blocks, Table(say("training.forgotten", lang), head, rows)]


def forgetting_text(record: Mapping[str, Any], lang: str) -> str:
    """Whether something of note was forgotten, and what."""
    thresholds = record["thresholds"]
    points = f"{100 * thresholds['skill']:.0f}"
    if not record["forgot"]:
        return say("training.kept", lang, rise=signed(record["rise"], 2), points=points)
    told = []
    if record["rise"] >= thresholds["loss"]:
        told.append(say("training.forgot_loss", lang, rise=f"{record['rise']:.2f}"))
    for name in record["fallen"]:
        before, after = (formats.percent(record[side]["skills"].get(name, 0.0), lang) for side in ("before", "after"))
        told.append(say("training.forgot_skill", lang, skill=skill_name(name, lang), before=before, after=after))
    what = say("word.semicolon", lang).join(told)
    return say("training.forgot", lang, what=what, loss=f"{thresholds['loss']:.2f}", points=points)


def skill_name(name: str, lang: str) -> str:
    return say(f"training.skill_{name}", lang) if f"skill_{name}" in section_texts("training") else name


def remedies(training: Training) -> tuple[str, str]:
    """The commands that make a model forget less: general rows among its own; a lower rank, or a lower rate."""
    params = training.params
    replay = max(REPLAY, min(0.5, 2 * float(params.get("replay") or 0)))
    second = ""
    if int(params.get("rank") or 0) > 1:
        second = f"rank={max(1, int(params['rank']) // 4)}"
    elif params.get("learning_rate"):
        second = f"learning_rate={params['learning_rate'] / HIGHER_RATE:.2g}"
    begin = f"advisor run {training.plan} --set"
    return f"{begin} replay={replay:g}", f"{begin} {second}" if second else ""


def general_rows(record: Mapping[str, Any], lang: str) -> list[tuple[str, str, str, str]]:
    """(what, before, after, change) of the loss on general text and of each skill, as they are shown."""
    before, after = record["before"], record["after"]
    pairs = [(say("training.general_loss", lang), before["loss"], after["loss"])]
    for name in before["losses"]:
        if f"general_loss_{name}" in section_texts("training") and name in after["losses"]:
            pairs.append((say(f"training.general_loss_{name}", lang), before["losses"][name], after["losses"][name]))
    rows = [(name, figure(old), figure(new), signed(new - old, 3)) for name, old, new in pairs]
    for name, old in before["skills"].items():
        new = after["skills"].get(name, 0.0)
        shares = formats.percent(old, lang), formats.percent(new, lang)
        change = say("training.points", lang, value=signed(100 * (new - old), 0))
        rows.append((skill_name(name, lang), *shares, change))
    return rows


# -- the estimate --------------------------------------------------------------------------------------


def error_texts(error: Error | None, lang: str) -> Iterable[str]:
    """How far off the estimate of time, and of memory, was; nothing where none was made."""
    if error is None:
        return
    told = formats.seconds(*error.seconds, lang), formats.seconds(error.took, None, lang)
    verdict = _off(error.took, error.seconds, lang)
    yield say("training.estimated", lang, estimated=told[0], took=told[1], verdict=verdict)
    if error.memory_gb and error.used_gb:
        estimated = formats.gigabytes(*error.memory_gb, lang)
        used = formats.gigabytes(error.used_gb, error.used_gb, lang)
        verdict = _off(error.used_gb, error.memory_gb, lang)
        yield say("training.estimated_memory", lang, estimated=estimated, used=used, verdict=verdict)


def _off(value: float, ends: tuple[float, float], lang: str) -> str:
    low, high = ends
    if low <= value <= high:
        return say("training.within", lang)
    name, end = ("above", high) if value > high else ("below", low)
    return say(f"training.{name}", lang, times=formats.number(value / max(end, 1e-9)))


# -- classes -------------------------------------------------------------------------------------------


def class_tables(classes: Mapping[str, ClassScore], lang: str) -> list[Block]:
    """Precision, recall and F1 of each class, those with the lowest F1 first; of many classes the others folded."""
    if not classes:
        return []
    rows = sorted(classes.items(), key=lambda pair: (pair[1].f1, pair[0]))
    if len(rows) <= CLASSES + 2:  # a fold of one or two is not worth it
        title = say("training.classes", lang)
        return [Prose(title, "label"), _classes(title, rows, lang)]
    first, rest = rows[:CLASSES], rows[CLASSES:]
    title = say("training.worst_classes", lang, count=len(first))
    others = say("training.other_classes", lang, count=len(rest))
    return [Prose(title, "label"), _classes(title, first, lang), Fold(others, _classes(others, rest, lang))]


def _classes(caption: str, rows: Sequence[tuple[str, ClassScore]], lang: str) -> Table:
    head = tuple(say(f"training.{name}", lang) for name in ("class", "rows", "answered", "precision", "recall", "f1"))
    cells = tuple(
        (
            Cell(name),
            Cell(str(one.rows)),
            Cell(str(one.answered)),
            *(Cell(formats.score(value)) for value in (one.precision, one.recall, one.f1)),
        )
        for name, one in rows
    )
    return Table(caption, head, cells)
