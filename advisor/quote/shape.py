"""A decoder's dimensions: from its configuration where one is at hand, else typical of its size. Nothing is downloaded.

Covered: dense decoders with grouped-query attention and gated or plain feed-forward layers. Of a mixture of experts the
active share is not told apart from the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGE = 1e9  # parameters from which vocabularies are larger and embeddings are no longer shared with the output
VOCABULARIES = (50_000, 128_000)  # of models below and above
QUERY_HEADS_A_GROUP = 4  # that share keys and values, in most models since 2023
INNER = 8 / 3  # width of a gated feed-forward layer, in widths of the model (Shazeer 2020, arXiv 2002.05202)


@dataclass(frozen=True)
class Shape:
    """`attention` and `groups` are the widths of all queries and of all keys: heads times their size. `inner` is the
    feed-forward width. `parameters` counts shared embeddings once."""

    parameters: float
    layers: float
    width: float
    attention: float
    groups: float
    inner: float
    vocabulary: float
    shared_embeddings: bool
    source: str = ""  # the configuration it was read from; empty where it is typical of the size
    shares: bool = True  # what rows begin with can be computed once: not under sliding windows, nor recurrence

    @property
    def embeddings(self) -> float:
        """Parameters of the table of embeddings, and of the output's own where it has one."""
        return self.vocabulary * self.width * (1 if self.shared_embeddings else 2)

    @property
    def body(self) -> float:
        """Parameters that compute on every token: all but the embeddings."""
        return max(self.parameters - self.embeddings, 0.0)


MINILM = Shape(22.7e6, 6, 384, 384, 384, 1536, 30_522, shared_embeddings=True)


def typical(parameters: float) -> Shape:
    """The usual decoder of this size: ``N = 12·layers·width²`` with ``width = 128·layers``."""
    width = (parameters * 128 / 12) ** (1 / 3)
    large = parameters >= LARGE
    return Shape(
        parameters=parameters,
        layers=width / 128,
        width=width,
        attention=width,
        groups=width / QUERY_HEADS_A_GROUP,
        inner=INNER * width,
        vocabulary=VOCABULARIES[large] if parameters > 2 * VOCABULARIES[large] * width else parameters / (3 * width),
        shared_embeddings=not large,
    )


def read_shape(config: Mapping[str, Any], source: str = "") -> Shape | None:
    """The dimensions in a configuration; None where it does not tell them."""
    from advisor.profile.model import count_parameters

    parameters = count_parameters(config)
    width, layers = _entry(config, "hidden_size", "n_embd"), _entry(config, "num_hidden_layers", "n_layer")
    vocabulary, heads = _entry(config, "vocab_size"), _entry(config, "num_attention_heads", "n_head")
    if not (parameters and width and layers and vocabulary and heads):
        return None
    size = _entry(config, "head_dim") or width // heads
    return Shape(
        parameters=parameters,
        layers=layers,
        width=width,
        attention=heads * size,
        groups=(_entry(config, "num_key_value_heads") or heads) * size,
        inner=_entry(config, "intermediate_size", "n_inner") or 4 * width,
        vocabulary=vocabulary,
        shared_embeddings=bool(config.get("tie_word_embeddings", True)),
        source=source,
        shares=_sees_everything(config),
    )


def _sees_everything(config: Mapping[str, Any]) -> bool:
    """Whether every layer sees all that came before, as `executors.models.language.sees_everything` has it."""
    layers = set(config.get("layer_types") or ["full_attention"])
    slides = bool(config.get("sliding_window")) and bool(config.get("use_sliding_window", True))
    return layers == {"full_attention"} and not slides


def model_shape(name: str) -> Shape | None:
    """The shape of a model by alias, hub id or folder; of a known size, the typical one; None where nothing is known.

    Raises `UserError` for a name that is nothing we know. Never touches the network.
    """
    from advisor.profile.model import measure_model, read_config

    folder = _folder_of(name)
    shape = read_shape(read_config(folder), str(folder / "config.json")) if folder else None
    if shape:
        return shape
    parameters = measure_model(name).parameters
    return typical(parameters) if parameters else None


def encoder_shape(name: str) -> Shape:
    """The shape of a sentence encoder by alias, hub id or folder; MiniLM's where nothing is known of it."""
    from advisor.profile.model import read_config

    folder = _folder_of(name)
    return (read_shape(read_config(folder), str(folder / "config.json")) if folder else None) or MINILM


def _folder_of(name: str) -> Path | None:
    """Where the model's configuration lies, if it is here."""
    from executors.models import locate
    from executors.models.catalogue import local_folder

    return local_folder(name) or locate(name)  # a local folder needs no weights to be quoted


def _entry(config: Mapping[str, Any], *names: str) -> int | None:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)
