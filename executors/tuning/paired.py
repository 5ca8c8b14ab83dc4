"""Preference pairs as tokens and tensors, and the loss of direct preference optimisation.

The loss of a pair is -log σ(β·((log π(c) - log π₀(c)) - (log π(r) - log π₀(r)))): c the chosen and r the rejected
answer, π the model that is trained, π₀ the one it began from (Rafailov et al. 2023). An answer's log-probability is the
sum over its tokens and its end, or their mean (`per_token`). A prompt is read once for both of its answers where the
model allows. Not covered: where pairs come from, and what π₀ is: see `preference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executors.base import Event, Reporter, silent
from executors.fitting import shorten
from executors.tuning.rows import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from executors.data.pairs import Pair
    from executors.tuning.preference import PreferenceParams

Likelihood = tuple[float, float]
"""Log-probabilities of a pair's chosen and rejected answer, in nats."""


# -- pairs as tokens -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenPair:
    """A prompt with two answers, each with its end. `number`: its place among all pairs of a training."""

    number: int
    id: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def answers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.chosen, self.rejected


@dataclass(frozen=True)
class TokenPairs:
    """Pairs as tokens, and how many had a prompt cut or did not fit at all."""

    pairs: tuple[TokenPair, ...]
    cut: int = 0
    too_long: int = 0


def encode_pairs(tokenizer: Any, task: str, pairs: Sequence[Pair], limit: int, start: int = 0) -> TokenPairs:
    """Pairs as tokens, numbered from `start`, no prompt with an answer longer than `limit`."""
    from executors.messages import chat
    from executors.models import encode_answer, encode_chat

    found: list[TokenPair] = []
    cut = too_long = 0
    for pair in pairs:
        chosen, rejected = (encode_answer(tokenizer, text) for text in (pair.chosen, pair.rejected))
        room = limit - max(len(chosen), len(rejected))
        given = shorten(pair.input, room, lambda i: len(encode_chat(tokenizer, chat(task, (), i))))
        if given is None:
            too_long += 1
            continue
        cut += given != pair.input
        prompt = encode_chat(tokenizer, chat(task, (), given))
        found.append(TokenPair(start + len(found), pair.id, tuple(prompt), tuple(chosen), tuple(rejected)))
    return TokenPairs(tuple(found), cut, too_long)


# -- tensors -------------------------------------------------------------------------------------------


class PairBatcher:
    """Pairs as tensors. A label is the number of its pair, by which `PairLoss` finds the rest."""

    def __init__(self, filler: int, shares: bool, apart: bool) -> None:
        """`shares`: a line holds a prompt and both answers, of which neither sees the other. `apart`: one pair a pass,
        whose logits take less memory."""
        self.filler, self.shares, self.apart = filler, shares, apart
        self.tokens = 0

    def parts(self, pairs: Sequence[TokenPair], most: int) -> list[list[TokenPair]]:
        ordered, size = sorted(pairs, key=len), 1 if self.apart else most
        return [ordered[at : at + size] for at in range(0, len(ordered), size)]

    def __call__(self, items: Sequence[Sequence[TokenPair]]) -> dict[str, Tensor]:
        import torch

        pairs = [pair for item in items for pair in item]
        self.tokens += sum(len(pair) + len(pair.prompt) for pair in pairs)  # as if every answer stood alone
        lines = lines_of(pairs, self.shares)
        width = max(map(len, lines))
        shape = (len(lines), width)
        ids, positions = torch.full(shape, self.filler), torch.zeros(shape, dtype=torch.long)
        part = torch.full(shape, -1)  # 0: of the prompt, 1: of the first answer, 2: of the second, -1: padding
        for n, line in enumerate(lines):
            begin = width - len(line)  # padded on the left: answers stand together at the end
            ids[n, begin:] = torch.tensor(line.tokens)
            positions[n, begin:] = torch.tensor(line.positions)
            part[n, begin:] = torch.tensor(line.parts)
        return {
            "input_ids": ids,
            "attention_mask": _seen(part) if self.shares else (part >= 0).long(),
            "position_ids": positions,
            "logits_to_keep": torch.arange(width - kept_of(pairs, self.shares), width),
            "labels": torch.tensor([[IGNORED, pair.number] for pair in pairs]),
        }


@dataclass(frozen=True)
class Line:
    """A prompt with both answers, or with one."""

    tokens: list[int]
    positions: list[int]
    parts: list[int]

    def __len__(self) -> int:
        return len(self.tokens)


def lines_of(pairs: Sequence[TokenPair], shares: bool) -> list[Line]:
    """A line a pair; or, where lines cannot share, one for each answer, the chosen first."""
    together = [(pair, pair.answers) for pair in pairs]
    if not shares:
        together = [(pair, (answer,)) for pair in pairs for answer in pair.answers]  # type: ignore[misc]
    lines = []
    for pair, answers in together:
        tokens, positions, parts = list(pair.prompt), list(range(len(pair.prompt))), [0] * len(pair.prompt)
        for part, answer in enumerate(answers, 1):
            tokens += answer
            positions += range(len(pair.prompt), len(pair.prompt) + len(answer))
            parts += [part] * len(answer)
        lines.append(Line(tokens, positions, parts))
    return lines


def kept_of(pairs: Sequence[TokenPair], shares: bool) -> int:
    """Places at the end of each line whose logits are kept: those of the answers, and the prompt's last."""
    sizes = [sum(map(len, pair.answers)) if shares else max(map(len, pair.answers)) for pair in pairs]
    return 1 + max(sizes)


def _seen(part: Tensor) -> Tensor:
    """What each token looks at, ``[lines, 1, width, width]``: the prompt and its own answer, up to itself."""
    import torch

    order = torch.arange(part.shape[1])
    own = (part[:, :, None] == part[:, None, :]) | (part[:, None, :] == 0)
    return (own & (order[:, None] >= order))[:, None]


def log_probabilities(logits: Tensor, pairs: Sequence[TokenPair], shares: bool) -> Tensor:
    """``[pairs, 2, 2]``: of the chosen and of the rejected answer the summed log-probability, and its tokens.

    `logits` are those that `PairBatcher` keeps of the same pairs.
    """
    import torch

    steps = logits.float().log_softmax(-1)
    found = []
    for n, pair in enumerate(pairs):
        own = []
        for side, answer in enumerate(pair.answers):
            line = n if shares else 2 * n + side
            after = len(pair.rejected) if shares and side == 0 else 0  # tokens of the line behind this answer
            end = steps.shape[1] - after
            first = steps.shape[1] - 1 - (sum(map(len, pair.answers)) if shares else len(answer))
            places = [first, *range(end - len(answer), end - 1)]  # what predicts each token: the prompt's last, then it
            values = steps[line, torch.tensor(places, device=logits.device)]
            targets = torch.tensor(answer, device=logits.device)
            total = values.gather(1, targets[:, None]).sum()
            own.append(torch.stack([total, torch.full_like(total, len(answer))]))
        found.append(torch.stack(own))
    return torch.stack(found)


class PairLoss:
    """The mean loss of pairs against what the reference makes of them."""

    def __init__(self, pairs: Sequence[TokenPair], shares: bool, params: PreferenceParams) -> None:
        self.pairs = {pair.number: pair for pair in pairs}
        self.reference: dict[int, Likelihood] = {}
        self.shares, self.params = shares, params

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        import torch

        pairs = [self.pairs[number] for number in labels[:, 1].tolist()]
        likelihoods = self.likelihoods(outputs["logits"], pairs)
        known = torch.tensor([self.reference[pair.number] for pair in pairs], device=likelihoods.device)
        margin = ((likelihoods - known) * torch.tensor([1.0, -1.0], device=likelihoods.device)).sum(-1)
        losses = -torch.nn.functional.logsigmoid(self.params.beta * margin)
        return losses.sum() / (len(pairs) if num_items_in_batch is None else num_items_in_batch)

    def likelihoods(self, logits: Tensor, pairs: Sequence[TokenPair]) -> Tensor:
        """``[pairs, 2]`` log-probabilities of the answers, a mean over their tokens where that is asked for."""
        found = log_probabilities(logits, pairs, self.shares)
        return found[..., 0] / found[..., 1] if self.params.per_token else found[..., 0]

    def look(
        self, model: Any, batcher: PairBatcher, pairs: Sequence[TokenPair], report: Reporter = silent
    ) -> dict[int, Likelihood]:
        """What `model` makes of each pair's answers, as it is."""
        import torch

        found: dict[int, Likelihood] = {}
        seen = batcher.tokens
        model.eval()
        with torch.no_grad():
            for pair in pairs:
                batch = {name: tensor.to(model.device) for name, tensor in batcher([[pair]]).items()}
                batch.pop("labels")
                [(chosen, rejected)] = self.likelihoods(model(**batch).logits, [pair]).tolist()
                found[pair.number] = (chosen, rejected)
                report(Event("compare", len(found), len(pairs)))
        batcher.tokens = seen  # what is measured is not trained
        return found
