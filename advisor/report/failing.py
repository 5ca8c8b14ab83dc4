"""The report's section on what the chosen candidate of a race gets wrong, and on labels worth checking."""

from __future__ import annotations

from collections.abc import Sequence

from advisor import formats, words
from advisor.prove.failures import FLOOR, Disagreement, Failures, Group, Wrong, suspects, told
from advisor.report.blocks import Block, Cell, Fold, Prose, Table
from advisor.report.training import cut
from advisor.texts import say

FIRST = 5  # rows to check that are shown, the others folded
SHOWN = 40  # of them in all: the file has every one
LONG = 200  # characters of a text


def section(found: Failures | None, lang: str) -> list[Block]:
    """The groups with what to do about each, and the rows whose labels to check."""
    if found is None:
        return []
    lines = [f"{line}{say('prove.stop', lang)}" for line in told(found, lang)]
    name = words.method_name(found.name, lang)
    blocks: list[Block] = [Prose(f"{name}{say('word.colon', lang)}{lines[0]}", "lead")]
    blocks += [_groups(found.groups, lang)] if found.groups else []
    if not found.groups and found.wrong and found.name != FLOOR:
        blocks.append(Prose(say("prove.no_groups", lang)))
    if found.wrongs and found.name != FLOOR:
        folded = say("prove.wrong_rows", lang, count=len(found.wrongs))
        blocks.append(Fold(folded, _wrongs(folded, found.wrongs, lang)))
    if found.disagreements:
        blocks += [Prose(say("prove.check", lang), "label"), Prose(lines[-1])]
        blocks += _labels(found.disagreements[:SHOWN], FIRST if suspects(found) else 0, lang)
    return blocks


def _groups(groups: Sequence[Group], lang: str) -> Table:
    head = tuple(say(f"prove.group_{name}", lang) for name in ("name", "wrong", "others", "action"))
    return Table(say("prove.groups", lang), head, tuple(_group(one, lang) for one in groups))


def _group(group: Group, lang: str) -> tuple[Cell, ...]:
    share = formats.percent(group.wrong / group.rows, lang)
    of = say("prove.group_of", lang, wrong=group.wrong, rows=group.rows)
    cause = group.adjusted is None  # all its rows are wrong
    examples = say("word.comma", lang).join(group.examples)
    return (
        Cell(group.name[lang], note=say("prove.group_rows", lang, rows=examples) if examples else ""),
        Cell(formats.number(group.wrong) if cause else share, note="" if cause else of, tone="strong"),
        Cell(formats.percent(group.elsewhere, lang)),
        Cell(group.action[lang], note=f"`{group.command}`" if group.command else ""),
    )


def _wrongs(caption: str, found: Sequence[Wrong], lang: str) -> Table:
    head = tuple(say(f"prove.{name}", lang) for name in ("check_text", "check_label", "wrong_answer"))
    rows = tuple(
        (
            Cell(cut(one.text, LONG), note=one.id),
            Cell(cut(one.label, LONG), tone="strong"),
            Cell(cut(one.answer, LONG) or "–"),
        )
        for one in found
    )
    return Table(caption, head, rows)


def _labels(found: Sequence[Disagreement], first: int, lang: str) -> list[Block]:
    """The most suspect, as many as `first`, the others under a fold."""
    title, rest = say("prove.check", lang), found[first:]
    blocks: list[Block] = [_rows(title, found[:first], lang)] if first else []
    if not rest:
        return blocks
    folded = say("prove.check_more" if first else "prove.check_all", lang, count=len(rest))
    return [*blocks, Fold(folded, _rows(folded, rest, lang))]


def _rows(caption: str, found: Sequence[Disagreement], lang: str) -> Table:
    head = tuple(say(f"prove.check_{name}", lang) for name in ("text", "label", "says", "against"))
    return Table(caption, head, tuple(_row(one, lang) for one in found))


def _row(one: Disagreement, lang: str) -> tuple[Cell, ...]:
    named = (
        f"{words.method_name(name, lang)}{say('word.colon', lang)}{cut(said, 60)}" for name, said in one.says.items()
    )
    votes = say("prove.check_votes", lang, against=one.against, of=one.of) if one.against else ""
    return (
        Cell(cut(one.text, LONG), note=one.id),
        Cell(cut(one.label, LONG), tone="strong"),
        Cell(cut(one.other, LONG) or "–", note=say("word.semicolon", lang).join(named)),
        Cell(formats.percent(one.suspicion, lang), note=votes),
    )
