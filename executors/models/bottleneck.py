"""Bottleneck adapters (Houlsby et al., 2019): a small network behind the output of attention and of the feed-forward.

PEFT has no tuner of this kind, so the network, its file and its loading are ours. It is hung onto a model's own linear
layers, whose names are kept in the file: the model stays of its class, and its other weights are neither renamed nor
saved. Imported on use only, for it needs torch. Not covered: merging, which a bend between two matrices forbids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from executors.base import Problem, UserError, to_dict, write_json

CONFIG = "bottleneck_config.json"
WEIGHTS = "bottleneck.safetensors"
NAME = "bottleneck"  # of the network within the layer it belongs to


@dataclass(frozen=True)
class BottleneckConfig:
    """`size` is the width in the middle; `targets` are the layers, by full name, whose outputs are changed; `heads` are
    the model's own parts that are trained and saved with the bottlenecks."""

    size: int
    targets: tuple[str, ...]
    heads: tuple[str, ...] = ()


class Bottleneck(nn.Module):
    """``h + up(gelu(down(h)))``; `up` begins at zero, so that a new one changes nothing."""

    def __init__(self, width: int, size: int, like: Tensor) -> None:
        super().__init__()
        device, dtype = like.device, torch.float32  # trained weights lose small steps in half precision
        self.down = nn.Linear(width, size, device=device, dtype=dtype)
        self.up = nn.Linear(size, width, device=device, dtype=dtype)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        change: Tensor = self.up(nn.functional.gelu(self.down(hidden.to(self.down.weight.dtype))))
        return hidden + change.to(hidden.dtype)


def insert(model: Any, config: BottleneckConfig) -> Any:
    """`model` itself with new bottlenecks, which alone are trained, checkpointed and saved.

    Draws from torch's random state. Raises `UserError` where the model has no layer of a name in `config`.
    """
    layers = dict(model.named_modules())
    missing = [name for name in config.targets if name not in layers]
    if missing:
        raise UserError(
            f"bottleneck adapters: {type(model).__name__} has no layer {missing[0]!r} ({len(missing)} are missing)",
            "the adapter was made for another model: name that one",
            Problem(
                f"瓶颈适配器：{type(model).__name__} 没有名为“{missing[0]}”的层（共缺少 {len(missing)} 个）",
                "该适配器属于另一个模型：请使用那个模型",
            ),
        )
    heads = tuple(f"{head}." for head in config.heads)
    kept_out = (
        [name for name in model.state_dict() if not name.startswith(heads)] if heads else list(model.state_dict())
    )
    model._keys_to_ignore_on_save = kept_out  # transformers' own way to leave weights out
    model.requires_grad_(False)
    for head in config.heads:
        model.get_submodule(head).requires_grad_(True)
    for name in config.targets:
        layer = layers[name]
        layer.add_module(NAME, Bottleneck(output_width(layer), config.size, layer.weight))
        layer.register_forward_hook(_through_bottleneck)
    model.bottleneck_config = config
    return model


def _through_bottleneck(layer: Any, given: Any, output: Tensor) -> Tensor:
    changed: Tensor = layer.bottleneck(output)
    return changed


def output_width(layer: Any) -> int:
    """Features that come out of a linear layer, or of GPT-2's transposed one."""
    return int(layer.out_features if hasattr(layer, "out_features") else layer.nf)


def weights_of(model: Any) -> dict[str, Tensor]:
    """The bottlenecks' weights and those of the heads beside them, by their full names in the model."""
    left_out = set(model._keys_to_ignore_on_save)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in left_out}


def save(model: Any, folder: Path, base: str) -> None:
    """Write the bottlenecks of `model` to `folder`: configuration and safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config: BottleneckConfig = model.bottleneck_config
    written = {"schema_version": 1, "base": base, **to_dict(config)}
    save_file({name: tensor.contiguous() for name, tensor in weights_of(model).items()}, folder / WEIGHTS)
    write_json(folder / CONFIG, written)


def load(model: Any, folder: Path) -> Any:
    """`model` itself with the bottlenecks that `save` wrote. Raises `UserError` where they do not fit it."""
    from safetensors.torch import load_file

    written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model = insert(model, BottleneckConfig(written["size"], tuple(written["targets"]), tuple(written["heads"])))
    weights = load_file(folder / WEIGHTS)
    check_shapes(folder, {n: t.shape for n, t in weights.items()}, {n: t.shape for n, t in weights_of(model).items()})
    model.load_state_dict(weights, strict=False)
    return model


def check_shapes(folder: Path, written: dict[str, Sequence[int]], wanted: dict[str, Sequence[int]]) -> None:
    """Raises `UserError` where the weights an adapter's file has are not those that this model would have."""
    other = sorted(set(written) ^ set(wanted))
    odd = [name for name in sorted(set(written) & set(wanted)) if tuple(written[name]) != tuple(wanted[name])]
    if not other and not odd:
        return
    if odd:
        name = odd[0]
        what = f"{name} has shape {list(written[name])}, this model needs {list(wanted[name])}"
        what_zh = f"{name} 的形状为 {list(written[name])}，而该模型需要 {list(wanted[name])}"
    else:
        here = other[0] in written
        what = f"{other[0]} is {'in the adapter but not in this model' if here else 'missing in the adapter'}"
        what_zh = f"{other[0]} {'在适配器中，但不在该模型中' if here else '在适配器中缺失'}"
    raise UserError(
        f"{folder}: the adapter does not fit this model: {what}",
        "an adapter fits the model it was trained on only: name that one, or train a new adapter",
        Problem(f"{folder}：适配器与该模型不匹配：{what_zh}", "适配器只适用于训练它的模型：请使用那个模型，或重新训练"),
    )
