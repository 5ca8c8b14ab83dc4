"""What `predict` and `chat` share: a run's predictor, up to date or with word of what changed, and its spending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.endpoints import parse_limits
from advisor.freshness import freshness_notes
from executors.base import Predictor, Reporter, Text

if TYPE_CHECKING:
    from executors.models.endpoint.session import Session


@contextmanager
def spending_of(folder: Path, again: str, limits: tuple[str, ...], max_cost: float | None) -> Iterator[Session]:
    """The spending of one call on a finished run; its limits may have been widened since the artifact was made."""
    from advisor.commands.run import read_plan_of
    from executors.models.endpoint import LEDGER, read_limits
    from executors.models.endpoint.session import spending

    plan = read_plan_of(folder)
    given = {**(plan.endpoint if plan else {}), **parse_limits(limits, max_cost)}
    with spending(read_limits(given), folder / LEDGER, again, whole=False) as spent:
        yield spent


def open_run(folder: Path, again: str, refresh: bool, report: Reporter) -> tuple[Predictor, list[Text]]:
    """The run's predictor, and what to tell of its documents."""
    from executors.run import open_predictor

    predictor = open_predictor(folder, report)
    return predictor, freshness_notes(predictor, f"{again} --refresh", refresh, report)


def news(folder: Path, predictor: Predictor) -> list[Text]:
    """Its notes that the record of the run does not have, e.g. what had to be left out of a prompt since."""
    from executors.run import read_result

    recorded = result.notes if (result := read_result(folder)) else ()
    return [note for note in predictor.notes if note not in recorded]
