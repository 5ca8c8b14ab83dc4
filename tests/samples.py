"""A hand-made decision and its results, for tests of what is shown. No chart, no card and no model is behind them."""

from __future__ import annotations

import dataclasses

from advisor.decision import Confidence, Decision, Flip, Inputs, Ranked, Rung, Step
from advisor.facts import Fact
from executors.base import Result, Score, Text


def both(en: str, zh: str) -> Text:
    return {"en": en, "zh": zh}


FACTS = {
    fact.id: fact
    for fact in (
        Fact("training_budget", "small", "asked"),
        Fact("knowledge_change", "weekly", "asked"),
        Fact(
            "task",
            "question_answering",
            "measured",
            both("the columns are question and answer", "列名为 question 和 answer"),
        ),
        Fact(
            "labelled_examples",
            70,
            "measured",
            both("70 rows in questions-train.jsonl", "questions-train.jsonl 中有 70 行"),
        ),
        Fact(
            "knowledge_tokens", 41250, "measured", both("35 documents, 41,250 tokens", "35 篇文档，共 41,250 个 token")
        ),
        Fact("failure", "facts", "asked"),
        Fact("error_cost", "medium", "assumed", both("not said; the middle is assumed", "未说明，取中间值")),
        Fact("format_strict", False, "assumed", both("not said", "未说明")),
    )
}

STEPS = (
    Step(
        "budget",
        both("What may training cost?", "训练可以花多少钱？"),
        both("small: one rented GPU, or a CPU", "小：一块租用的 GPU 或 CPU"),
        both("it opens tuning and closes pre-training", "可以微调，但排除预训练"),
        "ft_or_retrieval",
        "moderate",
        ("training_budget",),
    ),
    Step(
        "fresh",
        both("How often do the facts change?", "事实多久变化一次？"),
        both("weekly", "每周"),
        both(
            "weights go stale at the next change; an index is rebuilt in minutes",
            "权重在下一次变化时就会过时，而索引几分钟就能重建",
        ),
        "rag_2020",
        "strong",
        ("knowledge_change",),
    ),
    Step(
        "price",
        both("Is a wrong answer dear?", "答错的代价高吗？"),
        both("medium", "中等"),
        both("sources let a reader check", "给出来源，便于读者核对"),
        "rag_2020",
        "weak",
        ("error_cost",),
        assumed=True,
    ),
)

RANKING = (
    Ranked(
        "rag", "recommended", both("facts are missing and change weekly", "缺少事实，且每周变化"), source="rag_2020"
    ),
    Ranked(
        "prompt",
        "viable",
        both("a start in an hour, but the facts are not in the model", "一小时即可起步，但模型里没有这些事实"),
    ),
    Ranked(
        "peft",
        "not_yet",
        both("tuning teaches behaviour better than facts", "微调更适合教行为，而不是教事实"),
        missing=(both("about 500 labelled examples; there are 70", "约需 500 条标注，目前 70 条"),),
        source="ft_or_retrieval",
    ),
    Ranked(
        "full",
        "vetoed",
        both("does not fit the accelerator", "加速卡放不下"),
        sum="8.0 B × 16 B + 2.1 GB = 130.1 GB > 24 GB",
    ),
)

DECISION = Decision(
    run="20261121-101500-ab12",
    methods=("rag",),
    variant="",
    summary=both(
        "Retrieve from the handbook: the answers rest on facts that change weekly and that no model has seen.",
        "从手册中检索：答案依赖每周变化的事实，而模型从未见过它们。",
    ),
    path=STEPS,
    ranking=RANKING,
    vetoes=RANKING[3:],
    flips=(
        Flip(
            "knowledge_change",
            "weekly",
            "static",
            ("long_context",),
            both(
                "If the facts never changed, the whole handbook would fit the prompt.",
                "如果事实从不变化，整本手册可以放进提示。",
            ),
        ),
        Flip(
            "labelled_examples",
            70,
            500,
            ("rag", "peft"),
            both("With 500 labelled examples, tuning the reader would pay.", "有 500 条标注时，微调阅读器才划算。"),
            "at_least",
        ),
    ),
    ladder=(
        Rung(
            both("Score the floor and a plain prompt", "先测基线和直接提示"),
            both("stop if it meets the target", "达到目标即停"),
            both("minutes", "几分钟"),
            "advisor run last --method prompt",
        ),
        Rung(
            both("Build the index and score retrieval", "建索引并评测检索"),
            both("hit@5 under .9: mend the splitting first", "hit@5 低于 0.9 时先改进切分"),
            both("minutes", "几分钟"),
            "advisor run last",
        ),
    ),
    confidence=Confidence(
        0.72,
        ("error_cost", "format_strict"),
        "error_cost",
        both("Fairly sure: the path itself rests on one assumed fact.", "比较有把握：路径上有一处是假设。"),
    ),
    facts=FACTS,
    warnings=(both("The default model speaks English only.", "默认模型只懂英文。"),),
    risks=(
        both(
            "An outdated page is quoted as truth: re-index with every change.",
            "过时的页面会被当真引用：每次变更都要重建索引。",
        ),
    ),
    quote={
        "rag": {
            "memory_gb": [0.6, 1.1],
            "train_hours": [0.01, 0.05],
            "train_usd": [0.0, 0.0],
            "per_1000_usd": [0.02, 0.11],
            "formula": "tokens / (180 texts/s)",
            "assumptions": [both("5 passages of 200 tokens a question", "每个问题 5 段，每段 200 个 token")],
            "sources": ["rag_2020"],
        },
        "prompt": {
            "memory_gb": [0.6, 0.9],
            "train_hours": [0.0, 0.0],
            "train_usd": [0.0, 0.0],
            "per_1000_usd": [0.01, 0.04],
            "formula": "0",
            "assumptions": [],
            "sources": [],
        },
    },
    inputs=Inputs(data="questions-train.jsonl", test="questions-test.jsonl", docs="hand book"),
    sources=("rag_2020", "ft_or_retrieval"),
    created="2026-11-21T10:15:00+00:00",
)

RESULT = Result(
    executor="rag",
    task="question_answering",
    status="done",
    metric="f1",
    scores={
        "f1": Score(0.412, 0.331, 0.498, 70),
        "exact_match": Score(0.214, 0.129, 0.314, 70),
        "hit@5": Score(0.943, 0.886, 0.986, 70),
    },
    rows={"train": 70, "test": 70, "leak": 2, "duplicate": 1},
    seconds={"build": 14.2, "predict": 181.0},
    peak_memory_mb=1480.0,
    device="cpu float32",
    device_reason=both("no CUDA device and no MPS here", "这里没有 CUDA 设备，也没有 MPS"),
    params={"k": 5, "chunk_tokens": 200},
    versions={"python": "3.11.7", "torch": "2.13.0"},
    notes=(both("2 questions were longer than the window", "2 个问题超过了上下文长度"),),
    started="2026-11-21T10:16:00+00:00",
)

FLOOR = Result(
    executor="baseline",
    task="question_answering",
    status="done",
    metric="f1",
    scores={"f1": Score(0.083, 0.051, 0.121, 70), "exact_match": Score(0.0, 0.0, 0.052, 70)},
    rows={"train": 70, "test": 70},
    seconds={"build": 0.1, "predict": 0.2},
    params={"kind": "auto"},
    started="2026-11-21T10:20:00+00:00",
)


def with_text(decision: Decision, hostile: str) -> Decision:
    """The sample with `hostile` wherever a user's own words can reach a page."""
    text = both(hostile, hostile)
    return dataclasses.replace(
        decision,
        summary=text,
        path=tuple(dataclasses.replace(step, text=text, answer=text, why=text) for step in decision.path),
        ranking=tuple(dataclasses.replace(ranked, why=text, sum=hostile) for ranked in decision.ranking),
        warnings=(text,),
        risks=(text,),
        facts={**decision.facts, "task": Fact("task", hostile, "measured", text)},
        inputs=Inputs(data=hostile),
    )
