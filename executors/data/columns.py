"""Which column is what, and which task the target is for: concluded from names and values, always with the reason.

A role is given by the user (``--columns text=body``), else recognised by the column's name; values decide only
between roles that share a name (a `document` is a passage or the name of one). Nothing is taken for a text or
a target because it is the only column left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from executors.base import Problem, Text, UserError, did_you_mean
from executors.data import shapes
from executors.data.numbers import parse_number
from executors.data.reading import Table

ROLES = ("text", "label", "context", "source", "rejected")
REQUIRED = ("text", "label")

QUESTIONS = ("question", "query", "问题", "提问", "查询", "问句")
INSTRUCTIONS = ("instruction", "prompt", "指令", "提示", "提示词")
INPUTS = ("input", "inputs", "输入")  # of an instruction: what it is to be carried out on
TEXTS = (
    *QUESTIONS, *INSTRUCTIONS,
    "utterance", "sentence", "text", "message", "request", "review", "comment", "tweet", "post", "email", "ticket",
    "complaint", "feedback", "content", "body", "description", "document", "article", "dialogue", "conversation",
    "mr", "input", "inputs", "source", "src", "title", "subject",
    "文本", "句子", "语句", "内容", "正文", "评论", "消息", "留言",
    "请求", "工单", "输入", "文章", "原文", "描述", "标题",
)  # fmt: skip
CLASSES = (
    "label", "labels", "category", "class", "intent", "target", "sentiment", "topic", "tag", "emotion", "labeltext",
    "标签", "类别", "分类", "意图", "情感", "目标", "主题",
)  # fmt: skip
ANSWERS = (
    "answer", "answers", "output", "outputs", "completion", "response", "reply", "chosen", "chosenresponse",
    "preferred", "reference", "references", "ref", "refs", "summary", "highlights", "translation", "sql", "code",
    "gold", "expected", "expectedoutput", "groundtruth", "tgt",
    "答案", "回答", "答复", "回复", "输出", "参考答案", "摘要", "译文", "翻译",
)  # fmt: skip
NUMBERS = (
    "score", "rating", "stars", "value", "price", "amount", "urgency", "priority", "severity", "grade", "y",
    "评分", "分数", "得分", "价格", "数值", "紧急程度", "优先级",
)  # fmt: skip
CONTEXTS = ("context", "passage", "paragraph", "background", "上下文", "段落", "背景", "篇章", "材料")
LONG_CONTEXTS = ("document", "article", "evidence", "文档", "文章", "原文")  # of a question, where they hold prose
SOURCES = (
    "source", "page", "sourcefile", "sourcepage", "doc", "document", "docid", "documentid", "file", "filename", "path",
    "来源", "页面", "页", "文件", "文件名", "文档", "出处",
)  # fmt: skip
REJECTED = ("rejected", "rejectedresponse", "dispreferred", "被拒绝的回答", "较差回答")  # the worse answer of a pair
EVERY_NAME = frozenset((*TEXTS, *CLASSES, *ANSWERS, *NUMBERS, *CONTEXTS, *LONG_CONTEXTS, *SOURCES, *REJECTED))
REFERENCES = ("answers", "references", "refs", "参考答案")  # a list in these is always several acceptable targets

PROSE = 60  # characters, on average, from which a cell is a passage rather than a name
FEW = 20  # distinct numbers from which a numeric target is an amount rather than a class
LONG_LABEL = 60  # characters; a longer target is an answer, not a class
SAMPLE = 5000  # rows by which a column's cells are told to be prose or numbers


def recognise_columns(
    table: Table, given: Mapping[str, str], task: str = "", needs: Sequence[str] = REQUIRED
) -> tuple[dict[str, str], dict[str, Text]]:
    """The column of each role, and why. `task` decides between several columns that could be the target.

    Raises `UserError` with every fault: unknown roles and columns, and roles in `needs` without a column.
    """
    problems = _check_given(table, given)
    columns = {role: name for role, name in given.items() if name in table.columns}
    reasons = {role: _reason(name, given=True) for role, name in columns.items()}
    for role in ROLES:
        if role not in given:
            free = {plain_name(name): name for name in reversed(table.columns) if name not in columns.values()}
            found = list(_candidates(table, role, free, columns, task))
            if found:
                columns[role] = found[0]
                reasons[role] = _reason(found[0], others=found[1:] if role in REQUIRED else ())
    missing = [role for role in needs if role not in columns and role not in given]
    if missing and not given and _header_is_data(table):
        raise _no_header(table)
    problems += [_missing(table, role, task) for role in missing]
    if problems:
        raise UserError.of(problems)
    return columns, reasons


def plain_name(name: str) -> str:
    """A column's name without case, blanks and marks: ``Source_File`` is ``sourcefile``."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _check_given(table: Table, given: Mapping[str, str]) -> list[Problem]:
    """Faults in what the user named. An empty name (``context=``) leaves an optional role out."""
    problems = []
    for role, name in given.items():
        if role not in ROLES:
            known = f"roles: {', '.join(ROLES)} (label is the target: a class, a number or an answer; "
            known += "rejected is the worse answer of a pair)"
            zh = Problem(
                f"columns：未知的角色“{role}”{did_you_mean(role, ROLES, 'zh')}",
                f"角色：{', '.join(ROLES)}（label 是目标：类别、数字或答案；rejected 是偏好对中较差的回答）",
            )
            problems.append(Problem(f"columns: unknown role '{role}'{did_you_mean(role, ROLES)}", known, zh))
        elif name not in table.columns and (name or role in REQUIRED):
            problems.append(
                Problem(
                    f"columns: {table.path.name} has no column '{name}'{did_you_mean(name, table.columns)}",
                    f"columns of {table.path.name}: {', '.join(table.columns)}",
                    Problem(
                        f"columns：{table.path.name} 中没有列“{name}”{did_you_mean(name, table.columns, 'zh')}",
                        f"{table.path.name} 的列：{', '.join(table.columns)}",
                    ),
                )
            )
    taken: dict[str, str] = {}
    for role, name in given.items():
        if name and name in taken:
            zh = Problem(f"columns：“{name}”同时被指定为 {taken[name]} 和 {role}", "请指定两个不同的列")
            problems.append(
                Problem(f"columns: '{name}' is named for both {taken[name]} and {role}", "name two columns", zh)
            )
        taken[name] = role
    return problems


def _candidates(
    table: Table, role: str, free: Mapping[str, str], columns: Mapping[str, str], task: str
) -> Iterator[str]:
    """The columns among `free` (plain name → name) that can have `role`, the best first."""
    text = plain_name(columns.get("text", ""))
    if role == "text":
        yield from (free[name] for name in TEXTS if name in free and not _only_target(name, free))
    elif role == "label":
        names = dict.fromkeys(name for name in _target_names(task, text) if name in free)
        yield from (free[n] for n in names if task != "regression" or _is_numeric(table, free[n]))
    elif role == "context":
        names = dict.fromkeys(CONTEXTS)
        if text in QUESTIONS:
            names |= dict.fromkeys(("text", "content"))
        if text in INSTRUCTIONS:
            names |= dict.fromkeys(INPUTS)
        yield from (free[name] for name in names if name in free and _filled(table, free[name]))
        if text in QUESTIONS:
            yield from (free[name] for name in LONG_CONTEXTS if name in free and _is_prose(table, free[name]))
    elif role == "source":
        yield from (free[n] for n in SOURCES if n in free and _filled(table, free[n]) and not _is_prose(table, free[n]))
    else:
        yield from (free[name] for name in REJECTED if name in free)


def _only_target(name: str, free: Mapping[str, str]) -> bool:
    """A `source` is a text only where there is something it is translated to; else it names a document."""
    return name in ("source", "src") and not {"target", "tgt", "translation"} & set(free)


def _target_names(task: str, text: str) -> tuple[str, ...]:
    if task == "regression":
        return (*NUMBERS, *CLASSES, *ANSWERS)
    if task == "classification":
        return (*CLASSES, *NUMBERS, *ANSWERS)
    if task or text in (*QUESTIONS, *INSTRUCTIONS):
        return (*ANSWERS, *CLASSES, *NUMBERS)
    return (*CLASSES, *ANSWERS, *NUMBERS)


def _values(table: Table, name: str) -> list[str]:
    """The cells of a column that are not empty, of the first rows."""
    return [value for row in table.rows[:SAMPLE] if (value := row[name].strip())]


def _filled(table: Table, name: str) -> bool:
    return any(row[name].strip() for row in table.rows)


def _is_prose(table: Table, name: str) -> bool:
    values = _values(table, name)
    return bool(values) and sum(map(len, values)) / len(values) >= PROSE


def _is_numeric(table: Table, name: str) -> bool:
    """Whether most of a column's cells are numbers."""
    values = _values(table, name)
    return bool(values) and sum(parse_number(v) is not None for v in values) > len(values) / 2


def is_worked_on(columns: Mapping[str, str]) -> bool:
    """Whether the passage is what an instruction is to be carried out on (Alpaca's `input`): a part of the prompt, not
    a source to answer from."""
    named = (plain_name(columns.get(role, "")) for role in ("text", "context"))
    return next(named) in INSTRUCTIONS and next(named) in INPUTS


def _reason(name: str, given: bool = False, others: Sequence[str] = ()) -> Text:
    if given:
        return {"en": f"column '{name}', as named by you", "zh": f"列“{name}”，由您指定"}
    listed = ", ".join(f"'{other}'" for other in others)
    return {
        "en": f"column '{name}', by its name"
        + (f" (also possible: {listed}; choose with --columns)" if others else ""),
        "zh": f"列“{name}”，根据列名识别" + (f"（也可能是 {listed}，可用 --columns 指定）" if others else ""),
    }


def _missing(table: Table, role: str, task: str) -> Problem:
    what = {"text": "the text", "label": "the label (the target: a class, a number or an answer)"}[role]
    what_zh = {"text": "文本", "label": "标签（目标：类别、数字或答案）"}[role]
    numeric = role == "label" and task == "regression"
    listed = ", ".join(table.columns)
    alone = role == "label" and len(table.columns) == 1
    read = "; texts without targets are for: --method cpt --docs FILE" if alone else ""
    read_zh = "；只有文本、没有目标的文件用于：--method cpt --docs 文件" if alone else ""
    return Problem(
        f"{table.path.name}: no column{' that holds numbers' if numeric else ''} recognised as {what}",
        f"say which it is: --columns {role}=NAME (columns: {listed}){read}",
        Problem(
            f"{table.path.name}：没有认出哪一列是{'数字型的' if numeric else ''}{what_zh}",
            f"请指定：--columns {role}=列名（现有的列：{listed}）{read_zh}",
        ),
    )


# -- a file without column names -------------------------------------------------------------------------


def _header_is_data(table: Table) -> bool:
    """Whether the first line is a row: no name we know, and a number, a value of its column, or a sentence in it."""
    if table.format not in ("csv", "tsv", "xlsx") or any(plain_name(name) in EVERY_NAME for name in table.columns):
        return False
    return any(
        parse_number(name) is not None or len(name.split()) > 5 or len(name) > 40 or name in _values(table, name)
        for name in table.columns
    )


def _no_header(table: Table) -> UserError:
    example = ("text", "label", *(f"column{n}" for n in range(3, len(table.columns) + 1)))
    separator = "\t" if table.format == "tsv" else ","
    shown = ", ".join(name[:30] for name in table.columns[:3])
    return UserError(
        f"{table.path}: the first line holds data, not column names ({shown})",
        f"put a line with the names above it, e.g.: {separator.join(example)}",
        Problem(
            f"{table.path}：第一行是数据，不是列名（{shown}）", f"请在最上面加一行列名，例如：{separator.join(example)}"
        ),
    )


# -- targets -------------------------------------------------------------------------------------------


def parse_targets(cell: str, column: str, task: str) -> tuple[str, ...]:
    """The acceptable outputs in a cell: the entries of a JSON list, else the cell itself; none where it is empty.

    Where lists are what is to be written (structured output, extraction), only a column named for several
    answers (`answers`, `references`) holds several.
    """
    text = cell.strip()
    lists = task not in ("structured_output", "extraction") or plain_name(column) in REFERENCES
    if lists and text.startswith("[") and text.endswith("]"):
        try:
            entries = json.loads(text)
        except json.JSONDecodeError:
            return (text,)
        if not any(isinstance(entry, (list, dict)) for entry in entries):
            cleaned = (shapes.cell(entry).strip() for entry in entries)
            return tuple(dict.fromkeys(entry for entry in cleaned if entry))
    return (text,) if text else ()


# -- the task ------------------------------------------------------------------------------------------


def guess_task(table: Table, columns: Mapping[str, str]) -> tuple[str, Text]:
    """The task of the schema that the target column is for, and why."""
    name = columns["label"]
    targets = [t for row in table.rows if (t := parse_targets(row[name], name, ""))]
    values = [t[0] for t in targets]
    distinct = len(set(values))
    if values and all(parse_number(v) is not None for v in values) and _is_amount(values):
        return "regression", _because(
            f"the values of '{name}' are numbers, {distinct} of them distinct",
            f"列“{name}”的值是数字，共有 {distinct} 个不同的值",
        )
    if _are_classes(values, answers=plain_name(name) in ANSWERS):
        return "classification", _because(
            f"'{name}' holds {distinct} short values that repeat over {len(values):,} rows",
            f"列“{name}”只有 {distinct} 个简短的值，在 {len(values):,} 行中重复出现",
        )
    return _text_task(table, columns, values)


def _because(en: str, zh: str) -> Text:
    return {"en": en, "zh": zh}


def _is_amount(values: Sequence[str]) -> bool:
    distinct = set(values)
    fractions = any("." in v and not float(parse_number(v) or 0).is_integer() for v in distinct)
    return len(distinct) > FEW or (fractions and len(distinct) > FEW // 2)


def _are_classes(values: Sequence[str], answers: bool) -> bool:
    """Short targets that repeat: twice on average, five times where the column is named as answers are."""
    distinct = set(values)
    often = len(values) >= (5 if answers else 2) * len(distinct)
    return bool(values) and often and max(map(len, distinct)) <= LONG_LABEL


def _text_task(table: Table, columns: Mapping[str, str], values: Sequence[str]) -> tuple[str, Text]:
    label, text = columns["label"], columns["text"]
    plain, asked = plain_name(label), plain_name(text)
    named = _because(f"the target column is named '{label}'", f"目标列名为“{label}”")
    if plain in ("summary", "highlights", "摘要"):
        return "summarisation", named
    if plain in ("translation", "译文", "翻译") or asked in ("source", "src"):
        return "translation", named
    if plain in ("sql", "code") or _share(values, _is_json_object) > 0.9:
        return "structured_output", named if plain in ("sql", "code") else _because(
            f"the values of '{label}' are JSON objects", f"列“{label}”的值是 JSON 对象"
        )
    if _share(values, lambda v: "####" in v) > 0.9:
        return "reasoning", _because(
            f"the values of '{label}' reason towards an answer after ####",
            f"列“{label}”的值先推理，再在 #### 后给出答案",
        )
    if asked in QUESTIONS or ("context" in columns and asked not in INSTRUCTIONS):
        return "question_answering", _because(
            f"'{text}' and '{label}' are questions and their answers", f"“{text}”和“{label}”是问题与答案"
        )
    if _share([row[text] for row in table.rows], shapes.is_dialogue) > 0.2:
        return "dialogue", _because("the prompts are conversations of several turns", "输入是多轮对话")
    return "generation", _because(
        f"the values of '{label}' are texts of their own, {len(set(values)):,} distinct in {len(values):,} rows",
        f"列“{label}”的值是各不相同的文本（{len(values):,} 行中有 {len(set(values)):,} 个不同的值）",
    )


def _share(values: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, values)) / len(values) if values else 0.0


def _is_json_object(value: str) -> bool:
    if not value.startswith("{"):
        return False
    try:
        return isinstance(json.loads(value), dict)
    except json.JSONDecodeError:
        return False
