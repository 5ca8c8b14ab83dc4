"""A prompt handed over says what ours says: LangChain loads it by itself, and an input's braces and quotes survive."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from executors.base import Input, Row
from executors.prompt import Prompt, PromptParams
from executors.prompt.export import examples, is_grounded, template_chat, to_langchain, to_openai, to_text
from executors.prompt.wording import Renderer

LABELS = ("card_lost", "refund")
SHOWN = (
    Row("1", Input('my "card" {is} gone, {{really}}'), ("card_lost",)),
    Row("2", Input("请退款：{金额} “全部”"), ("refund",)),
)
PROMPT = Prompt(
    "classification", LABELS, "x", "Answer {one}: “card lost”, refund.", SHOWN, PromptParams(wording="cued")
)
INPUTS = (
    Input("where is {it}?"),
    Input('He said "{{no}}" \\ and left\nagain'),
    Input("卡丢了，{怎么办}？"),
    Input("{"),
)
READING = Prompt(
    "question_answering",
    (),
    "x",
    "Answer from the passages.",
    (Row("1", Input("Who?", "It was {Ada}."), ("Ada",)),),
    PromptParams(wording="short", cue="Reply {short}"),
)
PASSAGES = (Input("When {exactly}?", 'In "1843", {she} wrote.'), Input("何时？", "1843 年，“她”写道：{注}。"))

LOADED = """
import json, sys
from langchain_core.load import loads
path, inputs = sys.argv[1], json.loads(sys.argv[2])
template = loads(open(path, encoding="utf-8").read(), allowed_objects="core")
rendered = [[(m.type, m.content) for m in template.format_messages(**given)] for given in inputs]
assert not [name for name in sys.modules if name.split(".")[0] in ("executors", "advisor")]
print(json.dumps([sorted(template.input_variables), rendered]))
"""
ROLES = {"system": "system", "human": "user", "ai": "assistant"}


def loaded(text: str, inputs: list[dict[str, object]], folder: Path) -> tuple[list[str], list[list[dict[str, str]]]]:
    """What LangChain alone makes of an exported file: its variables, and the messages of each input."""
    path = folder / "prompt.json"
    path.write_text(text, encoding="utf-8")
    call = [sys.executable, "-W", "ignore", "-c", LOADED, str(path), json.dumps(inputs)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    variables, rendered = json.loads(done.stdout)
    return variables, [[{"role": ROLES[kind], "content": text} for kind, text in chat] for chat in rendered]


def test_langchain_renders_a_classification_as_we_do(tmp_path: Path) -> None:
    renderer = Renderer(PROMPT)
    variables, chats = loaded(to_langchain(renderer, False), [{"text": given.text} for given in INPUTS], tmp_path)
    assert variables == ["text"]
    assert chats == [renderer.chat(given, SHOWN) for given in INPUTS]
    assert chats[0][2]["content"] == "card lost"


def test_langchain_renders_passages_as_we_do(tmp_path: Path) -> None:
    renderer = Renderer(READING)
    given = [{"text": one.text, "context": one.context} for one in PASSAGES]
    variables, chats = loaded(to_langchain(renderer, True), given, tmp_path)
    assert variables == ["context", "text"]
    assert chats == [renderer.chat(one, READING.demonstrations) for one in PASSAGES]
    assert chats[0][-1]["content"].endswith("Question: When {exactly}?\nReply {short} (a few words):")


def test_demonstrations_that_are_retrieved_are_a_variable(tmp_path: Path) -> None:
    prompt = replace(PROMPT, demonstrations=(), params=replace(PROMPT.params, selection="nearest", shots=2))
    renderer = Renderer(prompt)
    turns = [[message["role"], message["content"]] for shown in examples(renderer, SHOWN) for message in shown]
    given = {"text": INPUTS[0].text, "demonstrations": turns}
    variables, chats = loaded(to_langchain(renderer, False), [given], tmp_path)
    assert variables == ["demonstrations", "text"]
    assert chats == [renderer.chat(INPUTS[0], SHOWN)]


def test_messages_are_one_object_a_line_in_their_own_letters() -> None:
    chats = [Renderer(PROMPT).chat(given, SHOWN) for given in INPUTS]
    lines = to_openai(chats).splitlines()
    assert [json.loads(line) for line in lines] == [{"messages": chat} for chat in chats]
    assert "卡丢了" in lines[2]
    assert [chat[-1]["role"] for chat in chats] == ["user"] * len(chats)  # no answer with it


def test_a_template_row_names_its_variables() -> None:
    assert template_chat(Renderer(PROMPT), False)[-1]["content"] == "{text}\nLabel:"
    assert "\n{context}\n</passage 1>" in template_chat(Renderer(READING), True)[-1]["content"]


def test_text_has_every_message_under_its_role() -> None:
    chat = [{"role": "system", "content": "Say."}, {"role": "user", "content": "this"}]
    assert to_text([chat]) == "[system]\nSay.\n\n[user]\nthis\n"
    assert to_text([chat, chat]).count("=" * 72) == 1


@pytest.mark.parametrize(
    ("prompt", "inputs", "grounded"), [(PROMPT, INPUTS, False), (PROMPT, PASSAGES, True), (READING, (), True)]
)
def test_passages_are_told_from_the_demonstrations_and_the_inputs(
    prompt: Prompt, inputs: tuple[Input, ...], grounded: bool
) -> None:
    assert is_grounded(Renderer(prompt), inputs) is grounded
