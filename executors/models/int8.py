"""A sentence encoder with weights of 8 bits: two to three times as fast on CPUs with VNNI instructions.

Made once from an encoder that is here: exported with its pooling, each channel's weights rounded to 8 bits (7 of them
used, so that processors without VNNI do not overflow), activations rounded by the range of their batch: a vector moves
a little with the texts it is made beside. Vectors are near those of the encoder it is made from and not equal to them:
it is a model of its own to every index. On Vaswani it loses .002 nDCG@10, see `tests/benchmarks/RESULTS.md`. Needs the
extra `fast` (onnx, onnxruntime). Not covered: GPUs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import Event, Problem, Reporter, UserError, silent
from executors.models.device import prepare_torch, prepare_transformers
from executors.models.folder import INT8_WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGES = ("onnx", "onnxruntime")
OPSET = 17
CPUINFO = Path("/proc/cpuinfo")
VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def is_installed() -> bool:
    """Whether the packages are here; imports none of them."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def pays_here(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this processor multiplies 8-bit numbers in one instruction, as far as the system tells (Linux).

    Without it 8 bits were 1.6 times as fast in a trial, which is not worth other vectors.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return bool(VNNI & set(flags.split()))


def quantise(base: Path, folder: Path, report: Reporter = silent) -> None:
    """Write the encoder in `base` to `folder`, with its 8-bit form beside it. About 5 s for MiniLM.

    Raises `UserError` where the packages are missing.
    """
    if not is_installed():
        raise UserError(
            f"weights of 8 bits need {' and '.join(PACKAGES)}",
            "pip install 'adaptation-advisor[fast]', or name the encoder it is made from",
            Problem(
                f"8 位权重需要 {' 和 '.join(PACKAGES)}",
                "pip install 'adaptation-advisor[fast]'，或改用原编码器",
            ),
        )
    report(Event("convert", 0, 1, INT8_WEIGHTS))
    shutil.copytree(base, folder)
    plain = folder / "plain.onnx"
    _export(base, plain)
    from onnxruntime.quantization import quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises a step that changes nothing here, on the root logger
    try:
        quantize_dynamic(plain, folder / INT8_WEIGHTS, per_channel=True, reduce_range=True)
    finally:
        logger.setLevel(level)
    plain.unlink()
    report(Event("convert", 1, 1, INT8_WEIGHTS))


def _export(base: Path, path: Path) -> None:
    """The encoder in `base` with its pooling as an ONNX file: token ids and their mask in, vectors out."""
    torch = prepare_torch()
    prepare_transformers()
    from executors.models.embed import load_folder

    class Encoder(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = load_folder(base, "cpu", torch.float32)

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.inner({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]

    encoder = Encoder().eval()
    given = encoder.inner.tokenizer(["one text", "and another one"], padding=True, return_tensors="pt")
    axes = {0: "rows", 1: "tokens"}
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # of the exporter, about shapes that are not fixed: they are meant not to be
        torch.onnx.export(
            encoder,
            (given["input_ids"], given["attention_mask"]),
            str(path),
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_axes={"ids": axes, "mask": axes, "vectors": {0: "rows"}},
            opset_version=OPSET,
            dynamo=False,
        )


class Int8Session:
    """The 8-bit encoder of a folder that `quantise` wrote."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        """Raises `UserError` where onnxruntime is missing."""
        if not is_installed():
            raise UserError(
                f"{folder.name}: weights of 8 bits are read by onnxruntime, which is not installed",
                "pip install 'adaptation-advisor[fast]'",
                Problem(f"{folder.name}：读取 8 位权重需要 onnxruntime，尚未安装"),
            )
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = prepare_torch().get_num_threads()
        weights, here = str(folder / INT8_WEIGHTS), ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(weights, settings, providers=here)
        self._tokenizer = tokenizer

    def encode(self, ids: Sequence[list[int]]) -> NDArray[np.float32]:
        """Vectors ``[len(ids), dimension]`` of tokenized texts, not yet of length 1."""
        given = self._tokenizer.pad({"input_ids": list(ids)}, return_tensors="np", verbose=False)
        named = {"ids": given["input_ids"], "mask": given["attention_mask"]}
        vectors: NDArray[np.float32] = self._session.run(None, named)[0]
        return vectors
