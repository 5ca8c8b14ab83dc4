"""Questions drafted from documents where there are none yet, for a person to correct.

What is scored on drafts is scored on the model's own idea of a question: they are a start, and every output says so.
The drafting itself is `executors.retriever.drafting`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor.commands.shared import console
from advisor.endpoints import disclosure, parse_limits
from advisor.indexing import Target, language_of, manifest_of
from advisor.progress import Progress
from advisor.texts import say, text
from executors.base import Passage, Plan, Problem, Reporter, UserError, to_dict, write_atomic

if TYPE_CHECKING:
    from executors.models import LanguageModel
    from executors.retriever.drafting import Draft

ENDINGS = (".csv", ".jsonl")
SEED = 0


def draft(
    target: Target, count: int, out: str | None, model: str | None, max_cost: float | None, lang: str, as_json: bool
) -> None:
    """Draft up to `count` questions from the documents of `target` into the file `out`, and say what they are.

    A model that does not speak the documents' language is not asked: sentences with a blank then stand for questions.
    Raises `UserError` with every fault of the call.
    """
    from executors.models.endpoint import read_limits
    from executors.models.endpoint.session import spending
    from executors.retriever.drafting import draft_questions
    from executors.retriever.languages import speaks

    path, name, screen = _checked(count, out), model or Plan.model, console(stderr=True)
    recorded = manifest_of(target.index)
    docs = Path(target.docs or (recorded.docs if recorded else ""))
    spoken = speaks(name, language_of(docs))
    for told in disclosure(name).values() if spoken else [text("index.template", model=name)]:
        screen.print(f"• {told[lang]}", style="dim", markup=False)
    with spending(read_limits(parse_limits((), max_cost))) as spent:
        with Progress(lang, screen) as progress:
            passages = _passages(docs, progress)
            drafts = draft_questions(passages, _loaded(name, progress) if spoken else None, count, SEED, progress)
        for note in spent.notes.tell(spent):
            screen.print(f"• {note[lang]}", style="dim", markup=False)
    write_atomic(path, _as_table(drafts) if path.suffix == ".csv" else _as_lines(drafts))
    if as_json:
        data = {"drafts": to_dict(drafts), "file": str(path), "model": name if spoken else None, "asked": count}
        click.echo(json.dumps(data, ensure_ascii=False, indent=2))
        return
    found = {"count": len(drafts), "asked": count, "passages": f"{len(passages):,}", "path": path, "docs": docs}
    click.echo(say("index.drafted" if len(drafts) == count else "index.drafted_fewer", lang, **found))
    click.echo(say("index.drafted_next", lang, **found))


def _loaded(name: str, report: Reporter) -> LanguageModel:
    from executors.models import load_language_model

    return load_language_model(name, report)


def _checked(count: int, out: str | None) -> Path:
    """The file to write. Raises `UserError` with every fault."""
    problems = []
    if count < 1:
        zh = Problem(f"--draft-questions：至少为 1，收到 {count}")
        problems.append(Problem(f"--draft-questions: at least 1, got {count}", zh=zh))
    path = Path(out or "")
    if not out or path.suffix not in ENDINGS:
        hint, hint_zh = "e.g. --out drafts.csv", "例如 --out drafts.csv"
        zh = Problem(f"--out：草稿需写入 .csv 或 .jsonl 文件，收到 {out or '空'}", hint_zh)
        problems.append(Problem(f"--out: drafts are written to a .csv or .jsonl file, got {out or 'none'}", hint, zh))
    elif path.exists():
        zh = Problem(f"--out：{path} 已存在，其中可能有人工修改", "请换一个文件名")
        problems.append(Problem(f"--out: {path} is there already, and may hold a person's work", "name another", zh))
    elif not path.parent.is_dir():
        zh = Problem(f"--out：没有文件夹 {path.parent}", "请先创建它，或换一个路径")
        problems.append(Problem(f"--out: there is no folder {path.parent}", "make it first, or name another", zh))
    if problems:
        raise UserError.of(problems)
    return path


def _passages(docs: Path, report: Reporter) -> Sequence[Passage]:
    """The documents cut as an index would, by words: no encoder is needed to draft."""
    from executors.base import Event
    from executors.retriever.documents import read_documents
    from executors.retriever.index import Splitter
    from executors.retriever.lexical import count_words
    from executors.retriever.splitting import split_documents

    report(Event("read"))
    splitter = Splitter()
    return split_documents(read_documents(docs), count_words, splitter.chunk_tokens, splitter.overlap)


def _as_table(drafts: Sequence[Draft]) -> str:
    """As CSV that spreadsheets take for UTF-8."""
    from executors.retriever.drafting import COLUMNS

    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([getattr(one, name) for name in COLUMNS] for one in drafts)
    return f"\ufeff{out.getvalue()}"


def _as_lines(drafts: Sequence[Draft]) -> str:
    from executors.retriever.drafting import COLUMNS

    rows = ({name: getattr(one, name) for name in COLUMNS} for one in drafts)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
