"""A judge asked about a run's answers, and the record it leaves: `RUN/judge/` with `judge.json`, `verdicts.jsonl` and
the ledger of paid replies, so that nothing is asked twice and a broken-off call goes on."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executors.base import (
    SCHEMA_VERSION,
    Plan,
    Prediction,
    Problem,
    Reporter,
    Row,
    Score,
    Text,
    UserError,
    did_you_mean,
    silent,
    to_dict,
    write_atomic,
    write_json,
)
from executors.judging.agreement import Agreement, agree
from executors.judging.asking import (
    FORMS,
    TASKS,
    ask_preference,
    ask_rating,
    criterion_of,
    read_preference,
    read_rating,
    said_of,
)
from executors.models.endpoint import LEDGER, EndpointLimits, is_endpoint
from executors.models.language import Chat

FOLDER, FILE, VERDICTS = "judge", "judge.json", "verdicts.jsonl"
MOST = 512  # tokens of a reply: room for a model that thinks a little first


@dataclass(frozen=True)
class JudgeParams:
    """`criterion` empty: by the task. `rows`: answers graded, at most; 0: all."""

    model: str
    form: str = "rubric"
    criterion: str = ""
    rows: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one answer. `value` lies on [0, 1]; `turned`: it changed with the order, so it is a tie."""

    id: str
    said: str  # see `FORMS`
    value: float
    reason: str = ""
    turned: bool = False


@dataclass(frozen=True)
class JudgeRecord:
    """What came of it. `score` is the mean of the verdicts; None where no reply could be read."""

    params: JudgeParams
    task: str
    metric: str  # that decides, without a judge
    itself: bool  # whether the judge wrote the answers
    rows: int  # answers that were put to the judge
    judged: int
    unreadable: int  # answers left out, as a reply on them could not be read
    turned: int
    score: Score | None
    agreement: Agreement | None = None  # None: no people's labels were given
    labels: Mapping[str, str] = field(default_factory=dict)  # those of people, by row
    cost_usd: float | None = None
    notes: tuple[Text, ...] = ()
    answers: str = ""  # a hash of the answers: other ones were not judged
    created: str = ""  # ISO 8601, UTC
    schema_version: int = SCHEMA_VERSION


def check(task: str, params: JudgeParams) -> None:
    """Raise `UserError` with everything that speaks against asking."""
    problems = []
    if task not in TASKS:
        zh = Problem(f"任务 {task} 不用评审模型即可评分", f"评审模型适用于：{'、'.join(sorted(TASKS))}")
        told = f"answers of {task} are scored without a judge"
        problems.append(Problem(told, f"a judge is for {', '.join(sorted(TASKS))}", zh))
    if params.form not in FORMS:
        meant, meant_zh = did_you_mean(params.form, FORMS), did_you_mean(params.form, FORMS, "zh")
        zh = Problem(f"--form：没有“{params.form}”{meant_zh}", f"可用：{'、'.join(FORMS)}")
        problems.append(Problem(f"--form: no '{params.form}'{meant}", f"one of {', '.join(FORMS)}", zh))
    if not is_endpoint(params.model):
        hint = "--model deepseek:MODEL / --model vllm:MODEL@http://HOST:8000/v1"
        zh = Problem(f"--model：评审模型应写作“服务商:模型”，收到“{params.model}”", hint)
        problems.append(Problem(f"--model: a judge is named PROVIDER:MODEL, got '{params.model}'", hint, zh))
    if problems:
        raise UserError.of(problems)


def judge(
    folder: Path,
    plan: Plan,
    rows: Sequence[Row],
    predictions: Mapping[str, Prediction],
    params: JudgeParams,
    limits: EndpointLimits,
    labels: Mapping[str, str] | None = None,
    again: str = "",
    report: Reporter = silent,
) -> JudgeRecord:
    """Ask about a run's answers to `rows` and write the record into `folder`/judge.

    `labels`: what people say of some, by row. `again`: the command that goes on.

    Raises `UserError`: see `check`; the cap reached, or no usable reply, with all replies kept.
    """
    from executors.metrics import deciding_metric
    from executors.models import load_language_model
    from executors.models.endpoint.session import spending

    check(plan.task, params)
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    with spending(limits, place / LEDGER, again) as spent:
        model = load_language_model(params.model, report)
        chats = requests(plan.task, rows, predictions, params)
        replies = [one.text for one in model.generate(chats, MOST, report)] if chats else []
        notes, cost = spent.notes.tell(spent), spent.cost_usd
    found = _verdicts([row.id for row in rows], replies, params.form)
    record = JudgeRecord(
        params=params,
        task=plan.task,
        metric=deciding_metric(plan.task, rows),
        itself=params.model == plan.model,
        rows=len(rows),
        judged=len(found),
        unreadable=len(rows) - len(found),
        turned=sum(one.turned for one in found),
        score=_mean(found),
        agreement=_agreement(found, labels, params.form) if labels else None,
        labels=labels or {},
        cost_usd=cost,
        notes=notes,
        answers=_hash(predictions),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    lines = (json.dumps(to_dict(one), ensure_ascii=False) + "\n" for one in found)
    write_atomic(place / VERDICTS, "".join(lines))
    write_json(place / FILE, record)
    return record


def requests(task: str, rows: Sequence[Row], predictions: Mapping[str, Prediction], params: JudgeParams) -> list[Chat]:
    """The chats to ask: one a row by a rubric, two (both orders) of pairs."""
    criterion = criterion_of(task, params.criterion)
    pairs = [(row, predictions[row.id].text) for row in rows]
    if params.form == "rubric":
        return [ask_rating(row, answer, criterion) for row, answer in pairs]
    ordered = ((row, texts) for row, answer in pairs for texts in ((answer, row.target), (row.target, answer)))
    return [ask_preference(row, *texts, criterion) for row, texts in ordered]


def _verdicts(names: Sequence[str], replies: Sequence[str], form: str) -> list[Verdict]:
    """Those that could be read."""
    scale = FORMS[form]
    found = []
    for n, name in enumerate(names):
        if form == "rubric":
            rated = read_rating(replies[n])
            read = (*rated, False) if rated else None
        else:
            read = read_preference((replies[2 * n], replies[2 * n + 1]))
        if read:
            said, reason, turned = read
            found.append(Verdict(name, said, scale.index(said) / (len(scale) - 1), reason, turned))
    return found


def _mean(found: Sequence[Verdict]) -> Score | None:
    import numpy as np

    from executors.metrics.intervals import mean_score

    return mean_score(np.array([one.value for one in found])) if found else None


def _agreement(found: Sequence[Verdict], labels: Mapping[str, str], form: str) -> Agreement:
    both = [one for one in found if one.id in labels]
    return agree([one.said for one in both], [labels[one.id] for one in both], form)


def read_labels(path: Path, form: str, known: Sequence[str]) -> dict[str, str]:
    """What people say of answers, by row: a table with the columns id and label; rows without a label are passed over.

    Raises `UserError`: a column is missing, a label is none of the form's, an id is none of `known`.
    """
    from executors.data import read_table

    table = read_table(path)
    missing = [name for name in ("id", "label") if name not in table.columns]
    if missing:
        names = ", ".join(missing)
        hint = "advisor judge RUN --sheet 30"
        raise UserError(f"{path}: no column {names}", hint, Problem(f"{path}：缺少列 {names}", hint))
    given = {row["id"].strip(): row["label"].strip() for row in table.rows if row["label"].strip()}
    strange = [name for name in given if name not in set(known)]
    wrong = [label for label in dict.fromkeys(given.values()) if not said_of(label, form)]
    problems = []
    if strange:
        shown = ", ".join(strange[:3])
        zh = Problem(f"{path}：{len(strange)} 个 id 不在被评审的回答中（{shown}）", "请使用 --sheet 写出的表格")
        told = f"{path}: {len(strange)} ids are none of the judged answers ({shown})"
        problems.append(Problem(told, "use the table that --sheet writes", zh))
    if wrong:
        shown, scale = ", ".join(map(repr, wrong[:3])), ", ".join(FORMS[form])
        zh = Problem(f"{path}：标签 {shown} 无效", f"应为 {scale} 之一")
        problems.append(Problem(f"{path}: labels {shown} cannot be read", f"one of {scale}", zh))
    if problems:
        raise UserError.of(problems)
    return {name: said_of(label, form) for name, label in given.items()}


def _hash(predictions: Mapping[str, Prediction]) -> str:
    told = json.dumps({name: one.text for name, one in sorted(predictions.items())})
    return hashlib.sha256(told.encode()).hexdigest()


def read_judged(folder: Path) -> JudgeRecord | None:
    """The record of a run's judge; None where there is none, or it judged other answers than the run now has.

    Raises `UserError` where it is damaged.
    """
    from executors.run import read_predictions

    path = folder / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        record = _record(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        hint = f"rm {path}"
        zh = Problem(f"无法读取 {path}：{error}", hint)
        raise UserError(f"{path} cannot be read: {error}", hint, zh) from error
    return record if record.answers == _hash(read_predictions(folder / "predictions.jsonl")) else None


def _record(raw: Mapping[str, Any]) -> JudgeRecord:
    score, agreed = raw["score"], raw["agreement"]
    found = None
    if agreed:
        found = Agreement(agreed["n"], *(Score(**s) if (s := agreed[n]) else None for n in ("kappa", "spearman")))
    read = {"params": JudgeParams(**raw["params"]), "score": Score(**score) if score else None, "agreement": found}
    return JudgeRecord(**{**raw, **read, "notes": tuple(raw["notes"])})
