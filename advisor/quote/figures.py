"""Small change of quotes: rounding, and counts as formulas show them."""

from __future__ import annotations

from advisor.hardware import Range, Rig


def scaled(pair: Range, factor: float) -> Range:
    return pair[0] * factor, pair[1] * factor


def rounded(pair: Range) -> Range:
    """Three significant digits: a quote has no more."""
    return significant(pair[0]), significant(pair[1])


def significant(value: float) -> float:
    return float(f"{value:.3g}")


def count(value: float) -> str:
    """``134.5 M``, ``8 B``, ``12 k``."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:.0f}"


def gigabytes(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def percent(share: Range) -> str:
    return f"{share[0]:.0%}–{share[1]:.0%}"


def speed(rig: Rig) -> str:
    """``2 × 989 TFLOP/s × 15%–50%``."""
    low, high = (float(f"{end:.3g}") for end in rig.peak_tflops)
    peak = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"{f'{rig.count} × ' if rig.count > 1 else ''}{peak} TFLOP/s × {percent(rig.share)}"


def usd_of(hours: Range, rig: Rig) -> Range:
    """What `hours` on all of a rig's machines cost."""
    return rounded((hours[0] * rig.count * rig.usd_hour[0], hours[1] * rig.count * rig.usd_hour[1]))
