"""Language models behind a server or provider, through LangChain's `init_chat_model`.

Covered: ``PROVIDER:MODEL`` and ``openai:MODEL@http://host:port/v1``; limits, a hard cap on spending, answers that are
paid for once, keys that stay out of every record. Importing this package is cheap. Not covered: likelihoods,
embeddings, streaming, and models that only answer as a stream.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executors.models.endpoint.limits import EndpointLimits, limits_of, read_limits
from executors.models.endpoint.names import Endpoint, endpoint_of, is_endpoint, name_faults
from executors.models.endpoint.prices import Price, is_stale, price_of, usd_cny

LEDGER = "paid.jsonl"  # in a run's folder


def share_cap(given: dict[str, Any], folder: Path, run: Path) -> dict[str, Any]:
    """A plan's `endpoint` entry, where the runs within `folder` share its cap, for the one in `run`."""
    if given.get("max_cost") is None:
        return given
    from executors.models.endpoint.ledger import spent_within

    return {**given, "charged": round(spent_within(folder, LEDGER, run), 6)}


__all__ = [
    "LEDGER",
    "Endpoint",
    "EndpointLimits",
    "Price",
    "endpoint_of",
    "is_endpoint",
    "is_stale",
    "limits_of",
    "name_faults",
    "price_of",
    "read_limits",
    "share_cap",
    "usd_cny",
]
