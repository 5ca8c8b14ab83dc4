"""A finished tuned run as a model: its folder is a name like any other, in every plan that takes one.

Covered: what a run's folder holds and which model lies beneath it, read from records alone. Putting an adapter into its
base model is `language.load_causal`, which every user of weights goes through. Not covered: runs of methods that tune
no language model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from executors.base import Problem, UserError

MANIFEST = "tuned.json"  # beside the weights, as `tuning.predictor` writes it
ARTIFACT = "artifact"
STAGES = "[0-9]*-*"  # the folders of a chain's stages, in a run's folder
RECORDS = ("plan.yaml", "decision.json", "about.json", ARTIFACT)  # what tells a run's folder from a model's
UNMERGEABLE = ("prompt_tuning", "prefix_tuning", "bottleneck_adapters")  # variants that are no change of weights


@dataclass(frozen=True)
class TunedRun:
    """A tuned model: the folder of its artifact, the model it was tuned from and that model's weights then."""

    folder: Path
    base: str
    sha256: str
    variant: str = ""

    @property
    def model(self) -> Path | None:
        """The folder of the whole model, where all its weights were saved."""
        return self.folder / "model" if (self.folder / "model" / "config.json").is_file() else None

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter, where only that was saved."""
        return None if self.model else self.folder / "adapter"

    @property
    def merges(self) -> bool:
        """Whether it can be had as a dense model of the base's architecture, to be tuned on."""
        return self.variant not in UNMERGEABLE


def tuned_run(name: str) -> TunedRun | None:
    """The tuned language model in the folder `name`: a run's, a chain's (its last tuned stage), or an artifact; None
    where it is no such folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    stages = sorted(folder.glob(STAGES), key=_number, reverse=True)
    for place in (folder, folder / ARTIFACT, *(stage / ARTIFACT for stage in stages)):
        if (place / MANIFEST).is_file():
            read = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            run = TunedRun(place, read["base"], read["sha256"], (read.get("params") or {}).get("variant", ""))
            if run.model or (place / "adapter").is_dir():
                return run
    return None


def _number(stage: Path) -> int:
    return int(stage.name.partition("-")[0]) if stage.name.partition("-")[0].isdigit() else 0


def foundation(name: str) -> str:
    """The model that has the architecture and the tokenizer of `name`: itself, unless it is an adapter's run."""
    run = tuned_run(name)
    if run is None:
        return name
    return str(run.model) if run.model else foundation(run.base)


def origin(name: str) -> str:
    """The model that `name` was first tuned from; itself where it is no tuned run."""
    run = tuned_run(name)
    return name if run is None else origin(run.base)


def run_faults(name: str) -> list[Problem]:
    """Why the run in the folder `name` is no model: not finished, or of a method that tunes no language model."""
    folder = Path(name).expanduser()
    is_run = any((folder / record).exists() for record in RECORDS)
    if not is_run or (folder / "config.json").is_file() or tuned_run(name) is not None:
        return []
    hint = "a finished run of peft, full, cpt or preference; or an alias, a hub id, a folder with a model"
    zh = Problem(
        f"模型“{name}”：这个运行文件夹里没有微调好的语言模型（尚未完成，或该方法不产生模型）",
        "请给出已完成的 peft、full、cpt 或 preference 运行，或模型别名、hub 名称、模型文件夹",
    )
    return [Problem(f"model '{name}': this run's folder holds no tuned language model (not finished?)", hint, zh)]


def check_mergeable(name: str, run: TunedRun) -> None:
    """Raises `UserError` where the adapter cannot become part of the weights, so that no training can go on from it."""
    if run.merges:
        return
    raise UserError(
        f"model '{name}': an adapter of the kind {run.variant} stands beside the weights and cannot be merged, "
        "so it cannot be tuned on",
        "go on from a run of lora, rslora, dora, qlora, ia3 or full",
        Problem(
            f"模型“{name}”：{run.variant} 类适配器不能并入权重，无法在其基础上继续微调",
            "请从 lora、rslora、dora、qlora、ia3 或 full 的运行继续",
        ),
    )


def joined_sha256(base: str, adapter: str) -> str:
    """One SHA-256 for a base model with an adapter, by the SHA-256 of each one's weights."""
    return hashlib.sha256(f"{base}{adapter}".encode()).hexdigest()
