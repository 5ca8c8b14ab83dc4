"""The stages an encoder's tuning consists of: masked reading, contrast, and the training of a head with what is below.

Imported on use only, for it needs torch. Each stage that is followed by another leaves the encoder it made in the job's
folder, so that an interrupted tuning goes on within the stage it had come to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from executors.base import Problem, Reporter, UserError
from executors.models import Device
from executors.probe import Head, fit_logistic, fit_ridge
from executors.tuning.checkpoints import appearing_whole
from executors.tuning.encoder.network import EncoderNetwork, open_network
from executors.tuning.encoder.params import ADAPTERS, EncoderParams
from executors.tuning.encoder.rows import (
    ContrastLoss,
    TextBatcher,
    TextRow,
    class_loss,
    groups,
    masked,
    number_loss,
    reading_loss,
)
from executors.tuning.engine import Log, train
from executors.tuning.layers import choose_layers
from executors.tuning.material import Material
from executors.tuning.params import FullParams, PeftParams
from executors.tuning.variants import prepare_variant

Floats = NDArray[np.float32]
NO_ROWS = -1e4  # the bias of a class without a training row: it never wins, and its gradient is none


@dataclass(frozen=True)
class Setting:
    """What all stages of one tuning share. `labels` is empty for a regression."""

    params: EncoderParams
    labels: tuple[str, ...]
    device: Device
    seed: int
    folder: Path
    report: Reporter


@dataclass(frozen=True)
class Sides:
    """The rows trained on, and those held out of the training side to watch the loss on."""

    rows: Sequence[TextRow]
    watched: Sequence[TextRow]


def start_head(network: EncoderNetwork, rows: Sequence[TextRow], setting: Setting, c: float | None) -> dict[str, Any]:
    """Give `network` the head that fits what it makes of `rows` now: a logistic one (`c` None: chosen by
    cross-validation), or ridge for numbers. Returns how it was chosen.

    A head that begins so moves the features less than one at random (Kumar et al. 2022).
    """
    vectors = network.run([row.ids for row in rows], "vectors", setting.report)
    if not setting.labels:
        head, chosen = fit_ridge(vectors, np.array([row.target for row in rows]), None)
    else:
        targets = [setting.labels[int(row.target)] for row in rows]
        head, chosen = fit_logistic(vectors, targets, setting.labels, c, 5, setting.seed)
    network.put_head(head.weights, np.maximum(head.bias, NO_ROWS))
    return chosen


def random_head(network: EncoderNetwork, width: int, outputs: int) -> None:
    """A head of small random weights, from torch's random state."""
    network.put_head((torch.randn(outputs, width) * 0.02).numpy(), np.zeros(outputs, np.float32))


def read_on(network: EncoderNetwork, sides: Sides, setting: Setting) -> EncoderNetwork:
    """Let the encoder guess hidden tokens of the training texts: continued pre-training, without labels."""
    kept = setting.folder / "read"
    if not kept.is_dir():
        reader = _with_guesses(network)
        mask, words, special = _vocabulary(network)
        params = setting.params
        rows = masked(sides.rows, params.masked, params.reading_epochs, mask, words, special, setting.seed)
        watched = masked(sides.watched, params.masked, 1, mask, words, special, setting.seed + 1)
        material = Material(rows, watched, _batcher(network, setting), reading_loss)
        _train(reader, material, replace(params, epochs=1.0, min_steps=0), setting, "checkpoints-read")
        _keep(network, kept)
    return open_network(kept, setting.device.kind)


def _vocabulary(network: EncoderNetwork) -> tuple[int, int, frozenset[int]]:
    """The id that hides a token, how many ids there are, and those that are never hidden."""
    tokenizer = network.tokenizer
    if tokenizer.mask_token_id is None:
        raise UserError(
            "params.variant=continued: the encoder's tokenizer has no mask token, so nothing can be hidden from it",
            "params.variant=head_and_all",
            Problem("params.variant=continued：该编码器的分词器没有掩码词元", "params.variant=head_and_all"),
        )
    return tokenizer.mask_token_id, len(tokenizer), frozenset(tokenizer.all_special_ids)


def _with_guesses(network: EncoderNetwork) -> Any:
    """The transformer under a head that guesses tokens, tied to its embeddings; the transformer is the same object."""
    from transformers import AutoModelForMaskedLM

    reader = AutoModelForMaskedLM.from_config(network.transformer.config, dtype=torch.float32)
    setattr(reader, reader.base_model_prefix, network.transformer)
    reader.tie_weights()
    return reader.to(network.device)


def contrast(network: EncoderNetwork, sides: Sides, setting: Setting) -> tuple[EncoderNetwork, Log]:
    """Tune the encoder so that texts of one class come together, by all pairs within each step."""
    kept, params = setting.folder / "contrast", setting.params
    log = _read_log(kept)
    if log is None:
        made = groups(sides.rows, params.group, params.contrast_epochs, setting.seed)
        watched = groups(sides.watched, params.group, 1, setting.seed + 1)
        material = Material(
            made, watched, _batcher(network, setting), ContrastLoss(params.temperature), divisible=False
        )
        size = max(2, params.contrast_rows // params.group)
        own = replace(params, batch_size=size, epochs=1.0, min_steps=0)
        log = _train(network, material, own, setting, "checkpoints-contrast")
        _keep(network, kept, log)
    return open_network(kept, setting.device.kind), log


def tune_head(network: EncoderNetwork, sides: Sides, setting: Setting) -> Log:
    """Train the head, and of the encoder what the variant lets move."""
    loss = class_loss if setting.labels else number_loss
    material = Material(sides.rows, sides.watched, _batcher(network, setting), loss)
    return _train(network, material, setting.params, setting, "checkpoints")


def let_move(network: EncoderNetwork, params: EncoderParams) -> EncoderNetwork:
    """What of the encoder is trained, by the variant. Draws from torch's random state where weights are new."""
    if params.variant in ADAPTERS:
        own = {name: getattr(params, name) for name in ("rank", "alpha", "dropout", "virtual_tokens", "bottleneck")}
        network.transformer = prepare_variant(
            network.transformer, PeftParams(variant=cast(Any, params.variant), **own), "encoder"
        )
    elif params.variant == "last_layers":
        choose_layers(network.transformer, FullParams(layers="last", trained_layers=params.trained_layers))
    elif params.variant == "first_frozen":
        choose_layers(network.transformer, FullParams(layers="first_frozen", frozen_layers=params.frozen_layers))
    elif params.variant == "scratch":
        from transformers import AutoModel

        fresh = AutoModel.from_config(network.transformer.config, dtype=torch.float32)
        network.transformer = fresh.to(network.device)
    return network


def in_units(network: EncoderNetwork, mean: float, spread: float) -> None:
    """Let the head of a regression answer in the targets' own units instead of standard deviations."""
    assert network.head is not None
    linear = network.head.linear
    scaled = Head(linear.weight.detach().cpu().numpy() * spread, linear.bias.detach().cpu().numpy() * spread + mean)
    network.put_head(scaled.weights.astype(np.float32), scaled.bias.astype(np.float32))


def _batcher(network: EncoderNetwork, setting: Setting) -> TextBatcher:
    return TextBatcher(network.tokenizer.pad_token_id or 0, bool(setting.labels))


def _train(model: Any, material: Material, params: EncoderParams, setting: Setting, name: str) -> Log:
    checkpoints = setting.folder / name
    log = train(model, material, params, setting.device, setting.seed, checkpoints, setting.report)
    shutil.rmtree(checkpoints)
    return log


def _keep(network: EncoderNetwork, folder: Path, log: Log | None = None) -> None:
    """Save the encoder a stage made; the folder appears whole or not at all."""
    kept: dict[str, Any] = {"log": log or [], "notes": log.notes if log else ()}
    with appearing_whole(folder) as unfinished:
        network.save(unfinished)
        (unfinished / "log.json").write_text(json.dumps(kept), encoding="utf-8")


def _read_log(folder: Path) -> Log | None:
    path = folder / "log.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    log = Log(kept["log"])
    log.notes = tuple(kept["notes"])
    return log
