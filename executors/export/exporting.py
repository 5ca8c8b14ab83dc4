"""Exports a tuned run: write, load again with nothing but transformers and peft, compare, and only then keep it."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from executors.base import Event, Problem, Reporter, Text, UserError, silent, write_json
from executors.export.card import LANGUAGES, Card, write_card
from executors.export.fingerprint import FINGERPRINT, FIXED, Fingerprint, differences, end_by_tokenizer, stop_ids, take
from executors.export.gguf import Precision, gguf_problems, write_gguf
from executors.export.parity import BOUNDS, Answer, Parity, answer, compare, faults, judge
from executors.export.source import Source, load_base, load_gguf, load_plain, load_source, open_source, own_chats
from executors.models import encode_chat, tuned_run
from executors.models.adapters import PEFT_CONFIG, attach, merged
from executors.models.device import prepare_peft
from executors.models.folder import sha256
from executors.run import versions

Form = Literal["merged", "adapter", "gguf"]
FORMS: tuple[Form, ...] = ("merged", "adapter", "gguf")
MANIFEST = "export.json"

Writer = Callable[[Source, Any, Any, Path, Precision], None]
"""``write(source, model, tokenizer, folder, precision)``: puts the export's files into an empty folder."""

MERGED: Text = {"en": "the adapter merged into the weights", "zh": "合并适配器后的权重"}
LOADED: Mapping[Form, Text] = {
    "adapter": {"en": "the exported adapter, loaded again", "zh": "重新加载导出的适配器"},
    "merged": {"en": "the exported model, loaded again", "zh": "重新加载导出的模型"},
    "gguf": {"en": "the exported GGUF file, loaded again", "zh": "重新加载导出的 GGUF 文件"},
}


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with the run: `parity` by what was compared (merged, loaded)."""

    folder: Path
    form: Form
    files: tuple[str, ...]
    parity: Mapping[str, Parity]
    fingerprint: Fingerprint
    own_prompts: int  # golden prompts that were rows of the run


@dataclass(frozen=True)
class _Reference:
    """What the run answers, which an export must answer, too."""

    fingerprint: Fingerprint
    prompts: tuple[tuple[int, ...], ...]
    answers: Sequence[Answer]
    own: int
    stops: tuple[int, ...]
    template: str


def export_run(
    run: Path,
    form: Form,
    out: Path | None = None,
    precision: Precision = "f16",
    report: Reporter = silent,
    force: bool = False,
    writers: Mapping[Form, Writer] | None = None,
) -> Exported:
    """Export the tuned run in the folder `run` to `out` (without it: `export/<form>` in the run's folder).

    Works in float32 on the CPU: 4 bytes a weight in memory, twice that on the disk. Raises `UserError` for what cannot
    be exported so, and where the export, loaded again, answers otherwise than the run; nothing is then written.
    """
    source = open_source(run)
    _check_form(source, form)
    target = out or source.folder / "export" / form
    _refuse_existing(target, force)
    model, tokenizer = load_source(source, report)
    if form == "gguf":
        problems = gguf_problems(model.config, tokenizer)
        if problems:
            raise UserError.of(problems)
    reference = _refer(source, model, tokenizer, report)
    parity: dict[str, Parity] = {}
    if form != "adapter" and source.adapter is not None:
        model = merged(model)
        parity["merged"] = _gate(reference, model, "merged", MERGED)
    if form != "adapter":
        end_by_tokenizer(model, tokenizer)
    with _appearing_whole(target) as unfinished:
        report(Event("save"))
        (writers or WRITERS)[form](source, model, tokenizer, unfinished, precision)
        del model
        gc.collect()
        parity["loaded"] = _reload(source, form, unfinished, precision, reference, report)
        files = _describe(source, form, precision, unfinished, reference, parity)
    return Exported(target, form, files, parity, reference.fingerprint, reference.own)


def _check_form(source: Source, form: Form) -> None:
    """Refuse what is known to be impossible before anything is loaded."""
    if form != "adapter":
        return
    if source.adapter is None:
        raise UserError(
            f"{source.name}: all weights were trained, so there is no adapter",
            f"advisor export {source.name} --to merged",
            Problem(f"{source.name}：训练的是全部权重，没有适配器"),
        )
    if tuned_run(source.about.base) is not None:
        raise UserError(
            f"{source.name}: its adapter stands on another tuned run, which others do not have",
            f"advisor export {source.name} --to merged",
            Problem(f"{source.name}：其适配器建立在另一次微调运行之上，他人无法获得该模型"),
        )


def _refuse_existing(target: Path, force: bool) -> None:
    if target.exists() and not force and (not target.is_dir() or any(target.iterdir())):
        zh = Problem(f"{target} 已存在", "换一个文件夹，或用 --force 覆盖")
        raise UserError(f"{target} is there already", "name another folder with --out, or replace it with --force", zh)
    if force and target.exists() and not (target / MANIFEST).is_file():
        zh = Problem(f"{target} 不是导出结果，不会被替换", "换一个文件夹")
        raise UserError(f"{target} is not an export, so it is not replaced", "name another folder with --out", zh)


# -- the gate ------------------------------------------------------------------------------------------


def _refer(source: Source, model: Any, tokenizer: Any, report: Reporter) -> _Reference:
    """The run's own answers to the golden prompts. Raises `UserError` where the run itself was altered."""
    found = take(tokenizer)
    kept = source.artifact / FINGERPRINT
    if kept.is_file():
        _refuse(source, differences(_read(kept), found))
    own = own_chats(source, model, tokenizer)
    prompts = tuple(tuple(encode_chat(tokenizer, chat)) for chat in [*own, *FIXED])
    stops = stop_ids(tokenizer)
    report(Event("export", 0, 2))
    return _Reference(found, prompts, answer(model, prompts, stops), len(own), stops, tokenizer.chat_template or "")


def _gate(reference: _Reference, model: Any, bound: str, what: Text, writes: bool = False) -> Parity:
    """Compare `model` with the run. Raises `UserError` where it answers otherwise."""
    own = answer(model, reference.prompts, reference.stops) if writes else None
    found = compare(reference.answers, judge(model, reference.answers), BOUNDS[bound], own)
    problems = faults(found, what)
    if problems:
        raise _unlike(problems)
    return found


def _reload(
    source: Source, form: Form, folder: Path, precision: Precision, reference: _Reference, report: Reporter
) -> Parity:
    """Load what was written as others do, and compare tokens, end and answers."""
    model, tokenizer = _open_export(source, form, folder, report)
    _compare_tokens(reference, tokenizer, model if form == "merged" else None)
    report(Event("export", 1, 2))
    found = _gate(reference, model, precision if form == "gguf" else form, LOADED[form], writes=True)
    report(Event("export", 2, 2))
    return found


def _open_export(source: Source, form: Form, folder: Path, report: Reporter) -> tuple[Any, Any]:
    """The export by plain transformers and peft."""
    if form == "merged":
        return load_plain(folder, report)
    if form == "gguf":
        return load_gguf(next(folder.glob("*.gguf")), report)
    from transformers import AutoTokenizer

    model, _ = load_base(source.about.base, report)
    if (folder / PEFT_CONFIG).is_file():
        model = prepare_peft().PeftModel.from_pretrained(model, folder).eval()
    else:
        model = attach(model, folder)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _compare_tokens(reference: _Reference, tokenizer: Any, model: Any) -> None:
    problems = differences(reference.fingerprint, take(tokenizer, model))
    if problems:
        raise _unlike([*problems])


def _refuse(source: Source, problems: Sequence[Problem]) -> None:
    """Say that the artifact is no longer what training left."""
    if problems:
        told = "; ".join(p.message for p in problems)
        told_zh = "；".join(p.told("zh").message for p in problems)
        zh = Problem(f"{source.name}：训练结束后产物被改动：{told_zh}", "请重新运行，或恢复原来的文件")
        raise UserError(
            f"{source.name}: the artifact was changed after training: {told}", "run it again, or restore its files", zh
        )


def _unlike(problems: Sequence[Problem]) -> UserError:
    told = "; ".join(p.message for p in problems)
    told_zh = "；".join(p.told("zh").message for p in problems)
    return UserError(
        f"the export does not answer as the run does, so nothing was written: {told}",
        "this should not happen with the form as it is: try another one with --to, or another --precision",
        Problem(f"导出结果与运行的回答不一致，因此没有写入任何文件：{told_zh}", "请换一种 --to 或 --precision"),
    )


def _read(path: Path) -> Fingerprint:
    read = json.loads(path.read_text(encoding="utf-8"))
    return Fingerprint(**{**read, "stops": tuple(read["stops"])})


# -- writing -------------------------------------------------------------------------------------------


def write_adapter(source: Source, model: Any, tokenizer: Any, folder: Path, precision: Precision) -> None:
    """The adapter as training saved it; its card is written anew."""
    assert source.adapter is not None
    shutil.copytree(source.adapter, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LANGUAGES.values()))


def write_merged(source: Source, model: Any, tokenizer: Any, folder: Path, precision: Precision) -> None:
    """All weights as safetensors in float32, with configuration, tokenizer and template."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_file(source: Source, model: Any, tokenizer: Any, folder: Path, precision: Precision) -> None:
    """One GGUF file."""
    name = Path(source.about.base).name
    write_gguf(model, tokenizer, folder / f"{name}-tuned-{precision.upper()}.gguf", precision, f"{name}-tuned")


WRITERS: Mapping[Form, Writer] = {"adapter": write_adapter, "merged": write_merged, "gguf": write_file}


def _describe(
    source: Source,
    form: Form,
    precision: Precision,
    folder: Path,
    reference: _Reference,
    parity: Mapping[str, Parity],
) -> tuple[str, ...]:
    """Write the model card and the manifest; the names of all files."""
    result = source.result
    weights = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name not in (*LANGUAGES.values(), MANIFEST)
    )
    file = next((path.name for path in weights if path.suffix == ".gguf"), "")
    card = Card(
        form=form,
        about=source.about,
        fingerprint=reference.fingerprint,
        template=reference.template,
        rows=result.rows if result else {},
        metric=result.metric if result else "",
        scores=result.scores if result else {},
        parity=parity,
        file=file,
        standard=source.is_standard,
        seed=source.plan.seed if source.plan else None,
        versions=result.versions if result else {},
    )
    write_card(folder, card)
    manifest = {
        "schema_version": 1,
        "form": form,
        "precision": precision if form == "gguf" else "as trained" if form == "adapter" else "float32",
        "method": source.about.method,
        "task": source.about.task,
        "base": card.base,
        "base_sha256": source.about.sha256,
        "fingerprint": reference.fingerprint,
        "parity": parity,
        "golden_prompts": {"own": reference.own, "fixed": len(FIXED)},
        "versions": versions(),
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in weights},
    }
    write_json(folder / MANIFEST, manifest)
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


@contextmanager
def _appearing_whole(target: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `target` once everything is in it; else nothing is left of it."""
    unfinished, fresh = target.with_name(f".{target.name}.tmp"), not target.parent.exists()
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if fresh and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()
