"""What a training made a model forget: its loss and a few skills on a general set, before and after.

The set is small and ours (`knowledge/reference/general.jsonl`): plain sentences in English and Chinese, judged by the
loss a token, and short requests in five skills, whose answers are judged by exact rules. A rise of the loss by `LOSS`
or a skill lower by `SKILL` is warned of. Not covered: what a general benchmark would show in fine; a set of 60 items
sees only what is plainly lost. A skill that the model did not have cannot be lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from executors.base import Event, Reporter, Text, silent, to_dict
from executors.data.numbers import find_numbers
from executors.metrics import tokens
from executors.models import LanguageModel
from executors.models.catalogue import KNOWLEDGE
from executors.models.device import prepare_torch

LOSS = 0.10  # nats a token: general text is then a tenth less likely, word by word
SKILL = 0.20  # a share of a skill's requests
ANSWER = 16  # tokens an answer may have
RECORD = "forgetting.json"
REFUSALS = ("sorry", "i cannot", "i can't", "i am unable", "i'm unable", "抱歉", "对不起", "无法")

Item = Mapping[str, Any]


@dataclass(frozen=True)
class General:
    """How a model does on the general set: nats a token, of all texts and by language; the share of each skill's
    requests that it meets."""

    loss: float
    losses: Mapping[str, float]
    skills: Mapping[str, float]


@dataclass(frozen=True)
class Forgetting:
    """The general set before and after a training. `fallen` are the skills that fell by `SKILL` or more."""

    before: General
    after: General

    @property
    def rise(self) -> float:
        """By how much the loss rose, in nats a token."""
        return self.after.loss - self.before.loss

    @property
    def fallen(self) -> tuple[str, ...]:
        return tuple(
            name
            for name, share in self.before.skills.items()
            if share - self.after.skills.get(name, 0.0) >= SKILL - 1e-9
        )

    @property
    def forgot(self) -> bool:
        return self.rise >= LOSS or bool(self.fallen)

    def record(self) -> dict[str, Any]:
        """What `forgetting.json` holds."""
        thresholds = {"loss": LOSS, "skill": SKILL}
        found = {"rise": round(self.rise, 4), "fallen": list(self.fallen), "forgot": self.forgot}
        return {"schema_version": 1, "before": to_dict(self.before), "after": to_dict(self.after), **found} | {
            "thresholds": thresholds
        }

    def notes(self) -> tuple[Text, ...]:
        """A warning where the model forgot; nothing else."""
        if not self.forgot:
            return ()
        fell = ", ".join(self.fallen)
        told_en = [f"the loss on general text rose by {self.rise:.2f} nats a token"] if self.rise >= LOSS else []
        told_zh = [f"一般文本上的损失每词元上升 {self.rise:.2f} nats"] if self.rise >= LOSS else []
        told_en += [f"skills that fell by 20 points or more: {fell}"] if fell else []
        told_zh += [f"下降 20 个百分点以上的能力：{fell}"] if fell else []
        return (
            {
                "en": f"the model forgot: {'; '.join(told_en)}. Mix general rows in (params.replay=0.2), or train "
                "less of it (a lower rank or rate)",
                "zh": f"模型有所遗忘：{'；'.join(told_zh)}。可混入一般数据（params.replay=0.2），或减少训练幅度"
                "（更低的秩或学习率）",
            },
        )


def general_of(record: Mapping[str, Any]) -> General:
    """A `General` from its JSON."""
    return General(float(record["loss"]), dict(record["losses"]), dict(record["skills"]))


@cache
def general_items() -> tuple[Item, ...]:
    """The bundled set: texts (`text`) and requests (`skill`, `prompt`, `rule`, `wanted`)."""
    lines = (KNOWLEDGE / "reference" / "general.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def measure_general(
    model: LanguageModel, network: Any, tokenizer: Any, report: Reporter = silent, items: Sequence[Item] | None = None
) -> General:
    """How `model` does on the general set (or on `items`); `network` is the same model as torch sees it."""
    chosen = general_items() if items is None else items
    texts, requests = ([item for item in chosen if name in item] for name in ("text", "skill"))
    report(Event("general", 0, 2))
    losses = _losses(network, tokenizer, texts)
    report(Event("general", 1, 2))
    skills = _skills(model, requests)
    report(Event("general", 2, 2))
    return General(losses.pop("all"), losses, skills)


# -- loss ----------------------------------------------------------------------------------------------


def _losses(network: Any, tokenizer: Any, texts: Sequence[Item]) -> dict[str, float]:
    """Nats a token, of all texts (`all`) and by language. The first token of a text is given, not judged."""
    torch = prepare_torch()
    nats: dict[str, float] = defaultdict(float)
    judged: dict[str, int] = defaultdict(int)
    trains = network.training
    network.eval()
    with torch.inference_mode():
        for item in texts:  # one at a time, as some soft prompts are wrong beside padding
            ids = torch.tensor([tokenizer(item["text"], add_special_tokens=False)["input_ids"]], device=network.device)
            width = ids.shape[1]
            logits = network(input_ids=ids).logits[:, -width:]  # virtual tokens may stand before them
            cost = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="sum")
            for name in ("all", item["lang"]):
                nats[name] += float(cost)
                judged[name] += width - 1
    network.train(trains)
    return {name: round(nats[name] / judged[name], 6) for name in nats}


# -- skills --------------------------------------------------------------------------------------------


def _skills(model: LanguageModel, requests: Sequence[Item]) -> dict[str, float]:
    chats = [[{"role": "user", "content": item["prompt"]}] for item in requests]
    answers = model.generate(chats, ANSWER)
    met: dict[str, list[bool]] = defaultdict(list)
    for item, answer in zip(requests, answers, strict=True):
        met[item["skill"]].append(meets(item["rule"], item["wanted"], answer.text))
    return {name: round(sum(found) / len(found), 6) for name, found in met.items()}


def meets(rule: str, wanted: Sequence[str], answer: str) -> bool:
    """Whether an answer keeps a rule: see `RULES` for what each asks."""
    return RULES[rule](wanted, answer)


def _number(wanted: Sequence[str], answer: str) -> bool:
    """The last number of its first line, where a sum ends, is the one wanted."""
    found = find_numbers(answer.strip().split("\n")[0])
    return bool(found) and found[-1] == float(wanted[0])


def _holds(wanted: Sequence[str], answer: str) -> bool:
    """One of the wanted texts stands in it, as whole words."""
    given = tokens(answer)
    parts = [tokens(text) for text in wanted]
    return any(given[n : n + len(part)] == part for part in parts for n in range(len(given)))


def _equals(wanted: Sequence[str], answer: str) -> bool:
    """It is the wanted text, apart from case and punctuation."""
    return tokens(answer) in [tokens(text) for text in wanted]


def _starts(wanted: Sequence[str], answer: str) -> bool:
    """It begins with one of the wanted words."""
    given = tokens(answer)
    return any(given[: len(tokens(text))] == tokens(text) for text in wanted)


def _lines(wanted: Sequence[str], answer: str) -> bool:
    """It has so many lines."""
    return len([line for line in answer.splitlines() if line.strip()]) == int(wanted[0])


def _asks(wanted: Sequence[str], answer: str) -> bool:
    """It is a question."""
    return answer.rstrip().endswith(("?", "？"))


def _speaks(wanted: Sequence[str], answer: str) -> bool:
    """It has at least so many different words, or Chinese characters, and is no refusal."""
    plain = answer.lower()
    return len(set(tokens(answer))) >= int(wanted[0]) and not any(mark in plain for mark in REFUSALS)


RULES: Mapping[str, Callable[[Sequence[str], str], bool]] = {
    "number": _number,
    "holds": _holds,
    "equals": _equals,
    "starts": _starts,
    "lines": _lines,
    "asks": _asks,
    "speaks": _speaks,
}
