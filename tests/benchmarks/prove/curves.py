"""How honest the intervals of extrapolated learning curves are, on curves whose continuation is known.

Three sources: published curves (`knowledge/curves.csv`: fine-tuning and in-context learning, four data sets, mean of
several runs), and heads learnt here on Banking77 (all 77 classes, and ten), SST-2 and the demo's urgency, on MiniLM
vectors and on words (TF-IDF), three draws each. From a curve's points up to n rows, each as if scored on 200 held-out
rows, the score at 2, 4 and 16 times as many rows is foretold as a race does it; it is held against what runs at that
number scored on all held-out rows. The prior was chosen on the published curves alone; those learnt here check it.
Extrapolations of one curve depend on one another, so the intervals of the shares are narrower than they should be.

Curves learnt here are kept in `tests/benchmarks/out/prove-curves/`; delete it to learn them anew.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from advisor.curves import load_studies
from advisor.prove.learning import MARGIN, Curve, Point
from executors.base import Input, Row, Score
from executors.metrics import mean_score, wilson
from tests.benchmarks.harness import OUT, ROOT, Figure
from tests.benchmarks.prompting import data

COMMAND = "python -m tests.benchmarks.bench_prove --only curves"
KEPT = OUT / "prove-curves"
SCORED = 200  # held-out rows of a pilot
LEAST = 16  # rows of the smallest pilot
FACTORS = (2, 4, 16)
HISTORIES = (1, 2, 3)  # pilots, each on four times the rows of the one before, as a race runs them
SEEDS = 5
LEARNT = 3  # draws of each curve that is learnt here
MOST = 2048  # rows of it
BAR = 0.90  # a 95 % interval may not hold less often than this
TEST_ROWS = 1000


@dataclass(frozen=True)
class Known:
    """A curve whose every point is known: rows -> (the score in truth, what a pilot saw of it)."""

    source: str
    metric: str
    truth: Mapping[int, float]
    seen: Mapping[int, Score]


@dataclass(frozen=True)
class Foretold:
    source: str
    pilots: int
    factor: int
    width: float  # of the interval, as a share of the error at the largest pilot
    off: float  # what was foretold less the truth, likewise
    holds: bool
    said: bool  # that so many more rows help: the gain's lower end is a margin or more
    gained: float  # in truth, from run to run


def curves() -> list[Figure]:
    """Coverage of the 95 % interval by source, by factor and by number of pilots, and how wide it is."""
    found = [one for known in (*published(), *learnt()) for one in foretell(known)]
    figures = [_coverage("all, x2 and x4", [one for one in found if one.factor <= 4], BAR)]
    for source in sorted({one.source for one in found}):
        figures.append(_coverage(f"{source}, x2 and x4", [f for f in found if f.source == source and f.factor <= 4]))
    for factor in FACTORS:
        for pilots in HISTORIES:
            some = [one for one in found if one.factor == factor and one.pilots == pilots]
            figures.append(_coverage(f"x{factor} from {pilots} pilot(s)", some))
            title = f"curves, x{factor} from {pilots} pilot(s): width by the error"
            figures.append(Figure(title, mean(one.width for one in some), n=len(some), command=COMMAND))
            title = f"curves, x{factor} from {pilots} pilot(s): off by the error"
            figures.append(Figure(title, mean(one.off for one in some), n=len(some), command=COMMAND))
    said = [one for one in found if one.said]
    right = wilson(sum(one.gained > 0 for one in said), len(said))
    title = f"curves: where more rows are said to help ({len(said)} of {len(found)}) they did"
    figures.append(Figure(title, right.value, BAR, ">=", right.n, (right.low, right.high), "", COMMAND))
    return figures


def _coverage(title: str, found: list[Foretold], bar: float | None = None) -> Figure:
    """How often the interval held. The bar is for all curves: one source has but a few, of three draws."""
    held, op = wilson(sum(one.holds for one in found), len(found)), ">=" if bar else ""
    return Figure(f"curves, {title}: interval holds", held.value, bar, op, held.n, (held.low, held.high), "", COMMAND)


def foretell(known: Known) -> Iterator[Foretold]:
    """Every extrapolation that a curve allows."""
    for last in known.truth:
        for pilots in HISTORIES:
            rows = [last // 4**n for n in reversed(range(pilots))]
            if rows[0] < LEAST or not all(n in known.seen for n in rows):
                continue
            curve = Curve(tuple(Point(n, known.seen[n]) for n in rows), known.metric)
            for factor in FACTORS:
                if last * factor in known.truth:
                    truth, score = known.truth[last * factor], curve.at(last * factor)
                    accuracy = known.metric == "accuracy"
                    error = 1 - known.truth[last] if accuracy else known.truth[last]
                    yield Foretold(
                        known.source,
                        pilots,
                        factor,
                        (score.high - score.low) / max(error, 0.01),
                        (score.value - truth) / max(error, 0.01),
                        score.low <= truth <= score.high,
                        curve.gain(last * (factor - 1)).low >= (MARGIN if accuracy else MARGIN * error),
                        (truth - known.truth[last]) * (1 if accuracy else -1),
                    )


# -- published curves ----------------------------------------------------------------------------------


def published() -> Iterator[Known]:
    """One run of each published curve: its points moved by the deviation over runs, seen on `SCORED` rows."""
    import numpy as np

    rng = np.random.default_rng(0)
    for study in load_studies():
        for method in ("fine_tuning", "icl_random"):
            for curve in study.curves[method]:
                for _ in range(SEEDS):
                    truth, seen = {}, {}
                    for rows in (LEAST * 2**n for n in range(12)):
                        point = curve.at(rows)
                        if point is not None:
                            truth[rows] = float(np.clip(point.accuracy + point.sd * rng.standard_normal(), 0, 1))
                            seen[rows] = wilson(int(rng.binomial(SCORED, truth[rows])), SCORED)
                    yield Known(f"published {method}", "accuracy", truth, seen)


# -- curves learnt here --------------------------------------------------------------------------------


def learnt() -> list[Known]:
    """The curves of heads, learnt once."""
    found: list[Known] = []
    for make in (_urgency, _sentiment, _ten_classes, _banking):
        path = KEPT / f"{make.__name__.strip('_')}.json"
        if not path.is_file():
            KEPT.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([asdict(one) for one in make()]), encoding="utf-8")
        found += [_known(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    return found


def _known(source: str, metric: str, truth: Mapping[str, float], seen: Mapping[str, Any]) -> Known:
    scores = {int(rows): Score(**score) for rows, score in seen.items()}
    return Known(source, metric, {int(rows): value for rows, value in truth.items()}, scores)


def _banking() -> Iterator[Known]:
    train, test = data.drawn(data.banking77("train"), MOST), data.drawn(data.banking77("test"), TEST_ROWS)
    yield from _classified("banking77", train, test)


def _ten_classes() -> Iterator[Known]:
    names = sorted({row["label"] for row in data.banking77("test")})[:10]
    train, test = ([row for row in data.banking77(side) if row["label"] in names] for side in ("train", "test"))
    yield from _classified("banking10", train, test)


def _sentiment() -> Iterator[Known]:
    train, test = data.drawn(data.sst2("train"), MOST), data.drawn(data.sst2("test"), TEST_ROWS)
    yield from _classified("sst2", train, test)


def _classified(name: str, train: list[dict[str, str]], test: list[dict[str, str]]) -> Iterator[Known]:
    from executors.probe import PLAIN_STRENGTH, fit_logistic
    from tests.benchmarks.retrieval.corpora import encoder

    texts, labels = [row["text"] for row in train], [row["label"] for row in train]
    asked, right = [row["text"] for row in test], [row["label"] for row in test]
    vectors, asked_vectors = encoder().embed(texts), encoder().embed(asked)

    def probe(places: list[int]) -> list[float]:
        targets = [labels[place] for place in places]
        names = sorted(set(targets))
        if len(names) < 2:
            return [float(label == names[0]) for label in right]
        head, _ = fit_logistic(vectors[places], targets, names, PLAIN_STRENGTH, 3, 0)
        found = head.outputs(asked_vectors)
        picked = found.argmax(axis=1) if found.shape[1] > 1 else (found[:, 0] > 0).astype(int)
        return [float(names[n] == label) for n, label in zip(picked, right, strict=True)]

    def words(places: list[int]) -> list[float]:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=2000))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The number of unique classes")  # so few rows are what is looked at
            model.fit([texts[place] for place in places], [labels[place] for place in places])
        return [float(found == label) for found, label in zip(model.predict(asked), right, strict=True)]

    rows = [Row(str(n), Input(text), (label,)) for n, (text, label) in enumerate(zip(texts, labels, strict=True))]
    yield from _runs(f"probe {name}", "accuracy", rows, "classification", probe)
    yield from _runs(f"words {name}", "accuracy", rows, "classification", words)


def _urgency() -> Iterator[Known]:
    """The demo's numbers, by a ridge head; the error is in its units."""
    import csv

    import numpy as np

    from executors.probe import fit_ridge
    from tests.benchmarks.retrieval.corpora import encoder

    def read(side: str) -> list[dict[str, str]]:
        with (ROOT / "knowledge" / "demo" / f"requests-{side}.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    train, test = read("train"), read("test")
    vectors, asked = encoder().embed([r["text"] for r in train]), encoder().embed([r["text"] for r in test])
    values, right = (np.array([float(row["urgency"]) for row in rows]) for rows in (train, test))

    def ridge(places: list[int]) -> list[float]:
        head, _ = fit_ridge(vectors[places], values[places], None)
        return [float(v) for v in np.abs(head.outputs(asked)[:, 0] - right)]

    rows = [Row(str(n), Input(row["text"]), (row["urgency"],)) for n, row in enumerate(train)]
    yield from _runs("probe urgency", "mae", rows, "regression", ridge)


def _runs(
    source: str, metric: str, rows: list[Row], task: str, learn: Callable[[list[int]], list[float]]
) -> Iterator[Known]:
    """Nested draws of rows, as pilots draw them, on twice as many each time; `learn` gives a value a held-out row."""
    from executors.data.drawing import draw

    for seed in range(LEARNT):
        truth, seen = {}, {}
        count = LEAST
        while count <= len(rows):
            values = learn([int(row.id) for row in draw(rows, count, seed, task)])
            truth[count] = mean(values)
            seen[count] = _pilot(metric, _some(values, seed))
            count *= 2
        yield Known(source, metric, truth, seen)


def _some(values: list[float], seed: int) -> list[float]:
    """The same held-out rows for every point of a curve."""
    import random

    return random.Random(seed).sample(values, min(SCORED, len(values)))


def _pilot(metric: str, values: list[float]) -> Score:
    import numpy as np

    return wilson(round(sum(values)), len(values)) if metric == "accuracy" else mean_score(np.array(values))
