"""What a plan of retrieval sets: the time to choose how documents are cut and searched, and how soon it abstains.

The choice itself, on training questions, is `executors.retriever.chooser`: what is set stays, the rest is compared.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor import formats
from advisor.indexing import document_tokens
from advisor.prompting import Chosen, Ground
from advisor.texts import LANGUAGES, text
from executors.base import DataSpec, Plan, parse_params

if TYPE_CHECKING:
    from advisor.hardware import Range

CAREFUL = 0.85  # share of answerable training questions that stay answered where a wrong answer is dear
SECONDS, MOST_SECONDS = 60, 600  # by default, and at most where embedding the documents in every cut takes longer


def choose_retrieval(ground: Ground) -> Chosen:
    """How much to choose by measuring, and how soon to abstain, each with its reason."""
    params, told = _caution(ground)
    timed, why = _search(ground)
    return {**params, **timed}, {**told, **why}


def _caution(ground: Ground) -> Chosen:
    """A lower share of questions to answer where a wrong answer is dear."""
    cost = ground.decision.facts.get("error_cost")
    if cost is None or cost.origin == "assumed" or cost.value != "high" or "answered" in ground.settings:
        return {}, {}
    return {"answered": CAREFUL}, {"answered": text("plan.careful", percent=round(100 * CAREFUL))}


def _search(ground: Ground) -> Chosen:
    """Seconds for the choice, with the reason; none where there are too few questions to choose on."""
    from executors.retriever.chooser import LEAST
    from executors.retriever.params import RagParams

    if "search_seconds" in ground.settings or not ground.docs or parse_params(RagParams, ground.settings)[1]:
        return {}, {}  # what is set has its reason, and what is wrong with it the plan's check says
    rows = ground.data.train
    if rows < LEAST:
        return {}, {"search_seconds": text("plan.retrieval_few", rows=rows, least=LEAST)}
    plan = _provisional(ground)
    low, high = _whole(plan, ground)
    seconds = float(min(MOST_SECONDS, max(SECONDS, 60 * math.ceil(math.sqrt(low * high) / 60))))
    key = "plan.retrieval" if math.sqrt(low * high) <= seconds else "plan.retrieval_part"
    time = {lang: formats.seconds(low, high, lang) for lang in LANGUAGES}
    told = text(key, seconds=f"{seconds:g}", ways=ways(plan), questions=questions(rows), time=time)
    return {"search_seconds": seconds}, {"search_seconds": told}


def questions(rows: int) -> int:
    """Training questions that are asked in the last round, at most."""
    from executors.retriever.development import MOST_QUESTIONS

    return min(rows, MOST_QUESTIONS)


def ways(plan: Plan) -> int:
    """How many ways to cut and search a plan compares."""
    return len(_candidates(plan))


def cuts(plan: Plan) -> int:
    """How many ways to cut: for each of them the documents are embedded anew."""
    return len({(params.chunk_tokens, params.overlap) for params in _candidates(plan)})


def _candidates(plan: Plan) -> list[Any]:
    from executors.retriever.chooser import candidates
    from executors.retriever.params import RagParams

    params, _ = parse_params(RagParams, plan.params)
    return candidates(params or RagParams(), frozenset(plan.params), True, bool(plan.params.get("rerank")))


def _provisional(ground: Ground) -> Plan:
    data = ground.data
    spec = DataSpec(data.path, columns=data.columns)
    return Plan(
        "rag", data.task, spec, ground.docs, ground.model, params={**ground.settings, "search_seconds": SECONDS}
    )


def _whole(plan: Plan, ground: Ground) -> Range:
    """Seconds that the choice takes if nothing stops it."""
    from advisor.estimate import choice_seconds, rig_of, rows_of
    from advisor.profile.machine import measure_machine

    tokens = document_tokens(Path(str(ground.docs)))
    return choice_seconds(plan, rows_of(ground.data, tokens), rig_of(measure_machine()))
