"""Questions put in other words by the language model, so that documents that speak differently are found.

Covered: one other wording a question, in its own language, searched beside the question as asked. What the model writes
is only ever searched for. Not covered: questions that refer to an earlier turn of a chat.
"""

from __future__ import annotations

from collections.abc import Sequence

from executors.base import Reporter, silent
from executors.models import LanguageModel
from executors.retriever.lexical import chinese_share

MOST_TOKENS = 48
MOST_LETTERS = 300  # of a wording: what is longer is no question
CHINESE = 0.3  # share of Chinese letters from which a question counts as Chinese
INSTRUCTION = (
    "Rewrite the question as a search query for the documents that answer it: name the things it is about, add other "
    "words for them, leave out what is no search word. Write the query only, on one line."
)
INSTRUCTION_ZH = (
    "把问题改写成检索语句，用来查找能回答它的文档：写出所问的事物，补充同义词，去掉无关的词。只写检索语句，写在一行内。"
)


def rewrite(questions: Sequence[str], model: LanguageModel, report: Reporter = silent) -> list[str]:
    """Another wording of each question; the question itself where the model gives none."""
    chats = [
        [{"role": "system", "content": _instruction(question)}, {"role": "user", "content": question}]
        for question in questions
    ]
    answers = model.generate(chats, MOST_TOKENS, report)
    return [_wording(answer.text) or question for answer, question in zip(answers, questions, strict=True)]


def _instruction(question: str) -> str:
    return INSTRUCTION_ZH if chinese_share(question) >= CHINESE else INSTRUCTION


def _wording(answer: str) -> str:
    """The first line with text, without quotation marks around it."""
    lines = (line.strip().strip("\"'“”‘’`").strip() for line in answer.splitlines())
    return next((line for line in lines if line), "")[:MOST_LETTERS]
