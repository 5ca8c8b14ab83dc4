"""Which layers of a model are trained: all, the last ones, all but the first ones, or all anew from random weights.

The decoder's layers are found by their shape, not by name: the longest list of modules of one class that lies in no
other (experts do). What lies before them (embeddings) is frozen wherever not everything is trained, with it an output
head tied to the embeddings; what comes after them (final norm, a head of its own) is trained. Not covered: single
matrices, a rate for each layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from executors.base import Problem, Text, UserError
from executors.tuning.params import FROZEN_SHARE, LAST_SHARE, FullParams


def choose_layers(model: Any, params: FullParams) -> Any:
    """`model` with `requires_grad` set as `params.layers` says; for ``scratch`` a new one with random weights.

    Draws from torch's random state where weights are made. Raises `UserError` for more layers than there are.
    """
    if params.layers == "scratch":
        return _made_anew(model)
    if params.layers != "all":
        blocks = decoder_layers(model)
        first = first_trained(params, len(blocks))
        model.requires_grad_(False)
        for block in blocks[first:]:
            block.requires_grad_(True)
        for parameter in _after(model, blocks):
            parameter.requires_grad_(True)
    return model


def first_trained(params: FullParams, depth: int) -> int:
    """The first of `depth` layers that is trained, counted from 0. Raises `UserError` where none would be left."""
    if params.layers == "last":
        trained = math.ceil(LAST_SHARE * depth) if params.trained_layers is None else params.trained_layers
        if trained > depth:
            raise _too_many("trained_layers", trained, depth, depth)
        return depth - trained
    frozen = math.floor(FROZEN_SHARE * depth) if params.frozen_layers is None else params.frozen_layers
    if frozen >= depth:
        raise _too_many("frozen_layers", frozen, depth, depth - 1)
    return frozen


def _too_many(name: str, value: int, depth: int, most: int) -> UserError:
    return UserError(
        f"params.{name}: {value} of a model with {depth} layers",
        f"at most {most}",
        Problem(f"params.{name}：给出 {value}，而模型只有 {depth} 层", f"最多 {most}"),
    )


def decoder_layers(model: Any) -> Any:
    """The model's layers in order, as a ``ModuleList``. Raises `UserError` for an architecture without any."""
    from torch.nn import ModuleList

    lists = {name: m for name, m in model.named_modules() if isinstance(m, ModuleList)}
    outer = [m for name, m in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    equal = [m for m in outer if len({type(part) for part in m}) == 1]
    if not equal:
        raise UserError(
            f"params.layers: {type(model).__name__} has no list of equal layers, so none can be told from another",
            "params.layers=all",
            Problem(f"params.layers：{type(model).__name__} 没有由同类层组成的列表，无法区分各层"),
        )
    return max(equal, key=len)


def _after(model: Any, blocks: Any) -> Iterator[Any]:
    """Parameters beyond the layers: final norm and a head of its own. A tied head counts as the embedding it is."""
    from torch.nn import Embedding

    inside = {id(parameter) for parameter in blocks.parameters()}
    inside |= {id(p) for module in model.modules() if isinstance(module, Embedding) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in inside and "embed" not in name:  # norms and projections beside the embeddings
            yield parameter


def _made_anew(model: Any) -> Any:
    """The same architecture with new weights, in float32, on the same device."""
    import torch
    from transformers import AutoModelForCausalLM

    fresh = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    fresh.generation_config = model.generation_config
    return fresh.to(model.device)


def trained_share(model: Any) -> float:
    """The share of the model's weights that training can move; shared ones count once."""
    sizes: list[tuple[int, bool]] = [(_weights(p), p.requires_grad) for p in model.parameters()]
    return sum(size for size, moves in sizes if moves) / sum(size for size, _ in sizes)


def _weights(parameter: Any) -> int:
    """How many weights a parameter holds: of 4 bits, two in each element."""
    count: int = parameter.numel()
    return 2 * count if type(parameter).__name__ == "Params4bit" else count


def layers_note(model: Any, params: FullParams) -> tuple[Text, ...]:
    """What was trained, in words; nothing where all weights were, from the pre-trained start."""
    if params.layers == "all":
        return ()
    if params.layers == "scratch":
        return (
            {
                "en": "all weights were trained from random ones: nothing the original model had learnt is left",
                "zh": "所有权重都从随机值训练：原模型学到的内容全部丢弃",
            },
        )
    depth = len(decoder_layers(model))
    trained, share = depth - first_trained(params, depth), f"{trained_share(model):.0%}"
    return (
        {
            "en": f"the last {trained} of {depth} layers were trained, {share} of the weights; "
            "the first ones and the embeddings are as they were",
            "zh": f"只训练了 {depth} 层中的最后 {trained} 层，占全部权重的 {share}；前面的层和嵌入保持不变",
        },
    )
