"""Packed GGUF weights to a folder that loads in a second: dense float32 safetensors, configuration, tokenizer.

The packed form can be neither saved nor trained, so it is turned once, after it was fetched.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from executors.base import Event, Reporter, UserError, silent
from executors.models.device import prepare_torch, prepare_transformers


def convert_gguf(packed: Path, folder: Path, parameters: int, window: int, report: Reporter = silent) -> None:
    """Write the model in `packed` (a .gguf file) to `folder`. About 15 s for 135 million parameters on a CPU.

    Raises `UserError` where the file does not hold the model of `parameters` weights that was expected.
    """
    report(Event("convert", 0, 1, packed.name))
    torch, transformers = prepare_torch(), prepare_transformers()
    where = {"gguf_file": packed.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(packed.parent, **where)
    dense = transformers.GgufConfig(dequantize=True)
    with contextlib.redirect_stderr(io.StringIO()):  # the reader of GGUF files draws a bar that cannot be turned off
        model = transformers.AutoModelForCausalLM.from_pretrained(
            packed.parent, **where, dtype=torch.float32, quantization_config=dense
        )
    found = sum(p.numel() for p in model.parameters())
    if found != parameters or not tokenizer.chat_template:
        raise UserError(
            f"{packed.name}: not the model expected ({found:,} parameters, expected {parameters:,}; "
            f"chat template: {'yes' if tokenizer.chat_template else 'no'})",
            "fetch it anew: advisor fetch",
        )
    tokenizer.model_max_length = window  # GGUF does not carry it; without, nothing would ever be too long
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    report(Event("convert", 1, 1, packed.name))
