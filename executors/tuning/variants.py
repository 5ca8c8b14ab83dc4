"""The variants of parameter-efficient tuning: which weights each adds to a model, where, and how they begin.

A variant's names for layers are found by what a layer does in its block, by the names that the common families give it
(Llama, Mistral, Qwen, Gemma, Phi, GPT-NeoX, GPT-2, OPT, Falcon, BLOOM; BERT, RoBERTa, XLM-R, DistilBERT, MPNet). Not
covered: experts whose weights are one tensor, and encoder-decoders.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from executors.base import Problem, UserError
from executors.models.adapters import keys_and_values, prefix_sizes, prompt_sizes, wrap
from executors.models.device import prepare_peft, prepare_torch

Kind = Literal["causal", "encoder"]


class Settings(Protocol):
    """What of a training's parameters a variant depends on; see `params.PeftParams`."""

    @property
    def variant(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> int | None: ...
    @property
    def dropout(self) -> float: ...
    @property
    def virtual_tokens(self) -> int: ...
    @property
    def bottleneck(self) -> int: ...


KEYS_AND_VALUES = ("k_proj", "v_proj", "key", "value", "k_lin", "v_lin", "attn.k", "attn.v", "key_proj", "value_proj")
FUSED = ("query_key_value", "qkv_proj", "c_attn", "Wqkv", "in_proj")  # queries, keys and values in one matrix
DOWN = ("down_proj", "dense_4h_to_h", "fc2", "mlp.c_proj", "w2", "lin2", "fc_out", "output.dense", "mlp.Wo")
ATTENDED = ("o_proj", "out_proj", "out_lin", "attn.c_proj", "attn.o", "attn.Wo")
ATTENDED_DENSE = ("attention.dense", "self_attention.dense", "self_attn.dense")
ROUTERS = ("gate", "router", "shared_expert_gate")  # of experts: as narrow as there are experts
COMMON_TOKENS = 5000  # the vocabulary's first tokens, which in tokenizers built by merging are its most common


def prepare_variant(model: Any, params: Settings, kind: Kind = "causal") -> Any:
    """`model` with the new weights of `params.variant`, which alone are trained. Changes `model`.

    `kind` "encoder": a transformers model without a head, or with one for classification or regression, which is then
    trained and saved, too. Draws from torch's random state. Raises `UserError` for what the model cannot have.
    """
    if params.variant == "qlora" and kind == "encoder":
        zh = Problem("params.variant=qlora：只用于生成文本的模型；编码器很小，不需要 4 比特", "params.variant=lora")
        message = "params.variant=qlora: for models that write text; encoders are small enough without 4 bits"
        raise UserError(message, "params.variant=lora", zh)
    if params.variant == "bottleneck_adapters":
        return _with_bottlenecks(model, params, kind)
    if params.variant in ("prompt_tuning", "prefix_tuning"):
        return _with_virtual_tokens(model, params, kind)
    config = _ia3_config(model, kind) if params.variant == "ia3" else _lora_config(model, params, kind)
    return wrap(model, config)


# -- where ---------------------------------------------------------------------------------------------


def block_linears(model: Any) -> dict[str, Any]:
    """The linear layers within the model's blocks by full name: no embeddings, no pooler, no head."""
    from executors.tuning.layers import decoder_layers

    blocks = decoder_layers(model)
    prefix = next(name for name, module in model.named_modules() if module is blocks)
    return {f"{prefix}.{name}": layer for name, layer in blocks.named_modules() if _is_linear(layer)}


def _is_linear(layer: Any) -> bool:
    """Whether `layer` is a matrix of torch's, of GPT-2's transposed kind, or of 4 bits."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, (Linear, Conv1D))


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return any(name.endswith(f".{ending}") for ending in endings)


def keys_values_and_inner(model: Any) -> tuple[list[str], list[str]]:
    """IA3's places: the layers that make keys and values, and those whose inputs are the feed-forward's inner channels.

    Raises `UserError` where the model names neither in a way that is known.
    """
    names = list(block_linears(model))
    inner = [name for name in names if _ends(name, DOWN) and not name.endswith("attention.output.dense")]
    apart = [name for name in names if _ends(name, KEYS_AND_VALUES)]
    attended = apart or [name for name in names if _ends(name, FUSED)]
    if not inner or not attended:
        raise _unknown_layers(model, "ia3")
    return attended, inner


def outputs(model: Any) -> list[str]:
    """The last matrix of each attention and of each feed-forward, behind which bottlenecks stand."""
    names = list(block_linears(model))
    found = [name for name in names if _ends(name, (*ATTENDED, *ATTENDED_DENSE, *DOWN))]
    if not found:
        raise _unknown_layers(model, "bottleneck_adapters")
    return found


def _unknown_layers(model: Any, variant: str) -> UserError:
    kind = type(model).__name__
    return UserError(
        f"params.variant={variant}: the layers of {kind} have names that are not known here",
        "params.variant=lora finds every matrix by its class",
        Problem(f"params.variant={variant}：无法识别 {kind} 各层的名称", "params.variant=lora 按类型查找所有矩阵"),
    )


# -- LoRA and its relatives ----------------------------------------------------------------------------


def _lora_config(model: Any, params: Settings, kind: Kind) -> Any:
    peft = prepare_peft()
    layers = block_linears(model)
    smallest = min(_smaller_side(layer) for name, layer in layers.items() if not _ends(name, ROUTERS))
    if params.rank > smallest:
        raise UserError(
            f"params.rank: {params.rank} is above {smallest}, the smallest dimension of this model's matrices",
            f"params.rank={max(1, smallest // 2)} or lower; beyond that, full tuning: --method full",
            Problem(
                f"params.rank：{params.rank} 超过该模型矩阵的最小维度 {smallest}",
                f"params.rank={max(1, smallest // 2)} 或更低；再高则应全参微调：--method full",
            ),
        )
    return peft.LoraConfig(
        task_type=_task_type(model, kind),
        r=params.rank,
        lora_alpha=params.alpha or 2 * params.rank,
        lora_dropout=params.dropout,
        use_rslora=params.variant == "rslora",
        use_dora=params.variant == "dora",
        target_modules="all-linear" if kind == "causal" else list(layers),
        modules_to_save=_heads(model) if kind == "encoder" else None,
        fan_in_fan_out=_transposed(layers.values()),
    )


def _smaller_side(layer: Any) -> int:
    """The smaller of a matrix's dimensions; of 4 bits, of what it stands for."""
    sides = (layer.in_features, layer.out_features) if hasattr(layer, "out_features") else layer.weight.shape
    return int(min(sides))


def _transposed(layers: Iterable[Any]) -> bool:
    """Whether the matrices are stored as GPT-2's are, inputs first."""
    return any(not hasattr(layer, "out_features") for layer in layers)


def _task_type(model: Any, kind: Kind) -> str:
    if kind == "causal":
        return "CAUSAL_LM"
    return "SEQ_CLS" if _heads(model) else "FEATURE_EXTRACTION"


def _heads(model: Any) -> list[str] | None:
    """The names of an encoder's head; None where it has none."""
    base = getattr(model, "base_model_prefix", "")
    if not base or not hasattr(model, base):
        return None
    return [name for name, part in model.named_children() if name != base and any(True for _ in part.parameters())]


def _ia3_config(model: Any, kind: Kind) -> Any:
    peft = prepare_peft()
    attended, inner = keys_values_and_inner(model)
    return peft.IA3Config(
        task_type=_task_type(model, kind),
        target_modules=[*attended, *inner],
        feedforward_modules=inner,
        fan_in_fan_out=_transposed(block_linears(model).values()),
        modules_to_save=_heads(model) if kind == "encoder" else None,
    )


# -- bottlenecks ---------------------------------------------------------------------------------------


def _with_bottlenecks(model: Any, params: Settings, kind: Kind) -> Any:
    from executors.models.bottleneck import BottleneckConfig, insert

    heads = tuple(_heads(model) or ()) if kind == "encoder" else ()
    return insert(model, BottleneckConfig(params.bottleneck, tuple(outputs(model)), heads))


# -- soft prompts --------------------------------------------------------------------------------------


def _with_virtual_tokens(model: Any, params: Settings, kind: Kind) -> Any:
    """Virtual tokens that begin as common words, or as the keys and values these have: vectors at random lie outside of
    all that the model has seen, and are far slower to train."""
    peft = prepare_peft()
    prefix, count = params.variant == "prefix_tuning", params.virtual_tokens
    sizes = prefix_sizes(model) if prefix and kind == "causal" else prompt_sizes(model)
    if sizes is None or (prefix and kind == "encoder"):
        raise _no_prefix(model)
    _check_room(model, count)
    embedded = model.get_input_embeddings().weight
    ids = prepare_torch().randint(0, min(COMMON_TOKENS, len(embedded)), (count,)).to(embedded.device)
    config = peft.PrefixTuningConfig if prefix else peft.PromptTuningConfig
    wrapped = wrap(model, config(task_type=_task_type(model, kind), num_virtual_tokens=count, **sizes))
    begin = keys_and_values(wrapped.get_base_model(), ids) if prefix else embedded[ids].detach()
    wrapped.prompt_encoder["default"].embedding.weight.data.copy_(begin)
    return wrapped


def _check_room(model: Any, count: int) -> None:
    """Raises `UserError` where virtual tokens would take more than half of the model's window."""
    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None) or 0
    if window and 2 * count > window:
        raise UserError(
            f"params.virtual_tokens: {count} of a window of {window} tokens leave too little for the text",
            f"params.virtual_tokens={window // 8} or fewer",
            Problem(
                f"params.virtual_tokens：窗口共 {window} 个词元，虚拟词元占 {count} 个，留给文本的太少",
                f"params.virtual_tokens={window // 8} 或更少",
            ),
        )


def _no_prefix(model: Any) -> UserError:
    kind = type(model).__name__
    return UserError(
        f"params.variant=prefix_tuning: {kind} takes no keys and values from before the text",
        "params.variant=prompt_tuning puts virtual tokens before it; lora is the default",
        Problem(
            f"params.variant=prefix_tuning：{kind} 不接受文本之前的键和值",
            "params.variant=prompt_tuning 在文本前加虚拟词元；默认为 lora",
        ),
    )
