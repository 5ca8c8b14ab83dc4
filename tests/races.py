"""Made-up races, in every state that a race can be in."""

from __future__ import annotations

import dataclasses

from advisor.facts import Fact
from advisor.prove.failures import Disagreement, Failures, Group
from advisor.prove.records import Choice, Paired, Pilot, Race, Standing
from advisor.prove.revision import Contradiction, Revision
from advisor.prove.until import Climb, RungRun
from advisor.revisit.compare import differ
from executors.base import Score, Text
from tests.samples import DECISION

TRAIN, TEST = 1200, 400
DEAR = "its next pilot (100 % of the work) takes about 40 min, and 3 min of the budget is left"


def score(value: float, half: float, n: int = TEST) -> Score:
    return Score(value, max(0.0, value - half), min(1.0, value + half), n)


def pilot(name: str, value: float, share: float = 1.0, scored: int = TEST, build: float = 2.0, **more: object) -> Pilot:
    folder = f"{name.replace('@', '-')}/{'full' if share >= 1 else f'{100 * share:.0f}-percent'}"
    figures: dict[str, object] = {
        "seconds": {"build": build, "predict": 4.2},
        "latency": {"p50": 0.012, "p95": 0.034, "n": 20},
        "peak_memory_mb": 812.4,
        "usd_per_1000": 0.0004,
    }
    found = score(value, 0.04 * (TEST / scored) ** 0.5, scored)
    return Pilot(name, round(share * TRAIN), share, scored, folder, "accuracy", found, **(figures | more))  # type: ignore[arg-type]


FLOOR = pilot("baseline", 0.18, build=0.1)
PROMPT = pilot("prompt", 0.41, scored=128, latency={"p50": 1.9, "p95": 4.4, "n": 20}, usd_per_1000=0.42, joules=8400.0)
PROBES = (pilot("probe", 0.74, 0.25), pilot("probe", 0.79, 0.5), pilot("probe", 0.842, build=3.1))
ENCODER = (pilot("small_encoder", 0.7, 1 / 16, 48), pilot("small_encoder", 0.83, 0.25, 128, build=95.0))
PEFT = pilot("peft", 0.21, 1 / 16, 48, build=240.0, peak_memory_mb=3270.0)
CRASHED = dataclasses.replace(pilot("rag+peft", 0.0, 1 / 16), score=None, error="RuntimeError: out of memory")

STANDINGS = (
    Standing("baseline", ("baseline",), "floor", "finished", FLOOR, FLOOR.score, 4.3),
    Standing("probe", ("probe",), "recommended", "finished", PROBES[-1], PROBES[-1].score, 7.3),
    Standing(
        "small_encoder",
        ("small_encoder",),
        "viable",
        "raced",
        ENCODER[-1],
        score(0.87, 0.06),
        410.0,
        310.0,
        {"en": DEAR, "zh": "下一次试跑（100% 的工作量）约需 40 分钟，而预算只剩 3 分钟"},
    ),
    Standing("prompt", ("prompt",), "viable", "waiting", PROMPT, PROMPT.score, 900.0),
    Standing(
        "peft",
        ("peft",),
        "viable",
        "stopped",
        PEFT,
        score(0.55, 0.2),
        3900.0,
        3600.0,
        {
            "en": "as a full run it would score 0.75 at most, and probe scores 0.80 at least",
            "zh": "即使完整运行，得分至多 0.75，而 probe 至少 0.80",
        },
    ),
    Standing("full", ("full",), "viable", "running", None, None, 60.0),
    Standing(
        "rag+peft",
        ("rag", "peft"),
        "viable",
        "failed",
        None,
        None,
        5000.0,
        5000.0,
        {
            "en": "it failed, and the race went on: RuntimeError: out of memory",
            "zh": "运行出错，比赛继续：RuntimeError: out of memory",
        },
    ),
)

PILOTS = (FLOOR, *PROBES, *ENCODER, PROMPT, PEFT, CRASHED)

RUNNING = Race(
    task="classification",
    metric="accuracy",
    train=TRAIN,
    test=TEST,
    margin=0.02,
    target=0.8,
    budget=2000.0,
    spent=840.0,
    full=10280.0,
    status="running",
    standings=STANDINGS,
    pilots=PILOTS,
    notes=({"en": "3 rows left out", "zh": "3 行未采用"},),
    created="2026-12-01T01:00:00+00:00",
)

CHOICE = Choice(
    "probe",
    "small_encoder",
    "",
    "cheaper_equal",
    {
        "en": "probe (0.842) costs less than small_encoder (0.870), and is not worse by more than 0.02.",
        "zh": "“probe”（0.842）比“small_encoder”（0.870）便宜，且落后不超过 0.02。",
    },
    2300,
)

DONE = dataclasses.replace(
    RUNNING,
    status="done",
    spent=1240.0,
    standings=tuple(
        dataclasses.replace(one, state="finished" if one.state in ("waiting", "running") else one.state)
        for one in STANDINGS
        if one.name != "full"
    ),
    pairs=(
        Paired("small_encoder", "probe", Score(0.028, -0.006, 0.061, TEST), 0.11, 0.11, 2300),
        Paired("small_encoder", "prompt", Score(0.43, 0.37, 0.49, TEST), 1e-9, 3e-9),
        Paired("small_encoder", "baseline", Score(0.66, 0.6, 0.72, TEST), 1e-12, 4e-12),
    ),
    choice=CHOICE,
)


def both(told: str) -> Text:
    return {"en": told, "zh": f"（{told}）"}


FAILURES = Failures(
    "probe",
    TEST,
    63,
    False,
    (
        Group(
            "confusion",
            both("“card_arrival” taken for “card_delivery”"),
            9,
            9,
            0.138,
            both("sharpen both definitions"),
            examples=("r1", "r7", "r12"),
        ),
        Group(
            "length", both("the longest quarter"), 100, 31, 0.107, both("cut what does not decide"), "", 0.002, ("r3",)
        ),
        Group("triage", both("not found"), 4, 4, 0.149, both("the passage was not retrieved"), "advisor index last"),
    ),
    tuple(
        Disagreement(
            f"r{n}",
            f"where is my card number {n}, it was sent two weeks ago",
            "card_arrival",
            {"probe": "card_delivery", "small_encoder": "card_delivery", "prompt": "lost_card"},
            round(0.9 - 0.04 * n, 2),
            2,
            3,
            "card_delivery",
        )
        for n in range(8)
    ),
)


AFTER = dataclasses.replace(
    DECISION,
    methods=("prompt",),
    path=(
        DECISION.path[0],
        dataclasses.replace(DECISION.path[1], answer=both("never"), why=both("it fits the prompt")),
    ),
    confidence=dataclasses.replace(DECISION.confidence, level=0.9),
)

REVISION = Revision(
    DECISION,
    AFTER,
    facts=(
        Fact("baseline_score", 0.41, "measured", both("plain prompting scores 0.410 on 128 rows")),
        Fact("failure", "behaviour", "measured", both("taught rows bring most of it")),
    ),
    overruled=(both("failure: you said facts; measured: behaviour"),),
    contradictions=(
        Contradiction(
            "fresh",
            both("weights go stale at the next change"),
            "rag_2020",
            "strong",
            "probe",
            "rag",
            Score(0.12, 0.05, 0.19, TEST),
            0.0004,
            both("the rule does not hold on these rows"),
        ),
    ),
    difference=differ(DECISION, AFTER),
    told=(
        both("baseline score: 0.41"),
        both("failure: you said facts; measured: behaviour"),
        both("the recommendation changes"),
        both("the race advises another"),
        both("the rule does not hold on these rows"),
    ),
)


CLIMB = Climb(
    "run7",
    0.8,
    600.0,
    "accuracy",
    120.0,
    "reached",
    (
        RungRun("prompt", ("prompt",), "1-prompt", both("the cheapest"), "done", score(0.41, 0.05), read="behaviour"),
        RungRun("peft", ("peft",), "2-peft", both("it learns"), "failed", error="out of memory"),
        RungRun("probe", ("probe",), "3-probe", both("it learns"), "done", score(0.842, 0.04), reached=True),
    ),
    {"full": both("takes about 2 h")},
    told=both("the target is reached"),
)
