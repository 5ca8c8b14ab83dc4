"""Records to a page: Markdown, HTML or JSON. Pure; the templates lie beside this file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.decision import Decision
from executors.base import Result, to_dict

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from advisor.prove.until import Climb
    from advisor.report.prove import Proved
    from advisor.report.training import Training
    from executors.judging import JudgeRecord

HERE = Path(__file__).parent
CODE_SPAN = re.compile(r"`([^`\n]+)`")
MARKDOWN_SPECIAL = re.compile(r"([\\*\[\]<>]|(?<!\w)_|_(?!\w))")


def render(
    decision: Decision,
    result: Result | None,
    floor: Result | None,
    format: str,
    lang: str,
    search: Mapping[str, Any] | None = None,
    triage: Mapping[str, Any] | None = None,
    chain: Mapping[str, Any] | None = None,
    training: Training | None = None,
    proved: Proved | None = None,
    climb: Climb | None = None,
    judged: JudgeRecord | None = None,
) -> str:
    """The report as ``md``, ``html`` (one file, nothing fetched, no script) or ``json`` (the records themselves).

    `search` is the record of a search (see `search.read_search`), `triage` what was found of wrong answers
    (`triage.read_triage`), `chain` the stages of a chain and what each brings (`executors.chain.read_record`),
    `training` how a training went (`training.read_training`), `proved` what a race came to (`prove.read_proved`),
    `climb` how the ladder was climbed (`advisor.prove.until.read_climb`), `judged` what a
    judge says of the answers (`executors.judging.read_judged`).
    """
    if format == "json":
        records = {"decision": to_dict(decision), "result": to_dict(result), "floor": to_dict(floor)}
        records |= {"search": search} if search else {}
        records |= {"triage": triage} if triage else {}
        records |= {"chain": chain} if chain else {}
        records |= {"training": to_dict(training)} if training else {}
        records |= {"proved": to_dict(proved)} if proved else {}
        records |= {"climb": to_dict(climb)} if climb else {}
        records |= {"judged": to_dict(judged)} if judged else {}
        return json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    from advisor.report.page import make_page

    page = make_page(decision, result, floor, lang, search, triage, chain, training, proved, climb, judged)
    template = _environment(format == "html").get_template(f"page.{format}")
    style = _style() if format == "html" else ""
    text = template.render(page=page, style=style).strip() + "\n"
    return text if format == "html" else re.sub(r"\n{3,}", "\n\n", text)


@cache
def _environment(escape: bool) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=escape, undefined=StrictUndefined, trim_blocks=escape
    )
    environment.filters.update(spans=_spans, md=_markdown, code=_code, pipes=_pipes)
    environment.filters["style"] = Markup
    if escape:
        from advisor.drawing.svg import draw_chart
        from advisor.drawing.trail import PAGES, draw_trail

        environment.filters["chart"] = lambda scene: Markup(draw_chart(scene))
        environment.filters["trail"] = lambda scene, page: Markup(draw_trail(scene, PAGES[page]))
    else:
        from advisor.drawing.mermaid import draw_mermaid_trail

        environment.filters["mermaid"] = lambda scene: draw_mermaid_trail(scene).strip()
    return environment


def _style() -> str:
    from advisor.drawing.svg import STYLE

    return f"{(HERE / 'page.css').read_text(encoding='utf-8').strip()}\n{STYLE}"


def _spans(text: str) -> Markup:
    """Text as HTML: all of it escaped, `` `code` `` in a code element."""
    from markupsafe import Markup, escape

    parts = CODE_SPAN.split(text)  # odd ones were between backticks
    html = [Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)]
    return Markup("").join(html)


def _markdown(text: str) -> str:
    """Text as Markdown: nothing in it is markup but `` `code` ``, and it stays on one line."""
    parts = CODE_SPAN.split(" ".join(text.split()))
    return "".join(f"`{part}`" if n % 2 else MARKDOWN_SPECIAL.sub(r"\\\1", part) for n, part in enumerate(parts))


def _code(text: str) -> str:
    """A code span that may itself hold backticks."""
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def _pipes(cell: str) -> str:
    """A cell of a table: its pipes are no borders."""
    return cell.replace("|", "\\|")
