"""Probe: a linear head on a frozen sentence encoder. Logistic regression for classes, ridge for numbers.

Only the head is fitted, on the training rows alone; its regularisation is chosen by cross-validation among them.
Embeddings are kept in the job's folder as they are made, so an interrupted build does not embed twice. With `layer`, or
with a language model instead of an encoder, the head reads one layer of the model; with `model` "best" whichever of the
two tells more of the training rows, see `layer_choice`.
Not covered: tuning the encoder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from executors.base import (
    Event,
    Executor,
    Input,
    Job,
    Plan,
    Prediction,
    Predictor,
    Problem,
    Reporter,
    Text,
    UserError,
    parse_params,
    silent,
    write_json,
)
from executors.layers import LayerEmbedder, LayerPooling, open_layers
from executors.models import Embedder, load_embedder, name_problems
from executors.models.embed import Pooling
from executors.models.endpoint import is_endpoint
from executors.targets import numbers

Floats = NDArray[np.float32]
OpenEmbedder = Callable[[str, Reporter], Embedder]

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)  # C, ascending: each fit starts from the one before
ALPHAS = tuple(float(a) for a in np.logspace(-3, 3, 13))
PLAIN_STRENGTH = 10.0  # where no class has two rows, nothing can be held out to choose by
CHUNK = 512  # texts embedded between two writes: what an interruption loses at most
ITERATIONS = 2000


@dataclass(frozen=True)
class ProbeParams:
    """`c` and `alpha` None: chosen by cross-validation on the training rows. `pooling` None: as the encoder was
    trained, by its own configuration; of a language model's layers the last token's."""

    model: Literal["encoder", "language", "best"] = "encoder"  # whose features: the plan's embedder's, its model's
    layer: int | Literal["best"] | None = None  # None: an encoder's sentence vector, a language model's best layer
    pooling: LayerPooling | None = None  # one vector of a text: its tokens' mean, its first token's, or its last one's
    c: float | None = None  # inverse regularisation of the logistic head
    alpha: float | None = None  # regularisation of the ridge head
    folds: int = 5  # at most; fewer where the smallest class has fewer rows


@dataclass(frozen=True)
class Head:
    """A linear map from embeddings [n, d] to outputs [n, k]: one a class, or one number."""

    weights: Floats  # [k, d]
    bias: Floats  # [k]

    def outputs(self, vectors: Floats) -> Floats:
        """Raw outputs [n, k]: logits, or numbers."""
        return vectors @ self.weights.T + self.bias


class ProbePredictor(Predictor):
    """Answers with the most probable class and every class's probability, or with a number."""

    def __init__(
        self,
        embedder: Embedder,
        head: Head,
        labels: Sequence[str],
        span: tuple[float, float] = (-math.inf, math.inf),
        about: dict[str, Any] | None = None,
        notes: Sequence[Text] = (),
    ) -> None:
        """`labels` is empty for regression; `span` is then what its answers are kept within."""
        self.embedder = embedder
        self.head = head
        self.labels = tuple(labels)
        self.span = span
        self.about = about or {}  # how the head was chosen
        self.notes = tuple(notes)

    def predict(self, inputs: Sequence[Input], report: Reporter = silent) -> list[Prediction]:
        if not inputs:
            return []
        texts = [input_text(i) for i in inputs]
        vectors = self.embedder.embed(texts, lambda event: report(replace(event, stage="predict")))
        outputs = self.head.outputs(vectors)
        if not self.labels:
            return [Prediction(f"{value:.4g}") for value in np.clip(outputs[:, 0], *self.span)]
        return [self._choose(row) for row in _softmax(outputs)]

    def _choose(self, probabilities: NDArray[np.float64]) -> Prediction:
        scores = {label: round(float(p), 6) for label, p in zip(self.labels, probabilities, strict=True)}
        best = self.labels[int(probabilities.argmax())]
        return Prediction(best, score=scores[best], scores=scores)

    def save(self, folder: Path) -> None:
        np.savez(folder / "head.npz", weights=self.head.weights, bias=self.head.bias)
        manifest = {
            "schema_version": 1,
            "labels": self.labels,
            "span": self.span if not self.labels else None,
            "embedder": identity(self.embedder),
            "chosen": self.about,
            "notes": self.notes,
        }
        write_json(folder / "probe.json", manifest)

    @classmethod
    def load(cls, folder: Path, report: Reporter = silent, open_embedder: OpenEmbedder = load_embedder) -> Self:
        manifest = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
        embedder = _reopened(manifest["embedder"], open_embedder, report)
        _refuse_another(manifest["embedder"], identity(embedder))
        with np.load(folder / "head.npz", allow_pickle=False) as arrays:
            head = Head(arrays["weights"], arrays["bias"])
        span = tuple(manifest["span"]) if manifest["span"] else (-math.inf, math.inf)
        return cls(embedder, head, manifest["labels"], span, manifest["chosen"], manifest["notes"])


class ProbeExecutor(Executor):
    """Embeds the training rows once and fits a linear head on them."""

    Params = ProbeParams
    Predictor = ProbePredictor
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    def __init__(self, open_embedder: OpenEmbedder = load_embedder) -> None:
        self.open_embedder = open_embedder

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(ProbeParams, plan.params)
        if params is None:
            return []  # its problems are reported by whoever checks the plan
        problems = [
            Problem(f"params.{name}: must be above {least}, got {value}")
            for name, value, least in (("c", params.c, 0), ("alpha", params.alpha, 0), ("folds", params.folds, 1))
            if value is not None and value <= least
        ]
        return problems + _layer_problems(plan, params)

    def build(self, job: Job) -> ProbePredictor:
        """Raises `UserError` where a regression's target is no number."""
        params, compared = _params(job.plan), dict[str, Any]()
        if params.model == "best":
            from executors.layer_choice import better_features

            params, compared = better_features(job, params, self.open_embedder)
        if params.layer is not None or params.model == "language":
            from executors.layer_choice import build_on_layers

            return build_on_layers(job, params, compared)
        embedder = _pooled(self.open_embedder(job.plan.embedder, job.report), params.pooling)
        texts = [input_text(row.input) for row in job.rows]
        vectors = embed_kept(embedder, texts, job.folder, job.report)
        job.report(Event("fit"))
        if job.plan.task == "regression":
            values = numbers(job.rows)
            head, chosen = fit_ridge(vectors, values, params.alpha)
            span = (float(values.min()), float(values.max()))
            return ProbePredictor(embedder, head, (), span, {**chosen, **compared}, text_notes(embedder, texts))
        targets = [row.target for row in job.rows]
        head, chosen = fit_logistic(vectors, targets, job.labels, params.c, params.folds, job.plan.seed)
        notes = text_notes(embedder, texts, targets)
        return ProbePredictor(embedder, head, job.labels, about={**chosen, **compared}, notes=notes)


def _layer_problems(plan: Plan, params: ProbeParams) -> list[Problem]:
    """Values that do not go together: a layer below 0, a pooling the model has none of, a model of the other kind."""
    problems = []
    language = params.model != "encoder"
    if params.model == "best" and (params.layer is not None or params.pooling):
        problems.append(
            Problem(
                "params.model: 'best' compares the encoder's own vectors with the language model's layers, so neither "
                "layer nor pooling goes with it",
                "name the one: params.model=encoder or params.model=language",
                Problem(
                    "params.model：“best”比较编码器的句向量与语言模型的各层，不能同时指定 layer 或 pooling",
                    "请指定其一：params.model=encoder 或 params.model=language",
                ),
            )
        )
    if isinstance(params.layer, int) and params.layer < 0:
        problems.append(
            Problem(
                f"params.layer: must be 0 or more, got {params.layer}",
                "params.layer=best chooses one",
                Problem(f"params.layer：应不小于 0，给出的是 {params.layer}", "params.layer=best 自动选择"),
            )
        )
    wrong = "cls" if language else "last"
    if params.pooling == wrong and params.model != "best":
        problems.append(
            Problem(
                f"params.pooling: '{wrong}' has no meaning with model={params.model}, whose "
                + ("first token has seen nothing yet" if language else "last token is the mark of the end"),
                "params.pooling=mean, or " + ("last" if language else "cls"),
                Problem(f"params.pooling：“{wrong}”不适用于 model={params.model}"),
            )
        )
    if language:
        problems += name_problems(plan.model, "language")
        if is_endpoint(plan.model):
            problems.append(
                Problem(
                    f"params.model: the layers of '{plan.model}' cannot be read, it runs behind an endpoint",
                    "name a model that runs here, or params.model=encoder",
                    Problem(
                        f"params.model：“{plan.model}”在远端运行，读不到其各层",
                        "请换用本地模型，或 params.model=encoder",
                    ),
                )
            )
    return problems


def _params(plan: Plan) -> ProbeParams:
    params, problems = parse_params(ProbeParams, plan.params)
    if params is None:
        raise UserError.of(problems)
    return params


def input_text(given: Input) -> str:
    """What is embedded of an input: its text, and its context where it has one."""
    return f"{given.text}\n\n{given.context}" if given.context else given.text


# -- embeddings ----------------------------------------------------------------------------------------


def identity(embedder: Embedder) -> dict[str, Any]:
    """What a head depends on: another encoder or pooling of the same dimension would give silent nonsense."""
    place = {"layer": embedder.layer, "kind": embedder.kind} if isinstance(embedder, LayerEmbedder) else {}
    return {
        "name": embedder.name,
        "sha256": embedder.sha256,
        "dimension": embedder.dimension,
        "pooling": embedder.pooling,
        **place,
    }


def _reopened(saved: dict[str, Any], open_embedder: OpenEmbedder, report: Reporter) -> Embedder:
    """The encoder, or the layer of a model, that a head was saved with."""
    if "layer" in saved:
        return open_layers(saved["name"], saved["kind"], saved["pooling"], report).at(saved["layer"])
    return _pooled(open_embedder(saved["name"], report), saved.get("pooling"))


def _pooled(embedder: Embedder, pooling: str | None) -> Embedder:
    """The encoder with this pooling; as it is where none is named, or its own is."""
    if not pooling or pooling == embedder.pooling:
        return embedder
    return embedder.pooled(cast(Pooling, pooling))


def _refuse_another(expected: dict[str, Any], found: dict[str, Any]) -> None:
    if found["dimension"] != expected["dimension"] or found["sha256"] != expected["sha256"]:
        raise UserError(
            f"the encoder '{expected['name']}' is not the one this head was fitted on: "
            f"{found['dimension']} dimensions, weights {found['sha256'][:12]}; "
            f"expected {expected['dimension']}, {expected['sha256'][:12]}",
            "run the plan again with this encoder, or put the former weights back",
        )


def embed_kept(embedder: Embedder, texts: Sequence[str], folder: Path, report: Reporter = silent) -> Floats:
    """Embeddings [n, d] of `texts`; those in `folder` from an interrupted build are read, not made again."""
    key = hashlib.sha256(json.dumps([identity(embedder), list(texts)]).encode()).hexdigest()[:16]
    parts = []
    for start in range(0, len(texts), CHUNK):
        path = folder / f"embeddings-{key}-{start}.npy"
        if not path.is_file():

            def shifted(event: Event) -> None:  # a chunk's own count, as a count over all texts
                report(replace(event, done=start + event.done, total=len(texts)))  # noqa: B023

            _write_array(path, embedder.embed(texts[start : start + CHUNK], shifted))
        parts.append(np.load(path, allow_pickle=False))
    return np.concatenate(parts)


def _write_array(path: Path, array: Floats) -> None:
    """The file appears whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as out:
        np.save(out, array, allow_pickle=False)
    unfinished.replace(path)


# -- heads ---------------------------------------------------------------------------------------------


def fit_logistic(
    vectors: Floats, targets: Sequence[str], labels: Sequence[str], c: float | None, folds: int, seed: int
) -> tuple[Head, dict[str, Any]]:
    """A logistic head for `labels` (in their order) and how its C was chosen: by log loss, which knows more than
    right and wrong where rows are few."""
    place = {label: n for n, label in enumerate(labels)}
    classes = np.array([place[t] for t in targets])
    chosen: dict[str, Any] = {"c": c, "by": "given"}
    if c is None:
        chosen = choose_strength(vectors, classes, assign_folds(classes, folds, seed))
    model = _logistic(chosen["c"])
    with _converging():
        model.fit(vectors, classes)
    return _head_of(model, len(labels)), chosen


def _logistic(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=ITERATIONS, warm_start=True)


def _head_of(model: Any, size: int) -> Head:
    """scikit-learn's coefficients as one row a label; a label without rows can never win."""
    weights = np.zeros((size, model.coef_.shape[1]), np.float32)
    bias = np.full(size, -np.inf, np.float32)
    if len(model.classes_) == 2:  # one row of coefficients stands for the second class against the first
        weights[model.classes_[1]] = model.coef_[0]
        bias[model.classes_] = 0.0, model.intercept_[0]
    else:
        weights[model.classes_] = model.coef_
        bias[model.classes_] = model.intercept_
    return Head(weights, bias)


def assign_folds(classes: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, [n], every class spread over all folds; -1 for the only row of a class, always trained on.

    As many folds as the smallest class (of two rows or more) has rows, `folds` at most.
    """
    sizes = {c: n for c, n in Counter(classes.tolist()).items() if n > 1}
    found = np.full(len(classes), -1)
    if len(sizes) < 2:
        return found
    used = min(folds, *sizes.values())
    rng = np.random.default_rng(seed)
    for c in sorted(sizes):
        rows = rng.permutation(np.flatnonzero(classes == c))
        found[rows] = np.arange(len(rows)) % used
    return found


def choose_strength(vectors: Floats, classes: NDArray[np.int64], fold: NDArray[np.int64]) -> dict[str, Any]:
    """The C of least log loss on the rows held out, with the losses it was chosen by."""
    held = fold >= 0
    if not held.any():
        return {"c": PLAIN_STRENGTH, "by": "default: no class has rows to hold out"}
    losses = np.zeros(len(STRENGTHS))
    for number in range(fold.max() + 1):
        losses += _held_out_losses(vectors, classes, fold == number)
    losses /= held.sum()
    best = STRENGTHS[int(losses.argmin())]
    shown = {f"{c:g}": round(float(loss), 4) for c, loss in zip(STRENGTHS, losses, strict=True)}
    return {"c": best, "by": "cross-validation", "folds": int(fold.max() + 1), "log_loss": shown}


def _held_out_losses(vectors: Floats, classes: NDArray[np.int64], out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The summed log loss on the rows `out`, for each of `STRENGTHS`, fitted on the others."""
    model, losses = _logistic(STRENGTHS[0]), np.zeros(len(STRENGTHS))
    for n, c in enumerate(STRENGTHS):
        model.C = c
        with _converging():
            model.fit(vectors[~out], classes[~out])
        columns = np.searchsorted(model.classes_, classes[out])
        probabilities = model.predict_proba(vectors[out])[np.arange(len(columns)), columns]
        losses[n] = -np.log(np.maximum(probabilities, 1e-12)).sum()
    return losses


@contextmanager
def _converging() -> Iterator[None]:
    """A fit stopped after `ITERATIONS` is good to the digits that matter here: its warning is not for the user."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes")  # many classes of few rows are no numbers
        yield


def fit_ridge(vectors: Floats, values: NDArray[np.float64], alpha: float | None) -> tuple[Head, dict[str, Any]]:
    """A ridge head and how its alpha was chosen: by leave-one-out error, which has a closed form."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=ALPHAS if alpha is None else (alpha,)).fit(vectors, values)
    head = Head(np.asarray(model.coef_, np.float32)[None], np.asarray([model.intercept_], np.float32))
    return head, {"alpha": float(model.alpha_), "by": "given" if alpha is not None else "leave-one-out"}


def _softmax(logits: Floats) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def text_notes(embedder: Embedder, texts: Sequence[str], targets: Sequence[str] = ()) -> tuple[Text, ...]:
    """What of the training rows a reader of the score must know: texts that were cut, classes of a single row."""
    return (*_cut_texts(embedder, texts), *_thin_classes(targets))


def _cut_texts(embedder: Embedder, texts: Sequence[str]) -> tuple[Text, ...]:
    cut = sum(embedder.count(text) + 2 > embedder.window for text in texts)  # 2: the tokens around every text
    if not cut:
        return ()
    return (
        {
            "en": f"{cut} of {len(texts)} training texts are longer than the {embedder.window} tokens the encoder "
            f"{embedder.name} reads: the rest of them was not seen",
            "zh": f"{len(texts)} 条训练文本中有 {cut} 条超过编码器 {embedder.name} 能读取的 {embedder.window} 个词元，"
            "超出部分未被读取",
        },
    )


def _thin_classes(targets: Sequence[str]) -> tuple[Text, ...]:
    thin = sorted(label for label, n in Counter(targets).items() if n == 1)
    if not thin:
        return ()
    named = ", ".join(thin[:5]) + (", …" if len(thin) > 5 else "")
    return (
        {
            "en": f"{len(thin)} classes have a single training row ({named}): expect little of them",
            "zh": f"{len(thin)} 个类别只有一条训练数据（{named}）：对它们的效果不要期望过高",
        },
    )
