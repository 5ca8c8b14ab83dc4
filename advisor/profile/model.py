"""The model to be adapted: its size, architecture and window, from its configuration alone. No weights are read.

Covered: aliases of `knowledge/models.yaml`, and folders with a `config.json` of the usual decoders (Llama, Qwen,
Mistral, Gemma, GPT-2, mixtures of experts) and encoders (BERT); of a hub id its `config.json` alone, where that is
asked for and the hub can be reached. Not covered: architectures with other names for these entries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.facts import Fact, Facts
from advisor.texts import text
from executors.base import Problem, Text, UserError

if TYPE_CHECKING:
    from executors.models.catalogue import Kind
    from executors.models.endpoint import Endpoint

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet")
WIDTH = ("hidden_size", "n_embd", "dim")  # one entry's names, as families of models call it
LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
HUB_SECONDS = 8  # until a hub that does not answer is given up
GATED = ("silu", "swish", "gelu_pytorch_tanh")  # activations of three-matrix feed-forward layers


@dataclass(frozen=True)
class ModelProfile:
    """What is known of a model before its weights are read. None where it is not known."""

    name: str
    parameters: int | None = None
    window: int | None = None
    languages: tuple[str, ...] = ()  # empty where it is not stated
    evidence: Text | None = None
    warnings: tuple[Text, ...] = ()
    architecture: Mapping[str, str | int] = field(default_factory=dict)  # see `architecture_of`
    has_weights: bool = True  # False behind an endpoint, where they cannot be got at


def measure_model(name: str, kind: Kind = "language") -> ModelProfile:
    """A model by alias, hub id or folder. Nothing is fetched.

    Raises `UserError` for any other name, for a model of the other kind, or an unreadable folder.
    """
    from executors.models.catalogue import alias_of, local_folder, name_problems
    from executors.models.endpoint import endpoint_of

    problems = name_problems(name, kind)
    if problems:
        raise UserError.of(problems)
    if endpoint := endpoint_of(name):
        return _of_endpoint(endpoint)
    alias = alias_of(name)
    if alias:
        return ModelProfile(name, alias.parameters, alias.window, alias.languages, text("profile.alias", name=name))
    folder = local_folder(name)
    if folder is None:
        return ModelProfile(name, warnings=(text("profile.model_unknown", name=name),))
    return _from_config(name, read_config(folder), text("profile.config", path=str(folder / "config.json")))


def describe_model(name: str, kind: Kind = "language") -> ModelProfile:
    """As `measure_model`, with the architecture: where no configuration is here, that one file is fetched.

    Without a network the rest stays as it is, and unknown is said to be unknown.
    """
    from executors.models.catalogue import alias_of, local_folder
    from executors.models.fetch import locate

    found = measure_model(name, kind)
    if not found.has_weights:
        return found
    here = local_folder(name) or locate(name)
    config = read_config(here) if here else fetch_config(name)
    if config is None:
        return found
    if alias_of(name):
        return replace(found, architecture=architecture_of(config))
    described = _from_config(name, config, text("profile.config_fetched", name=name))
    return replace(described, evidence=found.evidence or described.evidence)


def fetch_config(name: str) -> Mapping[str, Any] | None:
    """The configuration of an alias or hub id from the Hugging Face hub; None where that cannot be had."""
    from urllib.request import Request, urlopen  # of the hub's own client the retries alone take half a minute

    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.constants import HF_HUB_OFFLINE

    from executors.models.catalogue import alias_of

    alias = alias_of(name)
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if HF_HUB_OFFLINE:
        return None
    request = Request(hf_hub_url(alias.hub if alias else name, "config.json"), headers=headers)
    try:
        with urlopen(request, timeout=HUB_SECONDS) as reply:
            config = json.load(reply)
    except (OSError, ValueError):  # no network, no such model, a page instead of JSON
        return None
    return _text_part(config) if isinstance(config, dict) else None


def _of_endpoint(endpoint: Endpoint) -> ModelProfile:
    """What is listed of a model behind an endpoint: its window at most. Nothing is asked over the network."""
    window = endpoint.listed_window
    assumed = "" if window else text("endpoint.unknown_window", window=f"{endpoint.window:,}")
    evidence = None
    if window:
        title = endpoint.provider.title
        evidence = text("endpoint.window", window=f"{window:,}", title=title, model=endpoint.model)
    warning = text("endpoint.unknown", name=endpoint.name, window=assumed)
    return ModelProfile(endpoint.name, None, window, evidence=evidence, warnings=(warning,), has_weights=False)


def _from_config(name: str, config: Mapping[str, Any], told: Text) -> ModelProfile:
    sizes = count_parameters(config), window_of(config)
    return ModelProfile(name, *sizes, evidence=told, architecture=architecture_of(config))


def model_facts(model: ModelProfile) -> Facts:
    """`model_parameters`, `context_window` and `weights_access`, as far as they are known."""
    facts = Facts()
    if model.evidence is None:
        return facts
    for name, value in (("model_parameters", model.parameters), ("context_window", model.window)):
        if value is not None:
            facts = facts.with_(Fact(name, value, "measured", model.evidence))
    if not model.has_weights:
        return facts
    return facts.with_(Fact("weights_access", True, "measured", text("profile.weights", name=model.name)))


def read_config(folder: Path) -> Mapping[str, Any]:
    """A model folder's configuration; of a model of several parts, that of its text."""
    path = folder / "config.json"
    hint = "the folder needs config.json, *.safetensors and the tokenizer's files, as save_pretrained writes them"
    needs = "文件夹中需要有 config.json、*.safetensors 和分词器文件，即 save_pretrained 写出的内容"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no config.json", hint, Problem(f"{folder}：缺少 config.json", needs)) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        zh = Problem(f"{path} 无法读取：{error}", needs)
        raise UserError(f"{path} cannot be read: {error}", hint, zh) from None
    if not isinstance(config, dict):
        kind = type(config).__name__
        zh = Problem(f"{path}：应为 JSON 对象，实际是 {kind}", needs)
        raise UserError(f"{path}: expected an object, got {kind}", hint, zh)
    return _text_part(config)


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def architecture_of(config: Mapping[str, Any]) -> Mapping[str, str | int]:
    """type, layers, width, heads, kv_heads, vocabulary, experts: what of these the configuration tells."""
    heads = _first(config, "num_attention_heads", "n_head", "n_heads")
    known = {
        "type": str(config.get("model_type", "")) or None,
        "layers": _first(config, *LAYERS),
        "width": _first(config, *WIDTH),
        "heads": heads,
        "kv_heads": _first(config, "num_key_value_heads") or heads,
        "vocabulary": _first(config, "vocab_size"),
        "experts": _first(config, *EXPERTS),
    }
    return {entry: value for entry, value in known.items() if value is not None}


def window_of(config: Mapping[str, Any]) -> int | None:
    """Tokens a prompt and its answer may have."""
    return _first(config, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def count_parameters(config: Mapping[str, Any]) -> int | None:
    """Parameters of a transformer by its configuration, tied embeddings once; None where it does not tell."""
    width = _first(config, *WIDTH)
    layers = _first(config, *LAYERS)
    vocabulary = _first(config, "vocab_size")
    if not (width and layers and vocabulary):
        return None
    kind = str(config.get("model_type", ""))
    if kind in ENCODERS:
        return _encoder_parameters(config, width, layers, vocabulary)
    if kind == "gpt2":
        positions = window_of(config) or 0
        return vocabulary * width + positions * width + layers * (12 * width**2 + 13 * width) + 2 * width
    embeddings = vocabulary * width * (1 if config.get("tie_word_embeddings", True) else 2)
    return embeddings + layers * _decoder_layer(config, width, kind) + width


def _decoder_layer(config: Mapping[str, Any], width: int, kind: str) -> int:
    """One layer: grouped-query attention, a gated feed-forward or experts with their router, and norms."""
    heads = _first(config, "num_attention_heads") or 1
    groups = _first(config, "num_key_value_heads") or heads
    size = _first(config, "head_dim") or width // heads
    attention = width * size * (heads + 2 * groups) + heads * size * width
    if config.get("attention_bias") or kind == "qwen2":
        attention += size * (heads + 2 * groups)
    if kind.startswith(("qwen3", "gemma3")):  # norms on queries and keys
        attention += 2 * size
    experts = _first(config, *EXPERTS)
    inner = (
        _first(config, "moe_intermediate_size" if experts else "intermediate_size", "intermediate_size") or 4 * width
    )
    matrices = 3 if str(config.get("hidden_act", config.get("hidden_activation", "silu"))) in GATED else 2
    feed_forward = matrices * width * inner
    if experts:
        shared = (_first(config, "n_shared_experts") or 0) * feed_forward
        feed_forward = feed_forward * experts + width * experts + shared
    norms = 4 if kind.startswith(("gemma2", "gemma3")) else 2
    return attention + feed_forward + norms * width


def _encoder_parameters(config: Mapping[str, Any], width: int, layers: int, vocabulary: int) -> int:
    """BERT: word, position and type embeddings with a norm, layers with biases, and the pooler."""
    inner = _first(config, "intermediate_size", "hidden_dim") or 4 * width
    positions = window_of(config) or 512
    types = _first(config, "type_vocab_size") or 0
    layer = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    return (vocabulary + positions + types + 2) * width + layers * layer + width**2 + width


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    """The first of these entries that is a whole number."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)
