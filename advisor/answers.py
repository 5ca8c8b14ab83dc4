"""Answers: what is known of a task, as a file that a person can write. A flat YAML mapping, `fact id: value`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from advisor.conditions import Value
from advisor.facts import Fact, Facts, load_vocabulary, parse_value, presumed
from advisor.texts import text
from executors.base import Problem, UserError, did_you_mean, write_atomic

NOT_FACTS = frozenset({"version", "schema_version"})


def read_answers(source: Path | str | Mapping[str, Any]) -> Facts:
    """The facts of an answers file, or of a mapping. A null or missing value is unknown.

    All are `asked`, but for lines that end in ``# measured`` or ``# preset NAME``, as `write_answers` marks them.
    Raises `UserError` with every fault at once: unknown ids, wrong options, types, ranges, contradictions.
    """
    raw, marks = (source, {}) if isinstance(source, Mapping) else _read_mapping(Path(source))
    specs = load_vocabulary()
    problems: list[Problem] = []
    facts: dict[str, Fact] = {}
    for name, value in raw.items():
        if name in NOT_FACTS or value is None:
            continue
        if name not in specs:
            known = ", ".join(specs)
            zh = Problem(f"{name}：未知的事实{did_you_mean(str(name), specs, 'zh')}", f"已知的事实：{known}")
            problem = Problem(f"{name}: unknown fact{did_you_mean(str(name), specs)}", f"known facts: {known}", zh)
            problems.append(problem)
            continue
        try:
            value = parse_value(specs[name], value)
            facts[name] = _kept(name, value, marks[name], source) if name in marks else Fact(name, value, "asked")
        except UserError as error:
            problems.append(error.problem)
    found = Facts(facts)
    problems += contradictions(found)
    if problems:
        raise UserError.of(problems)
    return found


def _kept(name: str, value: Value, mark: str, source: object) -> Fact:
    """A fact as `write_answers` marked it."""
    if mark == "measured":
        return Fact(name, value, "measured", text("profile.kept", path=str(source)))
    return presumed(name, value, mark.removeprefix("preset "))


def contradictions(facts: Facts) -> list[Problem]:
    """Answers that cannot all be true."""
    value = facts.value
    problems = []
    if value("classes") == 1 and value("task") in (None, "classification"):
        zh = Problem("classes：只有一个类别就无可选择，收到 1", "请重新数一下标签")
        problems.append(
            Problem("classes: with one class there is nothing to choose, got 1", "count the labels again", zh)
        )
    if value("baseline_score") is not None and value("evaluation_examples") == 0:
        problems.append(
            Problem(
                "baseline_score: a score was given, but evaluation_examples is 0, so nothing can have been scored",
                "leave baseline_score out, or say on how many examples it was measured",
                Problem(
                    "baseline_score：给出了得分，但 evaluation_examples 为 0，不可能评过分",
                    "请去掉 baseline_score，或说明是在多少条样本上测得的",
                ),
            )
        )
    if value("gpu_memory_gb") == 0 and (value("gpu_count") or 0) not in (0, None):
        problems.append(
            Problem(
                f"gpu_count: {value('gpu_count')} accelerators, but gpu_memory_gb is 0, which means there is none",
                "set gpu_count to 0, or gpu_memory_gb to the memory of the largest",
                Problem(
                    f"gpu_count：有 {value('gpu_count')} 块加速卡，但 gpu_memory_gb 为 0，即没有加速卡",
                    "请把 gpu_count 设为 0，或把 gpu_memory_gb 设为最大一块的显存",
                ),
            )
        )
    return problems


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """A loader that does not let the second of two equal keys win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"'{twice}' is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


ANSWERS = """
training_budget: small
labelled_examples: 800
knowledge_change: weekly"""
EXAMPLE, EXAMPLE_ZH = f"an answers file looks like this:{ANSWERS}", f"回答文件的写法：{ANSWERS}"


MARK = re.compile(r"^(\w+):.*#\s*(measured|preset [\w-]+)\s*$", re.MULTILINE)


def _read_mapping(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The file's mapping, and the marks of facts that nobody said: ``measured`` or ``preset NAME``."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        zh = Problem(f"找不到文件 {path}", f"请检查路径；{EXAMPLE_ZH}")
        raise UserError(f"no file {path}", f"check the path; {EXAMPLE}", zh) from None
    except IsADirectoryError:
        zh = Problem(f"{path} 是文件夹，不是回答文件", EXAMPLE_ZH)
        raise UserError(f"{path} is a folder, not an answers file", EXAMPLE, zh) from None
    except UnicodeDecodeError as error:
        zh = Problem(f"{path} 不是 UTF-8 文本（第 {error.start} 字节）", "请另存为 UTF-8")
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "save it as UTF-8", zh) from None
    try:
        raw = yaml.load(content, Loader=_UniqueKeys)  # a subclass of the safe loader
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise UserError(
            f"{path} is not YAML: {why}", EXAMPLE, Problem(f"{path} 不是 YAML：{why}", EXAMPLE_ZH)
        ) from None
    if raw is None:
        zh = Problem(f"{path} 是空的", EXAMPLE_ZH + "\n{} 表示“什么都不知道”")
        raise UserError(f"{path} is empty", EXAMPLE + "\n{} stands for “nothing is known”", zh)
    if not isinstance(raw, Mapping):
        kind = type(raw).__name__
        zh = Problem(f"{path} 的内容是 {kind}，不是“事实: 值”的映射", EXAMPLE_ZH)
        raise UserError(f"{path} holds a {kind}, not a mapping of facts to values", EXAMPLE, zh)
    return raw, dict(MARK.findall(content))


def write_answers(path: Path, facts: Facts) -> None:
    """Write what was asked, measured, or assumed by a preset so that `read_answers` reads it back.

    The vocabulary's own assumptions are left out. What was measured or comes from a preset is marked by a comment, so
    that the file stays a flat mapping that any reader understands; whoever removes the mark has said it.
    """
    lines = ["# Answers for the Adaptation Advisor. A fact that is left out is unknown.", "schema_version: 1"]
    for fact in facts.values():
        mark = {"asked": "", "measured": "  # measured"}.get(fact.origin, f"  # preset {fact.preset}")
        if fact.origin != "assumed" or fact.preset:
            lines.append(f"{fact.id}: {_yaml(fact.value)}{mark}")
    write_atomic(path, "\n".join(lines) + "\n")


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"no"' if value == "no" else str(value)  # a bare `no` is false in YAML
