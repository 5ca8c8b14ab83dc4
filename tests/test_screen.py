"""What a terminal shows of a decision and a result."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from advisor import screen
from advisor.texts import LANGUAGES, say
from tests.samples import DECISION, FLOOR, RESULT

HOSTILE = "[red]not markup[/red] [link=x]"


def shown(what: str, lang: str = "en", width: int = 100, **changes: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    if what == "decision":
        screen.show_decision(dataclasses.replace(DECISION, **changes), lang, console)  # type: ignore[arg-type]
    else:
        screen.show_result(dataclasses.replace(RESULT, **changes), FLOOR, lang, console)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_decision_is_told_whole(lang: str) -> None:
    page = "".join(shown("decision", lang, width=200).split())
    told = [DECISION.summary, DECISION.confidence.text, *(flip.text for flip in DECISION.flips), *DECISION.warnings]
    told += [part for step in DECISION.path for part in (step.text, step.answer, step.why)]
    told += [ranked.why for ranked in DECISION.ranking if ranked.verdict != "recommended"]
    assert [text[lang] for text in told if "".join(text[lang].split()) not in page] == []
    assert "8.0B×16B+2.1GB=130.1GB>24GB" in page
    assert "".join(say("report.missing", lang, missing=DECISION.ranking[2].missing[0][lang]).split()) in page


@pytest.mark.parametrize("width", [40, 60, 100])
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("what", ["decision", "result"])
def test_nothing_is_cut_or_runs_over_the_edge(what: str, lang: str, width: int) -> None:
    page = shown(what, lang, width)
    assert "…" not in page
    assert max(cell_len(line) for line in page.splitlines()) <= width


def test_without_a_terminal_there_is_no_colour() -> None:
    assert "\x1b" not in shown("decision") + shown("result")


def test_texts_are_no_markup() -> None:
    text = {"en": HOSTILE, "zh": HOSTILE}
    assert HOSTILE in shown("decision", width=200, summary=text, warnings=(text,))
    assert HOSTILE in shown("result", width=200, notes=(text,))


def test_scores_stand_beside_the_floors_with_intervals_and_bars() -> None:
    lines = shown("result").splitlines()
    own = next(line for line in lines if "token F1" in line)
    floor = lines[lines.index(own) + 1]
    assert "0.412" in own
    assert "[0.331, 0.498]" in own
    assert "0.083" in floor
    assert own.count("█") > floor.count("█") > 0
    assert say("report.above_floor", "en", method="Retrieval (RAG)") in shown("result", width=200)


def test_more_flips_than_fit_are_counted() -> None:
    page = shown("decision", flips=DECISION.flips * 4)
    assert say("screen.more", "en", count=8 - screen.FLIPS_SHOWN) in page
