"""Language models behind a server or provider, through LangChain's `init_chat_model`.

Covered: ``PROVIDER:MODEL`` and ``openai:MODEL@http://host:port/v1``; limits, a hard cap on spending, answers that are
paid for once, keys that stay out of every record. Importing this package is cheap. Not covered: likelihoods,
embeddings, streaming, and models that only answer as a stream.
"""

from __future__ import annotations

from executors.models.endpoint.limits import EndpointLimits, limits_of, read_limits
from executors.models.endpoint.names import Endpoint, endpoint_of, is_endpoint, name_faults
from executors.models.endpoint.prices import Price, is_stale, price_of, usd_cny

LEDGER = "paid.jsonl"  # in a run's folder

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
    "usd_cny",
]
