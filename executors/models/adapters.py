"""Adapters on a causal model: put one on from its folder, or fold it into the weights.

Covered: PEFT's standard layout (LoRA and its relatives, IA3, prompt and prefix tuning) and our bottleneck layout. The
weights in the file are compared with those the model would have before any is loaded, so that an adapter of another
model is a sentence and not a traceback, nor half an adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import Problem, UserError
from executors.models.device import prepare_peft, prepare_torch

if TYPE_CHECKING:
    from torch import Tensor

PEFT_CONFIG = "adapter_config.json"
BOTTLENECK_CONFIG = "bottleneck_config.json"
NAMES = {"PROMPT_TUNING": "prompt tuning", "PREFIX_TUNING": "prefix tuning"}


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter of a layout that is known here."""
    return (folder / PEFT_CONFIG).is_file() or (folder / BOTTLENECK_CONFIG).is_file()


def check_adapter(folder: Path) -> None:
    """Raises `UserError` where `folder` holds no adapter."""
    if not is_adapter(folder):
        raise UserError(
            f"{folder}: no adapter_config.json, so no adapter",
            "name the folder the training saved",
            Problem(f"{folder}：没有 adapter_config.json，不是适配器", "请给出训练保存的文件夹"),
        )


def attach(model: Any, folder: Path) -> Any:
    """The causal `model` with the adapter in `folder`, ready to answer. Changes `model`, which is part of the result.

    Raises `UserError` for a folder without an adapter, and for an adapter of a model of other shapes.
    """
    check_adapter(folder)
    if (folder / BOTTLENECK_CONFIG).is_file():
        from executors.models import bottleneck

        return bottleneck.load(model, folder).eval()
    return _attach_peft(model, folder).eval()


def _attach_peft(model: Any, folder: Path) -> Any:
    from executors.models.bottleneck import check_shapes

    peft = prepare_peft()
    config = peft.PeftConfig.from_pretrained(folder)
    config.inference_mode = True
    if config.is_prompt_learning and config.task_type == "CAUSAL_LM":
        _check_sizes(folder, config, model)
    config.base_model_name_or_path = None  # the name others know it by: peft warns where this folder has another
    try:
        wrapped = wrap(model, config)
    except ValueError as error:  # peft's, where no layer has a name in the configuration
        raise UserError(
            f"{folder}: the adapter does not fit {type(model).__name__}: {str(error).splitlines()[0]}",
            "an adapter fits the model it was trained on only: name that one, or train a new adapter",
            Problem(
                f"{folder}：适配器与 {type(model).__name__} 不匹配（模型中没有它要修改的层）",
                "适配器只适用于训练它的模型：请使用那个模型，或重新训练",
            ),
        ) from error
    weights = peft.load_peft_weights(str(folder), device=str(model.device))
    wanted = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    check_shapes(folder, {n: t.shape for n, t in weights.items()}, {n: t.shape for n, t in wanted.items()})
    peft.set_peft_model_state_dict(wrapped, weights)
    return wrapped


def _check_sizes(folder: Path, config: Any, model: Any) -> None:
    """Raises `UserError` where virtual tokens were made for a model of other sizes, which their weights do not tell."""
    from executors.models.bottleneck import check_shapes

    needed = prefix_sizes(model) if config.peft_type == "PREFIX_TUNING" else prompt_sizes(model)
    names = (
        ("token_dim", "num_layers", "num_attention_heads") if config.peft_type == "PREFIX_TUNING" else ("token_dim",)
    )
    check_shapes(folder, {n: [getattr(config, n)] for n in names}, {n: [(needed or {}).get(n, 0)] for n in names})


def wrap(model: Any, config: Any) -> Any:
    """`model` with a new adapter of PEFT's by `config`. Draws from torch's random state."""
    peft = prepare_peft()
    if config.is_prompt_learning and config.task_type in ("CAUSAL_LM", "FEATURE_EXTRACTION"):
        from executors.models.soft import SoftPrompted, SoftPromptedEncoder

        return (SoftPrompted if config.task_type == "CAUSAL_LM" else SoftPromptedEncoder)(model, config)
    return peft.get_peft_model(model, config)


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """Write the adapter of `model` to `folder`, so that `attach` reads it. `base`: its model's name, for others."""
    if getattr(model, "bottleneck_config", None) is not None:
        from executors.models import bottleneck

        bottleneck.save(model, folder, base)
        return
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()  # a form of peft's that nobody filled in


def prompt_sizes(model: Any) -> dict[str, int]:
    """The sizes that PEFT asks for with prompt tuning, of which only the width of a token's vector counts."""
    return {"token_dim": model.get_input_embeddings().weight.shape[1], "num_layers": 1, "num_attention_heads": 1}


def prefix_sizes(model: Any) -> dict[str, int] | None:
    """The sizes of a causal model's keys and values as it computes them, which is surer than what configurations say;
    None where it keeps none, or not of one shape in all layers."""
    shapes = {tuple(part.shape) for part in _cached(model, prepare_torch().tensor([0], device=model.device))}
    if len(shapes) != 1:
        return None
    [(heads, _, width)] = shapes
    layers = model.config.get_text_config().num_hidden_layers
    return {"token_dim": heads * width, "num_layers": layers, "num_attention_heads": heads}


def keys_and_values(model: Any, ids: Tensor) -> Tensor:
    """What the tokens `ids` have as keys and values, a line a token, as PEFT stores a prefix."""
    lines: Tensor = prepare_torch().cat([part.transpose(0, 1).flatten(1) for part in _cached(model, ids)], dim=1)
    return lines


def _cached(model: Any, ids: Tensor) -> list[Tensor]:
    """Keys and values of each layer in turn, ``[heads, tokens, width]``, after a pass over `ids`."""
    with prepare_torch().no_grad():
        cache = model(input_ids=ids[None], use_cache=True).past_key_values
    return [part[0] for layer in cache.layers for part in (layer.keys, layer.values)]


def virtual_tokens(model: Any) -> int:
    """Positions of the window that an adapter's virtual tokens take; 0 without any."""
    configs = getattr(model, "peft_config", {}).values()
    return max((int(getattr(config, "num_virtual_tokens", None) or 0) for config in configs), default=0)


def merged(model: Any) -> Any:
    """The dense model that answers as `model` does, whose adapter is folded in. Changes `model`, which is used up.

    Raises `UserError` for adapters that are no change of a matrix (soft prompts, bottlenecks), and for 4-bit weights.
    """
    if getattr(model, "bottleneck_config", None) is not None:
        raise _unmergeable("bottleneck adapters", "瓶颈适配器")
    if not hasattr(model, "peft_config"):
        return model
    config = model.peft_config["default"]
    if config.is_prompt_learning:
        raise _unmergeable(NAMES.get(config.peft_type, str(config.peft_type)), "软提示（提示微调、前缀微调）")
    if getattr(model.get_base_model(), "is_loaded_in_4bit", False):
        raise UserError(
            "an adapter cannot be merged into weights of 4 bits without losing part of it",
            "load the base model in full precision, put the adapter on and merge that",
            Problem("适配器无法无损地合并进 4 比特权重", "请以完整精度加载基座模型，装上适配器后再合并"),
        )
    return model.merge_and_unload(safe_merge=True)


def _unmergeable(name: str, name_zh: str) -> UserError:
    return UserError(
        f"{name} cannot be merged into the model's weights",
        "keep it as an adapter beside its base model, or train variant lora, rslora, dora or ia3",
        Problem(
            f"{name_zh}无法合并进模型权重",
            "请作为适配器与基座模型一起使用，或改用 lora、rslora、dora 或 ia3",
        ),
    )
