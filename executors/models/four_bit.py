"""A model's matrices in 4 bits (NF4; Dettmers et al., QLoRA, 2023): about a quarter of their memory, to train beside.

bitsandbytes does it, where it is installed: on GPUs of NVIDIA, AMD and Intel, and on CPUs, where it saves memory and
costs time. Computed in is the device's own format: on a CPU bfloat16 would be slower by an order of magnitude.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from executors.base import Problem, UserError
from executors.models.device import Device, prepare_torch, prepare_transformers

INSTALL = "pip install 'adaptation-advisor[gpu]'"


def four_bit_problems() -> list[Problem]:
    """What is missing for weights of 4 bits; imports nothing heavy."""
    if importlib.util.find_spec("bitsandbytes") is not None:
        return []
    zh = Problem("4 比特权重（qlora）需要 bitsandbytes 包，目前没有安装", INSTALL)
    return [Problem("weights of 4 bits (qlora) need the package bitsandbytes, which is not installed", INSTALL, zh)]


def four_bits(device: Device) -> dict[str, Any]:
    """What `from_pretrained` is told. Raises `UserError` without bitsandbytes, and for Apple GPUs."""
    problems = four_bit_problems()
    if device.kind == "mps":
        zh = Problem("bitsandbytes 不支持苹果 GPU 上的 4 比特权重", "params.variant=lora，或 export ADVISOR_DEVICE=cpu")
        hint = "params.variant=lora, or export ADVISOR_DEVICE=cpu"
        problems.append(Problem("weights of 4 bits: bitsandbytes does not run on Apple GPUs", hint, zh))
    if problems:
        raise UserError.of(problems)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # of a kernel that is not used here
    torch, transformers = prepare_torch(), prepare_transformers()
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, device.dtype),
    )
    return {"quantization_config": config, "device_map": {"": device.kind}}


def settle(model: Any) -> Any:
    """`model` with its matrices as they are: on some CPUs bitsandbytes would pack them anew, in half precision, at the
    first answer, and what is trained or scored afterwards would differ."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def merged_first(name: str) -> UserError:
    """What is said of an adapter's run as a base of 4 bits: merging needs its weights in full precision."""
    return UserError(
        f"model '{name}' is an adapter's run: its weights cannot be loaded in 4 bits",
        f"write the merged model first: advisor export {name} --to merged; then name that folder",
        Problem(
            f"模型“{name}”是一个适配器运行，无法以 4 比特加载",
            f"请先导出合并后的模型：advisor export {name} --to merged，再以该文件夹为模型",
        ),
    )
