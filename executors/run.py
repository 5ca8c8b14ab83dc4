"""Runs a plan: check, build, save, predict, score, record. Goes on where an interrupted run left off.

What a run leaves in its folder: `artifact/` (what `open_predictor` loads), `predictions.jsonl` (one line a
held-out row), `removed.jsonl` (rows left out or doubtful, with the reason), `triage.json` (why answers are wrong,
where the method can tell) and `result.json`. `work/` holds checkpoints while the run is unfinished. The scored
predictor is the saved one, loaded again: what `predict` answers later is what was scored here. With folds every row is
scored instead, each by a predictor made without it, and the saved one is made of all rows.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import math
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import executors
from executors.base import (
    ClassScore,
    Event,
    Executor,
    Job,
    Passage,
    Plan,
    Prediction,
    Predictor,
    Problem,
    Reporter,
    Result,
    Row,
    Score,
    Text,
    Usage,
    UserError,
    parse_params,
    silent,
    to_dict,
    write_atomic,
    write_json,
)
from executors.data import Dataset, load_dataset
from executors.data.drawing import draw
from executors.data.folds import check_folds, split_folds
from executors.data.left_out import FILE as LEFT_OUT
from executors.data.left_out import read_left_out, write_left_out
from executors.data.near import find_leaks
from executors.models.endpoint import LEDGER, is_endpoint, limits_of, read_limits
from executors.models.endpoint.session import Session, spending
from executors.models.folder import sha256
from executors.models.tuned import tuned_run

TRIAGE = "triage.json"
PROCESS_STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
SURPRISED = 32  # rows, at most, whose right answers a language model is asked the likelihood of
LEAST_TIMED = 3  # single answers of which a median is told
CHUNK = 64  # rows predicted between two writes: what a kill loses at most
RUN_PARAMS = ("retriever",)  # parameters of methods that name a finished run
FILE_PARAMS = ("demonstrations", "schema")  # parameters of methods that name a file
PAID_CHUNK = 4096  # of a model behind an endpoint, whose every answer is kept by itself
PACKAGES = (
    *("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "scikit-learn"),
    *("langchain-core", "langchain-openai"),
)
RESUMED = {
    "en": "resumed after an interruption; the times are those of the last part",
    "zh": "中断后继续运行；用时只计最后一段",
}


def check_plan(plan: Plan) -> list[Problem]:
    """Every problem of a plan that can be seen without work."""
    executor = executors.method(plan.executor)
    _, problems = parse_params(executor.Params, plan.params)
    if plan.task not in executor.tasks:
        problems.append(
            Problem(
                f"task: '{plan.executor}' cannot do {plan.task}",
                f"tasks of '{plan.executor}': {', '.join(sorted(executor.tasks))}",
            )
        )
    if executor.needs_docs and not plan.docs:
        problems.append(Problem(f"docs: '{plan.executor}' needs a folder of documents", "give it with --docs DIR"))
    problems += [*limits_of(plan.endpoint)[1], *check_folds(plan.data)]
    return problems + executor.check(plan)


def run_plan(plan: Plan, folder: Path, report: Reporter = silent, again: str = "", timed: int = 0) -> Result:
    """Run `plan` in `folder` and return its scored result; a run that is done is not done again.

    `again`: the command that goes on, told where work on an endpoint is broken off; else `advisor run` with the folder.
    `timed`: held-out rows that are answered one at a time, for `Result.latency`.
    Raises `UserError` for what a user can fix, before or during the work; a failure during the work is recorded.
    """
    problems = check_plan(plan)
    if problems:
        raise UserError.of(problems)
    dataset = load_dataset(plan.data, plan.task, plan.seed)
    stamp = fingerprint(plan)
    done = read_result(folder) if read_stamp(folder) == stamp else None
    if done and done.status == "done" and done.rows["test"] >= len(scored_rows(dataset, plan)):
        return done
    started = Result(
        executor=plan.executor,
        task=plan.task,
        status="interrupted",
        rows=_counts(dataset, plan),
        latency=done.latency if done else {},
        notes=dataset.notes,
        seed=plan.seed,
        params=resolved_params(plan),
        versions=versions(),
        started=now(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    if done and done.status != "done":
        started = replace(started, notes=(*started.notes, RESUMED))
    _start_over_unless(stamp, folder)
    again = again or f"advisor run {folder.name}"
    with spending(read_limits(plan.endpoint), folder / LEDGER, again) as spent, _recording(folder, started, spent):
        result = _work(plan, dataset, stamp, folder, started, report, spent, timed)
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "work", ignore_errors=True)
    return result


@contextlib.contextmanager
def _recording(folder: Path, started: Result, spent: Session) -> Iterator[None]:
    """Records work that is broken off, by the user or by an error."""
    try:
        yield
    except KeyboardInterrupt:
        write_json(folder / "result.json", replace(started, cost_usd=spent.cost_usd))
        raise
    except BaseException as error:
        told = f"{type(error).__name__}: {error}"
        write_json(folder / "result.json", replace(started, status="failed", error=told, cost_usd=spent.cost_usd))
        raise


def scored_rows(dataset: Dataset, plan: Plan) -> tuple[Row, ...]:
    """The held-out rows that the plan is scored on."""
    return tuple(draw(dataset.test, plan.data.scored, plan.seed, plan.task))


def _counts(dataset: Dataset, plan: Plan) -> dict[str, int]:
    """Rows of both sides, what was left out by reason, and held-out rows that are but drafts."""
    drafts = {"drafted": dataset.drafted} if dataset.drafted else {}
    sides = {"train": len(dataset.train), "test": len(scored_rows(dataset, plan))}
    return {**sides, **dataset.removed, **drafts}


def _work(
    plan: Plan,
    dataset: Dataset,
    stamp: str,
    folder: Path,
    started: Result,
    report: Reporter,
    spent: Session,
    timed: int,
) -> Result:
    forget_peak_memory()
    begin = time.perf_counter()
    pooled = _across_folds(plan, dataset, stamp, folder, report) if plan.data.folds else {}
    if _artifact_stamp(folder) != stamp:
        learnt = replace(dataset, test=()) if plan.data.folds else dataset  # all rows: none is held out of the one kept
        _build(plan, learnt, stamp, folder, report)
    built = time.perf_counter()
    predictor = open_predictor(folder, report)
    test, path = scored_rows(dataset, plan), folder / "predictions.jsonl"
    latency: Mapping[str, float] = {}
    if plan.data.folds:
        predictions = [pooled[row.id] for row in test]
        write_predictions(path, pooled)
    else:
        latency = _time_answers(predictor, test[:timed], path)
        predictions = _predict(predictor, test, path, report, chunk_of(plan))
    predicted = time.perf_counter()
    from executors.metrics import class_scores, score

    metric, scores = score(plan.task, test, predictions)
    by_fold = _by_fold(plan, dataset, pooled, metric) if pooled else ()
    classes = class_scores(test, predictions) if plan.task == "classification" else {}
    scores |= _perplexity(predictor, plan.task, test) if not plan.data.folds else {}
    _examine(predictor, test, predictions, folder)
    elsewhere = spent.used and "torch" not in sys.modules  # a model behind an endpoint, and none here
    device, reason = ("", {}) if elsewhere else _device(executors.method(plan.executor))
    return replace(
        started,
        status="done",
        metric=metric,
        scores=scores,
        classes=classes,
        seconds={"build": round(built - begin, 2), "predict": round(predicted - built, 2)},
        latency=latency or started.latency,
        peak_memory_mb=peak_memory_mb(),
        device=device,
        device_reason=reason,
        notes=(*started.notes, *by_fold, *_listed(folder), *predictor.notes, *spent.notes.tell(spent)),
        cost_usd=spent.cost_usd,
    )


def _build(plan: Plan, dataset: Dataset, stamp: str, folder: Path, report: Reporter) -> None:
    """Build and save; the artifact's folder appears whole or not at all."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    write_left_out(folder / LEFT_OUT, dataset.left_out)
    leaks = functools.partial(find_leaks, held_out=dataset.test, report=report)  # costs nothing until a method asks
    predictor = executors.method(plan.executor).build(Job(plan, dataset.train, dataset.labels, work, report, leaks))
    write_left_out(folder / LEFT_OUT, [*dataset.left_out, *read_left_out(work / LEFT_OUT)])
    report(Event("save"))
    unfinished = folder / "artifact.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    predictor.save(unfinished)
    about = {"executor": plan.executor, "task": plan.task, "labels": dataset.labels, "stamp": stamp, "plan": plan}
    write_json(unfinished / "about.json", about)
    shutil.rmtree(folder / "artifact", ignore_errors=True)
    unfinished.rename(folder / "artifact")


def _listed(folder: Path) -> tuple[Text, ...]:
    """Where the rows are that were left out or look doubtful, if there are any."""
    count = len(read_left_out(folder / LEFT_OUT))
    if not count:
        return ()
    return (
        {
            "en": f"{LEFT_OUT} lists the {count:,} rows that were left out or look doubtful, with the reason",
            "zh": f"{LEFT_OUT} 列出了被剔除或存疑的 {count:,} 行数据及原因",
        },
    )


def _across_folds(plan: Plan, dataset: Dataset, stamp: str, folder: Path, report: Reporter) -> dict[str, Prediction]:
    """A prediction for every held-out row, by its id, each of a model trained on the other folds.

    Each fold goes on where it was broken off; of a finished one only its predictions are kept.
    """
    pooled: dict[str, Prediction] = {}
    folds = split_folds(dataset, plan.data.folds, plan.seed, plan.task)
    for number, fold in enumerate(folds, 1):
        place = folder / "work" / "folds" / str(number)
        place.mkdir(parents=True, exist_ok=True)
        told = functools.partial(_tell_fold, report, f"{number}/{len(folds)}")
        path = place / "predictions.jsonl"
        if read_predictions(path).keys() != {row.id for row in fold.test}:
            if _artifact_stamp(place) != stamp:
                _build(plan, fold, stamp, place, told)
            _predict(open_predictor(place, told), fold.test, path, told, chunk_of(plan))
        for name in ("artifact", "work"):
            shutil.rmtree(place / name, ignore_errors=True)
        pooled |= read_predictions(path)
    return pooled


def _by_fold(plan: Plan, dataset: Dataset, pooled: Mapping[str, Prediction], metric: str) -> tuple[Text, ...]:
    """The deciding metric of each fold: how much it depends on which rows are held out."""
    from executors.metrics import score

    tests = [fold.test for fold in split_folds(dataset, plan.data.folds, plan.seed, plan.task)]
    found = [score(plan.task, rows, [pooled[row.id] for row in rows])[1].get(metric) for rows in tests]
    values = ", ".join(f"{one.value:.3g}" for one in found if one)
    return ({"en": f"{metric} by fold: {values}", "zh": f"各折的 {metric}：{values}"},)


def _tell_fold(report: Reporter, fold: str, event: Event) -> None:
    report(replace(event, note=" · ".join(filter(None, [fold, event.note]))))


def chunk_of(plan: Plan) -> int:
    """Rows predicted between two writes."""
    return PAID_CHUNK if is_endpoint(plan.model) else CHUNK


def _perplexity(predictor: Predictor, task: str, rows: Sequence[Row]) -> dict[str, Score]:
    """Of the right answers to some of the rows, spread over all, where the method knows how likely a text is."""
    from executors.messages import TEXT_TASKS
    from executors.metrics import perplexity

    costs = predictor.surprise(rows[:: math.ceil(len(rows) / SURPRISED)]) if task in TEXT_TASKS else []
    return {"perplexity": perplexity(costs)} if costs else {}


def _examine(predictor: Predictor, rows: Sequence[Row], predictions: Sequence[Prediction], folder: Path) -> None:
    """Write why answers are wrong, where the method can tell."""
    found = predictor.examine(rows, predictions, folder.name)
    if found:
        write_json(folder / TRIAGE, found)
    else:
        (folder / TRIAGE).unlink(missing_ok=True)


def open_predictor(folder: Path, report: Reporter = silent) -> Predictor:
    """The predictor of a finished run. Raises `UserError` where the run has none."""
    about = read_about(folder)
    return executors.method(about["executor"]).Predictor.load(folder / "artifact", report)


def read_about(folder: Path) -> dict[str, Any]:
    """What the artifact of a run says of itself: executor, task, labels, plan."""
    path = folder / "artifact" / "about.json"
    if not path.is_file():
        raise UserError(
            f"{folder.name}: nothing to predict with, this run has not finished",
            f"advisor run {folder.name}",
            Problem(f"{folder.name}：运行尚未完成，还不能使用"),
        )
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return about


# -- predictions that survive a kill -------------------------------------------------------------------


def _time_answers(predictor: Predictor, rows: Sequence[Row], path: Path) -> dict[str, float]:
    """Answer these rows one at a time: the median and the 95th percentile of seconds, and how many were timed.

    They are kept as any answers are; the first is not counted, as it loads and compiles. Empty where too few are still
    to be answered.
    """
    done = read_predictions(path)
    seconds = []
    with path.open("a", encoding="utf-8") as out:
        for row in (row for row in rows if row.id not in done):
            begin = time.perf_counter()
            prediction = predictor.predict([row.input])[0]
            seconds.append(time.perf_counter() - begin)
            out.write(_line(row.id, prediction))
            out.flush()
    if len(seconds) < LEAST_TIMED:
        return {}
    twentieths = statistics.quantiles(seconds[1:], n=20, method="inclusive")
    return {"p50": twentieths[9], "p95": twentieths[18], "n": len(seconds) - 1}


def _predict(
    predictor: Predictor, rows: Sequence[Row], path: Path, report: Reporter, size: int = CHUNK
) -> list[Prediction]:
    """Predict every row, writing as it goes; rows answered before an interruption are not asked again."""
    done = read_predictions(path)
    missing = [row for row in rows if row.id not in done]
    with path.open("a", encoding="utf-8") as out:
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]

            def shifted(event: Event) -> None:  # a chunk's own count, as a count over all rows
                if event.stage == "predict":
                    before = len(rows) - len(missing) + start  # noqa: B023 (called within this turn of the loop)
                    event = replace(event, done=before + event.done, total=len(rows))
                report(event)

            for row, prediction in zip(chunk, predictor.predict([r.input for r in chunk], shifted), strict=True):
                done[row.id] = prediction
                out.write(_line(row.id, prediction))
            out.flush()
            report(Event("predict", done=len(rows) - len(missing) + start + len(chunk), total=len(rows)))
    return [done[row.id] for row in rows]


def _line(name: str, prediction: Prediction) -> str:
    return json.dumps({"id": name, **to_dict(prediction)}, ensure_ascii=False) + "\n"


def write_predictions(path: Path, predictions: Mapping[str, Prediction]) -> None:
    """All predictions by row id, at once."""
    write_atomic(path, "".join(_line(name, prediction) for name, prediction in predictions.items()))


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Predictions by row id; a line cut off by a kill is dropped, from the file as well."""
    if not path.is_file():
        return {}
    found, whole = {}, 0
    raw = path.read_bytes()
    for line in raw.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        record = json.loads(line)
        name = record.pop("id")
        found[name] = _prediction(record)
        whole += len(line)
    if whole < len(raw):
        with path.open("r+b") as out:
            out.truncate(whole)
    return found


def _prediction(record: dict[str, Any]) -> Prediction:
    passages = tuple(Passage(**p) for p in record.pop("passages"))
    usage = record.pop("usage")
    cited = tuple(record.pop("cited"))
    return Prediction(**record, passages=passages, usage=Usage(**usage) if usage else None, cited=cited)


# -- the record ----------------------------------------------------------------------------------------


def read_result(folder: Path) -> Result | None:
    """The result of a run, or None where there is none yet."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    record["scores"] = {name: Score(**s) for name, s in record["scores"].items()}
    record["classes"] = {name: ClassScore(**c) for name, c in record.get("classes", {}).items()}
    record["notes"] = tuple(record["notes"])
    return Result(**record)


def fingerprint(plan: Plan) -> str:
    """A hash of what a plan's outcome depends on: its values, and the content of its files.

    How an endpoint is asked and how many rows are scored is left out, so that a run goes on with more where it was.
    """
    values = {name: value for name, value in to_dict(replace(plan, reasons={})).items() if name != "endpoint"}
    values["data"] = {
        name: value for name, value in values["data"].items() if name != "scored" and (name, value) != ("rows", 0)
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in (plan.data.path, plan.data.test, plan.docs, *(plan.params.get(name) for name in FILE_PARAMS)):
        if name:
            path = Path(name)
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    digest.update(str(file).encode())
                    digest.update(sha256(file).encode())
    run = tuned_run(plan.model)
    earlier = [run.folder] if run else []
    earlier += [Path(plan.params[name]) / "artifact" for name in RUN_PARAMS if plan.params.get(name)]
    digest.update("".join(map(_stamp_of, earlier)).encode())
    return digest.hexdigest()


def _stamp_of(artifact: Path) -> str:
    """What the outcome of an earlier run depended on, which a plan builds on; empty where that is not known."""
    about = artifact / "about.json"
    return str(json.loads(about.read_text(encoding="utf-8"))["stamp"]) if about.is_file() else ""


def read_stamp(folder: Path) -> str:
    """The fingerprint of the plan this folder was last worked on with."""
    path = folder / "stamp"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _artifact_stamp(folder: Path) -> str:
    return str(read_about(folder)["stamp"]) if (folder / "artifact" / "about.json").is_file() else ""


def _start_over_unless(stamp: str, folder: Path) -> None:
    """Keep the unfinished work of this very plan; discard that of another."""
    if read_stamp(folder) != stamp:
        for name in ("work", "artifact"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "predictions.jsonl").unlink(missing_ok=True)
        (folder / "stamp").write_text(stamp, encoding="utf-8")


def resolved_params(plan: Plan) -> dict[str, Any]:
    """The parameters as they are used: given ones over defaults."""
    params, problems = parse_params(executors.method(plan.executor).Params, plan.params)
    if problems:
        raise UserError.of(problems)
    resolved: dict[str, Any] = to_dict(params)
    return resolved


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; None where the system does not tell (Windows).

    Linux's `ru_maxrss` begins with what the parent held when it started this process, so there its own status is read.
    """
    if PROCESS_STATUS.is_file():
        told = re.search(r"^VmHWM:\s+(\d+) kB", PROCESS_STATUS.read_text(), re.MULTILINE)
        if told:
            return round(int(told[1]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3, 1)


def forget_peak_memory() -> None:
    """Begin to count the peak anew, where the system can (Linux): several runs in one process have each their own."""
    with contextlib.suppress(OSError):
        CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set size


def _device(executor: Executor) -> tuple[str, dict[str, str]]:
    if not executor.on_device:
        return "", {}
    from executors.models import choose_device

    device = choose_device()
    return f"{device.kind} {device.dtype}", dict(device.reason)


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
