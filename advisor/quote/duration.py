"""How long training and answering take: low, likely, high, in seconds.

Arithmetic: a weight multiplies and adds once a token forward, twice as much backward, of which an adapter's frozen base
needs half: 4 FLOPs a parameter and token under LoRA, 6 where the weights themselves are trained (Kaplan et al. 2020,
arXiv 2001.08361), and 2 more where activations are recomputed. Embeddings are looked up, and logits computed at trained
tokens alone. Beside it: reading and writing AdamW's states once a step, layers that wait for the program, checkpoints,
the start, and memory that is touched for the first time.
"""

from __future__ import annotations

import math

from advisor.hardware import Range, Rig
from advisor.quote.memory import ADAPTERS, Ends, Kind, trained_parameters
from advisor.quote.shape import Shape
from advisor.quote.workload import Workload

FORWARD, BACKWARD = 2, {"peft": 2, "preference": 2, "full": 4, "cpt": 4}  # FLOPs a parameter and token
RECOMPUTED = 2
OPTIMIZER_BYTES = 36  # a trained parameter and step: gradients clipped, weights and both moments read and written
LAYER_SECONDS = {"cpu": (0.001, 0.003, 0.008), "gpu": (0.001, 0.003, 0.008)}  # a layer and step, that the program takes
VARIANT_TIME = {"dora": 1.7}
"""Times LoRA's arithmetic. DoRA norms every weight matrix anew in each pass: measured on SmolLM2-135M, two cores."""
START = (3.0, 8.0, 25.0)  # importing the libraries, from a warm and from a cold disk
DISK = (1.5e9, 0.5e9, 0.12e9)  # bytes/s of weights and checkpoints, fast to slow
CHECKPOINT = (0.1, 0.4, 1.5)  # seconds of one, however small
TOUCHED = {"cpu": (0.1, 2.0, 8.0), "gpu": (0.0, 0.3, 2.0)}  # seconds a GB that the first steps touch; measured 0.3 to 6
NARROWED = (0.72, 1.42)  # of what timed steps foretell: runs on one machine that others share differ by about a third


def flops_a_step(shape: Shape, method: str, work: Workload, factor: float = 1) -> float:
    """Of one optimizer step on mean rows. `factor`: sequences a row stands for."""
    rows = factor * min(work.training.batch_size, max(work.rows, 1))
    tokens, masked = work.computed(rows, work.length, shares=shape.shares)
    answers = rows * work.length * work.trained_share
    passes = FORWARD + BACKWARD[method] + (RECOMPUTED if work.training.checkpointing else 0)
    trained = trained_parameters(shape, method, work.training)
    body = passes * shape.body
    adapters = 3 * FORWARD * trained if method in ("peft", "preference") else 0
    seen = max(masked, work.length)  # a token is compared with every other of its line
    scores = (4 + 8 + (4 if work.training.checkpointing else 0)) * shape.attention * shape.layers * seen
    return tokens * (body + adapters + scores) + answers * passes * shape.vocabulary * shape.width


def step_seconds(shape: Shape, method: str, work: Workload, rig: Rig, factor: float = 1) -> Ends:
    """One optimizer step."""
    slow, fast = (rate * rig.count for rate in rig.flops)
    flops = flops_a_step(shape, method, work, factor)
    if method in ADAPTERS:
        flops *= VARIANT_TIME.get(work.training.variant, 1.0)
    moved = OPTIMIZER_BYTES * trained_parameters(shape, method, work.training)
    waits = LAYER_SECONDS[rig.kind]
    low = flops / fast + moved / rig.bandwidth[1] + waits[0] * shape.layers
    high = flops / slow + moved / rig.bandwidth[0] + waits[2] * shape.layers
    return low, math.sqrt(low * high), high


def training_seconds(
    shape: Shape, method: str, work: Workload, rig: Rig, steps: int, peak_gb: Range, factor: float = 1
) -> Ends:
    """From start to saved model, the weights being on this machine. `peak_gb`: what is touched."""
    step = step_seconds(shape, method, work, rig, factor)
    watched = watching(work, steps)
    saved = checkpoint_seconds(shape, method, work, rig.kind)
    written = math.ceil(steps / work.training.saved_every(method))
    read = (4 if rig.kind == "cpu" else 2) * shape.parameters
    touched = (peak_gb[0], sum(peak_gb) / 2, peak_gb[1])
    low, likely, high = (
        START[n] + read / DISK[n] + TOUCHED[rig.kind][n] * touched[n] + step[n] * (steps + watched) + saved[n] * written
        for n in range(3)
    )
    return low, likely, high


def checkpoint_seconds(shape: Shape, method: str, work: Workload, kind: Kind) -> Ends:
    """Writing the trained weights with both moments."""
    size = 12 * trained_parameters(shape, method, work.training)
    low, likely, high = (CHECKPOINT[n] + size / DISK[n] for n in range(3))
    return low, likely, high


def watching(work: Workload, steps: int) -> float:
    """Looks at the development rows, in training steps: only forward, about once an epoch, at most 20 times."""
    if not work.watched:
        return 0.0
    looks = max(1.0, min(steps / work.steps_an_epoch, 20.0))
    return looks * work.watched / work.training.batch_size / 3


def seconds(flops: Range, rig: Rig) -> Range:
    """Arithmetic alone."""
    slow, fast = rig.flops
    return flops[0] / (fast * rig.count), flops[1] / (slow * rig.count)


def serving_seconds(
    parameters: float, answers: float, prompt_tokens: float, answer_tokens: float, rig: Rig, batch: int = 8
) -> Range:
    """Seconds for `answers`: prompts are bound by arithmetic, generation by reading the weights for every token."""
    reading = seconds((2 * parameters * prompt_tokens * answers,) * 2, rig)
    size = 4 if rig.kind == "cpu" else 2
    writing = size * parameters * answer_tokens * answers / (batch * rig.count)
    return reading[0] + writing / rig.bandwidth[1], reading[1] + writing / rig.bandwidth[0]
