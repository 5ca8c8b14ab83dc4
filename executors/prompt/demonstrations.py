"""Which labelled rows are shown with an input, in which order, and that none of them gives a held-out answer away.

Covered: demonstrations drawn once by seed; chosen for each input by the nearness of their embeddings (k nearest,
k nearest with labels by turns, maximal marginal relevance); the refusal of rows that stand among the held-out ones.
Not covered: how many fit a window, how they are put into words, and rows that the user wrote for this (see `given`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from executors.base import (
    Input,
    Problem,
    Reporter,
    Row,
    UserError,
    silent,
    to_dict,
    write_atomic,
    write_json,
)
from executors.models.embed import Embedder
from executors.probe import embed_kept, identity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Places = NDArray[np.intp]

Fixed = Literal["random", "balanced"]
Nearby = Literal["nearest", "nearest_balanced", "diverse"]
Order = Literal["nearest_last", "nearest_first", "shuffled"]

POOL = 4  # candidates for each demonstration that is wanted, where not simply the nearest are taken
RELEVANCE = 0.5  # λ of maximal marginal relevance: 1 asks for nearness alone, 0 for difference alone
DIGITS = 4  # of a cosine: in another batch it differs by 5e-7, which must not decide between rows
BLOCK = 4_000_000  # similarities held at once
ROWS, VECTORS, MANIFEST = "rows.jsonl", "vectors.safetensors", "manifest.json"


@dataclass(frozen=True)
class Neighbour:
    """A demonstration and the cosine of its text and the input's."""

    row: Row
    similarity: float


# -- the same for every input --------------------------------------------------------------------------


def choose_fixed(
    rows: Sequence[Row], shots: int, selection: Fixed, task: str, seed: int, refused: Collection[str] = ()
) -> tuple[Row, ...]:
    """`shots` rows in an order drawn by `seed`, "balanced" with every label of a classification alike often.

    `refused` are ids passed over; the others keep the places the seed gave them, so that refusing a row which would
    not have been shown changes nothing.
    """
    drawn = list(rows)
    random.Random(seed).shuffle(drawn)
    drawn = [row for row in drawn if row.id not in refused]
    if selection == "balanced" and task == "classification":
        drawn = by_turns(drawn)
    chosen = drawn[:shots]
    random.Random(seed).shuffle(chosen)  # else labels would come in rounds, which a model copies
    return tuple(chosen)


def by_turns(rows: Sequence[Row]) -> list[Row]:
    """Rows so that every label comes once before any comes twice; stable otherwise."""
    return [rows[n] for n in _turns([row.target for row in rows])]


def _turns(labels: Sequence[str]) -> list[int]:
    """The places of `labels` so that each label comes once before any comes twice; stable otherwise."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for label in labels:
        seen[label] += 1
        turns.append(seen[label])
    return sorted(range(len(labels)), key=lambda n: turns[n])


# -- chosen for each input -----------------------------------------------------------------------------


class Demonstrations:
    """Labelled rows that can be chosen from by nearness. They stay as they are; what changes is another object.

    Compared is the text alone: a question is told from others by what it asks, and a passage, being longer, would
    drown that. Only where most rows share their text, an instruction, does the passage take part.
    """

    def __init__(
        self, rows: Sequence[Row], vectors: Floats, embedder: Embedder, with_context: bool | None = None
    ) -> None:
        """`vectors` are the unit vectors ``[len(rows), d]`` of each row's `compared_text` under `with_context`; where
        that is None, the rows decide (`needs_context`)."""
        if vectors.shape != (len(rows), embedder.dimension):
            raise ValueError(f"{len(rows)} rows of {embedder.dimension} dimensions, vectors {vectors.shape}")
        self.rows, self.embedder, self._vectors = tuple(rows), embedder, vectors
        self._with_context = needs_context(rows) if with_context is None else with_context
        self._by_id: dict[str, list[int]] = defaultdict(list)
        self._by_text: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            self._by_id[row.id].append(place)
            self._by_text[_plain(row.input.text)].append(place)

    @classmethod
    def of(cls, rows: Sequence[Row], embedder: Embedder, folder: Path, report: Reporter = silent) -> Self:
        """Embed `rows`. Vectors are kept in `folder` as they are made, so an interruption does not cost them again."""
        if not rows:
            return cls((), np.zeros((0, embedder.dimension), dtype=np.float32), embedder)
        with_context = needs_context(rows)
        texts = [compared_text(row.input, with_context) for row in rows]
        folder.mkdir(parents=True, exist_ok=True)
        return cls(rows, embed_kept(embedder, texts, folder, report), embedder)

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, ids: Collection[str]) -> Self:
        """The same rows but for those with these ids; nothing is embedded again."""
        kept = [place for place, row in enumerate(self.rows) if row.id not in ids]
        rows = [self.rows[place] for place in kept]
        return type(self)(rows, self._vectors[kept], self.embedder, self._with_context)

    def extended(self, row: Row) -> Self:
        """The same rows and one more."""
        vectors = np.concatenate([self._vectors, self.embed([row.input])])
        return type(self)([*self.rows, row], vectors, self.embedder, self._with_context)

    def embed(self, inputs: Sequence[Input], report: Reporter = silent) -> Floats:
        """Unit vectors ``[len(inputs), d]``. In the role rows have: a question is compared to questions here."""
        return self.embedder.embed([compared_text(given, self._with_context) for given in inputs], report)

    def choose(
        self,
        inputs: Sequence[Input],
        shots: int,
        selection: Nearby = "nearest",
        order: Order = "nearest_last",
        *,
        exclude: Sequence[Collection[str]] = (),
        seed: int = 0,
        relevance: float = RELEVANCE,
        vectors: Floats | None = None,
        report: Reporter = silent,
    ) -> list[list[Neighbour]]:
        """For each input its demonstrations as they are to be shown; fewer than `shots` where there are no more.

        A row that is the input itself, but for case and spacing, is never among them (of two with a passage, both
        have to be the same); nor are the rows whose ids `exclude` gives, one collection an input. All inputs are
        embedded together, unless their `vectors` (from `embed`) are given. `relevance` is used by "diverse" and
        `seed` by "shuffled" alone; neither selection nor order depends on the other inputs.
        """
        if shots < 1 or not inputs or not self.rows:
            return [[] for _ in inputs]
        asked = self.embed(inputs, report) if vectors is None else vectors
        found: list[list[Neighbour]] = []
        step = max(1, BLOCK // len(self.rows))
        for start in range(0, len(inputs), step):
            for n, cosines in enumerate(asked[start : start + step] @ self._vectors.T, start):
                alike = np.round(cosines, DIGITS)
                alike[self._barred(inputs[n], exclude[n] if exclude else ())] = -np.inf
                ranked = self._select(alike, shots, selection, relevance)
                shown = _in_order(ranked.tolist(), order, inputs[n], seed)
                found.append([Neighbour(self.rows[place], round(float(alike[place]), DIGITS)) for place in shown])
        return found

    def _barred(self, given: Input, ids: Collection[str]) -> list[int]:
        """Places of the rows that must not be shown with this input."""
        context = _plain(given.context)
        contexts = {
            place: _plain(self.rows[place].input.context) for place in self._by_text.get(_plain(given.text), ())
        }
        same = [place for place, other in contexts.items() if not context or not other or context == other]
        return same + [place for name in ids for place in self._by_id.get(name, ())]

    def _select(self, alike: Floats, shots: int, selection: Nearby, relevance: float) -> Places:
        """Places of the chosen rows, the nearest first."""
        if selection == "nearest":
            return highest(alike, shots)
        pool = highest(alike, POOL * shots)
        if selection == "diverse":
            chosen = marginal_relevance(alike[pool], self._vectors[pool], shots, relevance)
        else:
            chosen = _turns([self.rows[place].target for place in pool])[:shots]
        return pool[sorted(chosen)]

    def save(self, folder: Path) -> None:
        """Write rows, vectors and a manifest of what made them into `folder`."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(to_dict(row), ensure_ascii=False) + "\n" for row in self.rows)
        raw = save({"vectors": np.ascontiguousarray(self._vectors)})
        write_atomic(folder / ROWS, lines)
        (folder / VECTORS).write_bytes(raw)
        manifest = {
            "schema_version": 1,
            "rows": len(self.rows),
            "with_context": self._with_context,
            "embedder": identity(self.embedder),
            "sha256": {ROWS: _sha256(lines.encode()), VECTORS: _sha256(raw)},
        }
        write_json(folder / MANIFEST, manifest)

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> Self:
        """What `save` wrote. Raises `UserError`: nothing there, damaged, or vectors of another embedder."""
        from safetensors.numpy import load

        manifest = read_manifest(folder)
        _refuse_another(manifest["embedder"], embedder, folder)
        raw = {name: _read_whole(folder / name, known) for name, known in manifest["sha256"].items()}
        read = [json.loads(line) for line in raw[ROWS].decode().split("\n") if line]
        rows = [Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read]
        return cls(rows, load(raw[VECTORS])["vectors"], embedder, manifest["with_context"])


def needs_context(rows: Sequence[Row]) -> bool:
    """Whether most rows share their text, so that it is the passage that tells them apart."""
    return len({row.input.text for row in rows}) < len(rows) / 2 and any(row.input.context for row in rows)


def compared_text(given: Input, with_context: bool) -> str:
    """What nearness is measured by."""
    return f"{given.text}\n{given.context}" if with_context and given.context else given.text


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def highest(values: Floats, count: int) -> Places:
    """Places of the `count` highest of `values` [n], the highest first, ties in order; never those at -inf."""
    count = min(count, int(np.isfinite(values).sum()))
    if count < 1:
        return np.zeros(0, dtype=np.intp)
    places = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return places[np.argsort(-values[places], kind="stable")][:count]


def marginal_relevance(alike: Floats, vectors: Floats, count: int, relevance: float = RELEVANCE) -> list[int]:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): the `count` places chosen, in the order of choice.

    Each choice maximises λ·(cosine to the input) - (1 - λ)·(highest cosine to a row chosen before). `alike` [n] are
    the cosines to the input, `vectors` [n, d] unit vectors, λ is `relevance`. Ties go to the first place.
    """
    among = np.round(vectors @ vectors.T, DIGITS)
    chosen: list[int] = []
    redundancy = np.zeros_like(alike)
    for _ in range(min(count, len(alike))):
        gains = relevance * alike - (1 - relevance) * redundancy
        gains[chosen] = -np.inf
        best = int(np.argmax(gains))
        redundancy = np.maximum(redundancy, among[best]) if chosen else among[best]
        chosen.append(best)
    return chosen


def _in_order(ranked: list[int], order: Order, given: Input, seed: int) -> list[int]:
    """`ranked`, the nearest first, as it is shown."""
    if order == "shuffled":
        random.Random(f"{seed}\0{given.text}\0{given.context}").shuffle(ranked)
    return ranked[::-1] if order == "nearest_last" else ranked


# -- files ---------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `Demonstrations.save` says of itself; `embedder` has name, sha256 and dimension. Raises `UserError`."""
    try:
        return cast(dict[str, Any], json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: no demonstrations here ({type(error).__name__})",
            "run the plan again",
            Problem(f"{folder}：这里没有示例（{type(error).__name__}）", "请重新运行该计划"),
        ) from error


def _read_whole(path: Path, known: str) -> bytes:
    raw = path.read_bytes() if path.is_file() else b""
    if _sha256(raw) != known:
        zh = Problem(f"{path}：文件缺失或已损坏（SHA-256 不符）", "请重新运行该计划")
        raise UserError(f"{path}: missing or damaged (SHA-256 differs)", "run the plan again", zh)
    return raw


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _refuse_another(made_by: Mapping[str, Any], embedder: Embedder, folder: Path) -> None:
    """Vectors of one model among those of another give silent nonsense. Its name may differ: the weights may not."""
    found = identity(embedder)
    if {**found, "name": ""} == {**made_by, "name": ""}:
        return
    then, now = (f"{e['name']}, {e['dimension']}, {e['pooling']}, {e['sha256'][:12]}…" for e in (made_by, found))
    raise UserError(
        f"{folder}: the demonstrations were embedded by another encoder (name, dimension, pooling, weights): "
        f"{then}; this one is {now}",
        f"use {made_by['name']} with its former weights again, or run the plan again: that embeds them anew",
        Problem(
            f"{folder}：示例向量由另一个编码器生成（名称、维度、池化方式、权重）：{then}；当前为 {now}",
            f"请改回 {made_by['name']} 及其原有权重，或重新运行该计划，届时会重新计算向量",
        ),
    )
