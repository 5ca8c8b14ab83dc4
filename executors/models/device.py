"""Which device and number format models run in, and why: the one place that decides.

Half precision only where the hardware computes in it: on a CPU it is slower than float32 by orders of magnitude,
and a checkpoint stored in bfloat16 would silently load as such.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from executors.base import Text, UserError, did_you_mean

DeviceKind = Literal["cuda", "mps", "cpu"]
KINDS: tuple[DeviceKind, ...] = ("cuda", "mps", "cpu")


@dataclass(frozen=True)
class Hardware:
    """What torch reports. `cuda_capability` is (major, minor) of the first GPU; None without one."""

    cuda_capability: tuple[int, int] | None = None
    cuda_name: str = ""
    mps: bool = False


@dataclass(frozen=True)
class Device:
    """Where a model runs and in which number format (a torch dtype's name), with the reason."""

    kind: DeviceKind
    dtype: Literal["float32", "bfloat16", "float16"]
    reason: Text


def choose_device(hardware: Hardware | None = None) -> Device:
    """The device of this machine: CUDA, else Apple's GPU, else the CPU; `ADVISOR_DEVICE` overrides.

    Raises `UserError` where `ADVISOR_DEVICE` names no device, or one that is not here.
    """
    found = hardware or measure_hardware()
    asked = os.environ.get("ADVISOR_DEVICE", "").strip().lower()
    if asked and asked not in KINDS:
        raise UserError(f"ADVISOR_DEVICE={asked!r}: unknown device{did_you_mean(asked, KINDS)}", "cuda, mps or cpu")
    if asked == "cuda" and found.cuda_capability is None:
        raise UserError("ADVISOR_DEVICE=cuda: torch sees no CUDA GPU here", "unset it, or install torch with CUDA")
    if asked == "mps" and not found.mps:
        raise UserError("ADVISOR_DEVICE=mps: torch sees no Apple GPU here", "unset it")
    if asked != "cpu" and asked != "mps" and found.cuda_capability is not None:
        return _cuda(found.cuda_capability, found.cuda_name)
    if asked != "cpu" and found.mps:
        return Device(
            "mps",
            "float32",
            {
                "en": "Apple GPU, float32: half precision is not reliable in training there",
                "zh": "苹果 GPU，float32：半精度训练在该平台上不可靠",
            },
        )
    why = (
        {"en": "asked for by ADVISOR_DEVICE", "zh": "由 ADVISOR_DEVICE 指定"}
        if asked
        else {
            "en": "no GPU that torch can use",
            "zh": "没有 torch 可用的 GPU",
        }
    )
    return Device(
        "cpu",
        "float32",
        {
            "en": f"CPU, float32: {why['en']}; half precision is far slower on a CPU",
            "zh": f"CPU，float32：{why['zh']}；半精度在 CPU 上慢得多",
        },
    )


def _cuda(capability: tuple[int, int], name: str) -> Device:
    level = ".".join(map(str, capability))
    if capability >= (8, 0):
        return Device(
            "cuda",
            "bfloat16",
            {
                "en": f"{name}, bfloat16: compute capability {level} computes in it",
                "zh": f"{name}，bfloat16：计算能力 {level} 支持该格式",
            },
        )
    return Device(
        "cuda",
        "float16",
        {
            "en": f"{name}, float16: compute capability {level} is below 8.0, which bfloat16 needs",
            "zh": f"{name}，float16：计算能力 {level} 低于 bfloat16 所需的 8.0",
        },
    )


def measure_hardware() -> Hardware:
    """What torch sees. Imports torch."""
    torch = prepare_torch()
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(0)
        return Hardware((major, minor), torch.cuda.get_device_name(0))
    return Hardware(mps=torch.backends.mps.is_available())


def prepare_torch() -> ModuleType:
    """torch, set to use no more threads than this process may, and with idle threads that sleep.

    Spinning threads of two processes on the same cores slow both down by an order of magnitude.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    cores = usable_cores()
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
    return torch


def prepare_transformers() -> Any:
    """transformers without progress bars of its own: ours report through `Event`."""
    prepare_torch()
    import transformers
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()
    return transformers


def prepare_peft() -> ModuleType:
    """peft, quiet about a property of transformers that it still calls by a former name."""
    prepare_transformers()
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    import peft

    module: ModuleType = peft
    return module


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the quota of its container where it has one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
