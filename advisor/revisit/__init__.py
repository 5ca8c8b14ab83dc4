"""A recorded decision taken up again: what was known then, and the same decided anew today.

Covered: facts of a record, warnings that came from its profile, and today's decision on old facts. Not covered: which
facts change (`commands/what_if.py`) and measuring them again (`remeasure.py`).
"""

from __future__ import annotations

from advisor.decision import Decision, decide
from advisor.facts import Facts
from executors.base import Text


def known_facts(decision: Decision) -> Facts:
    """What had been asked, measured, or assumed by a preset; what the vocabulary assumed is unknown again."""
    return Facts({name: fact for name, fact in decision.facts.items() if fact.origin != "assumed" or fact.preset})


def profile_warnings(decision: Decision) -> tuple[Text, ...]:
    """The warnings that do not follow from the facts, and so came from measuring the inputs."""
    follow = decide(known_facts(decision), run=decision.run, inputs=decision.inputs).warnings
    return tuple(warning for warning in decision.warnings if warning not in follow)
