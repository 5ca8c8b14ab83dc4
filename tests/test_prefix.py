"""What prompts begin with is kept from one call to the next: faster, and the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from executors.models import Chat, LocalModel, load_language_model
from executors.models.prefix import KeptPrefixes
from tests.tiny import write_tiny

LONG = "The hub is reset by holding its side key for nine seconds. " * 20
OTHER = "A parcel is sent back within thirty days and with its receipt. " * 20
LABELS = ["yes", "no", "maybe later"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def load(tiny: str) -> LocalModel:
    loaded = load_language_model(tiny)
    assert isinstance(loaded, LocalModel)
    return loaded


def asked(*questions: str, about: str = LONG) -> list[Chat]:
    return [[{"role": "user", "content": f"{about}\n\nQuestion: {question}"}] for question in questions]


def fresh_answers(tiny: str, chats: list[Chat]) -> list[str]:
    """Answers of a model that has seen nothing before, one chat at a time."""
    return [load(tiny).generate([chat], 6)[0].text for chat in chats]


def test_the_second_question_computes_its_own_tokens_only(tiny: str) -> None:
    model = load(tiny)
    model.generate(asked("How long?"), 6)
    first = model._kept.computed
    assert first > 256
    model.generate(asked("Which key is it that one holds?"), 6)
    assert model._kept.computed - first < 20


def test_the_next_chunk_of_rows_does_not_compute_the_documents_again(tiny: str) -> None:
    model = load(tiny)
    model.generate(asked("How long?", "Which key?"), 6)
    first = model._kept.computed
    model.generate(asked("Why so?", "Who holds it?", "Where?"), 6)
    assert model._kept.computed - first < 5


def test_answers_with_a_kept_beginning_are_those_without(tiny: str) -> None:
    chats = [*asked("How long?", "Which key?"), *asked("How long?", about=OTHER), *asked("Who?"), *asked("How long?")]
    model = load(tiny)
    assert [model.generate([chat], 6)[0].text for chat in chats] == fresh_answers(tiny, chats)
    assert [c.text for c in model.generate(chats[:2], 6)] == fresh_answers(tiny, chats[:2])


def test_scores_with_a_kept_beginning_are_those_without(tiny: str) -> None:
    chats = asked("Is it long?", "Is the key on its side?", "Is it warm?")
    model = load(tiny)
    model.generate(asked("How long?"), 2)
    kept = [model.score([chat], LABELS)[0] for chat in chats]
    assert np.allclose(kept, [load(tiny).score([chat], LABELS)[0] for chat in chats], atol=1e-4)


def test_weights_that_have_changed_make_what_was_kept_void(tiny: str) -> None:
    import torch

    changed, fresh = load(tiny), load(tiny)
    changed.generate(asked("How long?"), 6)
    for model in (changed, fresh):
        with torch.no_grad():
            model.model.get_input_embeddings().weight.mul_(3.0)
    assert changed.score(asked("How long?"), LABELS) == fresh.score(asked("How long?"), LABELS)


def test_several_beginnings_are_kept_and_only_up_to_a_size(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny)
    model.generate(asked("How long?"), 2)
    model.generate(asked("How long?", about=OTHER), 2)
    computed = model._kept.computed
    model.generate(asked("How long?"), 2)
    model.generate(asked("How long?", about=OTHER), 2)
    assert model._kept.computed == computed, "both are still here"
    monkeypatch.setattr("executors.models.prefix.KEPT_MOST", 1)
    model.generate(asked("How long?"), 2)
    model.generate(asked("How long?", about=OTHER), 2)
    assert model._kept.computed > computed + 256, "one has gone"
    monkeypatch.setattr("executors.models.prefix.KEPT_BYTES", 1000)
    model.generate(asked("How long?"), 2)
    assert model._kept._kept == []


def test_a_part_of_a_kept_beginning_leaves_the_whole_of_it_as_it_was(tiny: str) -> None:
    import torch

    model = load(tiny).model
    kept, whole = KeptPrefixes(model), list(range(100, 160))
    with torch.inference_mode():
        first = [layer.keys.clone() for layer in kept.of(whole).layers]
        part = kept.of([*whole[:30], 7, 8, 9])
        assert part.get_seq_length() == 33
        again = kept.of(whole)
    assert kept.computed == 63
    assert all(torch.equal(a, b.keys) for a, b in zip(first, again.layers, strict=True))


def test_short_prompts_asked_alone_are_not_kept(tiny: str) -> None:
    model = load(tiny)
    model.generate(asked("Hi", about="Hello."), 2)
    assert model._kept.computed == 0


def test_an_interrupted_pass_leaves_nothing_half_done(tiny: str) -> None:
    class Broken:
        """Gives up in the middle of a pass."""

        device = "cpu"

        def __init__(self, model: LocalModel) -> None:
            self.model, self.fails = model.model, False

        def parameters(self) -> object:
            return self.model.parameters()

        def __call__(self, **given: object) -> object:
            if self.fails:
                raise KeyboardInterrupt
            return self.model(**given)

    import torch

    broken = Broken(load(tiny))
    kept = KeptPrefixes(broken)
    with torch.inference_mode():
        kept.of(list(range(100, 120)))
        broken.fails = True
        with pytest.raises(KeyboardInterrupt):
            kept.of(list(range(100, 130)))
        broken.fails = False
        assert kept.of(list(range(100, 130))).get_seq_length() == 30
