"""This machine: processors, memory and accelerators, asked of the system without importing torch.

Covered: NVIDIA accelerators through `nvidia-smi`, Apple's unified memory, and machines without either; whether they
compute in bfloat16. Not covered: AMD and Intel accelerators, which count as none; processors of Windows, of which
the system does not list the instructions.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from advisor.facts import Fact, Facts
from advisor.texts import text
from executors.base import Text

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
CAPABILITY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
BRAND = ("sysctl", "-n", "machdep.cpu.brand_string")
APPLE_BF16 = ("sysctl", "-n", "hw.optional.arm.FEAT_BF16")
BF16_CAPABILITY = (8, 0)  # Ampere, the first generation that computes in bfloat16
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})  # of x86 and of ARM processors, as Linux says
CPUINFO = Path("/proc/cpuinfo")
PATIENCE = 4.0  # seconds for the driver to answer
BUSY = 0.3  # load a processor
APPLE_SHARE = 0.75  # of unified memory that the system lets the accelerator use

T = TypeVar("T")

Ask = Callable[[tuple[str, ...]], str | None]
"""Runs a command and returns its output, or None where it is missing, fails or takes too long."""


@dataclass(frozen=True)
class Machine:
    """What work could run on. Memory in GB as it is sold; `gpu_memory_gb` is of the largest one, 0 for none.

    `cpu_bf16` and `gpu_bf16`: whether the hardware computes in bfloat16; None where nobody tells, or there is no GPU.
    """

    cores: int  # physical
    memory_gb: float
    gpu_names: tuple[str, ...] = ()
    gpu_memory_gb: float = 0.0
    unified: bool = False  # the accelerator shares the processor's memory
    cpu: str = ""  # the processor's name, where the system tells it
    cpu_bf16: bool | None = None
    gpu_bf16: bool | None = None  # of every accelerator
    capabilities: tuple[str, ...] = ()  # NVIDIA's compute capability of each accelerator


def measure_machine(ask: Ask | None = None) -> Machine:
    """This machine."""
    import psutil

    ask = ask or run_quickly
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 2**30
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        usable = round(memory * APPLE_SHARE, 1)
        brand, bf16 = (ask(BRAND) or "").strip(), (ask(APPLE_BF16) or "").strip() == "1"
        return Machine(cores, round(memory, 1), ("Apple GPU",), usable, unified=True, cpu=brand, cpu_bf16=bf16)
    cpu, cpu_bf16 = read_processor(CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else "")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = visible(read_accelerators(ask(QUERY)), chosen)
    levels = visible(read_capabilities(ask(CAPABILITY)), chosen) if found else []
    return Machine(
        cores,
        round(memory, 1),
        tuple(name for name, _ in found),
        max((gb for _, gb in found), default=0.0),
        cpu=cpu or platform.processor(),
        cpu_bf16=cpu_bf16,
        gpu_bf16=all(level >= BF16_CAPABILITY for level in levels) if levels else None,
        capabilities=tuple(".".join(map(str, level)) for level in levels),
    )


def measure_tflops(seconds: float = 0.25, size: int = 1536) -> float:
    """The processor's float32 matrix rate, in TFLOP/s: the best of several products, as other work only slows them."""
    import numpy as np

    matrix = np.ones((size, size), np.float32)
    result = matrix @ matrix  # threads start
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        np.matmul(matrix, matrix, out=result)
        best = max(best, 2 * size**3 / (time.perf_counter() - begin) / 1e12)
    return best


def is_busy() -> bool:
    """Whether other work runs here, by the system's load of the last minute; False where it does not tell (Windows)."""
    if not hasattr(os, "getloadavg"):
        return False
    return os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)


def machine_facts(machine: Machine) -> Facts:
    """`gpu_memory_gb` and `gpu_count`, with what was seen."""
    told = _evidence(machine)
    memory = Fact("gpu_memory_gb", machine.gpu_memory_gb, "measured", told)
    return Facts().with_(memory, Fact("gpu_count", len(machine.gpu_names), "measured", told))


def read_accelerators(listing: str | None) -> list[tuple[str, float]]:
    """Name and memory (GB) of each accelerator in what `nvidia-smi` lists: ``NVIDIA L4, 23034``, in MiB."""
    found = []
    for line in (listing or "").splitlines():
        name, _, mebibytes = line.rpartition(",")
        if name and mebibytes.strip().isdigit():
            found.append((name.strip(), round(int(mebibytes) / 1024, 1)))
    return found


def read_capabilities(listing: str | None) -> list[tuple[int, int]]:
    """The compute capability of each accelerator in what `nvidia-smi` lists, one a line: ``8.9``. Else none."""
    lines = [line.strip() for line in (listing or "").splitlines() if line.strip()]
    found = [re.fullmatch(r"(\d+)\.(\d+)", line) for line in lines]
    return [(int(level[1]), int(level[2])) for level in found if level] if all(found) else []


def read_processor(listing: str) -> tuple[str, bool | None]:
    """(name, whether it computes in bfloat16) of what Linux lists in ``/proc/cpuinfo``; None where no flags are."""
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", listing, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", listing, re.MULTILINE)
    return name[1].strip() if name else "", bool(BF16_FLAGS & set(flags[1].split())) if flags else None


def visible(found: list[T], chosen: str | None) -> list[T]:
    """Those that `CUDA_VISIBLE_DEVICES` leaves; ids other than numbers (UUIDs, MIG) leave all."""
    if chosen is None:
        return found
    ids = [part.strip() for part in chosen.split(",") if part.strip()]
    if not all(part.lstrip("-").isdigit() for part in ids):
        return found
    return [found[int(part)] for part in ids if 0 <= int(part) < len(found)]


def run_quickly(command: tuple[str, ...]) -> str | None:
    """The output of a short command; None where it is missing, fails or takes longer than `PATIENCE`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _evidence(machine: Machine) -> Text:
    if machine.unified:
        share = f"{APPLE_SHARE:.0%}"
        return text("profile.apple", memory=f"{machine.memory_gb:g}", share=share, gb=f"{machine.gpu_memory_gb:g}")
    if machine.gpu_names:
        named = ", ".join(dict.fromkeys(machine.gpu_names))
        return text("profile.gpu", count=len(machine.gpu_names), names=named, gb=f"{machine.gpu_memory_gb:g}")
    return text("profile.no_gpu", cores=machine.cores, memory=f"{machine.memory_gb:g}")
