"""What is exported: a tuned run's weights in float32 on the CPU, wherever it was trained, and what is known of it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executors.base import DataSpec, Event, Plan, Problem, Reporter, Result, Row, UserError, silent
from executors.messages import chat
from executors.models import Chat, encode_chat, load_causal, resolve, tuned_run
from executors.models.adapters import PEFT_CONFIG, attach
from executors.models.device import prepare_transformers
from executors.models.language import check_base, tokens_window
from executors.models.tuned import ARTIFACT
from executors.run import read_about, read_result
from executors.tuning.predictor import Tuned, TunedPredictor

OWN = 4  # golden prompts from the run's training rows, beside the fixed ones
LONGEST = 400  # tokens of a golden prompt


@dataclass(frozen=True)
class Source:
    """A tuned run. `plan` and `result` are None where only an artifact is left of it."""

    name: str
    folder: Path
    artifact: Path
    about: Tuned
    plan: Plan | None
    result: Result | None

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter; None where all weights were saved."""
        return None if (self.artifact / "model").is_dir() else self.artifact / "adapter"

    @property
    def is_standard(self) -> bool:
        """Whether others can load what training saved: PEFT's layout, or a whole model."""
        return self.adapter is None or (self.adapter / PEFT_CONFIG).is_file()


def open_source(folder: Path) -> Source:
    """The tuned run in `folder`. Raises `UserError` where it is none, with the command for what it is instead."""
    run = tuned_run(str(folder))
    if run is None:
        raise _nothing_tuned(folder)
    home = run.folder.parent if run.folder.name == ARTIFACT else run.folder
    about = TunedPredictor(run.folder).about
    plan = _plan(run.folder / "about.json")
    name = f"{folder.name}/{home.name}" if home.parent == folder else folder.name  # a stage of a chain
    return Source(name, home, run.folder, about, plan, read_result(home))


def _plan(path: Path) -> Plan | None:
    if not path.is_file():
        return None
    raw = dict(json.loads(path.read_text(encoding="utf-8"))["plan"])
    return Plan(**{**raw, "data": DataSpec(**raw["data"])})


def _nothing_tuned(folder: Path) -> UserError:
    """What a run without tuned weights of a language model is instead, and the command for it."""
    method = str(read_about(folder)["executor"])  # an unfinished run is said first
    encoder = folder / ARTIFACT / "encoder"
    if encoder.is_dir():
        message = f"{folder.name} tuned an encoder, which lies in {encoder} as others load it"
        hint = f'sentence_transformers.SentenceTransformer("{encoder}")'
        return UserError(message, hint, Problem(f"{folder.name} 微调的是编码器，已按通用格式保存在 {encoder}"))
    hint = "runs of peft, full, cpt and preference have some; prompts: advisor prompt export"
    zh_hint = "peft、full、cpt、preference 的运行才有；提示请用：advisor prompt export"
    if method == "prompt":
        hint = zh_hint = f"advisor prompt export {folder.name} --to langchain"
    elif method in ("rag", "long_context"):
        hint = f"use it by: advisor predict {folder.name}; a tuned reader is exported from the run that tuned it"
        zh_hint = f"直接使用：advisor predict {folder.name}；微调过的阅读模型请从其微调运行导出"
    return UserError(
        f"{folder.name} is a run of '{method}', which has no tuned weights to export",
        hint,
        Problem(f"{folder.name} 是方法“{method}”的运行，没有可导出的微调权重", zh_hint),
    )


# -- weights -------------------------------------------------------------------------------------------


def load_source(source: Source, report: Reporter = silent) -> tuple[Any, Any]:
    """The model as the run answers with it, adapter beside the base, and its tokenizer.

    Raises `UserError` where the base has other weights than in training.
    """
    if source.adapter is None:
        return load_plain(source.artifact / "model", report)
    check_base(source.about.base, source.about.sha256, report)
    model, tokenizer = load_base(source.about.base, report)
    return attach(model, source.adapter), tokenizer


def load_base(name: str, report: Reporter = silent) -> tuple[Any, Any]:
    """The model an adapter was trained on; one that is a tuned run itself with its own adapter merged."""
    if tuned_run(name) is None:
        return load_plain(resolve(name, report), report)
    model, tokenizer = load_causal(name, report)
    return model.float().cpu(), tokenizer


def load_plain(folder: Path, report: Reporter = silent) -> tuple[Any, Any]:
    """A model's folder with nothing but transformers, in float32 on the CPU: what is rounded is then the export's."""
    import torch

    transformers = prepare_transformers()
    report(Event("load", 0, 1, folder.name))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    report(Event("load", 1, 1, folder.name))
    return model.eval(), tokenizer


def load_gguf(path: Path, report: Reporter = silent) -> tuple[Any, Any]:
    """A GGUF file with nothing but transformers, its weights turned to float32."""
    import torch

    transformers = prepare_transformers()
    report(Event("load", 0, 1, path.name))
    where = {"gguf_file": path.name, "local_files_only": True}
    with contextlib.redirect_stderr(io.StringIO()):  # the reader of GGUF files draws a bar that cannot be turned off
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **where)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent,
            **where,
            dtype=torch.float32,
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
    report(Event("load", 1, 1, path.name))
    return model.eval(), tokenizer


# -- golden prompts ------------------------------------------------------------------------------------


def own_chats(source: Source, model: Any, tokenizer: Any) -> list[Chat]:
    """Prompts of the run's own training rows, as training asked them; none where the data are gone."""
    limit = min(LONGEST, tokens_window(model.config, tokenizer) // 2)
    found: list[Chat] = []
    for row in _rows(source):
        asked = chat(source.about.task, source.about.labels, row.input)
        if len(encode_chat(tokenizer, asked)) <= limit:
            found.append(asked)
        if len(found) == OWN:
            break
    return found


def _rows(source: Source) -> tuple[Row, ...]:
    """The training rows, those of different places in the data first."""
    plan = source.plan
    if plan is None or not Path(plan.data.path).is_file():
        return ()
    from executors.data import load_dataset

    try:
        rows = load_dataset(plan.data, plan.task, plan.seed).train
    except UserError:  # changed beyond use, or no rows of inputs and answers: the fixed prompts are left
        return ()
    step = max(1, len(rows) // OWN)
    return tuple(rows[place] for start in range(step) for place in range(start, len(rows), step))
