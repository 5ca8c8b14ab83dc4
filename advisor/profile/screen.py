"""What a terminal shows of a profile: a section a part, a line a finding, and the facts at the end.

Without a terminal the same, without colour. Every value folds instead of being cut, so Chinese keeps its last words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from advisor import formats, words
from advisor.facts import Facts
from advisor.profile.examine import Examination
from advisor.profile.lengths import FRAME, Lengths, Spread
from advisor.profile.machine import Machine
from advisor.profile.model import ModelProfile
from advisor.profile.rows import FEW, RowsProfile
from advisor.texts import say, section_texts
from executors.base import Score

if TYPE_CHECKING:
    from rich.console import Console

Lines = Iterator[tuple[str, str]]
"""Names and values; a line without a name goes on with the one before it."""

LISTED = 5
TINY = 0.001


def show_profile(found: Examination, lang: str, console: Console) -> None:
    """Every part that was looked at, the warnings, and the facts that follow."""
    _section(console, say("profile.show_machine", lang), _machine(found.machine, lang))
    for kind, model in (("model", found.model), ("embedder", found.embedder)):
        if model:
            _section(console, f"{say(f'profile.show_{kind}', lang)}  {model.name}", _model(model, lang))
    if found.data and found.rows:
        title = f"{say('profile.show_data', lang)}  {found.rows.path}"
        _section(console, title, [*_rows(found, found.rows, lang), *_quality(found.rows, lang), *_sizes(found, lang)])
    if found.documents:
        _section(console, f"{say('profile.show_documents', lang)}  {found.documents.folder}", _documents(found, lang))
    if found.trial or found.domain:
        _section(console, say("profile.show_trials", lang), _trials(found, lang))
    if found.warnings:
        _section(console, say("report.warnings", lang), [("", told[lang]) for told in found.warnings])
    _section(console, say("profile.show_facts", lang), _facts(found.facts, lang))


def _facts(facts: Facts, lang: str) -> Lines:
    """Each with its evidence, which facts that were measured together share."""
    told = ""
    for name, fact in facts.items():
        evidence = fact.evidence.get(lang, "")
        shown = "" if evidence == told else f"\n{evidence}"
        yield words.fact_name(name, lang), f"{words.value_text(name, fact.value, lang)}{shown}"
        told = evidence


# -- machine and models --------------------------------------------------------------------------------


def _machine(machine: Machine, lang: str) -> Lines:
    name = machine.cpu or say("word.unknown", lang)
    yield say("profile.show_cpu", lang), say("profile.show_cores", lang, name=name, cores=machine.cores)
    yield "", _bf16(machine.cpu_bf16, lang)
    yield say("profile.show_memory", lang), say("unit.gigabytes", lang, value=f"{machine.memory_gb:g}")
    if not machine.gpu_names:
        yield say("profile.show_gpu", lang), say("profile.show_no_gpu", lang)
        return
    named = ", ".join(dict.fromkeys(machine.gpu_names))
    memory = f"{machine.gpu_memory_gb:g}"
    yield say("profile.show_gpu", lang), f"{len(machine.gpu_names)} × {named}, {memory} GB"
    if not machine.unified:
        yield "", _bf16(machine.gpu_bf16, lang, ", ".join(dict.fromkeys(machine.capabilities)))


def _bf16(has: bool | None, lang: str, capability: str = "") -> str:
    answer = say("word.unknown" if has is None else "word.yes" if has else "word.no", lang)
    told = say("profile.show_bf16", lang, answer=answer)
    if has is False and not capability:
        return f"{told}{say('profile.show_bf16_slow', lang)}"
    return f"{told}{say('profile.show_capability', lang, level=capability)}" if capability else told


def _model(model: ModelProfile, lang: str) -> Lines:
    unknown = say("word.unknown", lang)
    size = formats.compact(model.parameters, lang) if model.parameters else unknown
    yield say("profile.show_parameters", lang), size
    window = say("profile.show_tokens", lang, count=f"{model.window:,}") if model.window else unknown
    yield say("profile.show_window", lang), window
    parts = [
        say(f"profile.show_arch_{entry}", lang, value=value if isinstance(value, str) else f"{value:,}")
        for entry, value in model.architecture.items()
    ]
    yield say("profile.show_architecture", lang), say("word.comma", lang).join(parts) or unknown
    if model.languages:
        named = [say(f"profile.lang_{name}", lang) for name in model.languages]
        yield say("profile.show_languages", lang), say("word.comma", lang).join(named)


# -- rows ----------------------------------------------------------------------------------------------


def _rows(found: Examination, rows: RowsProfile, lang: str) -> Lines:
    data = found.data
    assert data is not None
    kind = f"{rows.format.upper()}{f', {rows.encoding.upper()}' if rows.encoding else ''}"
    size = f"{rows.bytes / 1e6:,.1f} MB" if rows.bytes >= 1e6 else f"{rows.bytes / 1e3:,.1f} kB"
    yield (
        say("profile.show_rows", lang),
        say("profile.show_usable", lang, usable=f"{rows.usable:,}", rows=f"{rows.rows:,}", kind=kind, size=size),
    )
    for fault, count in rows.faults.items():
        yield "", f"{count:,} {say('profile.show_unusable', lang, reason=words.label('removed', fault, lang))}"
    key = "profile.show_sides_estimated" if data.estimated else "profile.show_sides"
    yield say("profile.show_split", lang), say(key, lang, train=f"{data.train:,}", test=f"{data.test:,}")
    if data.layout:
        yield say("profile.show_layout", lang), f"{data.layout}\n{data.layout_reason[lang]}"
    yield say("profile.show_fields", lang), say("word.comma", lang).join(rows.names)
    for role, reason in data.column_reasons.items():
        yield "", f"{role} → {reason[lang]}"
    told = f"\n{data.task_reason[lang]}" if data.task_reason else ""
    yield say("profile.show_task", lang), f"{words.value_text('task', data.task, lang)}{told}"


def _quality(rows: RowsProfile, lang: str) -> Lines:
    """Classes, repetitions, conflicts, and what the two sides share."""
    if rows.balance:
        yield from _balance(rows, lang)
    repeats, near = rows.repeats, rows.near
    told = say("profile.show_repeats", lang, count=f"{repeats.duplicates:,}", distinct=f"{repeats.distinct:,}")
    yield say("profile.show_duplicates", lang), told
    key = "profile.show_conflicts" if rows.balance else "profile.show_answers"
    yield (
        say(key, lang),
        say("profile.show_conflicting", lang, count=f"{repeats.conflicting:,}", rows=f"{repeats.conflicting_rows:,}"),
    )
    for conflict in rows.conflicts:
        (first, second), (one, other) = conflict.lines, conflict.targets
        yield "", f"“{conflict.text}”  {one} ({first}) ≠ {other} ({second})"
    if rows.shared:
        yield say("profile.show_leak", lang), say("profile.show_shared", lang, count=f"{rows.shared:,}")
    share = formats.percent(near.share, lang)
    values = {"compared": f"{near.compared:,}", "against": f"{near.against:,}", "of": f"{near.of_train:,}"}
    key = "profile.show_similar_all" if near.against == near.of_train else "profile.show_similar"
    yield (
        say("profile.show_near", lang),
        say(key, lang, found=f"{near.found:,}", share=share, limit=f"{near.threshold:g}", **values),
    )
    for pair in near.examples:
        texts = (" ".join(text.split())[:100] for text in (pair.test_text, pair.train_text))
        yield "", f"{pair.similarity:.2f}  {pair.test} “{next(texts)}” ≈ {pair.train} “{next(texts)}”"


def _balance(rows: RowsProfile, lang: str) -> Lines:
    balance = rows.balance
    assert balance is not None
    (largest, most), (smallest, least) = balance.largest, balance.smallest
    counts = {"most": f"{most:,}", "least": f"{least:,}", "ratio": f"{balance.ratio:g}"}
    yield (
        say("profile.show_classes", lang),
        say("profile.show_balance", lang, count=f"{balance.classes:,}", largest=largest, smallest=smallest, **counts),
    )
    yield "", say("profile.show_evenness", lang, value=f"{balance.evenness:.2f}")
    if balance.rare_count:
        more = "" if balance.rare_count == len(balance.rare) else " …"
        named = say("word.comma", lang).join(balance.rare)
        yield "", say("profile.show_rare", lang, count=balance.rare_count, few=FEW, names=f"{named}{more}")


def _sizes(found: Examination, lang: str) -> Lines:
    rows = found.rows
    assert rows is not None
    yield from _lengths(rows.lengths, rows.usable, lang)
    if found.embedder_cut is not None:
        share = _share(found.embedder_cut, lang)
        yield say("profile.show_embedder_cut", lang), say("profile.show_cut", lang, share=share)
    yield say("profile.show_languages", lang), _languages(rows.languages, lang)
    share = _share(rows.damaged, lang)
    yield say("profile.show_unreadable", lang), say("profile.show_damaged", lang, share=share)


def _lengths(lengths: Lengths, of: int, lang: str) -> Lines:
    by = (
        say("profile.show_counted", lang, model=lengths.counted_by)
        if lengths.counted_by
        else say("profile.show_estimated", lang)
    )
    sample = "" if lengths.rows == of else say("profile.show_sample", lang, rows=f"{lengths.rows:,}")
    yield say("profile.show_inputs", lang), _spread(lengths.inputs, lang)
    yield say("profile.show_targets", lang), _spread(lengths.answers, lang)
    yield "", f"{by}{sample}"
    if lengths.window and lengths.beyond is not None:
        values = {"window": f"{lengths.window:,}", "frame": FRAME, "share": _share(lengths.beyond, lang)}
        yield "", say("profile.show_beyond", lang, **values)


def _spread(spread: Spread, lang: str) -> str:
    figures = {"median": f"{spread.median:,}", "p95": f"{spread.p95:,}", "longest": f"{spread.longest:,}"}
    return say("profile.show_spread", lang, **figures)


def _languages(languages: Mapping[str, float], lang: str) -> str:
    named = [f"{_language(name, lang)} {formats.percent(share, lang)}" for name, share in languages.items()]
    return say("word.comma", lang).join(named) or say("word.unknown", lang)


def _language(name: str, lang: str) -> str:
    return say(f"profile.lang_{name}", lang) if f"lang_{name}" in section_texts("profile") else name


def _share(share: float, lang: str) -> str:
    """A share that may be tiny: 0 %, under 0.1 %, 2.5 %."""
    if 0 < share < TINY:
        return say("unit.under", lang, value=say("unit.percent", lang, value=f"{100 * TINY:g}"))
    return say("unit.percent", lang, value=formats.number(round(100 * share, 1)))


# -- documents and trials ------------------------------------------------------------------------------


def _documents(found: Examination, lang: str) -> Lines:
    documents = found.documents
    assert documents is not None
    values = {"files": f"{documents.files:,}", "tokens": f"{documents.tokens:,}"}
    yield say("profile.show_files", lang), say("profile.show_size", lang, **values)
    by = "profile.show_counted" if documents.counted_by else "profile.show_estimated"
    yield "", say(by, lang, model=documents.counted_by) if documents.counted_by else say(by, lang)
    for ending, kind in documents.kinds.items():
        counts = {"files": f"{kind.files:,}", "tokens": f"{kind.tokens:,}"}
        yield "", f"{ending}  {say('profile.show_size', lang, **counts)}"
    yield say("profile.show_languages", lang), _languages(documents.languages, lang)
    count = len(documents.unreadable)
    yield (
        say("profile.show_unreadable", lang),
        say("profile.show_unread", lang, count=count, share=_share(documents.unread_share, lang)),
    )
    for problem in documents.unreadable[:LISTED]:
        yield "", problem.told(lang).message
    if count > LISTED:
        yield "", say("screen.more", lang, count=count - LISTED)
    if documents.others:
        listed = [f"{ending} {number}" for ending, number in documents.others.items()]
        yield "", say("profile.show_others", lang, kinds=say("word.comma", lang).join(listed[:8]))


def _trials(found: Examination, lang: str) -> Lines:
    trial, domain = found.trial, found.domain
    if trial:
        metric = words.label("metric", trial.metric, lang)
        yield say("profile.show_prompt", lang), f"{metric} {_score(trial.score)}"
        yield "", say("profile.show_rows_asked", lang, n=trial.score.n, of=f"{trial.held_out:,}")
        yield say("word.floor", lang), f"{metric} {_score(trial.floor)}"
        yield words.fact_name("base_competence", lang), _level("base_competence", trial.competence, lang)
        yield "", trial.reason[lang]
    if domain:
        yield words.fact_name("domain_similarity", lang), _level("domain_similarity", domain.similarity, lang)
        yield "", domain.reason[lang]


def _score(score: Score) -> str:
    return f"{formats.score(score.value)}  [{formats.score(score.low)}, {formats.score(score.high)}]"


def _level(fact: str, level: str | None, lang: str) -> str:
    return words.value_text(fact, level, lang)


# -- shared --------------------------------------------------------------------------------------------


def _section(console: Console, title: str, lines: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        first, _, rest = value.partition("\n")
        cell = Text(first, style="" if name else "dim", overflow="fold")
        if rest:
            cell.append(f"\n{rest}", style="dim")
        table.add_row(Text(name, style="cyan"), cell)
    console.print(Text(f"\n{title}", style="bold", overflow="fold"))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
