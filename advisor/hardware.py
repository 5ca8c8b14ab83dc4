"""Machines that work could run on: what they can do and what they cost, from `knowledge/hardware.yaml`.

A `Rig` is a machine with its speed as it is really reached, as ranges. Which machine there is, is measured in
`advisor.profile.machine`; here it is only looked up.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from advisor.texts import read_knowledge

Range = tuple[float, float]

USABLE = 0.9  # of an accelerator's memory; the rest goes to the driver and to fragmentation
REFERENCE_CORES = 2  # of the CPU in hardware.yaml
MANY_CORES = 16  # matrix rates stop growing with cores about here
MANY_CHANNELS = 4  # times the reference's bandwidth: what a desktop's memory reaches with all cores


@dataclass(frozen=True)
class Figure:
    """A price in a quote and the day (ISO 8601) it was true."""

    name: str
    as_of: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Rig:
    """`count` equal machines. Ranges are (low, high) of one: FLOP/s and bytes/s as reached, USD an hour."""

    kind: Literal["cpu", "gpu"]
    name: str
    count: int
    memory_gb: float
    peak_tflops: Range
    share: Range  # of the peak that is reached
    bandwidth: Range
    usd_hour: Range
    rented: bool
    prices: tuple[Figure, ...]
    cores: int = 0  # of a CPU

    @property
    def flops(self) -> Range:
        """FLOP/s of one as reached."""
        return self.peak_tflops[0] * 1e12 * self.share[0], self.peak_tflops[1] * 1e12 * self.share[1]


def reference_cpu(
    cores: int = REFERENCE_CORES, memory_gb: float = 8, tflops: float | None = None, *, busy: bool = False
) -> Rig:
    """A CPU at its measured float32 rate, else the reference of two cores scaled to `cores` physical ones.

    A rate that was measured on a `busy` machine is the least it can do; the most is then the reference's.
    """
    data = read_knowledge("hardware.yaml")
    entry, share = data["cpu"], data["utilisation"]
    scale = min(max(cores, 1), MANY_CORES) / REFERENCE_CORES
    peak = _times(entry["tflops"], scale)
    if tflops:
        peak = tflops, max(tflops, peak[0]) if busy else tflops
    return Rig(
        kind="cpu",
        name=f"CPU ({cores} cores)",
        count=1,
        memory_gb=memory_gb,
        peak_tflops=peak,
        share=_pair(share["cpu"]),
        bandwidth=_times(share["bandwidth"], entry["bandwidth_gbs"] * 1e9 * min(scale, MANY_CHANNELS)),
        usd_hour=_times(entry["rent"]["usd"], scale),
        rented=False,
        prices=(_figure(entry),),
        cores=cores,
    )


def own_accelerator(memory_gb: float, count: int = 1, name: str = "") -> Rig:
    """What is known of an accelerator of the user's: by name, else all of the nearest memory size."""
    known = list(read_knowledge("hardware.yaml")["accelerators"].values())
    like = [e for e in known if name and _same_model(e["name"], name)]
    if not like:
        nearest = min(known, key=lambda e: abs(e["memory_gb"] - memory_gb))["memory_gb"]
        like = [e for e in known if e["memory_gb"] == nearest]
    return _rig(like, max(count, 1), memory_gb, rented=False)


def rent(needed_gb: float) -> Rig:
    """The cheapest accelerator that holds `needed_gb`; where none does, as many of the largest as do."""
    known = list(read_knowledge("hardware.yaml")["accelerators"].values())
    fitting = [e for e in known if e["memory_gb"] * USABLE >= needed_gb]
    if fitting:
        return _rig([min(fitting, key=lambda e: sum(e["rent"]["usd"]))], 1, None, rented=True)
    largest = max(known, key=lambda e: e["memory_gb"])
    return _rig([largest], math.ceil(needed_gb / (largest["memory_gb"] * USABLE)), None, rented=True)


def accelerators() -> tuple[str, ...]:
    """The keys of the accelerators in `hardware.yaml`."""
    return tuple(read_knowledge("hardware.yaml")["accelerators"])


def cluster(name: str, count: int = 1) -> Rig:
    """`count` rented accelerators of one kind, by their key in `hardware.yaml`."""
    return _rig([read_knowledge("hardware.yaml")["accelerators"][name]], count, None, rented=True)


def api_prices() -> Mapping[str, Mapping[str, Any]]:
    """Providers' prices by model: USD per million tokens of ``input`` and ``output``, ``as_of``, ``source``."""
    prices: Mapping[str, Mapping[str, Any]] = read_knowledge("prices.yaml")["api"]
    return prices


def exchange() -> tuple[float, Figure]:
    """Yuan for a US dollar, and the day of that rate."""
    entry = read_knowledge("prices.yaml")["exchange"]
    return float(entry["usd_cny"]), Figure("USD/CNY", str(entry["as_of"]), (entry["source"],))


def stale_after_days() -> int:
    """Age from which a price is not to be relied on."""
    limit: int = read_knowledge("prices.yaml")["stale_after_days"]
    return limit


def is_stale(price: Figure, today: datetime.date) -> bool:
    """Whether a price is too old to be relied on."""
    return (today - datetime.date.fromisoformat(price.as_of)).days > stale_after_days()


def _rig(entries: list[dict[str, Any]], count: int, memory_gb: float | None, *, rented: bool) -> Rig:
    share = read_knowledge("hardware.yaml")["utilisation"]
    slow, fast = (pick(e["tflops"] for e in entries) for pick in (min, max))
    narrow, wide = (pick(e["bandwidth_gbs"] for e in entries) for pick in (min, max))
    names = " / ".join(e["name"] for e in entries)
    return Rig(
        kind="gpu",
        name=f"{count} × {names}" if count > 1 else names,
        count=count,
        memory_gb=memory_gb or entries[0]["memory_gb"],
        peak_tflops=(slow, fast),
        share=_pair(share["gpu"]),
        bandwidth=(narrow * 1e9 * share["bandwidth"][0], wide * 1e9 * share["bandwidth"][1]),
        usd_hour=(min(e["rent"]["usd"][0] for e in entries), max(e["rent"]["usd"][1] for e in entries)),
        rented=rented,
        prices=tuple(_figure(e) for e in entries),
    )


def _same_model(known: str, name: str) -> bool:
    """Whether a driver's name, e.g. ``NVIDIA A100-SXM4-80GB``, is the accelerator we know."""
    words = known.replace("NVIDIA", "").replace("SXM", "").replace("80 GB", "").split()
    return all(word.lower() in name.lower().replace("-", " ").split() for word in words)


def _figure(entry: Mapping[str, Any]) -> Figure:
    return Figure(entry["name"], str(entry["rent"]["as_of"]), tuple(entry["rent"]["sources"]))


def _pair(values: list[float]) -> Range:
    return values[0], values[1]


def _times(values: list[float], factor: float) -> Range:
    return values[0] * factor, values[1] * factor
