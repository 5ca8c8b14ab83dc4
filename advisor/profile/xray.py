"""The X-ray of the user's rows for a model, as a training of it would see them; needs its tokenizer, no weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

from advisor.decision import Inputs
from advisor.profile.data import data_spec
from executors.base import Job, Plan, Problem, Reporter, UserError, silent
from executors.tuning.rows import PreparedRows
from executors.tuning.xray import Xray

METHOD = "peft"  # whose defaults stand for every training of a language model


def look_through(inputs: Inputs, task: str, report: Reporter = silent) -> tuple[Xray, PreparedRows]:
    """What a training of `inputs.model` on `inputs.data` would be trained on, also where that is nothing at all.

    Raises `UserError`: no rows given, a model behind an endpoint, rows or a model that cannot be read.
    """
    from executors.data import load_dataset
    from executors.data.near import find_leaks
    from executors.models.counting import load_counting
    from executors.models.template import stop_ids
    from executors.tuning.params import PeftParams
    from executors.tuning.rows import lay_out
    from executors.tuning.xray import xray

    check_xray(inputs)
    spec, model = data_spec(inputs), inputs.model or Plan.model
    dataset = load_dataset(spec, task, seed=0)
    counting = load_counting(model, report=report)
    leaks = partial(find_leaks, held_out=dataset.test, report=report)
    job = Job(Plan(METHOD, task, spec, model=model), dataset.train, dataset.labels, Path(), report, leaks)
    prepared = lay_out(job, PeftParams(), counting.tokenizer, min(PeftParams.max_length, counting.window))
    named = _stops(model)
    found = xray(
        model, task, prepared, counting.tokenizer, counting.window, stop_ids(named, counting.tokenizer), seed=0
    )
    return found, prepared


def check_xray(inputs: Inputs) -> None:
    """Raises `UserError` where there is nothing to look at."""
    from executors.models.endpoint import is_endpoint

    problems = []
    if not inputs.data:
        zh = Problem("--xray：没有可查看的数据", "请给出 --data 文件")
        problems.append(Problem("--xray: no rows to look at", "give them with --data FILE", zh))
    if inputs.model and is_endpoint(inputs.model):
        zh = Problem(f"--xray：“{inputs.model}”在端点之后，这里没有它的分词器", "请指定本地模型")
        message = f"--xray: '{inputs.model}' stands behind an endpoint, so its tokenizer is not here"
        problems.append(Problem(message, "name a model whose weights are here, as only these are tuned", zh))
    if problems:
        raise UserError.of(problems)


def _stops(model: str) -> int | list[int] | None:
    """The tokens at which the model's own generation settings stop, where it has such settings."""
    from executors.models import resolve
    from executors.models.device import prepare_transformers

    folder = resolve(model)
    if not (folder / "generation_config.json").is_file():
        return None
    settings: SimpleNamespace = prepare_transformers().GenerationConfig.from_pretrained(folder, local_files_only=True)
    named: int | list[int] | None = settings.eos_token_id
    return named
