"""What is measured by running the model: the baseline score, the competence it shows, the likeness of the domain."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advisor.answers import read_answers
from advisor.profile import domain, trial
from advisor.profile.domain import judge, language_of, measure_domain, read_reference
from advisor.profile.trial import competence
from executors.base import Input, Row, Score, UserError
from executors.models.catalogue import cache_folder

Advisor = Callable[..., tuple[int, str, str]]


def score(value: float) -> Score:
    return Score(value, value, value, 100)


# -- competence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "floor", "level"),
    [(0.1, 0.1, "low"), (0.32, 0.1, "low"), (0.33, 0.1, "medium"), (0.72, 0.1, "medium"), (0.73, 0.1, "high"),
     (0.02, 0.5, "low"), (0.9, 0.9, "low"), (1.0, 0.5, "high")],
)  # fmt: skip
def test_competence_is_the_share_of_the_way_from_the_floor_to_one(value: float, floor: float, level: str) -> None:
    found, reason = competence("classification", score(value), score(floor), needs_documents=False)
    assert found == level
    assert f"{value:.3f}" in reason["en"]
    assert f"{floor:.3f}" in reason["zh"]


def test_a_score_that_says_nothing_of_the_model_is_not_read_as_if_it_did() -> None:
    assert competence("summarisation", score(0.3), score(0.1), needs_documents=False)[0] is None
    assert competence("question_answering", score(0.1), score(0.1), needs_documents=True)[0] is None
    few = Score(0.9, 0.6, 1.0, 19)
    level, reason = competence("classification", few, score(0.1), needs_documents=False)
    assert level is None
    assert "19 rows" in reason["en"]


def test_at_most_a_hundred_rows_are_asked_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path))
    rows = [Row(f"r:{n}", Input(f"text {n}", f"passage {n}"), (f"[{n}]", "or this")) for n in range(300)]
    plan, folder = trial.prepare((rows[:50], rows[50:]), "question_answering", "smollm2-135m-instruct")
    written = [json.loads(line) for line in (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    numbers = [int(row["text"].split()[1]) for row in written]
    assert len(numbers) == 100
    assert numbers == sorted(numbers)
    assert written[0]["answers"] == [f"[{numbers[0]}]", "or this"]
    assert (plan.executor, plan.task, plan.data.test) == ("prompt", "question_answering", str(folder / "test.jsonl"))
    again, same = trial.prepare((rows[:50], rows[50:]), "question_answering", "smollm2-135m-instruct")
    assert (again, same) == (plan, folder)  # so that what was done is found again
    assert trial.prepare((rows[:51], rows[51:]), "question_answering", "smollm2-135m-instruct")[1] != folder


# -- domain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "reference", "best", "level"),
    [(1.0, 1.0, 1.0, "high"), (1.25, 1.0, 1.0, "high"), (1.26, 1.0, 1.0, "medium"), (1.75, 1.0, 1.0, "medium"),
     (1.76, 1.0, 1.0, "low"), (2.4, 2.4, 1.0, "low"), (1.5, 1.5, 1.0, "high")],
)  # fmt: skip
def test_likeness_is_the_ratio_to_the_reference(own: float, reference: float, best: float, level: str) -> None:
    found, reason = judge(own, reference, best, "some-model", "zh", 8000)
    assert found == level
    assert f"{own:.2f}" in reason["en"]


def test_a_language_the_model_hardly_knows_is_named() -> None:
    _, reason = judge(2.4, 2.44, 0.99, "some-model", "zh", 8000)
    assert "hardly knows Chinese" in reason["en"]
    assert "基本不懂中文" in reason["zh"]


def test_without_a_reference_or_enough_text_nothing_is_told(tmp_path: Path) -> None:
    assert measure_domain("m", ["Wo ist mein Paket? " * 100], "de", tmp_path).similarity is None
    assert measure_domain("m", ["too short"], "en", tmp_path).similarity is None
    assert measure_domain("m", [], "", tmp_path).similarity is None
    assert language_of({"latin": 0.9, "zh": 0.1}) == "en"


def test_a_figure_that_is_known_needs_no_model(tmp_path: Path) -> None:
    texts = ["where is my parcel, it has not arrived yet " * 20]
    with pytest.raises(UserError, match="no-model"):  # nothing is known yet
        measure_domain("no-model", texts, "en", tmp_path)
    contents = [texts[0].strip(), read_reference("en"), read_reference("zh")]
    keys = [hashlib.sha256(f"no-model\0{content}".encode()).hexdigest() for content in contents]
    kept = tmp_path / "surprise.json"
    kept.write_text(json.dumps(dict(zip(keys[:2], (1.5, 1.0), strict=True))), encoding="utf-8")
    found = measure_domain("no-model", texts, "en", tmp_path)
    assert (found.bits, found.reference_bits, found.ratio, found.similarity) == (1.5, 1.0, 1.5, "medium")
    kept.write_text(json.dumps(dict(zip(keys, (2.5, 2.5, 1.0), strict=True))), encoding="utf-8")
    found = measure_domain("no-model", texts, "en", tmp_path)  # English is as foreign to it as the text
    assert (found.ratio, found.similarity) == (1.0, "low")


@pytest.mark.parametrize("language", domain.REFERENCES)
def test_the_references_are_prose_of_enough_length(language: str) -> None:
    text = read_reference(language)
    assert 6000 <= len(text.encode()) <= domain.BYTES
    assert len(text.split("\n\n")) >= 12


# -- with a model --------------------------------------------------------------------------------------------


class Letters:
    """A tokenizer of one token a character."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def test_a_model_that_knows_nothing_needs_the_bits_of_its_vocabulary() -> None:
    import torch

    from executors.models.perplexity import WINDOW, measure_surprise

    class Uniform:
        device = "cpu"

        def __call__(self, input_ids: Any, **_: Any) -> Any:
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 1 << 16))

    found = measure_surprise(Uniform(), Letters(), ["a" * WINDOW, "é" * 10], 4096)
    # 16 bits a token; the first of each stretch is given: 255 + 11 judged, of 255 + 1 + 20 bytes
    tokens, size = (WINDOW - 1) + 11, (WINDOW - 1) + 1 + 20
    assert (found.bits, found.bytes) == (pytest.approx(16 * tokens / size), size)
    assert math.isclose(found.bits, 15.42, abs_tol=0.01)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the models of the user's own, and nothing that was measured before."""
    models = cache_folder() / "models"
    models.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "models").symlink_to(models)
    monkeypatch.setenv("ADVISOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_real_model_is_tried_on_held_out_rows(own_cache: Path, advisor: Advisor, workdir: Path) -> None:
    praise = ["a wonderful film", "great acting and a moving story", "truly delightful", "brilliant and funny"]
    blame = ["a boring mess", "terrible acting and a dull story", "truly awful", "stupid and tedious"]
    starts = ("I saw it last night with my sister: {}", "My friends and I all found the same, it was {}", "Well, {}")
    rows = [(s.format(t), label) for s in starts for texts, label in ((praise, "good"), (blame, "bad")) for t in texts]
    own = [(f"What I wrote in my diary that evening: {text}, and I meant it", label) for text, label in rows[:16]]
    for name, side in (("rows.csv", own), ("test.csv", rows)):
        with open(name, "w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([("text", "label"), *side])
    given = ("--data", "rows.csv", "--test", "test.csv", "--measure", "--json")
    status, out_text, err = advisor("profile", *given, "--save", "a.yaml")
    assert status == 0, err
    assert "about" in err  # the estimate stands before the work
    found = json.loads(out_text)
    assert found["trial"]["score"]["n"] == found["data"]["test"] == 24
    assert 0 <= found["trial"]["floor"]["value"] <= 0.6
    assert found["domain"]["language"] == "en"
    assert 0.5 < found["domain"]["reference_bits"] < 1.5
    assert found["domain"]["ratio"] == pytest.approx(
        found["domain"]["bits"] / found["domain"]["reference_bits"], abs=0.01
    )
    facts = read_answers("a.yaml")
    assert facts.value("baseline_score") == pytest.approx(found["trial"]["score"]["value"], abs=0.001)
    assert facts["base_competence"].origin == facts["domain_similarity"].origin == "measured"
    status, again, err = advisor("profile", *given)
    assert json.loads(again)["trial"] == found["trial"]
    assert "Loading" not in err  # all of it was kept
