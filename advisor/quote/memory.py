"""Peak memory of training and of answering, part by part, in GB (1e9 bytes): low, likely, high.

States: weights, their gradients, and AdamW's two moments (Rajbhandari et al. 2020, arXiv 1910.02054), in the formats
of our engine: float32 on a CPU; on a GPU bfloat16 under an adapter, and float32 with bfloat16 copies where the model's
own weights are trained. Activations: what autograd keeps of each layer, counted tensor by tensor with memory-efficient
attention (Korthikanti et al. 2022, arXiv 2205.05198, without the term of attention scores, which are never kept); a
test compares them with what autograd really saves. Logits are computed at trained tokens alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from advisor.hardware import Range
from advisor.quote.shape import Shape
from advisor.quote.workload import Training, Workload

Kind = Literal["cpu", "gpu"]
Ends = tuple[float, float, float]  # low, likely, high

ADAPTERS = ("peft", "preference")  # methods that train matrices beside a frozen model

LIBRARIES = {"cpu": (0.45, 0.52, 0.7), "gpu": (0.4, 0.6, 1.0)}
"""Interpreter and libraries in the process, measured with torch, transformers and peft; of a GPU the driver's context
and its libraries' workspaces."""
KEPT_BY_ALLOCATOR = {"gpu": (1.0, 1.0, 1.15), "adapter": (1.0, 1.7, 2.4), "full": (0.9, 0.9, 2.0)}
"""Times the activations. torch's allocator on a GPU hands freed memory out again; on a CPU the C library's keeps a
part of it: under an adapter 1.5 to 1.8 times were measured. Where all weights are trained, activations reuse what the
last step's gradients left: 0.8 to 1.0 times were measured."""
LOGITS_BYTES = {"cpu": 12, "gpu": 14}  # a token and word: logits, log-probabilities and their gradients in float32
ANSWER_ROWS, ANSWER_TOKENS = 32, 16_384  # of a batch of rows that are scored, at most; see executors.models.language
ANSWER_LOGITS = 4096
LENGTHS = 16  # tokens between the lengths of rows, up to the longest, of which the widest line is taken


@dataclass(frozen=True)
class Memory:
    """GB by part, each low, likely and high."""

    parts: dict[str, Ends]

    @property
    def ends(self) -> Ends:
        low, likely, high = (sum(part[n] for part in self.parts.values()) for n in range(3))
        return low, likely, high

    @property
    def range(self) -> Range:
        return self.ends[0], self.ends[2]

    @property
    def point(self) -> float:
        return self.ends[1]


def lora_parameters(shape: Shape, rank: int) -> float:
    """Trained parameters of LoRA on every linear layer: rank · (inputs + outputs) of each of its seven matrices."""
    w, q, g, inner = shape.width, shape.attention, shape.groups, shape.inner
    return rank * shape.layers * (2 * (w + q) + 2 * (w + g) + 3 * (w + inner))


def adapter_parameters(shape: Shape, training: Training) -> float:
    """Parameters of the weights a variant adds. DoRA's magnitudes are too few to count; IA3 scales keys, values and the
    inner channels; bottlenecks stand behind attention and feed-forward; a prefix is keys and values of every layer."""
    w, g = shape.width, shape.groups
    added = {
        "ia3": shape.layers * (2 * g + shape.inner),
        "prompt_tuning": training.virtual_tokens * w,
        "prefix_tuning": training.virtual_tokens * shape.layers * 2 * g,
        "bottleneck_adapters": shape.layers * 2 * (2 * training.bottleneck * w + training.bottleneck + w),
    }
    return added.get(training.variant, lora_parameters(shape, training.rank))


def trained_parameters(shape: Shape, method: str, training: Training) -> float:
    """Parameters that training moves."""
    if method in ADAPTERS:
        return adapter_parameters(shape, training)
    share = training.layers_share(shape.layers)
    return shape.parameters if share >= 1 else shape.body * share


def state_bytes(shape: Shape, method: str, trained: float, kind: Kind) -> dict[str, float]:
    """Bytes of weights, gradients and optimizer. Adapters are float32, beside a base in the device's format."""
    if method in ADAPTERS:
        base = (4 if kind == "cpu" else 2) * shape.parameters
        return {"weights": base + 4 * trained, "gradients": 4 * trained, "optimizer": 8 * trained}
    return {"weights": 4 * shape.parameters, "gradients": 4 * trained, "optimizer": 8 * trained}


def layer_bytes(shape: Shape, method: str, kind: Kind, rank: int, masked_tokens: float = 0) -> float:
    """Bytes that autograd keeps of one layer and one token.

    Feed-forward: gate, its activation, up, their product. Attention: queries, keys, values, output. Norms: what they
    read and (where their weights are trained) what they normalised, and each linear layer's input where it needs it.
    `masked_tokens`: a batch with padding or a mask of our own keeps the mask and ungrouped keys and values as well.
    """
    w, q, inner = shape.width, shape.attention, shape.inner
    g = q if masked_tokens else shape.groups
    adapter = method in ADAPTERS
    if kind == "cpu":
        values = 4 * inner + (4 if adapter else 6) * w + 2 * q + 2 * g + (7 * rank if adapter else 0) + masked_tokens
        return 4 * values
    if adapter:  # every adapted matrix keeps a copy of its input of its own; norms compute in float32
        return 8 * inner + 18 * w + 6 * q + 4 * g + 14 * rank + 2 * masked_tokens
    return 8 * inner + 26 * w + 4 * q + 4 * g + 2 * masked_tokens


def activation_bytes(shape: Shape, method: str, work: Workload, kind: Kind, length: float, rows: float) -> float:
    """What a batch of `rows` rows of `length` tokens keeps: every layer's, or with checkpointing its input alone and
    one layer's at a time. On a CPU a line of rows goes through at a time, see `executors.tuning.batches`."""
    training = work.training
    tokens, masked = work.computed(rows, length, shares=shape.shares)
    if kind == "cpu" and shape.shares and rows > 1:
        tokens, masked = max(_line(work, rows, one) for one in (*range(LENGTHS, int(length), LENGTHS), length))
    layer = layer_bytes(shape, method, kind, training.rank, masked)
    if not training.checkpointing:
        return tokens * (shape.layers + (1 if kind == "gpu" else 0)) * layer  # a GPU shows one layer's gradients
    kept = shape.width * (4 if kind == "cpu" or method not in ADAPTERS else 2)
    return tokens * (shape.layers * kept + 2 * layer)


def _line(work: Workload, rows: float, length: float) -> tuple[float, float]:
    """Tokens of a line where rows have `length`, and of its mask. Shorter rows stand together in longer lines, so that
    the widest line need not be of the longest rows."""
    masked = work.computed(rows, length)[1]
    return masked or length, masked


def logits_bytes(shape: Shape, kind: Kind, tokens: float) -> float:
    """Bytes of logits at `tokens` trained tokens, with their gradients."""
    return LOGITS_BYTES[kind] * tokens * shape.vocabulary


def training_memory(shape: Shape, method: str, work: Workload, kind: Kind, factor: float = 1) -> Memory:
    """The peak while training. `factor`: sequences a row stands for (two where pairs are compared).

    Likely and high are of the batch as it is set. Low is on a CPU the same with mean rows; on a GPU what it can be
    brought down to, one row at a time and activations recomputed.
    """
    settings = replace(work.training, batch_size=1, checkpointing=True)
    squeezed = replace(work, training=settings) if kind == "gpu" else work
    low = _parts(shape, method, squeezed, kind, 0, factor)
    likely, high = (_parts(shape, method, work, kind, n, factor) for n in (1, 2))
    return Memory({name: (low[name], likely[name], high[name]) for name in likely})


def _parts(shape: Shape, method: str, work: Workload, kind: Kind, end: int, factor: float) -> dict[str, float]:
    """GB of each part, at the low (0), likely (1) or high (2) end."""
    trained = trained_parameters(shape, method, work.training)
    rows, length = factor * min(work.training.batch_size, max(work.rows, 1)), work.longest[end]
    kept = KEPT_BY_ALLOCATOR["gpu" if kind == "gpu" else "adapter" if method in ADAPTERS else "full"][end]
    found = state_bytes(shape, method, trained, kind)
    found["copies"] = 0 if method in ADAPTERS else copy_bytes(shape, kind)
    found["activations"] = kept * activation_bytes(shape, method, work, kind, length, rows)
    found["logits"] = logits_bytes(shape, kind, rows * length * work.trained_share)
    if end == 0 or (kind == "gpu" and end == 1):  # gradients appear as the rest goes: only what exceeds it counts
        passing = sum(found[name] for name in ("copies", "activations", "logits"))
        found["gradients"] = max(found["gradients"] - passing, 0.0)
    found["libraries"] = LIBRARIES[kind][end] * 1e9
    return {name: value / 1e9 for name, value in found.items()}


def copy_bytes(shape: Shape, kind: Kind) -> float:
    """Bytes of what training the model's own weights holds twice: on a GPU the bfloat16 copies that it computes with,
    on a CPU the gradient of embeddings that are the output's weights as well."""
    table = shape.vocabulary * shape.width
    return 2 * (shape.body + table) if kind == "gpu" else 4 * table * shape.shared_embeddings


def answering_memory(shape: Shape, work: Workload, kind: Kind) -> Memory:
    """The peak while held-out rows are answered in batches, as a run does after training."""
    size = 4 if kind == "cpu" else 2
    room = work.written_tokens
    length = work.length + room
    rows = min(ANSWER_ROWS, max(ANSWER_TOKENS // max(length, 1), 1), max(work.held_out, 1))
    cache = 2 * shape.layers * shape.groups * size * rows * length
    passing = rows * work.length * (3 * shape.inner + 6 * shape.width + 2 * shape.attention) * size
    scored = min(ANSWER_LOGITS, rows * (1 + 2 * work.labels)) if work.labels else rows
    logits = 8 * scored * shape.vocabulary
    parts = {
        "weights": (size * shape.parameters / 1e9,) * 3,
        "cache": tuple(factor * cache / 1e9 for factor in (1.0, 1.3, 2.0)),
        "activations": tuple(factor * passing / 1e9 for factor in (0.5, 1.0, 2.0)),
        "logits": tuple(factor * logits / 1e9 for factor in (0.5, 1.0, 1.5)),
        "libraries": LIBRARIES[kind],
    }
    return Memory({name: (part[0], part[1], part[2]) for name, part in parts.items()})


def serving_memory(shape: Shape, tokens: float, kind: str, batch: int) -> Range:
    """GB while answering: the weights, and the keys and values of one row, or of `batch` rows."""
    size = 4 if kind == "cpu" else 2
    cache = 2 * shape.layers * shape.groups * size * tokens
    weights = size * shape.parameters
    runtime = LIBRARIES["cpu" if kind == "cpu" else "gpu"]
    return (weights + cache) / 1e9 + runtime[0], (weights + 1.5 * batch * cache) / 1e9 + runtime[2]


def encoder_memory(parameters: float, *, trained: bool = False) -> Range:
    """GB of a sentence encoder on a CPU."""
    weights = (16 if trained else 4) * parameters / 1e9
    return weights + LIBRARIES["cpu"][0], weights + LIBRARIES["cpu"][2] + (1.5 if trained else 0.8)
