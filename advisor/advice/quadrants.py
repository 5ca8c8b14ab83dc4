"""The four quadrants: the amount of labelled data against how near its domain is to what the model has read.

    few, similar     train the last layers          few, different     freeze the first k
    many, similar    train all weights              many, different    continued pre-training first, or from scratch

They say how much of a pre-trained model to move where its own weights are trained; `quadrant.limits` says how far to
believe them. Not covered: adapters, which move none of these weights and are usually better where data is few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from advisor.cards import load_cards
from advisor.conditions import Compare, Value

QUADRANTS = ("few_similar", "few_different", "many_similar", "many_different")
TRAINED_WHOLE = 64  # labels a class from which an encoder is tuned in the usual way

FORMS: Mapping[str, Mapping[str, str]] = {
    "full": {
        "few_similar": "last_layers",
        "few_different": "first_frozen",
        "many_similar": "all",
        "many_different": "all",  # from scratch is explained, not chosen: examples seldom hold 20 tokens a parameter
    },
    # Few: all layers, as a run trains them by itself, see `executors.tuning.encoder.params`. On the demo's requests (17
    # a class, 150 held out, one seed) all layers had .840, the upper half .840, the last quarter .807: nobody can tell.
    "small_encoder": {
        "few_similar": "head_and_all",
        "few_different": "head_and_all",
        "many_similar": "head_and_all",
        "many_different": "continued",
    },
}
"""The form of a method, an entry of its card's `variants`, in each quadrant."""

Look = Callable[[str], Value | None]
"""A fact's value by its id."""


def enough(method: str) -> int:
    """Labelled examples that count as many: what the card of `full` needs; for a small encoder, a class."""
    if method == "small_encoder":
        return TRAINED_WHOLE
    [labels] = (need.that for need in load_cards()["full"].needs if need.id == "labels")
    assert isinstance(labels, Compare)
    return int(labels.bound)


def is_similar(domain: Value | None) -> bool:
    """Whether a domain counts as similar: every one but `low`.

    The middle, which is also what is assumed where nothing was measured, counts as similar: what follows from that
    moves the fewest weights, so a wrong guess does the least harm; and the gain of reading a domain is shown for
    domains far from the original (`dont_stop`).
    """
    return domain != "low"


def quadrant(many: bool, similar: bool) -> str:
    """The name of one of `QUADRANTS`."""
    return f"{'many' if many else 'few'}_{'similar' if similar else 'different'}"


def place(method: str, look: Look) -> str:
    """The quadrant that a method's data is in."""
    labels = float(look("labelled_examples") or 0)
    if method == "small_encoder":
        labels /= float(look("classes") or 1)
    return quadrant(labels >= enough(method), is_similar(look("domain_similarity")))


def form_of(method: str, look: Look) -> str:
    """The form of `method`, one of `FORMS`, in the quadrant its data is in."""
    return FORMS[method][place(method, look)]
