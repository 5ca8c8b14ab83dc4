"""What a terminal shows of presets: the list, and the page of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.cards import load_cards
from advisor.decision import Decision
from advisor.presets import Preset, Remark
from advisor.report.page import reason
from advisor.sources import cite, cite_briefly, link
from advisor.texts import say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text as Line

FLIPS_SHOWN = 3


def show_presets(entries: Iterable[tuple[Preset, Decision]], lang: str, console: Console) -> None:
    """Every preset: its name, its line, and what is recommended."""
    rows = []
    for preset, decision in entries:
        told = _line(preset.line[lang])
        told.append(f"\n→ {words.methods_name(decision.methods, lang)}", style="green")
        told.append("".join(f" · {title}" for title, _ in _forms(decision, lang)), style="dim")
        rows.append((_line(preset.name, "bold"), told))
    console.print(_grid(rows))
    console.print(say("presets.list_end", lang), markup=False)


def show_preset(preset: Preset, decision: Decision, lang: str, console: Console) -> None:
    """One preset: the situation, its answers, what follows from them, what goes wrong, when it does not fit."""
    console.print(_line(preset.title[lang], "bold green"))
    console.print(_line(preset.situation[lang]))
    _block(console, say("presets.answers", lang), _grid(_answers(preset, lang)))
    _block(console, say("presets.recommended", lang), _advice(decision, lang))
    for name, remarks in (("goes_wrong", preset.goes_wrong), ("not_for", preset.not_for)):
        bullets = [(_line("•", "dim"), _remark(remark, lang)) for remark in remarks]
        _block(console, say(f"presets.{name}", lang), _grid(bullets))
    cited = [(_line("•", "dim"), _line(f"{cite(source)}\n{link(source)}")) for source in preset.sources]
    _block(console, say("presets.sources", lang), _grid(cited))
    command = f"advisor ask --preset {preset.name} --interview"
    console.print(f"\n{say('presets.start', lang, command=command)}", markup=False)


def _answers(preset: Preset, lang: str) -> Iterable[tuple[Line, ...]]:
    for answer in preset.answers:
        why = _line(answer.why[lang], "dim")
        if answer.named:
            why.append(say("presets.named", lang), style="cyan")
        yield (
            _line(words.fact_name(answer.fact, lang), "bold"),
            _line(words.value_text(answer.fact, answer.value, lang)),
            why,
        )


def _advice(decision: Decision, lang: str) -> Line:
    """The recommendation as it stands today."""
    told = _line(words.methods_name(decision.methods, lang), "bold green")
    told.append(f"\n{reason(decision, lang)}", style="not bold")
    for title, what in _forms(decision, lang):
        told.append(f"\n{say('presets.form', lang, title=title, what=what)}", style="not bold")
    level = formats.percent(decision.confidence.level, lang)
    told.append(f"\n{say('screen.confidence', lang, level=level)}", style="not bold dim")
    if decision.confidence.find_out_first:
        fact = words.fact_name(decision.confidence.find_out_first, lang)
        told.append(f"\n{say('screen.find_out', lang, fact=fact)}", style="not bold yellow")
    for flip in decision.flips[:FLIPS_SHOWN]:
        told.append(f"\n• {flip.text[lang]}", style="not bold dim")
    return told


def _forms(decision: Decision, lang: str) -> list[tuple[str, str]]:
    """The form each method takes, by title, and what that is."""
    cards = load_cards()
    forms = (cards[method].variants.get(variant) for method, variant in decision.variants.items())
    return [(form.title[lang], form.what[lang]) for form in forms if form]


def _remark(remark: Remark, lang: str) -> Line:
    told = _line(remark.text[lang])
    if remark.source:
        told.append(f" [{cite_briefly(remark.source)}]", style="dim")
    return told


def _line(text: str, style: str = "") -> Line:
    from rich.text import Text

    return Text(text, style=style, overflow="fold")


def _grid(rows: Iterable[tuple[Line, ...]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    return table


def _block(console: Console, title: str, body: RenderableType) -> None:
    from rich.padding import Padding

    console.print()
    console.print(_line(title, "bold"))
    console.print(Padding(body, (0, 0, 0, 2), expand=False))
