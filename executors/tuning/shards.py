"""A model in shards: each of several processes holds a part of every weight, of its gradient and of what the optimizer
keeps of it (FSDP2). A layer's weights are gathered while it computes, and let go.

Accelerate does it, as its settings say: environment variables, which `params.shard` sets and `accelerate config` does.
On CPUs it would train a whole copy in each process instead, and not say so: there its state is told. What follows is
the same on all devices: torch's `fully_shard` on each layer, gradients, checkpoints in parts.

Not covered: weights of 4 bits, models that no process could load whole (the first looks at it before and after), FSDP1,
weights kept in the computer's memory, several machines.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from typing import Any

from executors.base import Problem, Text, UserError

USE = "ACCELERATE_USE_FSDP"
OURS = {  # what is not asked for otherwise; Accelerate's own defaults are FSDP1, and the whole model as one shard
    USE: "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
WANTED = {  # the last is `params.checkpointing` here
    "FSDP_VERSION": "2",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
}


def asked_for(settings: Mapping[str, str]) -> bool:
    """Whether Accelerate's `settings` (environment variables) ask for shards."""
    return settings.get(USE, "").lower() in ("1", "true", "yes")


def settings_problems(settings: Mapping[str, str]) -> list[Problem]:
    """What of Accelerate's `settings` for shards cannot be done here."""
    found = []
    for name, wanted in WANTED.items():
        given = settings.get(name, wanted)
        if given.lower() != wanted:
            change = f"{name.lower()}: {wanted}"
            zh = Problem(f"accelerate 的设置 {name}={given}：这里的分片训练只支持 {wanted}", f"在其配置中改为 {change}")
            told = f"accelerate is set to {name}={given}: shards are trained with {wanted} only"
            found.append(Problem(told, f"{change} in its configuration", zh))
    return found


def in_shards() -> bool:
    """Whether this process is one of several that train a model in shards."""
    return asked_for(os.environ) and "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized()


def share_out(accelerator: Any) -> None:
    """Have `accelerator` share models out on CPUs, as it does on GPUs where it is asked to."""
    from accelerate.parallelism_config import ParallelismConfig
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = accelerator.state
    if state.distributed_type != DistributedType.MULTI_CPU:
        return
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin()
    # named, for torch's own choice is the device it was built for, be it there or not
    state.parallelism_config = ParallelismConfig(dp_shard_size=accelerator.num_processes)
    state.device_mesh = state.parallelism_config.get_device_mesh("cpu")


def whole(tensor: Any) -> Any:
    """`tensor`, put together where it is in shards; every process must ask for it then."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def part_like(tensor: Any, like: Any) -> Any:
    """Of a whole `tensor`, known to every process, the part that this one has of `like`."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def held_share(model: Any) -> float:
    """The share of the bytes of the model's weights that this process holds. 1 where nothing is in shards."""
    parameters = list(model.parameters())
    held: int = sum(_bytes(p.to_local() if hasattr(p, "to_local") else p) for p in parameters)
    return held / sum(map(_bytes, parameters))


def _bytes(tensor: Any) -> int:
    size: int = tensor.numel() * tensor.element_size()
    return size


class Hull:
    """A model without its weights, taken before it is shared out, to be filled when it has been trained."""

    def __init__(self, model: Any) -> None:
        import torch

        empty = {
            id(p): torch.nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
            for p in model.parameters()
        }
        self.model = copy.deepcopy(model, empty)  # which finds the weights copied already

    def filled(self, model: Any, keep: bool) -> Any:
        """The whole model with the weights of `model`, which is in shards; without any where it is not to `keep` them.

        Every process must call it.
        """
        import torch

        swap: Any = torch.utils.swap_tensors
        for parameter, part in zip(self.model.parameters(), model.parameters(), strict=True):
            weights = whole(part.detach())
            if keep:
                swap(parameter, torch.nn.Parameter(weights, requires_grad=parameter.requires_grad))
        return self.model


def shares_note(shares: list[float]) -> tuple[Text, ...]:
    """What each process held, in words."""
    most = max(shares)
    return (
        {
            "en": f"the model was trained in shards (FSDP2) by {len(shares)} processes: none held more than {most:.0%} "
            "of its weights",
            "zh": f"模型由 {len(shares)} 个进程分片训练（FSDP2）：每个进程最多保存 {most:.0%} 的权重",
        },
    )


def refuse_copies(share: float, processes: int) -> None:
    """Raises `UserError` where shards were asked for, and a process holds nearly all of the model."""
    if processes > 1 and share > 0.95:
        raise UserError(
            f"the model was to be trained in shards, but each process holds {share:.0%} of it",
            "check the settings of accelerate (fsdp_auto_wrap_policy), or leave out --shard",
            Problem(
                f"要求分片训练，但每个进程都保存了 {share:.0%} 的模型",
                "检查 accelerate 的设置（fsdp_auto_wrap_policy），或去掉 --shard",
            ),
        )
