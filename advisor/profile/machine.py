"""This machine: processors, memory and accelerators, asked of the system without importing torch.

Covered: NVIDIA accelerators through `nvidia-smi`, Apple's unified memory, and machines without either. Not covered:
AMD and Intel accelerators, which count as none.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from advisor.facts import Fact, Facts
from advisor.texts import text
from executors.base import Text

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
PATIENCE = 4.0  # seconds for the driver to answer
APPLE_SHARE = 0.75  # of unified memory that the system lets the accelerator use

Ask = Callable[[tuple[str, ...]], str | None]
"""Runs a command and returns its output, or None where it is missing, fails or takes too long."""


@dataclass(frozen=True)
class Machine:
    """What work could run on. Memory in GB as it is sold; `gpu_memory_gb` is of the largest one, 0 for none."""

    cores: int  # physical
    memory_gb: float
    gpu_names: tuple[str, ...] = ()
    gpu_memory_gb: float = 0.0
    unified: bool = False  # the accelerator shares the processor's memory


def measure_machine(ask: Ask | None = None) -> Machine:
    """This machine."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 2**30
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        usable = round(memory * APPLE_SHARE, 1)
        return Machine(cores, round(memory, 1), ("Apple GPU",), usable, unified=True)
    found = visible(read_accelerators((ask or run_quickly)(QUERY)), os.environ.get("CUDA_VISIBLE_DEVICES"))
    largest = max((gb for _, gb in found), default=0.0)
    return Machine(cores, round(memory, 1), tuple(name for name, _ in found), largest)


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


def visible(found: list[tuple[str, float]], chosen: str | None) -> list[tuple[str, float]]:
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
