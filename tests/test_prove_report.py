"""A race in the report: the choice with its reason, every candidate, comparisons, curves, and what still goes wrong."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from advisor import formats, report
from advisor.prove.failures import Wrong
from advisor.prove.records import FILE, FOLDER, Choice, Race
from advisor.report import climbed, failing, learning, prove, revised
from advisor.report.blocks import Chart, Command, Fold, Lines, Prose, Table
from advisor.report.page import make_page
from advisor.report.prove import Proved, figures, marks, read_proved, section
from advisor.revisit.compare import differ
from advisor.texts import LANGUAGES, say
from advisor.words import method_name
from executors.base import Score, UserError, write_json
from tests import races
from tests.races import AFTER, DONE, FAILURES, REVISION, RUNNING
from tests.samples import DECISION
from tests.test_report import HOSTILE, Page

WHOLE = Proved(DONE, REVISION, FAILURES)


def page(form: str, lang: str = "en", proved: Proved = WHOLE) -> str:
    return report.render(DECISION, None, None, form, lang, proved=proved)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("form", ["md", "html"])
def test_the_race_stands_first_and_every_candidate_is_in_it(form: str, lang: str) -> None:
    whole = page(form, lang)
    titles = [say(f"report.{name}", lang) for name in ("raced", "revised", "learnt", "failing", "path")]
    places = [whole.index(f"## {title}\n" if form == "md" else f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    for one in DONE.standings:
        assert method_name(one.name, lang) in whole
        assert say(f"prove.state.{one.state}", lang) in whole
    assert "advisor run 20261121-101500-ab12 --method probe" in whole


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_whole_and_asks_for_nothing_outside(lang: str) -> None:
    parsed = Page(page("html", lang))
    assert parsed.open == []
    assert not [tag for tag, attributes in parsed.tags if tag == "script" or attributes.get("src")]
    assert DONE.choice is not None
    assert DONE.choice.why[lang] in parsed.text


def test_without_a_race_nothing_is_said_of_one() -> None:
    plain = report.render(DECISION, None, None, "html", "en")
    for name in ("raced", "revised", "learnt", "failing"):
        assert say(f"report.{name}", "en") not in plain


def test_nothing_that_was_read_is_taken_for_markup() -> None:
    text = {"en": HOSTILE, "zh": HOSTILE}
    standings = tuple(dataclasses.replace(one, why=text) for one in DONE.standings)
    group = dataclasses.replace(FAILURES.groups[0], name=text, action=text)
    row = dataclasses.replace(FAILURES.disagreements[0], text=HOSTILE, label=HOSTILE, says={"probe": HOSTILE})
    found = dataclasses.replace(FAILURES, groups=(group,), disagreements=(row,))
    parsed = Page(
        page("html", proved=Proved(dataclasses.replace(DONE, standings=standings, notes=(text,)), None, found))
    )
    assert not parsed.named("script")
    assert not [link for link in parsed.named("a") if "javascript" in str(link.get("href"))]
    assert parsed.open == []


def test_json_holds_the_records_themselves() -> None:
    read = json.loads(page("json"))["proved"]
    assert read["race"]["choice"]["chosen"] == "probe"
    assert len(read["race"]["pilots"]) == len(DONE.pilots)
    assert read["failures"]["wrong"] == 63


# -- the section -----------------------------------------------------------------------------------------


def blocks(race: Race, kind: type) -> list[object]:
    return [block for block in section(Proved(race), "run7", "en") if isinstance(block, kind)]


@pytest.mark.parametrize(
    ("choice", "tone"),
    [
        (Choice("probe", "probe", "probe", "best", races.both("won")), "good"),
        (Choice("probe", "probe", "", "best", races.both("open")), "warn"),
        (Choice("baseline", "probe", "", "floor", races.both("nothing")), "bad"),
        (Choice("", "", "", "none", races.both("nothing")), "bad"),
    ],
)
def test_the_tone_of_a_choice_is_how_sure_it_is(choice: Choice, tone: str) -> None:
    race = dataclasses.replace(DONE, choice=choice)
    told = next(one for one in blocks(race, Prose) if isinstance(one, Prose) and one.text == choice.why["en"])
    assert told.tone == tone
    assert bool(blocks(race, Command)) == (choice.rule == "best")  # the floor is nothing to run


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_race_that_was_broken_off_says_how_to_go_on_and_chooses_nothing(status: str) -> None:
    race = dataclasses.replace(RUNNING, status=status)  # type: ignore[arg-type]
    assert [one.text for one in blocks(race, Command) if isinstance(one, Command)] == ["advisor prove run7"]


def test_the_chosen_the_best_and_the_winner_are_marked() -> None:
    named = {one.name: marks(one, DONE) for one in DONE.standings}
    assert named["probe"] == ["chosen"]
    assert named["small_encoder"] == ["best"]
    won = dataclasses.replace(DONE, choice=Choice("probe", "probe", "probe"))
    assert marks(won.standing("probe"), won) == ["chosen", "winner"]
    assert not any(marks(one, RUNNING) for one in RUNNING.standings)


def test_bars_are_drawn_of_all_that_were_scored_and_of_no_other() -> None:
    chart = blocks(DONE, Chart)[0]
    assert isinstance(chart, Chart)
    assert [bar.tone for bar in chart.bars] == ["floor", "own", "other", "other", "other"]
    assert [bar.label for bar in chart.bars] == ["0.180", "0.842", "0.830", "0.410", "0.210"]


def test_what_was_saved_is_the_share_of_all_to_the_end_that_was_not_spent() -> None:
    told = prove.told_saved(dataclasses.replace(DONE, spent=250.0, full=1000.0), "en")
    assert "75 %" in told
    dearer = prove.told_saved(dataclasses.replace(DONE, spent=1000.0, full=900.0), "en")
    assert "%" not in dearer


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    bare = [dataclasses.replace(pilot, joules=None, usd_per_1000=None, latency={}) for pilot in DONE.pilots]
    standings = tuple(
        dataclasses.replace(one, pilot=one.pilot and dataclasses.replace(one.pilot, joules=None, usd_per_1000=None))
        for one in DONE.standings
    )
    table = blocks(dataclasses.replace(DONE, pilots=tuple(bare), standings=standings), Table)[1]
    assert isinstance(table, Table)
    assert say("prove.energy", "en") not in table.head
    assert say("prove.cost", "en") not in table.head
    assert say("prove.memory", "en") in table.head
    assert all(len(row) == len(table.head) for row in table.rows)


def test_figures_are_in_the_units_that_suit_them() -> None:
    read = figures(races.PROMPT, RUNNING, "en")
    assert read == {
        "rows": "1,200 rows",
        "cost": "$0.42",
        "latency": "1.9 / 4.4 s",
        "build": "2 s",
        "memory": "812 MB",
        "energy": "8.4 kJ",
    }
    assert formats.latency([0.0123, 0.3], "en") == "12 / 300 ms"
    assert formats.latency([2e-6, 3e-6], "en") == "under 0.1 ms"
    assert formats.latency([0.3, 1.25], "zh") == "0.3 / 1.2 秒"
    assert [formats.energy(joules, "en") for joules in (0, 12, 3600, 2.5e6)] == ["0 J", "12 J", "3.6 kJ", "2.5 MJ"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "not told apart; about 2,300 rows could"),
        ({"rows_needed": None}, "no difference found"),
        ({"adjusted": 0.049, "rows_needed": None}, "told apart"),
    ],
)
def test_a_pair_says_what_the_rows_tell(changes: dict[str, object], told: str) -> None:
    pair = dataclasses.replace(DONE.pairs[0], **changes)  # type: ignore[arg-type]
    assert prove.told_pair(pair, "en") == told


def test_small_p_are_not_told_as_zero() -> None:
    assert prove.told_p(4e-12, "en") == "under 0.001"
    assert prove.told_p(0.0456, "en") == "0.046"


# -- what more rows would bring --------------------------------------------------------------------------


def test_curves_are_drawn_of_what_learns_and_was_piloted_at_more_than_one_size() -> None:
    drawn, table = learning.section(DONE, "en")[-2:]
    assert isinstance(drawn, Lines)
    assert isinstance(table, Table)
    assert {series.name for series in drawn.series} == {"Probe", "Fine-tuned small encoder"}
    assert len(drawn.dots) == len(races.PROBES) + len(races.ENCODER)
    assert "1,700" in "".join(table.head)  # 1,200 and 500 more
    assert {row[0].text for row in table.rows} == {
        method_name(name, "en") for name in ("probe", "small_encoder", "peft")
    }  # a plain prompt and the floor learn nothing from labels


def test_pilots_lie_where_the_axes_say() -> None:
    drawn = learning.section(DONE, "en")[-2]
    assert isinstance(drawn, Lines)
    across = {label: x for x, label in drawn.x_ticks}
    assert drawn.mark == across["1,200"]
    x, y, _ = drawn.dots[-1] if drawn.dots[-1][2] == "c1" else drawn.dots[0]
    levels = sorted((float(label), level) for level, label in drawn.y_ticks)
    (low, bottom), (high, top) = levels[0], levels[-1]
    scores = [pilot.score.value for pilot in (*races.PROBES, *races.ENCODER) if pilot.score]
    read = low + (bottom - y) / (bottom - top) * (high - low)
    assert min(abs(read - value) for value in scores) < 0.002
    assert x in [place for place, _ in drawn.x_ticks]


def test_nothing_is_drawn_where_nothing_learns() -> None:
    idle = tuple(one for one in DONE.standings if one.name in ("baseline", "prompt"))
    assert learning.section(dataclasses.replace(DONE, standings=idle), "en") == []
    assert learning.section(None, "en") == []


def test_more_labels_are_told_of_by_those_that_had_all_rows() -> None:
    line = learning.sentences(DONE, "en")[0]
    assert "500 more labels" in line
    assert method_name("probe", "en") in line  # a pilot of 75 rows would gain more by rows that are there already
    part = dataclasses.replace(DONE, standings=tuple(one for one in DONE.standings if one.name != "probe"))
    assert method_name("peft", "en") in " ".join(learning.sentences(part, "en"))


def test_curves_are_named_in_short_unless_names_then_meet() -> None:
    drawn = learning.section(DONE, "zh")[len(learning.sentences(DONE, "zh"))]
    assert isinstance(drawn, Lines)
    assert [series.name for series in drawn.series] == ["微调小编码器", "探针"]
    assert len(set(learning._short_names(["rag", "rag+peft"], "zh").values())) == 2


def test_an_error_that_falls_is_drawn_as_an_error() -> None:
    def turned(value: float, n: int) -> Score:
        return Score(10 * (1 - value), 10 * (1 - value) - 0.4, 10 * (1 - value) + 0.4, n)

    pilots = tuple(
        dataclasses.replace(one, metric="mae", score=one.score and turned(one.score.value, one.score.n))
        for one in DONE.pilots
    )
    latest = {one.candidate: one for one in pilots}
    standings = tuple(
        dataclasses.replace(one, pilot=one.pilot and latest[one.name], at_full=None) for one in DONE.standings
    )
    race = dataclasses.replace(DONE, metric="mae", pilots=pilots, standings=standings)
    drawn = learning.section(race, "en")[-2]
    assert isinstance(drawn, Lines)
    assert max(float(label) for _, label in drawn.y_ticks) > 2
    assert "(lower is better)" in report.render(DECISION, None, None, "md", "en", proved=Proved(race))


# -- what still goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_groups_stand_with_their_actions_and_labels_to_check_with_what_is_said(lang: str) -> None:
    whole = page("md", lang)
    for group in FAILURES.groups:
        assert group.action[lang] in whole
    assert "`advisor index last`" in whole
    assert "31 %" in whole or "31%" in whole
    assert whole.count("card number") == len(FAILURES.disagreements)
    assert say("prove.check_more", lang, count=3) in whole


def test_rows_that_went_wrong_can_be_read_under_a_fold() -> None:
    wrong = Wrong("r1", "where is my card", "card", ""), Wrong("r2", "a loan", "loan", "card")
    read = failing.section(dataclasses.replace(FAILURES, wrongs=wrong), "en")
    fold = next(one for one in read if isinstance(one, Fold))
    assert fold.title == "The rows that went wrong (2)"
    assert [[cell.text for cell in row] for row in fold.table.rows] == [
        ["where is my card", "card", "–"],
        ["a loan", "loan", "card"],
    ]
    floor = dataclasses.replace(FAILURES, name="baseline", groups=(), disagreements=(), wrongs=wrong)
    assert not [one for one in failing.section(floor, "en") if isinstance(one, Fold)]


def test_where_no_label_stands_out_none_is_said_to_and_the_rows_are_folded() -> None:
    apart = tuple(dataclasses.replace(one, against=1) for one in FAILURES.disagreements)
    read = failing.section(dataclasses.replace(FAILURES, disagreements=apart), "en")
    assert "no label stands out" in str(read)
    assert "check these first" not in str(read)
    assert next(one for one in read if isinstance(one, Fold)).title == say("prove.check_all", "en", count=8)


def test_nothing_standing_out_is_said() -> None:
    plain = page("md", proved=Proved(DONE, None, dataclasses.replace(FAILURES, groups=(), disagreements=())))
    assert say("prove.no_groups", "en") in plain
    assert say("prove.check", "en") not in plain


# -- before and after ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_decision_stands_before_and_after_with_what_moved_it(lang: str) -> None:
    read = revised.section(REVISION, lang)
    assert isinstance(read[0], Prose)
    assert (read[0].text, read[0].tone) == (REVISION.told[2][lang], "warn")
    assert isinstance(read[1], Prose)
    assert read[1].text == REVISION.told[3][lang]
    beside, facts, rules = (block for block in read if isinstance(block, Table))
    assert [cell.text for cell in beside.rows[0][1:]] == [method_name("rag", lang), method_name("prompt", lang)]
    assert [cell.text for cell in beside.rows[1][1:]] == [formats.percent(level, lang) for level in (0.72, 0.9)]
    assert beside.rows[2][2].note == AFTER.path[1].why[lang]  # the step at which the paths part
    assert [row[3].text for row in facts.rows] == [fact.evidence[lang] for fact in REVISION.facts]
    assert rules.rows[0][2].note == "+0.120 [+0.050, +0.190]"
    assert [block for block in read if isinstance(block, Prose) and block.text == REVISION.overruled[0][lang]]


def test_a_decision_that_stands_is_said_to_and_no_rule_to_be_contradicted() -> None:
    same = dataclasses.replace(
        REVISION,
        after=DECISION,
        facts=(),
        overruled=(),
        contradictions=(),
        difference=differ(DECISION, DECISION),
        told=(races.both("it stays"),),
    )
    read = revised.section(same, "en")
    assert read[0] == Prose("it stays", "good")
    against = dataclasses.replace(same, told=(races.both("it stays"), races.both("the race advises another")))
    assert revised.section(against, "en")[0] == Prose("it stays", "warn")
    assert sum(isinstance(block, Table) for block in read) == 1
    assert revised.section(None, "en") == []


def test_what_was_chosen_stands_in_the_head_of_the_page() -> None:
    tile = prove.tiles(WHOLE, "en")[0]
    assert (tile.value, tile.note) == (method_name("probe", "en"), "0.842 [0.802, 0.882]")
    assert prove.tiles(Proved(RUNNING), "en") == prove.tiles(None, "en") == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_named_by_what_rows_speak_for_where_that_is_not_what_was_recommended(lang: str) -> None:
    recommended, chosen = method_name("rag", lang), method_name("probe", lang)
    made = make_page(DECISION, None, None, lang, proved=WHOLE)
    assert made.title == say("report.title_rows", lang, method=chosen)
    assert recommended in made.lead
    assert say("report.tile_confidence", lang) not in [tile.label for tile in made.tiles]  # it is of the other
    onward = next(one for one in made.sections if one.id == "next")
    assert [one.text for one in onward.blocks if isinstance(one, Command)] == [
        f"advisor run {DECISION.run} --method probe"
    ]
    same = dataclasses.replace(DONE, choice=dataclasses.replace(races.CHOICE, chosen="rag"))
    alike = dataclasses.replace(same, standings=(dataclasses.replace(DONE.standings[1], name="rag"), *DONE.standings))
    for race in (alike, RUNNING):
        assert make_page(DECISION, None, None, lang, proved=Proved(race)).title.endswith(recommended)
    nothing = dataclasses.replace(DONE, choice=Choice("baseline", "probe", "", "floor", races.both("no")))
    assert make_page(DECISION, None, None, lang, proved=Proved(nothing)).title == say("report.title_floor", lang)
    only = dataclasses.replace(nothing, standings=tuple(one for one in DONE.standings if one.verdict == "floor"))
    assert make_page(DECISION, None, None, lang, proved=Proved(only)).title.endswith(recommended)  # nothing was tried
    climbed_to = make_page(DECISION, None, None, lang, climb=races.CLIMB)
    assert climbed_to.title == say("report.title_rows", lang, method=chosen)
    missed = dataclasses.replace(races.CLIMB, status="budget")
    assert make_page(DECISION, None, None, lang, climb=missed).title.endswith(recommended)


def test_what_endpoints_asked_for_is_told_beside_the_time(tmp_path: Path) -> None:
    for pilot, usd in ((races.PROMPT, 0.02), (races.PROBES[-1], None)):
        (tmp_path / FOLDER / pilot.folder).mkdir(parents=True)
        write_json(tmp_path / FOLDER / pilot.folder / "result.json", {"cost_usd": usd})
    assert prove._spent(DONE, tmp_path) == 0.02
    assert "endpoint calls cost $0.02." in prove.told_taken(Proved(DONE, usd=0.02), "en")
    assert prove.told_taken(Proved(DONE), "en") == prove.told_saved(DONE, "en")
    assert prove._spent(DONE, tmp_path / "none") is None


def test_pilots_at_the_floor_tell_nothing_of_more_labels() -> None:
    race = dataclasses.replace(DONE, choice=Choice("baseline", "probe", "", "floor", races.both("no")))
    assert learning.sentences(race, "en") == [say("prove.learnt_nothing", "en")]
    assert [type(one) for one in learning.section(race, "en")] == [Prose]


def test_only_those_that_were_scored_are_said_to_be() -> None:
    lead = blocks(DONE, Prose)[0]
    assert isinstance(lead, Prose)
    assert lead.text.startswith("5 of 6 candidates were scored")
    scored = dataclasses.replace(DONE, standings=tuple(one for one in DONE.standings if one.pilot))
    all_of_them = blocks(scored, Prose)[0]
    assert isinstance(all_of_them, Prose)
    assert all_of_them.text.startswith("5 candidates, all scored")


def test_what_cannot_be_run_on_these_inputs_has_not_failed() -> None:
    refused = dataclasses.replace(DONE.standing("rag+peft"), seconds_full=0.0)
    assert prove.state_name(refused, "en") == "not raced"
    assert prove.state_name(DONE.standing("rag+peft"), "en") == "failed"


# -- step by step ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_rung_of_a_climb_is_kept_with_why_it_was_run_and_what_was_read(lang: str) -> None:
    end, _, use, _, table, _, rest = climbed.section(races.CLIMB, lang)
    assert end == Prose(races.CLIMB.told[lang], "good")
    assert use == Command('advisor predict runs/run7/until/3-probe "…"')
    assert isinstance(table, Table)
    assert [row[1].text for row in table.rows] == ["0.410", say("until.failed", lang, error="out of memory"), "0.842"]
    assert table.rows[2][0].note == say("until.reached", lang)
    assert table.rows[2][3].text == "–"  # what is good enough needs no lever
    assert not table.rows[0][0].note
    assert "2 h" in str(rest)
    missed = dataclasses.replace(races.CLIMB, status="budget", skipped={})
    first = climbed.section(missed, lang)[0]
    assert isinstance(first, Prose)
    assert first.tone == "warn"
    assert climbed.section(None, lang) == []
    whole = report.render(DECISION, None, None, "html", lang, climb=races.CLIMB)
    assert say("report.climbed", lang) in Page(whole).text
    assert json.loads(report.render(DECISION, None, None, "json", lang, climb=races.CLIMB))["climb"]["target"] == 0.8


# -- read from a folder ----------------------------------------------------------------------------------


def test_a_folder_without_a_race_has_none(tmp_path: Path) -> None:
    assert read_proved(tmp_path) is None


def test_a_race_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_json(tmp_path / FOLDER / FILE, RUNNING)
    found = read_proved(tmp_path)
    assert found is not None
    assert found.race == RUNNING
    assert found.failures is None


def test_a_damaged_race_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_text('{"standings": 3}')
    with pytest.raises(UserError, match="cannot be read"):
        read_proved(tmp_path)


def test_intervals_and_short_figures_are_not_broken_over_lines() -> None:
    whole = page("html")
    assert "0.802\u00a0–\u2060\u00a00.882" in whole  # a line may break after a dash
    assert "12\u00a0/\u00a034\u00a0ms" in whole
    assert re.search(r"[0-9] – [0-9]\.[0-9]", whole.split("<main")[1].split("</main")[0]) is None
