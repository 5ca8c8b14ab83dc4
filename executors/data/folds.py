"""Cross-validation: rows in k folds, each held out once. Every row is scored by a model that never saw it.

Rows with one input are in one fold, and every class is spread evenly over the folds (Kohavi 1995 on why stratified).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from executors.base import DataSpec, Problem, Row, UserError
from executors.data.splits import Dataset, Key, input_key

MOST = 20


def check_folds(spec: DataSpec) -> list[Problem]:
    """Faults of the number of folds that can be seen without reading rows."""
    problems = []
    if spec.folds and not 2 <= spec.folds <= MOST:
        zh = Problem(f"folds：必须在 2 到 {MOST} 之间（或 0，表示不做），收到 {spec.folds}", "--folds 5")
        message = f"folds: must be from 2 to {MOST} (or 0 for none), got {spec.folds}"
        problems.append(Problem(message, "--folds 5", zh))
    if spec.folds and (spec.rows or spec.scored):
        zh = Problem("folds：交叉验证会用到每一行，不能同时限制 rows 或 scored", "去掉其中之一")
        message = "folds: a cross-validation takes every row, so neither rows nor scored can bound them"
        problems.append(Problem(message, "leave out one of them", zh))
    if spec.folds and spec.test is not None:
        zh = Problem("folds：已给出测试文件，不能再做交叉验证", "去掉 --folds，或去掉 --test")
        message = f"folds: the test file {spec.test} is what is scored, so no row is held out of {spec.path}"
        problems.append(Problem(message, "leave out --folds, or leave out --test", zh))
    return problems


def split_folds(dataset: Dataset, folds: int, seed: int, task: str) -> list[Dataset]:
    """The folds of a dataset that was loaded with `DataSpec.folds`: in each, `test` is held out and `train` the rest.

    Raises `UserError` where there are fewer inputs than folds.
    """
    number = _assign(dataset.train, folds, seed, task)
    return [_fold(dataset, number, fold, task) for fold in range(folds)]


def _assign(rows: Sequence[Row], folds: int, seed: int, task: str) -> dict[Key, int]:
    """The fold of each input: class by class, dealt in random order where the class before left off."""
    strata: dict[str, dict[Key, None]] = {}
    known: set[Key] = set()
    for row in rows:
        key = input_key(row)
        if key not in known:
            strata.setdefault(row.target if task == "classification" else "", {})[key] = None
        known.add(key)
    if len(known) < folds:
        raise UserError(
            f"folds: {folds} folds need as many different inputs, and there are {len(known)}",
            f"--folds {len(known)}, or add rows",
            Problem(f"folds：{folds} 折至少需要 {folds} 条不同的输入，只有 {len(known)} 条", "减少折数，或补充数据"),
        )
    rng = random.Random(seed)
    dealt = (key for name in sorted(strata) for key in rng.sample(list(strata[name]), len(strata[name])))
    return {key: place % folds for place, key in enumerate(dealt)}


def _fold(dataset: Dataset, number: dict[Key, int], fold: int, task: str) -> Dataset:
    train = tuple(row for row in dataset.train if number[input_key(row)] != fold)
    test = tuple(row for row in dataset.test if number[input_key(row)] == fold)
    labels = tuple(sorted({row.target for row in train})) if task == "classification" else ()
    return replace(dataset, train=train, test=test, labels=labels)
