"""The engine: batches in passes with one result, memory that runs out, early stopping, optimizers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from executors.base import Event, Reporter, UserError, silent
from executors.tuning.batches import (
    Collator,
    akin,
    cheapest,
    completion_loss,
    even_batches,
    grow_line,
    plan_steps,
)
from executors.tuning.material import Material
from executors.tuning.params import FullParams
from executors.tuning.rows import IGNORED, TokenRow

VOCABULARY = 90


def made(count: int, chance: random.Random) -> tuple[int, ...]:
    return tuple(chance.randrange(VOCABULARY) for _ in range(count))


def passages(seed: int = 0, count: int = 4, questions: int = 5) -> list[TokenRow]:
    """Rows of `count` passages: an instruction that all share, a passage that some share, and their own."""
    chance = random.Random(seed)
    instruction = made(10, chance)
    found = []
    for _ in range(count):
        passage = instruction + made(chance.randrange(40, 70), chance)
        found += [
            TokenRow(passage + made(chance.randrange(2, 9), chance), made(chance.randrange(1, 5), chance))
            for _ in range(chance.randrange(1, questions + 1))
        ]
    return found


@pytest.fixture
def model() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


# -- layouts -------------------------------------------------------------------------------------------


def alone(model: Any, rows: Sequence[TokenRow]) -> Any:
    """The loss that the model itself computes row by row, weighted by trained tokens."""
    import torch

    total = 0.0
    for row in rows:
        labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.answer)])
        total = total + model(input_ids=torch.tensor([row.tokens]), labels=labels).loss * len(row.answer)
    return total / sum(len(row.answer) for row in rows)


WAYS = {
    "lines": {"shares": True},
    "lines apart": {"shares": True, "apart": True},
    "padded": {"shares": False},
    "padded apart": {"shares": False, "apart": True},
    "never padded": {"shares": False, "pads": False},
}


@pytest.mark.parametrize("most", [100, 3, 1])
@pytest.mark.parametrize("way", WAYS)
def test_every_layout_has_the_loss_and_the_gradients_of_rows_alone(way: str, most: int, model: Any) -> None:
    rows = passages()
    spoken = TokenRow((*rows[0].tokens, 5, 6, 7), (8, 9))  # a conversation that goes on
    other = TokenRow(rows[3].prompt, (3, 4, 5))  # another answer to the same prompt
    rows = [*rows, spoken, other, rows[2]]
    expected = alone(model, rows)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    collator = Collator(0, **WAYS[way])  # type: ignore[arg-type]
    parts = collator.parts(rows, most)
    assert sorted(row.tokens for part in parts for row in part) == sorted(row.tokens for row in rows)
    assert all(len(part) <= most for part in parts)
    trained, loss = sum(len(row.answer) for row in rows), 0.0
    for part in parts:
        batch = collator([part])
        labels = batch.pop("labels")
        value = completion_loss(model(**batch), labels, trained)
        value.backward()
        loss += value.item()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert max(float((p.grad - gradients[name]).abs().max()) for name, p in model.named_parameters()) < 1e-5


def test_what_rows_share_is_computed_once_however_it_is_nested() -> None:
    turns = [TokenRow((1, 2, 3), (4, 5)), TokenRow((1, 2, 3, 4, 5, 6), (7,)), TokenRow((1, 2, 9), (8,))]
    line = grow_line(turns)
    assert line.tokens == [1, 2, 3, 4, 5, 6, 7, 9, 8]
    assert line.positions == [0, 1, 2, 3, 4, 5, 6, 2, 3]
    assert line.before == [-1, 0, 1, 2, 3, 4, 5, 1, 7]
    assert list(zip(line.predictors, line.targets, strict=True)) == [(2, 4), (3, 5), (5, 7), (7, 8)]


def test_a_token_sees_its_own_row_and_nothing_else() -> None:
    rows = [TokenRow((1, 2), (3,)), TokenRow((1, 4), (5,))]
    batch = Collator(0, shares=True)([rows])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5]]
    seen = batch["attention_mask"][0, 0].int().tolist()
    assert seen == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]


def test_lines_are_cut_where_they_share_little_and_kept_where_they_share_much() -> None:
    chance = random.Random(1)
    first, second = made(300, chance), made(300, chance)
    rows = [TokenRow(beginning + made(5, chance), (1,)) for beginning in (first, first, second, second)]
    parts = Collator(0, shares=True, apart=True).parts(rows, 8)
    assert sorted(len({row.prompt[:300] for row in part}) for part in parts) == [1, 1]
    short = [TokenRow(made(5, chance), (1,)) for _ in range(4)]
    assert len(Collator(0, shares=True, apart=True).parts(short, 8)) == 1


def test_lines_of_one_pass_are_not_padded_to_a_width_that_costs_more() -> None:
    chance = random.Random(2)
    beginning = made(380, chance)
    rows = [TokenRow(beginning + made(9, chance), (1,)) for _ in range(2)] + [TokenRow(made(120, chance), (1,))]
    batch = Collator(0, shares=True)([rows])
    assert batch["input_ids"].shape == (1, 380 + 2 * 10 + 121)  # two lines would be 800 tokens
    alike = [TokenRow(made(200, chance), (1,)) for _ in range(4)]
    assert Collator(0, shares=True)([alike])["input_ids"].shape == (4, 201)


def test_the_cheapest_pieces_are_found() -> None:
    rows = [TokenRow((n,), (0,)) for n in range(4)]
    prices = {(0, 1): 1.0, (0, 2): 5, (1, 2): 2, (1, 3): 2.5, (2, 3): 3, (2, 4): 9, (3, 4): 1}
    pieces = cheapest(rows, lambda first, end: prices.get((first, end), 99.0), 2)
    assert pieces == [rows[:1], rows[1:3], rows[3:]]  # 1 + 2.5 + 1


# -- which rows meet -----------------------------------------------------------------------------------


def test_rows_of_a_passage_meet_in_a_step_and_each_comes_once_an_epoch() -> None:
    rows = passages(count=40)
    steps = -(-len(rows) // 8)
    plan = plan_steps(rows, 8, 2 * steps, seed=3)
    for epoch in (plan[:steps], plan[steps:]):
        assert sorted(row.tokens for step in epoch for row in step) == sorted(row.tokens for row in rows)
        assert sorted(map(len, epoch)) == sorted(len(rows[start : start + 8]) for start in range(0, len(rows), 8))
    assert plan[:steps] != plan[steps:]
    assert plan == plan_steps(rows, 8, 2 * steps, seed=3)
    assert plan != plan_steps(rows, 8, 2 * steps, seed=4)
    cut = sum(len({row.prompt[:50] for row in step}) for step in plan[:steps]) - 40
    assert cut <= 6  # passages that stand in two steps


def test_rows_that_share_an_instruction_only_are_grouped_by_length() -> None:
    chance = random.Random(0)
    rows = [TokenRow((*range(40), *made(1 + n % 30, chance)), (1,)) for n in range(96)]
    assert len(akin(rows)) == len(rows)
    spread = [max(map(len, step)) - min(map(len, step)) for step in plan_steps(rows, 8, 12, 0)]
    assert sum(spread) / len(spread) < 15


def test_watched_rows_are_all_there_once() -> None:
    rows = passages(count=7)
    batches = even_batches(rows, 4)
    assert sorted(row.tokens for batch in batches for row in batch) == sorted(row.tokens for row in rows)


# -- training ------------------------------------------------------------------------------------------

Train = Callable[..., tuple[Any, Any]]


@pytest.fixture
def fit(tmp_path: Path, model: Any) -> Train:
    """Train a model like `model`; the same `name` goes on in the same folder. The model and its log."""
    import copy

    from executors.models import choose_device
    from executors.tuning.engine import train

    def call(
        change: Callable[[Any], None] | None = None,
        name: str = "work",
        rows: Sequence[Any] = (),
        watched: Sequence[Any] = (),
        report: Reporter = silent,
        divisible: bool = True,
        **params: Any,
    ) -> tuple[Any, Any]:
        trained = copy.deepcopy(model)
        if change:
            change(trained)
        given = {"epochs": 2, "min_steps": 0, "batch_size": 6, "learning_rate": 1e-2, "checkpoint_steps": 2, **params}
        collator = Collator(0, shares=True, apart=True)
        material = Material(rows or passages(), watched, collator, completion_loss, divisible=divisible)
        return trained, train(trained, material, FullParams(**given), choose_device(), 0, tmp_path / name, report)

    return call


def difference(one: Any, other: Any) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


class Memory:
    """A memory of so many tokens a pass: a model that it is put into raises as torch does where a pass has more."""

    def __init__(self, tokens: int, first_step: int = 0, evaluating: bool = False) -> None:
        self.tokens, self.first_step, self.evaluating = tokens, first_step, evaluating
        self.step = 0
        self.refused: list[int] = []
        self.passes: list[int] = []

    def __call__(self, model: Any) -> None:
        def check(module: Any, arguments: Any, given: dict[str, Any]) -> None:
            size = given["input_ids"].numel()
            if size > self.tokens and self.step >= self.first_step and module.training is not self.evaluating:
                self.refused.append(size)
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
            self.passes.append(size)

        model.register_forward_pre_hook(check, with_kwargs=True)

    def report(self, event: Event) -> None:
        self.step = int(event.done)


def test_memory_that_runs_out_halves_the_passes_and_not_the_step(fit: Train) -> None:
    memory = Memory(100)
    plenty, log = fit(name="plenty")
    little, shorter = fit(memory, name="little")
    assert memory.refused
    assert max(memory.passes) <= 100
    assert difference(plenty, little) < 1e-5
    assert [entry["loss"] for entry in shorter] == pytest.approx([entry["loss"] for entry in log], abs=1e-5)
    assert log.notes == ()
    [note] = shorter.notes
    assert "memory did not hold 6 rows at a time" in note["en"]
    assert note["zh"]


def test_memory_that_runs_out_late_costs_no_step_that_was_trained(fit: Train) -> None:
    steps: list[int] = []
    memory = Memory(100, first_step=90)

    def report(event: Event) -> None:
        memory.report(event)
        steps.append(int(event.done))

    _, log = fit(memory, name="little", epochs=32, checkpoint_steps=1000, report=report)
    assert memory.step > 90
    assert memory.refused
    assert steps == list(range(memory.step + 1))  # each once, none anew
    assert "in passes of at most" in log.notes[0]["en"]


def test_gradients_of_a_pass_that_failed_are_not_counted(fit: Train) -> None:
    """The first pass of a step fits and the second does not: what the first has left must go."""
    rows = [TokenRow(made(200, random.Random(n)), (1, 2)) for n in range(4)]

    def twice(model: Any) -> None:
        seen: list[int] = []

        def check(module: Any, arguments: Any, given: dict[str, Any]) -> None:
            seen.append(given["input_ids"].numel())
            if len(seen) == 2:
                raise MemoryError

        model.register_forward_pre_hook(check, with_kwargs=True)

    plenty, _ = fit(name="plenty", rows=rows, epochs=1)
    little, log = fit(twice, name="little", rows=rows, epochs=1)
    assert log.notes
    assert difference(plenty, little) < 1e-5


def test_memory_that_runs_out_while_watching_halves_there_too(fit: Train) -> None:
    watched = passages(seed=9)
    memory = Memory(100, evaluating=True)
    _, plenty = fit(name="plenty", watched=watched)
    _, little = fit(memory, name="little", watched=watched)
    assert memory.refused
    losses = [[entry["dev_loss"] for entry in log if "dev_loss" in entry] for log in (plenty, little)]
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_one_row_that_does_not_fit_ends_the_training_and_says_what_helps(fit: Train) -> None:
    with pytest.raises(UserError, match="out of memory in training with one row of up to 1024 tokens") as caught:
        fit(Memory(10))
    assert "params.checkpointing=true" in caught.value.hint
    assert "params.max_length=512" in caught.value.hint


def test_a_batch_whose_rows_are_compared_is_never_divided(fit: Train) -> None:
    with pytest.raises(UserError, match="out of memory in training with batches of 6 rows") as caught:
        fit(Memory(100), divisible=False)
    assert "params.batch_size=3" in caught.value.hint


class StopAt:
    """Asks the process to stop once so many steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        import signal

        if event.stage == "train" and event.done == self.step:
            signal.raise_signal(signal.SIGTERM)


def test_a_resumed_training_goes_on_with_the_passes_that_fitted(fit: Train) -> None:
    straight, _ = fit(Memory(100), name="straight")
    with pytest.raises(KeyboardInterrupt):
        fit(Memory(100), name="broken", report=StopAt(3))
    memory = Memory(100)
    resumed, log = fit(memory, name="broken")
    assert not memory.refused
    assert log.notes
    assert difference(straight, resumed) == 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_optimizers_learn_and_resume_to_the_bit(optimizer: str, fit: Train) -> None:
    given = {"optimizer": optimizer, "epochs": 8, "learning_rate": 1e-2 if optimizer == "adamw" else 0.3}
    straight, log = fit(name="straight", **given)
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]
    with pytest.raises(KeyboardInterrupt):
        fit(name="broken", report=StopAt(5), **given)
    resumed, _ = fit(name="broken", **given)
    assert difference(straight, resumed) == 0


def test_the_rate_of_sgd_is_its_own() -> None:
    from executors.tuning.params import PeftParams, rate_of

    assert rate_of(PeftParams(), 135_000_000) == pytest.approx(5e-4)
    assert rate_of(PeftParams(optimizer="sgd"), 135_000_000) == pytest.approx(0.1)
    assert rate_of(PeftParams(optimizer="sgd", learning_rate=0.3), 135_000_000) == 0.3


def test_the_optimizers_differ(fit: Train) -> None:
    trained = [fit(name=name, optimizer=name)[0] for name in ("adamw", "sgd")]
    assert difference(*trained) > 1e-4


def test_activations_computed_again_give_the_same_training(fit: Train) -> None:
    kept, _ = fit(name="kept")
    again, _ = fit(name="again", checkpointing=True)
    assert difference(kept, again) < 1e-6


def test_activations_are_computed_again_where_that_is_asked(fit: Train) -> None:
    counts = {}
    for name, asked in (("kept", False), ("again", True)):
        calls: list[int] = []

        def count(model: Any, calls: list[int] = calls) -> None:
            model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))

        fit(count, name=name, checkpointing=asked)
        counts[name] = len(calls)
    assert counts["again"] == 2 * counts["kept"]


# -- early stopping ------------------------------------------------------------------------------------


def contrary(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """The same prompts with other answers: the better the rows are learnt, the worse these are told."""
    return [TokenRow(row.prompt, tuple((token + 1) % VOCABULARY for token in row.answer)) for row in rows]


WORSE: dict[str, Any] = {"epochs": 20, "patience": 2, "watched": contrary(passages())}


def watched_losses(log: Any) -> dict[int, float]:
    return {int(entry["step"]): entry["dev_loss"] for entry in log if "dev_loss" in entry}


def test_training_stops_where_the_development_loss_no_longer_falls_and_keeps_the_best(fit: Train) -> None:
    model, log = fit(**WORSE)
    found = watched_losses(log)
    best = min(found, key=lambda step: found[step])
    after = [step for step in found if step > best]
    assert len(after) == 2
    planned = 20 * -(-len(passages()) // 6)
    assert log[-1]["step"] == after[-1] < planned
    [note] = log.notes
    assert f"the weights of step {best} are kept" in note["en"]
    assert f"ended at step {after[-1]} of {planned}" in note["en"]
    assert str(best) in note["zh"]
    assert alone(model.eval(), WORSE["watched"]).item() == pytest.approx(found[best], abs=1e-4)


def test_without_patience_the_last_weights_stay(fit: Train) -> None:
    model, log = fit(**{**WORSE, "patience": 0, "epochs": 6})
    found = watched_losses(log)
    assert log.notes == ()
    assert alone(model.eval(), WORSE["watched"]).item() == pytest.approx(found[max(found)], abs=1e-4)


def test_the_last_step_is_looked_at_as_well(fit: Train) -> None:
    _, log = fit(watched=passages(seed=9), epochs=2.4)
    assert max(watched_losses(log)) == log[-1]["step"]
    assert log[-1]["step"] % -(-len(passages()) // 6)  # in the midst of an epoch


@pytest.mark.parametrize("step", [1, 5, 6, 7])
def test_early_stopping_survives_an_interruption(step: int, fit: Train) -> None:
    straight, log = fit(name="straight", **WORSE)
    with pytest.raises(KeyboardInterrupt):
        fit(name="broken", report=StopAt(step), **WORSE)
    resumed, again = fit(name="broken", **WORSE)
    assert list(again) == list(log)
    assert again.notes == log.notes
    assert difference(straight, resumed) == 0


def test_a_training_that_had_stopped_is_not_begun_again(fit: Train) -> None:
    straight, log = fit(**WORSE, checkpoint_steps=1)
    steps: list[Event] = []
    again, same = fit(**WORSE, checkpoint_steps=1, report=steps.append)  # a kill before the artifact was written
    assert not steps
    assert list(same) == list(log)
    assert difference(straight, again) == 0


# -- prediction ----------------------------------------------------------------------------------------


def asked(tiny: str, tokens: int | None, longest: int = 18) -> tuple[Any, list[Any], list[list[float]]]:
    """A language model whose passes hold so many tokens: itself, answers to six chats, and scores of two labels."""
    from executors.models import LocalModel, load_causal

    model, tokenizer = load_causal(tiny)

    def check(module: Any, arguments: Any, given: dict[str, Any]) -> None:
        if tokens and given["input_ids"].numel() > tokens:
            raise RuntimeError("CUDA out of memory. Tried to allocate")

    model.register_forward_pre_hook(check, with_kwargs=True)
    language = LocalModel(model, tokenizer, tiny)
    chats = [[{"role": "user", "content": f"{'word ' * (longest * n // 6)} what of it?"}] for n in range(1, 7)]
    return language, language.generate(chats, 4), language.score(chats, ["yes", "no"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


def test_memory_that_runs_out_in_prediction_halves_the_rows_and_not_the_answers(tiny: str) -> None:
    plenty, answers, scores = asked(tiny, None)
    little, same, equal = asked(tiny, 80)
    assert plenty.halving.notes == ()
    assert same == answers
    for one, other in zip(equal, scores, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert little.halving.most in (1, 2, 3)
    assert f"at most {little.halving.most} rows" in little.halving.notes[0]["en"]


def test_one_text_that_does_not_fit_is_told(tiny: str) -> None:
    with pytest.raises(UserError, match="out of memory with one text at a time"):
        asked(tiny, 60, longest=200)
