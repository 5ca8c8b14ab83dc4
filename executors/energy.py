"""Energy that work takes, where the machine tells it: the processor's own counters, and the draw of NVIDIA GPUs.

Of the processor: the RAPL counters that Linux shows under `powercap` (packages only, which hold their cores), readable
by an administrator on most systems. Of GPUs: the power that the driver tells, sampled and summed. Both count whatever
else ran on the machine meanwhile. Not covered: other systems, memory outside the package, the rest of the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
EVERY = 0.5  # seconds between two samples of a GPU's power


class Meter:
    """Joules of what runs inside it; None where nothing can be read. `power` tells watts, e.g. of all GPUs."""

    def __init__(self, root: Path = POWERCAP, power: Callable[[], float | None] | None = None) -> None:
        self._counters = {path: _read(path) for path in sorted(root.glob("intel-rapl:?/energy_uj"))}
        self._power = power or gpu_watts
        self._drawn: float | None = None
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sampler.join()

    def _sample(self) -> None:
        before = time.monotonic()
        while not self._over.wait(EVERY):
            now, watts = time.monotonic(), self._power()
            if watts is not None:
                self._drawn = (self._drawn or 0.0) + watts * (now - before)
            before = now

    @property
    def joules(self) -> float | None:
        parts = [_spent(path, began) for path, began in self._counters.items()]
        read = [part for part in (*parts, self._drawn) if part is not None]
        return sum(read) if read else None


def gpu_watts() -> float | None:
    """What all NVIDIA GPUs draw now; None without one, or without the driver's library for Python."""
    import sys

    torch = sys.modules.get("torch")  # loading it for this alone would cost seconds
    try:
        if torch is None or not torch.cuda.is_available():
            return None
        return float(sum(torch.cuda.power_draw(n) for n in range(torch.cuda.device_count()))) / 1000
    except (ModuleNotFoundError, RuntimeError):  # nvidia-ml-py is no part of this installation
        return None
    except AttributeError:  # it is being imported
        return None


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _spent(path: Path, began: int | None) -> float | None:
    """Joules since `began`; a counter that has started over is given the range it counts to."""
    now = _read(path)
    if now is None or began is None:
        return None
    top = _read(path.with_name("max_energy_range_uj")) or 0
    return (now - began if now >= began else now - began + top) / 1e6
