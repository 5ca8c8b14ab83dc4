"""Documents as windows of tokens: cut into pieces, packed beside one another, none of which sees another.

A piece that goes on with a document begins with the last tokens of the one before, to be read and not trained on again.
Not covered: which documents are read, see `corpus`.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executors.tuning.rows import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

DOCUMENT_END = "<|endoftext|>"  # what many models were pre-trained to end a document with
OVERLAP = 32  # tokens that a piece reads again of the one before it
OPEN = 32  # windows that are filled at a time


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of one document. The first `context` are read only, the others are trained on."""

    ids: array[int]
    context: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained(self) -> int:
        return len(self.ids) - self.context


@dataclass(frozen=True)
class Window:
    """Pieces that stand beside one another in a line, each with positions of its own, none seeing another."""

    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def trained(self) -> int:
        return sum(piece.trained for piece in self.pieces)


def cut(tokens: Sequence[int], length: int) -> list[Piece]:
    """A document's tokens, its beginning's mark first, as pieces of `length` at most. Each token but that mark is
    trained on in exactly one of them."""
    overlap = min(OVERLAP, length // 4)
    pieces = [Piece(array("i", tokens[:length]), 1)]
    end = length
    while end < len(tokens):
        begin = end - overlap
        pieces.append(Piece(array("i", tokens[begin : begin + length]), overlap))
        end = begin + length
    return pieces


def encode_document(tokenizer: Any, text: str) -> list[int]:
    """A text's tokens between the marks that documents begin and end with. Names of special tokens in it are words."""
    from executors.models.language import encode_text

    ids = encode_text(tokenizer, text)
    ends = tokenizer.get_added_vocab().get(DOCUMENT_END, tokenizer.eos_token_id)  # all of the vocabulary takes 50 ms
    first: list[int] = tokenizer("a", verbose=False)["input_ids"][:1]
    begins = tokenizer.bos_token_id if first == [tokenizer.bos_token_id] else ends
    return [begins, *ids, ends]


def pack(pieces: Sequence[Piece], length: int, seed: int) -> list[Window]:
    """Pieces in random order, each in the first of the open windows that has room for it."""
    opened: list[list[Piece]] = []
    room: list[int] = []
    windows: list[Window] = []
    for piece in random.Random(f"packed {seed}").sample(list(pieces), len(pieces)):
        place = next((n for n, left in enumerate(room) if left >= len(piece)), None)
        if place is None:
            opened.append([])
            room.append(length)
            place = len(opened) - 1
        opened[place].append(piece)
        room[place] -= len(piece)
        if len(opened) > OPEN:
            fullest = room.index(min(room))
            windows.append(Window(tuple(opened.pop(fullest))))
            room.pop(fullest)
    return windows + [Window(tuple(one)) for one in opened]


class WindowBatcher:
    """Windows as tensors, padded on the right: ``labels[:, 1:]`` are the targets of the logits that are kept."""

    def __init__(self, filler: int, apart: bool) -> None:
        """`filler`: the id padding has. `apart`: one window a pass, whose logits take less memory."""
        self.filler, self.apart = filler, apart
        self.tokens = 0

    def parts(self, windows: Sequence[Window], most: int) -> list[Sequence[Window]]:
        size = 1 if self.apart else most
        return [windows[at : at + size] for at in range(0, len(windows), size)]

    def __call__(self, items: Sequence[Sequence[Window]]) -> dict[str, Tensor]:
        import torch

        windows = [window for item in items for window in item]
        self.tokens += sum(map(len, windows))
        width = max(map(len, windows))
        ids = torch.full((len(windows), width), self.filler)
        positions = torch.zeros((len(windows), width), dtype=torch.long)
        owner = torch.full((len(windows), width), -1)  # which piece of its window a token is of; -1: none
        labels = torch.full((len(windows), width), IGNORED)
        for line, window in enumerate(windows):
            begin = 0
            for number, piece in enumerate(window.pieces):
                end = begin + len(piece)
                tokens = torch.tensor(piece.ids.tolist())
                ids[line, begin:end], owner[line, begin:end] = tokens, number
                positions[line, begin:end] = torch.arange(len(piece))
                labels[line, begin + piece.context : end] = tokens[piece.context :]
                begin = end
        return {
            "input_ids": ids,
            "attention_mask": _mask(owner),
            "position_ids": positions,
            "logits_to_keep": torch.arange(width - 1),
            "labels": labels,
        }


def _mask(owner: Tensor) -> Tensor:
    """What each token looks at: those of its own piece up to itself, ``[lines, 1, width, width]``; where every window
    is one piece, the plain mask of what is no padding, ``[lines, width]``, which any model is right with."""
    import torch

    if int(owner.max()) < 1:
        return (owner >= 0).long()
    order = torch.arange(owner.shape[1])
    return ((owner[:, :, None] == owner[:, None, :]) & (order[:, None] >= order))[:, None]
