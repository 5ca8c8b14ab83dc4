"""What a prompt can be told, and what a finished one consists of. Standard library only, so that a check is instant."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from executors.base import Input, Plan, Problem, Row, UserError, did_you_mean

Selection = Literal["random", "balanced", "nearest", "nearest_balanced", "diverse"]
Order = Literal["shuffled", "nearest_last", "nearest_first"]
REQUIREMENTS = ("format", "style")  # what an answer must also be, as `knowledge/wordings.yaml` puts it
NEARBY = frozenset({"nearest", "nearest_balanced", "diverse"})  # selections that differ from input to input
SPEC = "prompt.json"
SCHEMA = 2


@dataclass(frozen=True)
class PromptParams:
    """`shots` None: one demonstration a label, at least 8 and at most 24; 4 of texts without a passage, else none.

    `calibration`: a label's likelihood is measured against its mean over training texts (batch calibration, Zhou et
    al. 2023, on texts that are not scored) or over inputs without content (contextual calibration, Zhao et al. 2021),
    so that no label wins by being a common word. `candidates` "shown": of retrieved demonstrations, only labels that
    stand among them are compared. `neighbours` is the weight of the demonstrations' nearness in the choice: the
    logarithm of each label's share of exp(cosine / 0.05) is added that many times.

    `answers` "extracted": of the sentence nearest the question, the words likeliest as its answer (see
    `retriever.reader`); demonstrations and wording then have no part in it. Small models read better than they write.
    """

    shots: int | None = None
    selection: Selection = "balanced"
    order: Order = "nearest_last"  # of retrieved demonstrations; others stand as the seed drew them
    order_seed: int = 0  # added to the plan's seed where demonstrations are drawn: another set, another order
    wording: str = "plain"  # a template of `knowledge/wordings.yaml`
    instruction: str = ""  # empty: drafted for the task
    descriptions: Mapping[str, str] = field(default_factory=dict)  # label -> what it stands for
    requirements: Sequence[str] = ()  # of `REQUIREMENTS`: a sentence each at the end of the drafted instruction
    cue: str = ""  # the word before the answer in wordings that have one; empty: the task's
    demonstrations: str = ""  # a file of demonstrations written by hand, used as they stand
    candidates: Literal["all", "shown"] = "all"
    calibration: Literal["training", "contextual", "none"] = "training"
    neighbours: float = 0.0
    chain_of_thought: bool = False
    schema: str = ""  # a JSON Schema file for structured output; empty: inferred from the training answers
    repairs: int = 2  # times an answer that breaks the schema is asked again
    answers: Literal["written", "extracted"] = "written"  # extracted: the likeliest words of the row's passage
    ensemble: int = 8  # prompts at most whose label probabilities a search may average: each answer costs as many
    temperature: float = 0.0
    stop: Sequence[str] = ()
    max_tokens: int | None = None  # of an answer; None: by task
    search_seconds: float = 0.0  # spent on comparing prompts on part of the training rows; 0: no search

    @property
    def retrieves(self) -> bool:
        """Whether demonstrations are chosen for each input."""
        extracted = self.answers == "extracted"
        return self.selection in NEARBY and self.shots != 0 and not self.demonstrations and not extracted

    @property
    def embeds(self) -> bool:
        """Whether a sentence encoder is needed."""
        return self.retrieves or self.answers == "extracted"


@dataclass(frozen=True)
class Prompt:
    """A finished prompt: all that is needed to ask again.

    `instruction` is the system's text in full. `offsets` are the labels' prior log-probabilities; `common` is the
    commonest label and `mean` the mean target of the training rows: the answers where the model's own cannot be read.
    """

    task: str
    labels: tuple[str, ...]
    model: str
    instruction: str
    demonstrations: tuple[Row, ...] = ()
    params: PromptParams = PromptParams()
    lang: str = "en"
    seed: int = 0
    embedder: str = ""
    offsets: tuple[float, ...] = ()
    mean: float = 0.0
    common: str = ""
    schema: Mapping[str, Any] | None = None
    remarks: tuple[Mapping[str, str], ...] = ()  # what building it had to leave out or found
    others: tuple[Prompt, ...] = ()  # of an ensemble: the prompts beside this one whose label probabilities count alike

    @property
    def shots(self) -> int:
        """Demonstrations beside each input."""
        return (self.params.shots or 0) if self.params.retrieves else len(self.demonstrations)


def read_prompt(path: Path) -> Prompt:
    """The prompt that `PromptPredictor.save` wrote. Raises `UserError` for one of another version."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    version = read.pop("schema_version")
    if version != SCHEMA:
        raise UserError(
            f"{path}: a prompt of version {version}, and this is version {SCHEMA}",
            "run the plan again",
            Problem(f"{path}：提示的版本为 {version}，当前版本为 {SCHEMA}", "请重新运行该计划"),
        )
    return _prompt(read)


def _prompt(read: dict[str, Any]) -> Prompt:
    lists = {name: tuple(read["params"][name]) for name in ("stop", "requirements")}
    read["params"] = PromptParams(**{**read["params"], **lists})
    read["demonstrations"] = tuple(
        Row(r["id"], Input(**r["input"]), tuple(r["targets"]), r["source"]) for r in read["demonstrations"]
    )
    for name in ("labels", "offsets", "remarks"):
        read[name] = tuple(read[name])
    return Prompt(**{**read, "others": tuple(map(_prompt, read["others"]))})


def param_problems(params: PromptParams, plan: Plan) -> list[Problem]:
    """Everything wrong with the values of `params` for `plan`, seen without work."""
    return [
        *_number_problems(params),
        *_wording_problems(params, plan.task),
        *_requirement_problems(params),
        *_file_problems(params),
        *_fit_problems(params, plan.task),
    ]


def _number_problems(params: PromptParams) -> list[Problem]:
    problems = []
    least = {"shots": 0, "repairs": 0, "temperature": 0, "neighbours": 0, "search_seconds": 0, "max_tokens": 1}
    least |= {"ensemble": 1}
    for name, low in least.items():
        value = getattr(params, name)
        if value == math.inf:
            zh = Problem(f"params.{name}：必须是有限的数，收到 {value}")
            problems.append(Problem(f"params.{name}: must be finite, got {value}", "", zh))
        if value is not None and not value >= low:  # `not >=`: NaN is none
            hint = "0: no demonstrations" if name == "shots" else ""
            zh = Problem(f"params.{name}：不得小于 {low}，收到 {value}", "0 表示不用示例" if hint else "")
            problems.append(Problem(f"params.{name}: at least {low}, got {value}", hint, zh))
    return problems


def _wording_problems(params: PromptParams, task: str) -> list[Problem]:
    from executors.prompt.wording import wording_names

    known = wording_names(task)
    if params.wording in known:
        return []
    meant, meant_zh = (did_you_mean(params.wording, known, lang) for lang in ("en", "zh"))
    listed = ", ".join(known)
    zh = Problem(f"params.wording：{task} 没有措辞“{params.wording}”{meant_zh}", f"可用的措辞：{listed}")
    message = f"params.wording: {task} has no wording '{params.wording}'{meant}"
    return [Problem(message, f"wordings: {listed}", zh)]


def _requirement_problems(params: PromptParams) -> list[Problem]:
    known = ", ".join(REQUIREMENTS)
    return [
        Problem(
            f"params.requirements: no requirement '{name}'{did_you_mean(str(name), REQUIREMENTS)}",
            f"requirements: {known}",
            Problem(
                f"params.requirements：没有要求“{name}”{did_you_mean(str(name), REQUIREMENTS, 'zh')}", f"可用：{known}"
            ),
        )
        for name in params.requirements
        if name not in REQUIREMENTS
    ]


def _file_problems(params: PromptParams) -> list[Problem]:
    problems = []
    for name in ("schema", "demonstrations"):
        value = getattr(params, name)
        if value and not Path(value).is_file():
            zh = Problem(f"params.{name}：没有文件 {value}")
            problems.append(Problem(f"params.{name}: no file {value}", "", zh))
    return problems


def _fit_problems(params: PromptParams, task: str) -> list[Problem]:
    """Parameters that do not go together, or not with the task."""
    told = []
    if params.candidates == "shown" and params.selection not in NEARBY:
        told.append(
            (
                "candidates: 'shown' needs retrieved demonstrations (selection nearest, nearest_balanced or diverse)",
                "candidates：'shown' 需要检索示例（selection 为 nearest、nearest_balanced 或 diverse）",
            )
        )
    if params.neighbours and params.selection not in NEARBY:
        told.append(
            (
                "neighbours: needs retrieved demonstrations (selection nearest, nearest_balanced or diverse)",
                "neighbours：需要检索示例（selection 为 nearest、nearest_balanced 或 diverse）",
            )
        )
    if params.answers == "extracted" and task != "question_answering":
        told.append(
            (
                f"answers: 'extracted' is for question_answering with a passage, and the task is {task}",
                f"answers：'extracted' 仅用于带段落的问答，任务是 {task}",
            )
        )
    if params.schema and task != "structured_output":
        told.append(
            (f"schema: only for structured_output, and the task is {task}", f"schema：仅用于结构化输出，任务是 {task}")
        )
    if params.chain_of_thought and task == "structured_output":
        told.append(("chain_of_thought: not with structured_output", "chain_of_thought：不能用于结构化输出"))
    return [Problem(f"params.{en}", "", Problem(f"params.{zh}")) for en, zh in told]


def given_names(params: Mapping[str, Any]) -> frozenset[str]:
    """Names of the parameters a plan gives itself: what a search must leave as it is."""
    return frozenset(params) & {item.name for item in fields(PromptParams)}
