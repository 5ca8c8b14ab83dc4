"""Question and answer pairs drafted from passages, where there are none yet, for a person to correct.

The answer is chosen first, from the passage: a number, a quantity, a name, a quotation. The model then writes the
question to it; small models write many poor ones, so each must make the round trip: it does not give its answer away,
its words find its own passage, and the sentence of all that was found which is nearest to it holds the answer. Without
a model that speaks the language the question is a sentence with a blank: right by construction, and duller than what
people ask. Covered: English and Chinese. Not covered: questions over several passages, answers that stand nowhere
literally. Drafts favour words that the documents use, so retrieval looks better on them than on people's questions:
`COLUMNS` marks them, and a run that is scored on them says so.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from executors.base import Event, Passage, Reporter, silent
from executors.messages import fenced
from executors.models import LanguageModel
from executors.retriever.evaluation import holds
from executors.retriever.index import build_index, open_index
from executors.retriever.languages import CHINESE
from executors.retriever.lexical import chinese_share, overlap, terms
from executors.retriever.reader import Reader
from executors.retriever.search import Searcher, SearchSettings
from executors.retriever.splitting import sentences

COLUMNS = ("question", "answer", "source", "heading", "drafted")  # of a file of drafts
BATCH = 16  # questions asked for at a time
ATTEMPTS = 6  # questions written for each that is wanted, at most
FOUND = 3  # places among which a question must find its own passage
WORDS = 60  # tokens of a question, at most
SHARED = 0.25  # of a question's words, the share that its passage must have
LEAST_TERMS = 3  # words, or Chinese characters and pairs of them, of a question
BLANK = "____"
UNITS = "年|个月|月|天|日|小时|分钟|秒|毫米|厘米|公里|米|元|次|个|人|度|伏|瓦|份|台|种|％|%"
NUMBER_ZH = r"(?:\d[\d.,:]*|[一二三四五六七八九十百千万两]+)"
ANSWERS_ZH = re.compile(rf"《[^》]{{2,20}}》|{NUMBER_ZH}(?:{UNITS})|(?<![\w.])\d[\d.,]*\d(?![\w.])")
ANSWERS = re.compile(
    r"[£$€]\d[\d.,]*\d|\d[\d.,:]*(?: ?%| (?:[a-z]+s?))?"  # £45, 12 %, 30 days
    r"|(?<=[a-z,;] )[A-Z][\w-]+(?: [A-Z][\w-]+){0,3}"  # a name within a sentence
    r"|(?<=[\"“])[^\"”]{3,40}(?=[\"”])"
)
NOT_FOR_NUMBERS = re.compile(r"(?i)(why|who|whose|where|how (about|to|do|does|can))\b")
NOT_FOR_NAMES = re.compile(r"(?i)(why|how)\b")
INSTRUCTION = "Write one short question about the passage. Its answer must be exactly the words given as the answer."
INSTRUCTION_ZH = "请根据段落写一个简短的问题，其答案恰好是所给的答案。只写问题。"
SHOWN = (
    (Passage("The museum opens at 9:30 and closes at 17:00. On Mondays it is closed.", "", "Museum"), "17:00"),
    (Passage("Members pay 12 euros a month. A day ticket costs 5 euros.", "", "Swimming pool"), "5 euros"),
)
ASKED = ("When does the museum close?", "How much is a day ticket for the swimming pool?")
SHOWN_ZH = (
    (Passage("博物馆每天九点开门，十七点关门。周一闭馆。", "", "博物馆"), "十七点"),
    (Passage("会员每月缴费十二元，单日票五元。", "", "游泳馆"), "五元"),
)
ASKED_ZH = ("博物馆几点关门？", "游泳馆的单日票多少钱？")
CLOZE = {"en": 'What belongs in the blank ("{heading}")? {sentence}', "zh": "“{heading}”中，空白处应填什么？{sentence}"}


@dataclass(frozen=True)
class Draft:
    """A pair that nobody has confirmed. `source` and `heading` are its passage's; `by`: "model" or "template"."""

    question: str
    answer: str
    source: str
    heading: str = ""
    by: str = "model"
    drafted: bool = True


@dataclass(frozen=True)
class _Start:
    """A passage, and the words of one of its sentences that are to be the answer."""

    passage: Passage
    sentence: str
    answer: str

    @property
    def language(self) -> str:
        return "zh" if chinese_share(self.sentence) >= CHINESE else "en"


def draft_questions(
    passages: Sequence[Passage], model: LanguageModel | None, count: int, seed: int = 0, report: Reporter = silent
) -> list[Draft]:
    """Up to `count` pairs, spread over the documents; fewer where too few make the round trip.

    `model` None: by template. The same passages, model and seed give the same drafts.
    """
    starts = _starts(passages, seed)
    found: dict[str, Draft] = {}
    with tempfile.TemporaryDirectory() as folder:
        build_index(passages, None, None, Path(folder))
        with open_index(Path(folder), None) as index:
            searcher = Searcher(index, None, SearchSettings(how="lexical"))
            for _ in range(max(1, -(-ATTEMPTS * count // BATCH))):
                batch = [start for _, start in zip(range(BATCH), starts, strict=False)]
                if not batch or len(found) >= count:
                    break
                for start, question in zip(batch, _questions(batch, model), strict=True):
                    if len(found) < count and _is_usable(question, start) and _returns(question, start, searcher):
                        passage, by = start.passage, "model" if model else "template"
                        draft = Draft(question, start.answer, passage.source, passage.heading, by)
                        found.setdefault(question.casefold(), draft)
                report(Event("draft", len(found), count))
    return list(found.values())


def _starts(passages: Sequence[Passage], seed: int) -> Iterator[_Start]:
    """Where questions can begin: documents by turns, each passage once before any a second time."""
    rng = random.Random(seed)
    of_source: dict[str, list[list[_Start]]] = {}
    for passage in passages:
        starts = [_Start(passage, s, answer) for s in sentences(passage.text) for answer in answers_in(s)]
        if starts:
            of_source.setdefault(passage.source, []).append(rng.sample(starts, len(starts)))
    for lists in of_source.values():
        rng.shuffle(lists)
    order = rng.sample(sorted(of_source), len(of_source))
    while order:
        for source in list(order):
            lists = of_source[source]
            yield lists[0].pop()
            of_source[source] = [*lists[1:], *([lists[0]] if lists[0] else [])]
            if not of_source[source]:
                order.remove(source)


def answers_in(sentence: str) -> list[str]:
    """The words of a sentence that a question can ask for, in order."""
    pattern = ANSWERS_ZH if chinese_share(sentence) >= CHINESE else ANSWERS
    found = dict.fromkeys(match.group().strip(" .,:;") for match in pattern.finditer(sentence))
    return [answer for answer in found if answer and len(answer) < len(sentence) / 2]


# -- questions -----------------------------------------------------------------------------------------


def _questions(starts: Sequence[_Start], model: LanguageModel | None) -> list[str]:
    if model is None:
        return [_with_blank(start) for start in starts]
    return [first_question(c.text) for c in model.generate([_chat(start) for start in starts], WORDS)]


def _chat(start: _Start) -> list[dict[str, str]]:
    chinese = start.language == "zh"
    word, instruction = ("答案：", INSTRUCTION_ZH) if chinese else ("Answer: ", INSTRUCTION)
    messages = [{"role": "system", "content": instruction}]
    for (passage, answer), asked in zip(*((SHOWN_ZH, ASKED_ZH) if chinese else (SHOWN, ASKED)), strict=True):
        messages.append({"role": "user", "content": f"{fenced(1, passage)}\n\n{word}{answer}"})
        messages.append({"role": "assistant", "content": asked})
    near = replace(start.passage, text=start.sentence)  # a small model loses its way in more
    return [*messages, {"role": "user", "content": f"{fenced(1, near)}\n\n{word}{start.answer}"}]


def _with_blank(start: _Start) -> str:
    sentence = start.sentence.replace(start.answer, BLANK, 1)
    return CLOZE[start.language].format(heading=start.passage.heading or start.passage.source, sentence=sentence)


def first_question(text: str) -> str:
    """The first question a model wrote; empty where it wrote none."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    found = re.search(r"[^.!。！]*?[?？]", line)
    return found.group().strip(" \"'“”-*") if found else ""


# -- the round trip ------------------------------------------------------------------------------------


def _is_usable(question: str, start: _Start) -> bool:
    """Whether a question asks for something such as its answer, does not hold it, and the passage does."""
    another = NOT_FOR_NUMBERS if re.search(r"\d", start.answer) else NOT_FOR_NAMES
    asks = len(set(terms(question))) >= LEAST_TERMS and not another.match(question)
    return asks and not holds(question, (start.answer,)) and holds(start.passage.text, (start.answer,))


def _returns(question: str, start: _Start, searcher: Searcher) -> bool:
    """Whether a question is about its own passage, finds it, and leads to the sentence with its answer."""
    if overlap(question, f"{start.passage.heading} {start.passage.text}") < SHARED:
        return False
    found = searcher.search([question], FOUND)[0]
    if (start.passage.source, start.passage.text) not in {(p.source, p.text) for p in found}:
        return False
    return holds(Reader(None, None).quote(question, found).text, (start.answer,))
