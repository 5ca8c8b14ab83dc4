"""The language model: what is shared between rows changes the speed and nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from executors.base import Event, UserError
from executors.models import Completion, LocalModel, encode_answer, encode_chat, load_causal, load_language_model
from executors.models.packing import Tree, batches, grow_trees, packs
from tests.tiny import write_tiny

QUESTIONS = [
    "What is the capital of France?",
    "Which animal is larger, the mouse or the elephant? Answer with its name only, please.",
    "2 + 2?",
    "Name a colour.",
    "Hi",
]
LABELS = ["positive", "negative", "card", "card lost", "card arrival", "positive"]


def chats(questions: list[str]) -> list[list[dict[str, str]]]:
    system = {"role": "system", "content": "You answer in as few words as possible. Nothing else is said."}
    return [[system, {"role": "user", "content": question}] for question in questions]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    loaded = load_language_model("smollm2-135m-instruct")
    assert isinstance(loaded, LocalModel)
    return loaded


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def answer_alone(model: LocalModel, question: str, length: int) -> tuple[str, int]:
    """What transformers itself generates for one prompt, and how many tokens."""
    import torch

    ids = torch.tensor([encode_chat(model.tokenizer, chats([question])[0])])
    with torch.inference_mode():
        out = model.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False
        )[0, ids.shape[1] :]
    return model.tokenizer.decode(out, skip_special_tokens=True).strip(), len(out)


def score_alone(model: LocalModel, question: str, answer: str) -> float:
    """The log-probability of an answer from one full sequence."""
    import torch

    prompt, after = encode_chat(model.tokenizer, chats([question])[0]), encode_answer(model.tokenizer, answer)
    with torch.inference_mode():
        steps = model.model(input_ids=torch.tensor([prompt + after])).logits[0].log_softmax(-1)
    return sum(float(steps[len(prompt) + n - 1, token]) for n, token in enumerate(after))


def test_a_batch_is_answered_as_each_question_alone(model: LocalModel) -> None:
    together = model.generate(chats(QUESTIONS), 12)
    alone = [answer_alone(model, question, 12) for question in QUESTIONS]
    assert [(c.text, c.usage.completion_tokens) for c in together] == alone
    assert "Paris" in together[0].text
    assert {c.finish for c in together} <= {"stop", "length"}
    assert together[0].finish == "stop"


def test_an_answer_that_is_cut_says_so(model: LocalModel) -> None:
    (cut,) = model.generate(chats(["Tell me a long story."]), 3)
    assert cut == Completion(cut.text, cut.usage, "length")
    assert cut.usage.completion_tokens == 3


def test_labels_scored_as_a_tree_are_scored_as_if_alone(model: LocalModel) -> None:
    scores = np.array(model.score(chats(QUESTIONS[:3]), LABELS))
    alone = np.array([[score_alone(model, question, label) for label in LABELS] for question in QUESTIONS[:3]])
    assert np.abs(scores - alone).max() < 1e-3
    assert (scores[:, 0] == scores[:, 5]).all(), "the same label twice has the same score"


def test_one_row_alone_is_scored_as_among_others(model: LocalModel) -> None:
    among = model.score(chats(QUESTIONS[:2]), LABELS[:2])[1]
    alone = model.score(chats(QUESTIONS[1:2]), LABELS[:2])[0]
    assert np.allclose(among, alone, atol=1e-3)


def test_a_model_that_cannot_share_is_scored_the_slow_way_alike(model: LocalModel) -> None:
    slow = LocalModel(model.model, model.tokenizer, "slow")
    slow._shares = False
    shared = model.score(chats(QUESTIONS[:2]), LABELS[:3])
    assert np.allclose(slow.score(chats(QUESTIONS[:2]), LABELS[:3]), shared, atol=1e-3)


def test_a_question_that_another_begins_with_keeps_its_own_answer(model: LocalModel) -> None:
    same = chats([QUESTIONS[2]]) * 2
    first, second = model.generate(same, 8)
    assert first == second


def test_a_prompt_beyond_the_window_is_refused_with_its_length(tiny: str) -> None:
    model = load_language_model(tiny)
    assert model.window == 512
    with pytest.raises(UserError, match="exceed the window"):
        model.generate(chats(["word " * 600]), 8)
    with pytest.raises(UserError, match="exceed the window"):
        model.score(chats(["word " * 600]), ["a"])


def test_nothing_asked_is_nothing_answered(tiny: str) -> None:
    model = load_language_model(tiny)
    assert model.generate([], 8) == []
    assert model.score([], ["a"]) == []


def test_tokens_of_a_chat_are_those_the_model_sees(tiny: str) -> None:
    model = load_language_model(tiny)
    assert model.count("") == 0
    (completion,) = model.generate(chats(["Hi"]), 1)
    assert completion.usage.prompt_tokens == model.count_chat(chats(["Hi"])[0])


def test_the_default_model_loads_dense_in_float32_with_its_template_and_ends(model: LocalModel) -> None:
    import torch

    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in model.model.parameters()) == 134_515_008
    assert model.window == 8192
    assert model.tokenizer.eos_token == "<|im_end|>"
    text = model.tokenizer.decode(encode_chat(model.tokenizer, chats(["Hi"])[0]))
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert model.tokenizer.decode(encode_answer(model.tokenizer, "Yes")) == "Yes<|im_end|>"


def test_a_model_without_a_template_gets_plain_lines(tiny: str) -> None:
    _, tokenizer = load_causal(tiny)
    tokenizer.chat_template = None
    asked = tokenizer.decode(encode_chat(tokenizer, chats(["Hi"])[0]))
    assert asked.endswith("User: Hi\nAssistant:")
    assert tokenizer.decode(encode_answer(tokenizer, "Yes")) == " Yes<|im_end|>"


def test_progress_counts_rows(tiny: str) -> None:
    events: list[Event] = []
    load_language_model(tiny).generate(chats(QUESTIONS), 2, events.append)
    assert [e.done for e in events if e.stage == "predict"][-1] == len(QUESTIONS)


def test_an_adapter_folder_without_adapter_is_refused(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        load_language_model(tiny, adapter=tmp_path)


def test_an_adapter_changes_the_answers_and_shares_like_the_model(tiny: str, tmp_path: Path) -> None:
    import peft
    import torch

    base, _ = load_causal(tiny)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own
        peft.get_peft_model(base, config).save_pretrained(tmp_path)
    adapted = load_language_model(tiny, adapter=tmp_path)
    assert isinstance(adapted, LocalModel)
    scores = adapted.score(chats(QUESTIONS[:2]), LABELS[:3])
    assert not np.allclose(scores, load_language_model(tiny).score(chats(QUESTIONS[:2]), LABELS[:3]))
    adapted._shares = False
    assert np.allclose(adapted.score(chats(QUESTIONS[:2]), LABELS[:3]), scores, atol=1e-3)


def test_a_folder_that_does_not_write_text_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    small = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=10)
    BertModel(small).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="does not write text"):
        load_causal(str(tmp_path))


def test_an_architecture_that_brings_its_own_code_is_refused(tmp_path: Path) -> None:
    from tests.test_models import write_model

    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": "strange", "auto_map": {"AutoConfig": "code.Config"}}')
    with pytest.raises(UserError, match="does not know its architecture"):
        load_causal(str(folder))


def test_batches_hold_every_row_once_longest_first() -> None:
    lengths = [5, 900, 30, 7000, 8000, 1]
    found = list(batches(lengths, 100, 16_384, 32))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert found[0][0] == 4
    assert all((lengths[batch[0]] + 100) * len(batch) <= 16_384 for batch in found)


def test_packs_hold_every_row_once_in_order_and_a_long_one_alone() -> None:
    assert list(packs([3, 3, 3, 20, 1, 1, 1, 1], 8, 3)) == [[0, 1], [2], [3], [4, 5, 6], [7]]


def test_labels_share_their_beginnings_in_the_tree() -> None:
    tree = Tree.of([[1, 2, 9], [1, 3, 9], [4, 9], [1, 2, 9]])
    assert tree.tokens == [1, 2, 3, 4]
    assert tree.depths == [1, 2, 2, 1]
    assert tree.ancestors == [[0], [0, 1], [0, 2], [3]]
    assert tree.paths[1] == ([0, 1, 3], [1, 3, 9])


def test_answers_that_begin_alike_stay_in_one_tree_as_trees_are_bounded() -> None:
    trees = grow_trees([[1, 2, 9], [4, 5, 9], [1, 3, 9], [4, 9], [6, 6, 6, 6, 9]], 3)
    assert [indices for indices, _ in trees] == [[0, 2], [1, 3], [4]]
    assert [tree.tokens for _, tree in trees] == [[1, 2, 3], [4, 5], [6, 6, 6, 6]]


def test_more_labels_than_fit_one_pass_are_scored_as_if_they_did(tiny: str) -> None:
    labels = [f"{first} {second}" for first in QUESTIONS for second in ("card", "card lost", "card arrival", "top up")]
    whole, parts = load_language_model(tiny), load_language_model(tiny)
    assert isinstance(parts, LocalModel)
    parts._pack_tokens = 12
    expected = np.array(whole.score(chats(QUESTIONS), labels))
    assert np.allclose(parts.score(chats(QUESTIONS), labels), expected, rtol=0, atol=1e-4)
    assert len(set(expected[0])) == len(labels), "every label has a score of its own"


def test_labels_with_the_same_first_tokens_and_an_empty_one_are_scored_as_if_alone(tiny: str) -> None:
    labels = ["", "card", "card arrival", "card arrival late", "card"]
    together, apart = load_language_model(tiny), load_language_model(tiny)
    assert isinstance(apart, LocalModel)
    apart._shares = False
    assert np.allclose(
        together.score(chats(QUESTIONS), labels), apart.score(chats(QUESTIONS), labels), rtol=0, atol=1e-4
    )


def test_rows_beside_one_another_are_answered_as_padded_ones(tiny: str) -> None:
    packed, padded = load_language_model(tiny), load_language_model(tiny)
    assert isinstance(padded, LocalModel)
    padded._shares = False  # without a common beginning rows are padded
    asked = chats([f"{question} {extra}" for question in QUESTIONS for extra in ("", "please", "now, or never")])
    assert packed.generate(asked, 6) == padded.generate(asked, 6)
