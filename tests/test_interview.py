"""The interview: what is asked and in which order, going back, skipping, correcting, quitting, and the real prompts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from advisor.answers import read_answers
from advisor.decision import Inputs
from advisor.facts import Fact, Facts, load_vocabulary
from advisor.interview import (
    Option,
    Prompt,
    ReplayAsker,
    Reply,
    Session,
    Signal,
    TerminalAsker,
    load_recording,
    offer_run,
    resume_command,
    run,
)
from advisor.interview.asking import Measured
from advisor.interview.steps import OPENING, held_out_beside, tidy_path
from advisor.interview.terminal import fold, show_measured
from advisor.texts import LANGUAGES, say
from executors.base import Text, UserError
from tests.conftest import DEMO
from tests.samples import DECISION

SKIP, BACK, QUIT = Signal.SKIP, Signal.BACK, Signal.QUIT


@dataclass
class Scripted:
    """Answers by question; a list is answered in turn. What is not scripted is skipped."""

    answers: dict[str, Reply | list[Reply]] = field(default_factory=dict)
    asked: list[Prompt] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    found: list[Measured] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def ask(self, prompt: Prompt) -> Reply:
        self.asked.append(prompt)
        assert len(self.asked) < 100, "the interview does not end"
        reply = self.answers.get(prompt.id, "go" if prompt.id == "review" else SKIP)
        if isinstance(reply, list):
            return reply.pop(0) if len(reply) > 1 else reply[0]
        return reply

    def fault(self, error: UserError) -> None:
        self.faults.append(error.message)

    def measured(self, lines: Sequence[Measured]) -> None:
        self.found += lines

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def note(self, text: str) -> None:
        pass

    def busy(self, text: str) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    @property
    def ids(self) -> list[str]:
        return [prompt.id for prompt in self.asked]


@dataclass
class Ruler:
    """A gauge that measures nothing but this machine, which has no accelerator."""

    open_columns: tuple[str, ...] = ()
    facts: Facts = field(default_factory=Facts)
    warnings: tuple[Text, ...] = ()
    seen: list[Inputs] = field(default_factory=list)

    def columns(self, data: str) -> tuple[str, ...]:
        if not Path(data).is_file():
            raise UserError(f"no such file: {data}")
        return self.open_columns

    def measure(self, inputs: Inputs, known: Facts) -> tuple[Facts, tuple[Text, ...]]:
        self.seen.append(inputs)
        return self.facts, self.warnings

    def machine(self) -> Facts:
        told = {"en": "no accelerator", "zh": "没有加速卡"}
        return Facts().with_(Fact("gpu_memory_gb", 0.0, "measured", told), Fact("gpu_count", 0, "measured", told))


def interview(asker: Scripted, gauge: Ruler | None = None, lang: str = "en", **given: object) -> Session:
    return run(lang, given.get("facts", Facts()), given.get("inputs", Inputs()), asker, gauge or Ruler())  # type: ignore[arg-type]


# -- what is asked ---------------------------------------------------------------------------------------


def test_it_opens_with_budget_labels_and_freshness_then_asks_for_inputs() -> None:
    asker = Scripted()
    interview(asker)
    assert asker.ids[:7] == [*OPENING, "data", "docs", "model", "machine"]
    assert asker.ids[-1] == "review"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_question_says_why_it_is_asked_and_how_far_along_it_is(lang: str) -> None:
    asker = Scripted()
    interview(asker, lang=lang)
    assert all(prompt.question and prompt.why for prompt in asker.asked)
    assert [prompt.number for prompt in asker.asked] == list(range(1, len(asker.asked) + 1))
    assert all(prompt.total >= prompt.number for prompt in asker.asked)
    assert abs(asker.asked[0].total - len(asker.asked)) <= 2, "skipping all is what is counted"
    assert asker.asked[-1].total == len(asker.asked)


def test_a_fact_that_is_known_is_not_asked() -> None:
    asker = Scripted()
    facts = read_answers({"training_budget": "none", "knowledge_change": "daily"})
    session = interview(asker, facts=facts)
    assert asker.ids[0] == "labelled_examples"
    assert not {"training_budget", "knowledge_change"} & set(asker.ids)
    assert session.facts.value("training_budget") == "none"


def test_what_is_measured_is_not_asked_but_shown() -> None:
    evidence = {"en": "counted", "zh": "数过"}
    facts = Facts().with_(
        Fact("task", "classification", "measured", evidence), Fact("classes", 12, "measured", evidence)
    )
    asker = Scripted({"data": __file__})
    session = interview(asker, Ruler(facts=facts))
    assert not {"task", "classes"} & set(asker.ids)
    assert "docs" not in asker.ids, "documents do not matter to a classification"
    assert Measured("Classes", "12 classes", "counted") in asker.found
    assert session.facts["classes"].origin == "measured"


def test_a_measurement_stands_over_what_was_said_and_says_so() -> None:
    facts = Facts().with_(Fact("labelled_examples", 211, "measured", {"en": "counted", "zh": "数过"}))
    asker = Scripted({"labelled_examples": "800", "data": __file__})
    session = interview(asker, Ruler(facts=facts))
    assert Measured("Labelled examples", "211 examples", "counted", said="800 examples") in asker.found
    assert session.facts.value("labelled_examples") == 211


def test_the_demo_files_are_measured(workdir: Path) -> None:
    asker = Scripted({"data": str(DEMO / "questions-train.jsonl"), "test": "use", "docs": str(DEMO / "handbook")})
    session = run("en", Facts(), Inputs(), asker)
    assert session.facts["labelled_examples"].origin == "measured"
    assert session.facts["knowledge_tokens"].origin == "measured"
    assert session.facts.value("task") == "question_answering"
    assert session.inputs.test == str(DEMO / "questions-test.jsonl")
    assert not {"task", "knowledge_tokens", "evaluation_examples"} & set(asker.ids)


def test_inputs_given_beforehand_are_measured_and_not_asked() -> None:
    asker, gauge = Scripted(), Ruler()
    session = interview(asker, gauge, inputs=Inputs(data=__file__, docs=str(DEMO)))
    assert not {"data", "docs", "test"} & set(asker.ids)
    assert gauge.seen == [Inputs(data=__file__, docs=str(DEMO))]
    assert session.inputs.docs == str(DEMO)


def test_a_path_that_cannot_be_read_is_said_and_asked_again() -> None:
    asker = Scripted({"data": ["nowhere.csv", __file__]})
    session = interview(asker)
    assert asker.faults == ["no such file: nowhere.csv"]
    assert asker.ids.count("data") == 2
    again = [prompt for prompt in asker.asked if prompt.id == "data"][1]
    assert again.again
    assert again.default == "nowhere.csv", "so that a slip can be mended"
    assert session.inputs.data == __file__


def test_columns_are_asked_where_their_names_do_not_tell() -> None:
    asker = Scripted({"data": __file__, "columns_text": "b", "columns_label": "c"})
    gauge = Ruler(open_columns=("a", "b", "c"))
    session = interview(asker, gauge)
    assert session.inputs.columns == {"text": "b", "label": "c"}
    offered = next(prompt for prompt in asker.asked if prompt.id == "columns_label").options
    assert [option.value for option in offered] == ["a", "c"]
    assert gauge.seen == [Inputs(data=__file__, columns={"text": "b", "label": "c"})]


def test_a_value_that_is_none_is_said_and_asked_again() -> None:
    asker = Scripted({"labelled_examples": ["a lot", "10k"]})
    session = interview(asker)
    assert "a lot" in asker.faults[0]
    assert session.facts.value("labelled_examples") == 10_000


def test_a_model_of_ones_own_is_typed() -> None:
    asker = Scripted({"model": "other", "model_name": "owner/model"})
    assert interview(asker).inputs.model == "owner/model"


def test_this_machine_is_measured_only_where_it_is_the_one_meant() -> None:
    here = interview(Scripted({"machine": "here"}))
    assert here.facts.value("gpu_memory_gb") == 0
    elsewhere = interview(Scripted({"machine": "elsewhere", "gpu_memory_gb": "24"}))
    assert elsewhere.facts.value("gpu_memory_gb") in (None, 24)


# -- not knowing, going back, correcting, leaving ----------------------------------------------------------


def test_not_knowing_leaves_a_fact_unknown_and_is_not_asked_twice() -> None:
    asker = Scripted()
    session = interview(asker)
    assert dict(session.facts) == {}
    assert len(asker.ids) == len(set(asker.ids))


def test_going_back_asks_the_question_before_with_its_answer_offered() -> None:
    asker = Scripted({"training_budget": ["medium", "none"], "labelled_examples": [BACK, "50"]})
    session = interview(asker)
    assert asker.ids[:4] == ["training_budget", "labelled_examples", "training_budget", "labelled_examples"]
    assert asker.asked[2].default == "medium"
    assert not asker.asked[0].back
    assert asker.asked[1].back
    assert session.facts.value("training_budget") == "none"


def test_going_back_over_an_input_forgets_what_was_measured_on_it() -> None:
    facts = Facts().with_(Fact("classes", 12, "measured", {"en": "counted", "zh": "数过"}))
    asker = Scripted({"data": [__file__, SKIP], "docs": [BACK, SKIP]})
    session = interview(asker, Ruler(facts=facts))
    assert "classes" not in session.facts
    assert session.inputs.data is None


def test_back_at_the_first_question_stays_there() -> None:
    asker = Scripted({"training_budget": [BACK, "none"]})
    assert interview(asker).facts.value("training_budget") == "none"


@pytest.mark.parametrize("at", [1, 3, 6, 9])
def test_leaving_anywhere_keeps_every_answer_so_far(at: int) -> None:
    class Leaver(Scripted):
        def ask(self, prompt: Prompt) -> Reply:
            reply = super().ask(prompt)
            return QUIT if len(self.asked) == at else reply

    answers: dict[str, Reply | list[Reply]] = {
        "training_budget": "none", "labelled_examples": "5", "knowledge_change": "daily", "data": __file__,
    }  # fmt: skip
    session = interview(Leaver(answers))
    assert session.quit
    assert list(session.facts) == list(OPENING[: at - 1])
    assert session.inputs.data == (__file__ if at > 4 else None)


def test_an_interrupt_while_measuring_keeps_the_answers() -> None:
    class Interrupted(Ruler):
        def measure(self, inputs: Inputs, known: Facts) -> tuple[Facts, tuple[Text, ...]]:
            raise KeyboardInterrupt

    session = interview(Scripted({"training_budget": "none", "data": __file__}), Interrupted())
    assert session.quit
    assert session.facts.value("training_budget") == "none"


def test_every_answer_is_saved_as_soon_as_it_is_given() -> None:
    saved: list[dict[str, object]] = []
    asker = Scripted({"training_budget": "none", "labelled_examples": "5", "knowledge_change": QUIT})
    run("en", Facts(), Inputs(), asker, Ruler(), save=lambda facts, _: saved.append(facts.believed()))
    assert saved == [{"training_budget": "none"}, {"training_budget": "none", "labelled_examples": 5}]


def test_a_measured_fact_can_be_corrected_at_the_end() -> None:
    facts = Facts().with_(Fact("labelled_examples", 211, "measured", {"en": "counted", "zh": "数过"}))
    asker = Scripted({"data": __file__, "labelled_examples": ["800", "500"], "review": ["labelled_examples", "go"]})
    session = interview(asker, Ruler(facts=facts))
    first = asker.ids.index("review")
    assert asker.ids[first + 1] == "labelled_examples"
    assert asker.asked[first + 1].default == "211"
    assert asker.ids[-1] == "review"
    assert session.facts["labelled_examples"] == Fact("labelled_examples", 500, "asked")


def test_correcting_can_open_new_questions() -> None:
    asker = Scripted({"task": ["question_answering", "classification"], "review": ["task", "go"]})
    session = interview(asker)
    if "task" in asker.ids:
        assert session.facts.value("task") == "classification"
        assert asker.ids[-1] == "review"


def test_two_answers_that_cannot_both_be_true_are_refused() -> None:
    facts = read_answers({"task": "classification", "labelled_examples": 50})
    asker = Scripted({"classes": ["1", "3"]})
    session = interview(asker, facts=facts)
    if "classes" in asker.ids:
        assert asker.faults
        assert session.facts.value("classes") == 3


# -- helpers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "path"), [(" 'a b.csv' ", "a b.csv"), ('"a.csv"', "a.csv"), ("a.csv", "a.csv")])
def test_paths_are_taken_as_terminals_drop_them(typed: str, path: str) -> None:
    assert tidy_path(typed) == path


def test_the_home_folder_is_spelt_out() -> None:
    assert tidy_path("~/rows.csv") == str(Path.home() / "rows.csv")


def test_held_out_rows_beside_the_data_are_noticed(workdir: Path) -> None:
    for name in ("a-train.csv", "a-dev.csv", "b.csv", "c-train.csv"):
        (workdir / name).touch()
    assert held_out_beside("a-train.csv") == "a-dev.csv"
    assert held_out_beside("b.csv") == ""
    assert held_out_beside("c-train.csv") == ""


def test_the_command_to_go_on_names_everything_given() -> None:
    inputs = Inputs(data="my rows.csv", docs="docs", columns={"text": "body", "label": "kind"})
    command = resume_command(Path("runs/x/answers.yaml"), inputs)
    assert command == (
        "advisor ask --answers runs/x/answers.yaml --data 'my rows.csv' --docs docs --columns text=body,label=kind"
    )


@pytest.mark.parametrize(("reply", "wanted"), [("yes", True), ("no", False), (QUIT, False)])
def test_running_is_offered_and_may_be_declined(reply: Reply, wanted: bool) -> None:
    assert offer_run(DECISION, "en", Scripted({"run_now": reply})) is wanted


# -- the prompts of the terminal -----------------------------------------------------------------------------

DOWN, UP, LEFT, ENTER, CTRL_C, CTRL_D, F1, CTRL_B = "\x1b[B", "\x1b[A", "\x1b[D", "\r", "\x03", "\x04", "\x1bOP", "\x02"
CHOICE = Prompt(
    "q", "select", "Which?", "It matters.", options=(Option("a", "First"), Option("b", "Second", "a remark")),
    skip=Option("", "I don't know"), back=True, number=2, total=5,
)  # fmt: skip
NUMBER = Prompt("n", "text", "How many?", "It counts.", skip=Option("", "I don't know"), back=True)
PATH = Prompt("p", "path", "Where?", "To read it.", skip=Option("", "Skip"), back=True)

Press = Callable[[Prompt, str], tuple[Reply, str]]


@pytest.fixture
def press() -> Iterator[Press]:
    """Put a question to the real prompts, press keys, and see the reply and what stays on the screen."""
    with create_pipe_input() as keys:
        yield lambda prompt, typed: _press(keys, prompt, typed)


def _press(keys: PipeInput, prompt: Prompt, typed: str) -> tuple[Reply, str]:
    screen = io.StringIO()
    keys.send_text(typed)
    asker = TerminalAsker("en", Console(file=screen, width=100), keys, DummyOutput())
    return asker.ask(prompt), screen.getvalue()


@pytest.mark.parametrize(
    ("typed", "reply"),
    [
        (ENTER, "a"), (DOWN + ENTER, "b"), (DOWN * 2 + ENTER, SKIP), (DOWN * 3 + ENTER, BACK), (UP + ENTER, QUIT),
        (LEFT, BACK), ("b", BACK), ("q", QUIT), (CTRL_C, QUIT),
    ],
)  # fmt: skip
def test_a_list_is_chosen_from_left_and_quit(press: Press, typed: str, reply: Reply) -> None:
    assert press(CHOICE, typed)[0] == reply


def test_the_answer_given_before_is_pointed_at(press: Press) -> None:
    assert press(replace(CHOICE, default="b"), ENTER)[0] == "b"


def test_the_first_question_has_no_way_back(press: Press) -> None:
    assert press(replace(CHOICE, back=False), LEFT + ENTER)[0] == "a"


@pytest.mark.parametrize(
    ("typed", "reply"),
    [
        ("50" + ENTER, "50"), (ENTER, SKIP), ("<" + ENTER, BACK), (F1, BACK), ("5" + CTRL_B, BACK), (CTRL_C, QUIT),
        (CTRL_D, QUIT),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prompt", [NUMBER, PATH], ids=["text", "path"])
def test_a_text_is_typed_skipped_left_and_quit(press: Press, prompt: Prompt, typed: str, reply: Reply) -> None:
    assert press(prompt, typed)[0] == reply


def test_keys_that_mean_back_in_a_list_can_be_typed_in_a_text(press: Press) -> None:
    assert press(PATH, "bq?.csv" + ENTER)[0] == "bq?.csv"


def test_question_reason_and_answer_stay_on_the_screen(press: Press) -> None:
    shown = press(CHOICE, DOWN + ENTER)[1]
    assert [part in shown for part in ("Question 2 of about 5", "Which?", "It matters.", "› Second")] == [True] * 4


def test_without_a_terminal_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("small\n"))
    with pytest.raises(UserError) as told:
        TerminalAsker("en", Console(file=io.StringIO())).ask(CHOICE)
    assert "advisor ask --answers" in told.value.hint


def test_long_options_are_folded_and_chinese_is_not_cut() -> None:
    folded = fold("一" * 30, 20)
    assert folded.replace("\n     ", "") == "一" * 30
    assert all(len(line.strip()) <= 10 for line in folded.split("\n"))


def test_facts_seen_in_one_place_tell_it_once() -> None:
    screen = io.StringIO()
    lines = [Measured("Classes", "12", "rows.csv"), Measured("Labels", "80", "rows.csv", said="90")]
    show_measured(Console(file=screen, width=80), lines, "en")
    assert screen.getvalue().count("rows.csv") == 1
    assert "80 (you said 90)" in screen.getvalue()


# -- the recordings of the demo ------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", ["handbook", "requests"])
def test_a_recording_answers_every_question_visibly(name: str, lang: str, workdir: Path) -> None:
    screen = io.StringIO()
    recording = load_recording(name)
    session = run(lang, Facts(), Inputs(), ReplayAsker(recording, lang, Console(file=screen, width=100)))
    shown = screen.getvalue()
    assert say("interview.unknown", lang) not in [line.strip(" ›") for line in shown.splitlines()]
    assert load_vocabulary()["training_budget"].question[lang] in shown
    assert session.inputs.data
    assert session.inputs.test
    assert not session.quit


@pytest.mark.parametrize(("name", "method"), [("handbook", "rag"), ("requests", "probe")])
def test_the_demo_recommends_what_it_shows(name: str, method: str, workdir: Path) -> None:
    from advisor.decision import decide

    console = Console(file=io.StringIO())
    session = run("en", Facts(), Inputs(), ReplayAsker(load_recording(name), "en", console))
    assert decide(session.facts, inputs=session.inputs).methods == (method,)


def test_recorded_answers_are_answers() -> None:
    for name in ("handbook", "requests"):
        given = {key: value for key, value in load_recording(name).answers.items() if key in load_vocabulary()}
        assert len(read_answers(given)) == len(given)
