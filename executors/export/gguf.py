"""A dense model as one GGUF file, which llama.cpp and what is built on it read: weights, tokenizer, chat template.

Covered: Llama-, Mistral-, Qwen2- and Qwen3-class decoders with a byte-level BPE tokenizer, plain rotary positions and
full attention, as F32, F16 or Q8_0. Anything else is refused by name rather than written half right. The layout is
that of the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md); names of tensors are the `gguf` package's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from executors.base import Problem, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["f32", "f16", "q8_0"]
PRECISIONS: tuple[Precision, ...] = ("f16", "q8_0", "f32")
ARCHITECTURES: Mapping[str, str] = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' `model_type` -> the architecture of the file."""
BLOCK = 32  # values that share a scale in Q8_0
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of tokens, as GGUF numbers them


def gguf_problems(config: Any, tokenizer: Any) -> list[Problem]:
    """Every reason why a model of this configuration cannot be written as GGUF here; empty where it can."""
    problems = [
        _problem(f"the architecture '{config.model_type}' is not among {', '.join(ARCHITECTURES)}", config.model_type)
        for _ in range(config.model_type not in ARCHITECTURES)
    ]
    rope = dict(getattr(config, "rope_parameters", None) or {})
    kind = str(rope.get("rope_type", "default"))
    if kind != "default":
        problems.append(_problem(f"positions are scaled ('{kind}'); only plain rotary positions are written", kind))
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if slides or layers != {"full_attention"}:
        problems.append(_problem("attention over a sliding window is not written", "sliding_window"))
    if pre_tokenizer(tokenizer) is None:
        name = type(tokenizer).__name__
        problems.append(_problem(f"its tokenizer ({name}) is no byte-level BPE that llama.cpp has a name for", name))
    return problems


def _problem(why: str, value: str) -> Problem:
    hint = "--to merged writes safetensors, which llama.cpp's own converter reads"
    zh = Problem(f"无法写成 GGUF：不支持“{value}”", "--to merged 写出 safetensors，可用 llama.cpp 自带的转换脚本处理")
    return Problem(f"no GGUF file can be written of this model: {why}", hint, zh)


def write_gguf(model: Any, tokenizer: Any, path: Path, precision: Precision, name: str) -> None:
    """Write `model` (dense, any dtype) to `path`. Raises `UserError`, see `gguf_problems`."""
    problems = gguf_problems(model.config, tokenizer)
    if problems:
        raise UserError.of(problems)
    import gguf

    writer = gguf.GGUFWriter(path, ARCHITECTURES[model.config.model_type])
    _write_shape(writer, model.config, precision, name)
    _write_tokenizer(writer, tokenizer, model.config.vocab_size)
    for tensor_name, values, kind in _tensors(model, precision):
        writer.add_tensor(tensor_name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: Any, config: Any, precision: Precision, name: str) -> None:
    import gguf

    file_types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_name(name)
    writer.add_file_type(getattr(gguf.LlamaFileType, file_types[precision]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_vocab_size(config.vocab_size)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


# -- tensors -------------------------------------------------------------------------------------------


def _tensors(model: Any, precision: Precision) -> Iterator[tuple[str, NDArray[Any], Any]]:
    """(name in the file, values, kind) of each weight; an output head tied to the embeddings is not written twice."""
    import gguf

    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    number = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    for own, tensor in model.state_dict().items():
        if own == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, suffix = own.rpartition(".")
        written = names.get_name(stem)
        if written is None:
            raise UserError.of([_problem(f"there is no name for the weight {own}", own)])
        values = tensor.detach().float().cpu().numpy()
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            values = interleaved(values, config.num_attention_heads if "q_proj" in stem else config.num_key_value_heads)
        yield f"{written}.{suffix}", *_packed(values, precision)


def interleaved(values: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a query or key matrix, per head, from halves (transformers) to neighbouring pairs (GGUF's Llama)."""
    width = values.shape[0] // heads
    halves = values.reshape(heads, 2, width // 2, *values.shape[1:])
    swapped: NDArray[Any] = halves.swapaxes(1, 2).reshape(values.shape)
    return swapped


def _packed(values: NDArray[Any], precision: Precision) -> tuple[NDArray[Any], Any]:
    """A matrix in the precision asked for, vectors (norms, biases) in float32, which llama.cpp wants."""
    import gguf
    import numpy

    kinds = gguf.GGMLQuantizationType
    if values.ndim < 2 or precision == "f32":
        return numpy.ascontiguousarray(values, dtype=numpy.float32), kinds.F32
    if precision == "q8_0" and values.shape[-1] % BLOCK == 0:
        return gguf.quants.quantize(numpy.ascontiguousarray(values), kinds.Q8_0), kinds.Q8_0
    return numpy.ascontiguousarray(values, dtype=numpy.float16), kinds.F16


# -- the tokenizer -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vocabulary:
    tokens: Sequence[str]
    kinds: Sequence[int]
    merges: Sequence[str]


def pre_tokenizer(tokenizer: Any) -> str | None:
    """llama.cpp's name for how `tokenizer` cuts a text before it merges; None where it has no such name.

    A wrong name is not noticed when a file is read: texts are then cut otherwise than in training.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    state = json.loads(backend.to_str())
    if state["model"]["type"] != "BPE" or state["model"].get("byte_fallback"):
        return None
    steps = state.get("pre_tokenizer") or {}
    parts = steps.get("pretokenizers", [steps])
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        return _split_name(parts[0]["pattern"].get("Regex", ""))
    return None


def _split_name(pattern: str) -> str | None:
    """The name of a splitting pattern, by transformers' own table of those that llama.cpp has."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    preferred = ("llama-bpe", "qwen2", "tekken", "gpt-4o")
    return next((name for name in preferred if GGUF_PRE_TOKENIZER_SPLITS.get(name) == pattern), None)


def _write_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:
    vocabulary = _vocabulary(tokenizer, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(tokenizer))
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    named = ("bos", "eos", "unk", "pad")
    for name in named:
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    plain = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(plain) and plain[0] == tokenizer.bos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _vocabulary(tokenizer: Any, size: int) -> _Vocabulary:
    """All `size` tokens by number, those beyond the tokenizer's own as unused ones; and the merges in order."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {int(number): token for number, token in tokenizer.added_tokens_decoder.items()}
    written = {number: token for token, number in tokenizer.get_vocab().items()}
    tokens, kinds = [], []
    for number in range(size):
        tokens.append(written.get(number, f"[PAD{number}]"))
        if number in added:
            kinds.append(CONTROL if added[number].special else USER_DEFINED)
        else:
            kinds.append(NORMAL if number in written else UNUSED)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]]
    return _Vocabulary(tokens, kinds, merges)
