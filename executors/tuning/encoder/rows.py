"""Texts as an encoder is trained on them: rows with a target, groups of one class, and texts with masked tokens.

The loss of each stands beside it: cross-entropy, mean squared error, the contrast of all pairs of a batch, and the
guessing of masked tokens. Losses are sums over the rows of a batch divided by the rows (or tokens) of the optimizer
step, so that a step of several smaller batches has the same gradient; the contrast alone is of the pairs of a batch.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the label of a token that is not guessed


@dataclass(frozen=True)
class TextRow:
    """One text as token ids. `target`: the place of its class, or its number in standard deviations."""

    ids: tuple[int, ...]
    target: float

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Group:
    """Texts of one class, which stand together in a step of contrastive training."""

    rows: tuple[TextRow, ...]

    def __len__(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class MaskedRow:
    """A text some of whose tokens are hidden; `labels` has these, and `IGNORED` elsewhere."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


def groups(rows: Sequence[TextRow], size: int, passes: int, seed: int) -> list[Group]:
    """Every row once a pass, with up to `size` - 1 others of its class, drawn anew for each pass.

    A row left over joins the group before it, so that it has a partner; a class of one row is a group of one.
    """
    by_class: dict[float, list[TextRow]] = defaultdict(list)
    for row in rows:
        by_class[row.target].append(row)
    chance, found = random.Random(seed), []
    for _ in range(passes):
        for target in sorted(by_class):
            drawn = chance.sample(by_class[target], len(by_class[target]))
            parts = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            if len(parts) > 1 and len(parts[-1]) == 1:
                left = parts.pop()
                parts[-1] += left
            found += [Group(tuple(part)) for part in parts]
    return found


def masked(
    rows: Sequence[TextRow], share: float, passes: int, mask: int, words: int, special: frozenset[int], seed: int
) -> list[MaskedRow]:
    """Each text `passes` times with other tokens hidden: of those chosen 8 in 10 become `mask`, one in 10 one of
    `words` ids at random, one in 10 stays (Devlin et al. 2019). At least one token of a text is chosen."""
    chance, found = random.Random(seed), []
    for _ in range(passes):
        for row in rows:
            places = [n for n, token in enumerate(row.ids) if token not in special]
            if not places:
                continue
            chosen = set(chance.sample(places, max(1, round(share * len(places)))))
            ids = [_hidden(t, mask, words, chance) if n in chosen else t for n, t in enumerate(row.ids)]
            labels = [t if n in chosen else IGNORED for n, t in enumerate(row.ids)]
            found.append(MaskedRow(tuple(ids), tuple(labels)))
    return found


def _hidden(token: int, mask: int, words: int, chance: random.Random) -> int:
    drawn = chance.random()
    if drawn < 0.8:
        return mask
    return chance.randrange(words) if drawn < 0.9 else token


class TextBatcher:
    """A batch's tensors, padded on the right: ``input_ids``, ``attention_mask`` and ``labels``."""

    def __init__(self, filler: int, classes: bool) -> None:
        """`filler`: the id padding has. `classes`: whether targets are places of classes, not numbers."""
        self.filler, self.classes = filler, classes
        self.tokens = 0

    def __call__(self, items: Sequence[Sequence[TextRow | Group | MaskedRow]]) -> dict[str, Tensor]:
        import torch

        found = [item for batch in items for item in batch]
        rows = [row for item in found for row in (item.rows if isinstance(item, Group) else (item,))]
        self.tokens += sum(map(len, rows))
        batch = padded([row.ids for row in rows], self.filler)
        width = batch["input_ids"].shape[1]
        if isinstance(rows[0], MaskedRow):
            spans = [[*row.labels, *[IGNORED] * (width - len(row))] for row in rows if isinstance(row, MaskedRow)]
            return {**batch, "labels": torch.tensor(spans)}
        targets = [row.target for row in rows if isinstance(row, TextRow)]
        return {**batch, "labels": torch.tensor(targets, dtype=torch.long if self.classes else torch.float32)}


def padded(ids: Sequence[Sequence[int]], filler: int) -> dict[str, Tensor]:
    """Texts as ``input_ids`` and ``attention_mask`` ``[texts, longest]``."""
    import torch

    width = max(map(len, ids))
    return {
        "input_ids": torch.tensor([[*row, *[filler] * (width - len(row))] for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
    }


# -- losses --------------------------------------------------------------------------------------------


def class_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean cross-entropy of the rows' classes, in nats."""
    import torch

    total = torch.nn.functional.cross_entropy(outputs["logits"].float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def number_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean squared error of the rows' numbers, in variances of the training targets."""
    total: Tensor = (outputs["logits"].float()[:, 0] - labels).square().sum()
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class ContrastLoss:
    """How far each row is from naming the others of its class among all rows of the batch: the supervised contrastive
    loss (Khosla et al. 2020, eq. 2), in nats; over all pairs of a batch, so that none is drawn for nothing."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        import torch

        vectors = torch.nn.functional.normalize(outputs["vectors"].float(), dim=1)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        alike = (vectors @ vectors.T / self.temperature).masked_fill(own, -torch.inf)
        named = (alike - alike.logsumexp(1, keepdim=True)).masked_fill(own, 0.0)
        same = (labels[:, None] == labels) & ~own
        partners = same.sum(1)
        total = -((named * same).sum(1) / partners.clamp(min=1)).sum()
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def reading_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean cross-entropy of the hidden tokens, in nats."""
    import torch

    total = torch.nn.functional.cross_entropy(
        outputs["logits"].float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    loss: Tensor = total / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)
    return loss
