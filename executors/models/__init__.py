"""The one door to models: where their weights come from, on which device they run, and what they can be asked.

Importing this package is cheap; torch and transformers are loaded when a model is.
"""

from __future__ import annotations

from executors.models.catalogue import Alias, alias_of, aliases, cache_folder, name_problems
from executors.models.device import Device, choose_device
from executors.models.embed import Embedder, load_embedder
from executors.models.fetch import fetch, locate, model_sha256, resolve
from executors.models.folder import weights_sha256
from executors.models.language import (
    GREEDY,
    Chat,
    Completion,
    LanguageModel,
    LocalModel,
    Sampling,
    encode_answer,
    encode_chat,
    load_causal,
    load_language_model,
)
from executors.models.tuned import TunedRun, tuned_run

__all__ = [
    "GREEDY",
    "Alias",
    "Chat",
    "Completion",
    "Device",
    "Embedder",
    "LanguageModel",
    "LocalModel",
    "Sampling",
    "TunedRun",
    "alias_of",
    "aliases",
    "cache_folder",
    "choose_device",
    "encode_answer",
    "encode_chat",
    "fetch",
    "load_causal",
    "load_embedder",
    "load_language_model",
    "locate",
    "model_sha256",
    "name_problems",
    "resolve",
    "tuned_run",
    "weights_sha256",
]
