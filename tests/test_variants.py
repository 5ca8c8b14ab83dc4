"""Variants of parameter-efficient tuning: each trains, saves, reloads, resumes and answers alike, alone or in a batch.

On models with random weights and a vocabulary of 64, so that all families can be tried.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executors.base import DataSpec, Event, Input, Job, Plan, Reporter, Row, UserError, silent
from executors.models import choose_device
from executors.models.adapters import attach, merged, save_adapter, virtual_tokens
from executors.models.device import prepare_torch, prepare_transformers
from executors.models.language import LocalModel, can_share, load_causal
from executors.tuning import PeftExecutor, PeftParams
from executors.tuning.executor import row_limit
from executors.tuning.layers import trained_share
from executors.tuning.params import LOW_RANK, SOFT, Variant, check_params, rate_of
from executors.tuning.rows import TokenRow
from executors.tuning.variants import Kind, keys_values_and_inner, outputs, prepare_variant
from tests.tiny import write_tiny

VARIANTS: tuple[Variant, ...] = (
    "lora", "rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bottleneck_adapters"
)  # fmt: skip
MERGEABLE: tuple[Variant, ...] = ("lora", "rslora", "dora", "ia3")
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE = {**SMALL, "vocab_size": 64, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "pad_token_id": 0}
WINDOW = {**GROUPED, "head_dim": 4, "sliding_window": 8}
GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1}
OPT = {**SHAPE, "ffn_dim": 32, "word_embed_proj_dim": 16}
DISTIL = {"vocab_size": 64, "dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64}
CAUSAL: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Mistral": WINDOW,
    "Qwen2": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 4},
    "Gemma": {**GROUPED, "head_dim": 4},
    "Gemma2": WINDOW,
    "Gemma3Text": WINDOW,
    "Phi3": GROUPED,
    "GPTNeoX": SHAPE,
    "GPT2": {**GPT2, "eos_token_id": 2},
    "OPT": OPT,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": SHAPE,
    "Roberta": SHAPE,
    "DistilBert": DISTIL,
    "MPNet": SHAPE,
    "ModernBert": {**SHAPE, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
}
ROWS = tuple(
    TokenRow((3, 4, 5, *range(10, 10 + n % 3), 6 + n % 2), (20 + n % 4, *range(30, 30 + n % 2), 2)) for n in range(16)
)


def made(family: str, head: str = "ForCausalLM", **changes: Any) -> Any:
    """A model of `family` with random weights, the same ones at each call."""
    transformers, torch = prepare_transformers(), prepare_torch()
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**{**CAUSAL, **ENCODERS}[family], **changes})
    auto = {"ForCausalLM": "AutoModelForCausalLM", "": "AutoModel", "Head": "AutoModelForSequenceClassification"}[head]
    return getattr(transformers, auto).from_config(config, dtype=torch.float32).eval()


def settings(variant: Variant, **more: Any) -> PeftParams:
    own: dict[str, Any] = {"rank": 4} if variant in LOW_RANK else {}
    own |= {"virtual_tokens": 3} if variant in SOFT else {}
    own |= {"bottleneck": 8} if variant == "bottleneck_adapters" else {}
    return PeftParams(variant=variant, **own, **more)


def prepared(variant: Variant, family: str = "Llama", head: str = "ForCausalLM", kind: Kind = "causal") -> Any:
    """The model with a new adapter, whose weights are then moved off their start, which changes nothing."""
    torch = prepare_torch()
    model = made(family, head)
    torch.manual_seed(1)
    model = prepare_variant(model, settings(variant), kind)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def logits(model: Any, *lines: list[int], **more: Any) -> Any:
    torch = prepare_torch()
    with torch.no_grad():
        return model(input_ids=torch.tensor(lines), **more).logits


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_DEVICE", "cpu")


# -- where each variant goes ---------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", CAUSAL)
def test_every_variant_finds_its_place_in_every_family(family: str, variant: Variant) -> None:
    torch = prepare_torch()
    model = prepare_variant(made(family), settings(variant))
    ids = torch.randint(3, 64, (2, 7))
    (model(input_ids=ids).logits ** 2).mean().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert 0 < trained_share(model) < 0.7


@pytest.mark.parametrize("head", ["", "Head"])
@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_takes_every_variant_but_prefixes_and_trains_its_head(family: str, head: str) -> None:
    torch = prepare_torch()
    ids, mask = torch.randint(3, 64, (2, 7)), torch.ones(2, 7, dtype=torch.long)
    before = made(family, head)(input_ids=ids, attention_mask=mask)[0]
    for variant in VARIANTS:
        if variant == "prefix_tuning":
            with pytest.raises(UserError, match="takes no keys and values from before the text"):
                prepare_variant(made(family, head), settings(variant), "encoder")
            continue
        model = prepare_variant(made(family, head), settings(variant), "encoder")
        out = model(input_ids=ids, attention_mask=mask)[0]
        assert out.shape == before.shape  # the virtual tokens' vectors are left out
        (out**2).sum().backward()
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        assert any("classifier" in name for name in trained) == bool(head)
        assert not any("pooler" in name for name in trained) or head


def test_factors_stand_on_keys_values_and_inner_channels() -> None:
    attended, inner = keys_values_and_inner(made("Llama"))
    assert [name.rpartition(".")[2] for name in attended] == ["k_proj", "v_proj"] * 2
    assert inner == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    attended, inner = keys_values_and_inner(made("Bert", ""))
    assert [name.rpartition(".")[2] for name in attended] == ["key", "value"] * 2
    assert inner == ["encoder.layer.0.output.dense", "encoder.layer.1.output.dense"]  # not attention.output.dense


@pytest.mark.parametrize("family", [*CAUSAL, *ENCODERS])
def test_bottlenecks_stand_behind_each_attention_and_each_feed_forward(family: str) -> None:
    assert len(outputs(made(family, "ForCausalLM" if family in CAUSAL else ""))) == 4


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora", "ia3", "bottleneck_adapters"])
def test_a_new_adapter_changes_nothing(variant: Variant) -> None:
    ids = [3, 4, 5, 6]
    before = logits(made("Llama"), ids)
    model = prepare_variant(made("Llama"), settings(variant)).eval()
    assert float((logits(model, ids) - before).abs().max()) < 1e-6


@pytest.mark.parametrize("variant", SOFT)
def test_virtual_tokens_begin_as_words_the_model_knows(variant: Variant) -> None:
    torch = prepare_torch()
    model = made("Llama")
    torch.manual_seed(1)
    model = prepare_variant(model, settings(variant))
    torch.manual_seed(1)
    words = torch.randint(0, 64, (3,)).tolist()
    expected = logits(made("Llama"), [*words, 7, 8])[:, -2:]
    assert float((logits(model, [7, 8]) - expected).abs().max()) < 1e-5


# -- training ------------------------------------------------------------------------------------------


def trained(variant: Variant, folder: Path, report: Reporter = silent, **more: Any) -> tuple[Any, list[Any]]:
    """A model that was trained four steps, and its log. The same `folder` goes on where it was interrupted."""
    from executors.tuning.batches import collator_of, completion_loss
    from executors.tuning.engine import train
    from executors.tuning.material import Material

    params = settings(variant, learning_rate=0.02, min_steps=4, epochs=0.1, batch_size=4, checkpoint_steps=2, **more)
    model = made("Llama")
    prepare_torch().manual_seed(1)
    model = prepare_variant(model, params)
    material = Material(ROWS, (), collator_of(model, SimpleNamespace(pad_token_id=0)), completion_loss)
    log = train(model, material, params, choose_device(), 0, folder, report)
    return model.eval(), list(log)


class InterruptAt:
    """A reporter that asks for the end once `step` optimizer steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        import signal

        if event.stage == "train" and event.done == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns_saves_and_reloads_and_an_interruption_changes_nothing(variant: Variant, tmp_path: Path) -> None:
    from executors.tuning.checkpoints import latest_checkpoint

    straight, log = trained(variant, tmp_path / "straight")
    assert log[-1]["loss"] < log[0]["loss"]
    with pytest.raises(KeyboardInterrupt):
        trained(variant, tmp_path / "broken", InterruptAt(2))
    checkpoint = latest_checkpoint(tmp_path / "broken")
    assert checkpoint is not None
    kept = sum(path.stat().st_size for path in checkpoint.glob("*model*.safetensors"))
    resumed, again = trained(variant, tmp_path / "broken")
    assert again == log
    save_adapter(straight, tmp_path / "one", "base")
    save_adapter(resumed, tmp_path / "other", "base")
    [file] = (tmp_path / "one").glob("*.safetensors")
    assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
    assert 0 < kept < 1.2 * file.stat().st_size + 4096  # the model itself is not written again
    loaded = attach(made("Llama"), tmp_path / "one")
    assert float((logits(loaded, [3, 4, 5, 6]) - logits(straight, [3, 4, 5, 6])).abs().max()) == 0


@pytest.mark.parametrize("variant", ["ia3", *SOFT, "bottleneck_adapters"])
def test_the_loss_of_a_batch_is_that_of_its_rows_alone(variant: Variant) -> None:
    from executors.tuning.batches import collator_of, completion_loss, padded_batch

    model = prepared(variant)
    rows = ROWS[:5]
    total, count = 0.0, 0
    for row in rows:
        batch = padded_batch([row], 0)
        labels = batch.pop("labels")
        total, count = total + completion_loss(model(**batch), labels) * len(row.answer), count + len(row.answer)
    (total / count).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    collator = collator_of(model, SimpleNamespace(pad_token_id=0))
    for batch in (padded_batch(rows, 0), collator([list(rows)])):
        model.zero_grad()
        labels = batch.pop("labels")
        loss = completion_loss(model(**batch), labels)
        assert loss.item() == pytest.approx((total / count).item(), abs=1e-5)
        loss.backward()
        for name, p in model.named_parameters():
            if name in expected:
                assert float((p.grad - expected[name]).abs().max()) < 1e-5


@pytest.mark.parametrize("variant", SOFT)
def test_rows_of_unlike_lengths_stand_alone_where_layers_see_a_window(variant: Variant) -> None:
    """Padding between virtual tokens and text would move the one out of sight of the other."""
    from executors.tuning.batches import collator_of

    collator = collator_of(prepared(variant, "Gemma2"), SimpleNamespace(pad_token_id=0))
    parts = collator.parts(ROWS[:8], 8)
    assert sorted(len(row) for part in parts for row in part) == sorted(map(len, ROWS[:8]))
    assert all(len({len(row) for row in part}) == 1 for part in parts)


# -- answers -------------------------------------------------------------------------------------------


class Letters:
    """A tokenizer of one number a word: ``"7 8 9"``."""

    pad_token_id, eos_token_id, chat_template, model_max_length = 0, 2, None, 64
    added_tokens_decoder: dict[int, Any] = {}

    def __call__(self, text: str, **kwargs: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split() if word.isdigit()]}

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return " ".join(map(str, ids))

    def get_vocab(self) -> dict[str, int]:
        return {}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
@pytest.mark.parametrize("begin", ["apart", "alike"])
def test_a_batch_answers_as_its_rows_alone(begin: str, family: str, variant: Variant) -> None:
    """Prompt tuning as PEFT computes it does not: it drops the positions of rows that were padded on the left."""
    model = LocalModel(prepared(variant, family), Letters(), "tiny")
    texts = ["7 8 9", "9 8 7 6 5 4 3", "11 12 13 14 15 16 17 18 19"] if begin == "apart" else ["5", "6 6", "7"]
    common = "" if begin == "apart" else "30 31 32 33 34 35 36 37 38 39 "
    chats = [[{"role": "user", "content": common + text}] for text in texts]
    together = model.generate(chats, 6)
    assert [model.generate([chat], 6)[0].text for chat in chats] == [answer.text for answer in together]
    scores = model.score(chats, ["20 21", "22"])
    alone = [model.score([chat], ["20 21", "22"])[0] for chat in chats]
    for row, other in zip(scores, alone, strict=True):
        assert row == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_those_of_plain_peft_recomputed_without_a_cache(variant: Variant, tmp_path: Path) -> None:
    """What a user of the adapter sees who does not have this project."""
    from peft import PeftModel

    ours = prepared(variant)
    save_adapter(ours, tmp_path / "adapter", "base")
    if variant == "bottleneck_adapters":
        plain = attach(made("Llama"), tmp_path / "adapter")
    else:
        plain = PeftModel.from_pretrained(made("Llama"), tmp_path / "adapter").eval()
        assert (
            json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
        )
    ids = [7, 8, 9]
    [answer] = LocalModel(ours, Letters(), "tiny").generate([[{"role": "user", "content": "7 8 9"}]], 6)
    for token in answer.text.split():
        likeliest = int(logits(plain, ids)[0, -1].argmax())
        assert token == str(likeliest)
        ids.append(likeliest)


@pytest.mark.parametrize("variant", [*SOFT, "bottleneck_adapters"])
def test_transformers_own_generation_writes_the_same(variant: Variant) -> None:
    torch = prepare_torch()
    model, ids = prepared(variant), torch.tensor([[7, 8, 9]])
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, pad_token_id=0)
    [answer] = LocalModel(model, Letters(), "tiny").generate([[{"role": "user", "content": "7 8 9"}]], 6)
    assert [str(token) for token in out[0, 3:].tolist() if token != 2] == answer.text.split()


@pytest.mark.parametrize("variant", SOFT)
def test_virtual_tokens_take_their_room_in_the_window(variant: Variant) -> None:
    model = prepared(variant)
    assert virtual_tokens(model) == 3
    assert LocalModel(model, Letters(), "tiny").window == 61
    assert row_limit(settings(variant), model) == 61
    assert can_share(model)
    with pytest.raises(UserError, match="exceed the window"):
        LocalModel(model, Letters(), "tiny").generate([[{"role": "user", "content": "7 " * 60}]], 2)


def test_an_adapter_that_is_switched_off_leaves_the_base(tmp_path: Path) -> None:
    for variant in SOFT:
        model = prepared(variant)
        with model.disable_adapter():
            assert float((logits(model, [3, 4, 5]) - logits(made("Llama"), [3, 4, 5])).abs().max()) < 1e-6


@pytest.mark.parametrize("head", ["", "Head"])
@pytest.mark.parametrize("variant", ["lora", "ia3", "prompt_tuning", "bottleneck_adapters"])
def test_an_encoders_adapter_is_saved_and_put_on_again(variant: Variant, head: str, tmp_path: Path) -> None:
    torch = prepare_torch()
    model = prepared(variant, "Bert", head, "encoder")
    save_adapter(model, tmp_path, "base")
    again = attach(made("Bert", head), tmp_path)
    ids, mask = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 9, 10]]), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        expected, found = (m(input_ids=ids, attention_mask=mask)[0] for m in (model, again))
        alone = model(input_ids=ids[:1, :3], attention_mask=mask[:1, :3])[0]
    assert bool((expected == found).all())
    assert float((expected[0, : len(alone[0])] - alone[0]).abs().max()) < 1e-5


@pytest.mark.parametrize("variant", ["dora", "ia3", "bottleneck_adapters"])
def test_activations_that_are_computed_again_change_no_gradient(variant: Variant) -> None:
    from executors.tuning.batches import completion_loss, padded_batch

    model, gradients = prepared(variant).train(), []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        batch = padded_batch(ROWS[:3], 0)
        labels = batch.pop("labels")
        completion_loss(model(**batch), labels).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(bool((one - other).abs().max() < 1e-6) for one, other in zip(*gradients, strict=True))


# -- merging -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", MERGEABLE)
@pytest.mark.parametrize("family", ["Llama", "GPT2"])
def test_a_merged_model_answers_as_the_adapter_does(family: str, variant: Variant) -> None:
    model = prepared(variant, family)
    expected = logits(model, [3, 4, 5, 6])
    dense = merged(model)
    assert type(dense) is type(made(family))
    assert float((logits(dense, [3, 4, 5, 6]) - expected).abs().max()) < 1e-4
    assert merged(dense) is dense


@pytest.mark.parametrize("variant", [*SOFT, "bottleneck_adapters"])
def test_what_is_no_change_of_a_matrix_is_not_merged(variant: Variant) -> None:
    with pytest.raises(UserError, match="cannot be merged into the model's weights") as error:
        merged(prepared(variant))
    assert "无法合并" in error.value.told("zh").message


# -- adapters that do not fit --------------------------------------------------------------------------


OTHERS = [("Llama", {"hidden_size": 32}), ("Llama", {"num_hidden_layers": 1}), ("GPTNeoX", {"hidden_size": 32})]


@pytest.mark.parametrize(("family", "changes"), OTHERS, ids=["wider", "flatter", "other"])
@pytest.mark.parametrize("variant", ["lora", "ia3", "prefix_tuning", "bottleneck_adapters"])
def test_an_adapter_of_another_model_is_a_sentence_and_not_half_loaded(
    variant: Variant, family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    save_adapter(prepared(variant), tmp_path, "base")
    with pytest.raises(UserError, match=r"does not fit|no layer") as error:
        attach(made(family, **changes), tmp_path)
    assert "适配器" in error.value.told("zh").message


def test_a_folder_without_an_adapter_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        attach(made("Llama"), tmp_path)


# -- settings ------------------------------------------------------------------------------------------


def test_a_rank_above_the_smallest_dimension_is_refused() -> None:
    with pytest.raises(UserError, match=r"params\.rank: 9 is above 8, the smallest dimension") as error:
        prepare_variant(made("Llama"), PeftParams(rank=9))
    assert "最小维度 8" in error.value.told("zh").message


def test_virtual_tokens_that_fill_the_window_are_refused() -> None:
    with pytest.raises(UserError, match=r"params\.virtual_tokens: 40 of a window of 64 tokens"):
        prepare_variant(made("Llama"), PeftParams(variant="prompt_tuning", virtual_tokens=40))


@pytest.mark.parametrize(
    ("variant", "given"),
    [("ia3", {"alpha": 8}), ("prompt_tuning", {"dropout": 0.1}), ("lora", {"virtual_tokens": 5}), ("ia3", {"rank": 4})],
)
def test_a_setting_of_another_variant_is_a_problem(variant: Variant, given: dict[str, Any]) -> None:
    [problem] = check_params(PeftParams(variant=variant, **given))
    [name] = given
    assert problem.message.startswith(f"params.{name}: {given[name]} given with variant={variant}")
    assert problem.told("zh").message.startswith(f"params.{name}：")


@pytest.mark.parametrize("variant", SOFT)
def test_virtual_tokens_and_checkpointing_exclude_each_other(variant: Variant) -> None:
    [problem] = check_params(PeftParams(variant=variant, checkpointing=True))
    assert "no virtual tokens" in problem.message
    assert "虚拟词元" in problem.told("zh").message


def test_every_variant_of_the_card_can_be_set() -> None:
    from typing import get_args

    import yaml

    from tests.conftest import ROOT

    card = yaml.safe_load((ROOT / "knowledge" / "methods" / "peft.yaml").read_text(encoding="utf-8"))
    assert set(card["variants"]) == set(get_args(Variant))
    assert all(rate_of(PeftParams(variant=name), 1) > 0 for name in card["variants"])


# -- from end to end -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


LABELS = ("billing", "returns")
REQUESTS = tuple(
    Row(str(n), Input(f"{'I was charged twice' if n % 2 else 'I want to send it back'} {n}"), (LABELS[1 - n % 2],))
    for n in range(4)
)


@pytest.mark.parametrize("variant", ["prefix_tuning", "bottleneck_adapters"])
def test_a_plan_names_the_variant(variant: Variant, tiny: str, tmp_path: Path) -> None:
    params = {"variant": variant, "min_steps": 2, "epochs": 0.1, "batch_size": 2}
    plan = Plan("peft", "classification", DataSpec("x.csv"), model=tiny, params=params)
    predictor = PeftExecutor().build(Job(plan, REQUESTS, LABELS, tmp_path))
    answers = predictor.predict([row.input for row in REQUESTS])
    predictor.save(tmp_path / "artifact")
    assert type(predictor).load(tmp_path / "artifact").predict([row.input for row in REQUESTS]) == answers
    assert predictor.about.params["variant"] == variant
    assert predictor.about.params["learning_rate"] == rate_of(PeftParams(variant=variant), 1)


def test_qlora_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    plan = Plan("peft", "generation", DataSpec("x.csv"), params={"variant": "qlora"})
    [problem] = PeftExecutor().check(plan)
    assert "bitsandbytes" in problem.message
    assert problem.hint == "pip install 'adaptation-advisor[gpu]'"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_qlora_trains_beside_weights_of_4_bits(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="extra gpu is not installed")
    params = {"variant": "qlora", "min_steps": 3, "epochs": 0.1, "batch_size": 2, "learning_rate": 1e-2}
    plan = Plan("peft", "classification", DataSpec("x.csv"), model=tiny, params=params)
    predictor = PeftExecutor().build(Job(plan, REQUESTS, LABELS, tmp_path))
    model = predictor.model.model  # type: ignore[attr-defined]
    assert model.get_base_model().is_loaded_in_4bit
    losses = [json.loads(line)["loss"] for line in (predictor.folder / "training.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    with pytest.raises(UserError, match="4 bits"):
        merged(model)
    dense, _ = load_causal(tiny)
    assert merged(attach(dense, predictor.folder / "adapter")).num_parameters() == dense.num_parameters()


def test_qlora_is_not_for_encoders() -> None:
    with pytest.raises(UserError, match="for models that write text"):
        prepare_variant(made("Bert", ""), PeftParams(variant="qlora"), "encoder")
