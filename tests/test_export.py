"""Export: it answers as the run does or is not written, and others load it without this project."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.base import DataSpec, Input, Job, Plan, Row, UserError
from executors.export import export_run
from executors.export.exporting import WRITERS
from executors.export.fingerprint import differences, end_by_tokenizer, stop_ids, take
from executors.export.gguf import PRECISIONS, gguf_problems, interleaved, pre_tokenizer, write_gguf
from executors.export.parity import Answer, Bound, compare, faults, is_tie
from executors.messages import chat
from executors.models.folder import sha256
from executors.run import open_predictor, run_plan
from executors.tuning import PeftExecutor
from tests.small import write_small

ROWS = [
    (f"{'I was charged twice' if n % 2 else 'please send it back'} {n}", "pay" if n % 2 else "back") for n in range(24)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_small(tmp_path_factory.mktemp("models") / "tiny", [text for text, _ in ROWS])


@pytest.fixture(scope="module")
def finished(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of a method with the small model; each is made once."""
    home, made = tmp_path_factory.mktemp("runs"), dict[str, Path]()
    data = home / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")
    params = {"min_steps": 8, "epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_steps": 8}

    def call(method: str = "peft") -> Path:
        if method not in made:
            plan = Plan(method, "classification", DataSpec(str(data)), model=tiny, params=params)
            run_plan(plan, home / method)
            made[method] = home / method
        return made[method]

    return call


# -- what is written answers as the run does -----------------------------------------------------------


@pytest.mark.parametrize(("method", "form"), [("peft", "adapter"), ("peft", "merged"), ("full", "merged")])
def test_an_export_is_kept_where_it_answers_as_the_run(
    finished: Callable[[str], Path], tmp_path: Path, method: str, form: Any
) -> None:
    found = export_run(finished(method), form, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "export.json").read_text())
    assert found.own_prompts == 4
    assert manifest["golden_prompts"] == {"own": 4, "fixed": 3}
    assert all(p.prompts == 7 and p.same_text + p.ties == 7 and p.logit < 5e-4 for p in found.parity.values())
    assert set(found.parity) == ({"merged", "loaded"} if (method, form) == ("peft", "merged") else {"loaded"})
    assert manifest["files"]
    assert all(sha256(tmp_path / "out" / name) == digest for name, digest in manifest["files"].items())
    assert sorted(found.files) == sorted({*manifest["files"], "README.md", "README.zh.md", "export.json"})


@pytest.mark.parametrize("precision", ["f16", "q8_0"])
def test_a_gguf_file_answers_as_the_run(finished: Callable[[str], Path], tmp_path: Path, precision: Any) -> None:
    found = export_run(finished("peft"), "gguf", tmp_path / "out", precision)
    assert found.parity["merged"].logit < 5e-4
    loaded = found.parity["loaded"]
    assert loaded.logit > 0  # else nothing was rounded, and the bound was not tried
    assert loaded.logit < (0.1 if precision == "f16" else 2)
    assert [name for name in found.files if name.endswith(f"-{precision.upper()}.gguf")]


def test_the_default_place_is_the_runs_folder(finished: Callable[[str], Path]) -> None:
    run = finished("peft")
    assert export_run(run, "adapter").folder == run / "export" / "adapter"
    with pytest.raises(UserError, match="is there already"):
        export_run(run, "adapter")
    assert export_run(run, "adapter", force=True).folder.is_dir()


def test_a_folder_that_is_no_export_is_never_replaced(finished: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an export"):
        export_run(finished("peft"), "adapter", tmp_path / "out", force=True)
    assert (tmp_path / "out" / "thesis.txt").is_file()


# -- the gate fails ------------------------------------------------------------------------------------


def _shifted_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    [path] = folder.glob("*.safetensors")
    weights = load_file(path)
    name = next(name for name in weights if "down_proj" in name or "lora_B" in name)
    weights[name] = weights[name] + 0.05
    save_file(weights, path, {"format": "pt"})


def _other_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text(encoding="utf-8").replace("assistant", "bot"), encoding="utf-8")


def _other_end(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    read = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**read, "eos_token": "<|endoftext|>"}), encoding="utf-8")


def _endless(folder: Path) -> None:
    path = folder / "generation_config.json"
    read = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**read, "eos_token_id": 0}), encoding="utf-8")


@pytest.mark.parametrize(
    ("form", "tamper", "said", "said_zh"),
    [
        ("merged", _shifted_weight, "logits differ by up to", "logits 相差最多"),
        ("adapter", _shifted_weight, "logits differ by up to", "logits 相差最多"),
        ("merged", _other_template, "the chat template differs", "对话模板与运行时不同"),
        ("merged", _other_end, r"the end token is '<\|endoftext\|>'", "结束标记为"),
        ("merged", _endless, "generation does not stop at the run's end token", "生成不会在"),
    ],
    ids=["weight", "adapter's weight", "template", "end token", "generation settings"],
)
def test_an_export_that_answers_otherwise_is_not_written(
    finished: Callable[[str], Path], tmp_path: Path, form: Any, tamper: Callable[[Path], None], said: str, said_zh: str
) -> None:
    def spoilt(source: Any, model: Any, tokenizer: Any, folder: Path, precision: Any) -> None:
        WRITERS[form](source, model, tokenizer, folder, precision)
        tamper(folder)

    with pytest.raises(UserError, match="nothing was written") as failed:
        export_run(finished("peft"), form, tmp_path / "new" / "out", writers={form: spoilt})
    assert re.search(said, failed.value.message)
    assert said_zh in failed.value.told("zh").message
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_whose_template_was_changed_after_training_is_refused(
    finished: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(finished("full") / "artifact", tmp_path / "run" / "artifact")
    _other_template(tmp_path / "run" / "artifact" / "model")
    with pytest.raises(UserError, match="the artifact was changed after training: the chat template differs"):
        export_run(tmp_path / "run", "merged", tmp_path / "out")


def test_a_base_with_other_weights_than_in_training_is_refused(
    finished: Callable[[str], Path], tiny: str, tmp_path: Path
) -> None:
    shutil.copytree(finished("peft") / "artifact", tmp_path / "run" / "artifact")
    shutil.copytree(tiny, tmp_path / "base")
    _shifted_weight(tmp_path / "base")
    path = tmp_path / "run" / "artifact" / "tuned.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base": str(tmp_path / "base")}))
    with pytest.raises(UserError, match="other weights than the ones this adapter was trained on"):
        export_run(tmp_path / "run", "merged", tmp_path / "out")


# -- what cannot be exported so ------------------------------------------------------------------------


def test_all_weights_are_no_adapter(finished: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no adapter") as failed:
        export_run(finished("full"), "adapter", tmp_path / "out")
    assert failed.value.hint == "advisor export full --to merged"


@pytest.mark.parametrize(
    ("method", "hint"),
    [
        ("prompt", "advisor prompt export r1 --to langchain"),
        ("rag", "use it by: advisor predict r1"),
        ("probe", "runs of peft"),
    ],
)
def test_a_run_without_weights_says_its_own_command(tmp_path: Path, method: str, hint: str) -> None:
    (tmp_path / "r1" / "artifact").mkdir(parents=True)
    (tmp_path / "r1" / "artifact" / "about.json").write_text(json.dumps({"executor": method}))
    with pytest.raises(UserError, match="no tuned weights to export") as failed:
        export_run(tmp_path / "r1", "merged")
    assert failed.value.hint.startswith(hint)


def test_a_tuned_encoder_lies_there_as_others_load_it(tmp_path: Path) -> None:
    (tmp_path / "r1" / "artifact" / "encoder").mkdir(parents=True)
    (tmp_path / "r1" / "artifact" / "about.json").write_text(json.dumps({"executor": "small_encoder"}))
    with pytest.raises(UserError, match="r1 tuned an encoder, which lies in"):
        export_run(tmp_path / "r1", "merged")


def test_an_adapter_on_another_tuned_run_goes_merged(finished: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(finished("peft") / "artifact", tmp_path / "run" / "artifact")
    path = tmp_path / "run" / "artifact" / "tuned.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base": str(finished("full"))}))
    with pytest.raises(UserError, match="stands on another tuned run"):
        export_run(tmp_path / "run", "adapter", tmp_path / "out")


@pytest.mark.parametrize("variant", ["rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bottleneck_adapters"])
def test_every_variant_is_exported_as_far_as_it_can_be(tiny: str, tmp_path: Path, variant: str) -> None:
    rows = tuple(Row(str(n), Input(text), (label,)) for n, (text, label) in enumerate(ROWS[:8]))
    params = {"min_steps": 4, "epochs": 0.1, "batch_size": 4, "learning_rate": 1e-2, "compare": 0, "forgetting": False}
    plan = Plan("peft", "classification", DataSpec("x.csv"), model=tiny, params={**params, "variant": variant})
    (tmp_path / "work").mkdir()
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    PeftExecutor().build(Job(plan, rows, ("back", "pay"), tmp_path / "work")).save(tmp_path / "run" / "artifact")
    found = export_run(tmp_path / "run", "adapter", tmp_path / "adapter")
    assert found.own_prompts == 0  # no data file: the fixed prompts are left
    assert found.parity["loaded"].same_text == 3
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert ("executors.models.adapters" in card) == (variant == "bottleneck_adapters")
    if variant in ("rslora", "dora", "ia3"):
        assert export_run(tmp_path / "run", "merged", tmp_path / "merged").parity["merged"].same_text == 3
    else:
        with pytest.raises(UserError, match="cannot be merged"):
            export_run(tmp_path / "run", "merged", tmp_path / "merged")
        assert not (tmp_path / "merged").exists()


def test_a_run_that_has_not_finished_says_so(tmp_path: Path) -> None:
    (tmp_path / "r1").mkdir()
    with pytest.raises(UserError, match="has not finished"):
        export_run(tmp_path / "r1", "merged")


# -- others load it ------------------------------------------------------------------------------------

ALONE = """
import os, sys
class Ours:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("advisor", "executors", "knowledge"):
            raise ImportError(name + " is not for others")
sys.meta_path.insert(0, Ours())
for folder in sys.argv[1:]:
    os.chdir(folder)
    exec(open("card.py", encoding="utf-8").read(), {})
"""


def test_others_load_it_by_the_code_on_its_card(finished: Callable[[str], Path], tiny: str, tmp_path: Path) -> None:
    forms: tuple[Any, ...] = ("adapter", "merged", "gguf")
    for form in forms:
        export_run(finished("peft"), form, tmp_path / form, "f32")
        card = (tmp_path / form / "README.md").read_text(encoding="utf-8")
        [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        code = code.replace('base = "tiny"', f"base = {tiny!r}").replace("…", "I was charged twice 3")
        (tmp_path / form / "card.py").write_text(code, encoding="utf-8")
    call = [sys.executable, "-I", "-c", ALONE, *(str(tmp_path / form) for form in forms)]
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    model = open_predictor(finished("peft")).model  # type: ignore[attr-defined]
    asked = chat("classification", ("back", "pay"), Input("I was charged twice 3"))
    [ours] = model.generate([asked], 16)
    assert ours.text
    assert done.stdout.splitlines() == [line for _ in forms for line in ours.text.splitlines()]


def test_the_card_says_what_it_was_made_of_and_nothing_of_the_rows(
    finished: Callable[[str], Path], tmp_path: Path
) -> None:
    run = finished("peft")
    export_run(run, "merged", tmp_path / "out")
    english, chinese = ((tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    result = json.loads((run / "result.json").read_text())
    score = result["scores"]["accuracy"]
    assert f"| `accuracy` | {score['value']:.3f} | {score['low']:.3f} – {score['high']:.3f} | {score['n']} |" in english
    assert f"| Rows trained on | {result['rows']['train']} |" in english
    assert r"| Token that ends an answer | `<\|im_end\|>` (2) |" in english  # a bar in a cell is none between cells
    assert "library_name: transformers" in english
    assert "licence" in english.casefold()
    assert "许可证" in chinese
    assert str(tmp_path.parent) not in english  # where the base lies is no one's business
    for text, _ in ROWS:
        assert text not in english
        assert text not in chinese


@pytest.mark.parametrize("method", ["peft", "full"])
def test_what_training_leaves_has_a_card_and_a_fingerprint(finished: Callable[[str], Path], method: str) -> None:
    artifact = finished(method) / "artifact"
    inner = artifact / ("adapter" if method == "peft" else "model")
    assert "before the run was scored" in (inner / "README.md").read_text(encoding="utf-8")
    assert "评分" in (inner / "README.zh.md").read_text(encoding="utf-8")
    assert json.loads((artifact / "fingerprint.json").read_text())["end_token"] == "<|im_end|>"


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_says_where_it_lies_and_how_it_compares(
    advisor: Callable[..., tuple[int, str, str]], finished: Callable[[str], Path], tmp_path: Path
) -> None:
    run = str(finished("peft"))
    status, said, _ = advisor("export", run, "--to", "merged", "--out", "mine", "--lang", "en")
    assert status == 0
    assert "Written to mine" in said
    assert "model.safetensors" in said
    assert "4 of the run's own training rows and 3 fixed ones" in said
    assert "answers end with <|im_end|> (2)" in said
    status, said, _ = advisor("export", run, "--to", "merged", "--out", "mine", "--force", "--lang", "zh")
    assert status == 0
    assert "文本相同" in said
    status, said, _ = advisor("export", run, "--to", "adapter", "--out", "other", "--json")
    assert json.loads(said)["parity"]["loaded"]["bound"]["logit"] == 5e-4


@pytest.mark.parametrize(("lang", "told"), [("en", "goes with --to gguf"), ("zh", "只用于 --to gguf")])
def test_a_precision_without_a_gguf_file_is_refused(
    advisor: Callable[..., tuple[int, str, str]], finished: Callable[[str], Path], lang: str, told: str
) -> None:
    run = str(finished("peft"))
    status, _, said = advisor("export", run, "--to", "merged", "--precision", "f16", "--lang", lang)
    assert status == 1
    assert told in said


def test_the_command_offers_the_precisions_there_are() -> None:
    from advisor.commands.export import command

    [option] = [p for p in command.params if p.name == "precision"]
    assert tuple(option.type.choices) == PRECISIONS  # type: ignore[attr-defined]


# -- its parts -----------------------------------------------------------------------------------------


def _load(folder: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_a_model_that_would_not_stop_is_made_to(tiny: str) -> None:
    model, tokenizer = _load(tiny)
    model.generation_config.eos_token_id = 0
    assert len(differences(take(tokenizer), take(tokenizer, model))) == 1
    end_by_tokenizer(model, tokenizer)
    assert model.generation_config.eos_token_id == [0, 2]
    assert stop_ids(tokenizer, model) == (0, 2)
    assert differences(take(tokenizer), take(tokenizer, model)) == []


def test_rows_of_queries_go_from_halves_to_pairs() -> None:
    import numpy

    rows = numpy.arange(8)[:, None]  # two heads of width four: halves (0, 1) and (2, 3)
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_tokenizer_is_named_as_llama_cpp_names_it(tiny: str) -> None:
    from tokenizers import pre_tokenizers

    _, tokenizer = _load(tiny)
    assert pre_tokenizer(tokenizer) == "gpt-2"
    digits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(digits)
    assert pre_tokenizer(tokenizer) == "smollm"
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert pre_tokenizer(tokenizer) is None


def test_what_gguf_cannot_hold_is_said_all_at_once(tiny: str) -> None:
    from tokenizers import pre_tokenizers

    model, tokenizer = _load(tiny)
    assert gguf_problems(model.config, tokenizer) == []
    model.config.model_type = "gpt_neox"
    model.config.rope_parameters = {"rope_type": "llama3", "rope_theta": 1e4}
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    told = [p.message for p in gguf_problems(model.config, tokenizer)]
    assert [any(word in line for line in told) for word in ("gpt_neox", "llama3", "byte-level BPE")] == [True] * 3
    assert "llama, mistral, qwen2, qwen3" in told[0]


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral"])
def test_other_architectures_are_read_back_the_same(tiny: str, tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from executors.export.source import load_gguf

    _, tokenizer = _load(tiny)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "vocab_size": len(tokenizer) + 7, "max_position_embeddings": 256}
    more |= {"head_dim": 128} if kind == "qwen3" else {}
    ends = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 2, "tie_word_embeddings": False}
    config = AutoConfig.for_model(kind, **shape, **more, **ends, rope_theta=50_000.0, sliding_window=None)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # biases and norms begin as zeros and ones, which would hide a mistake
        parameter.data += 0.02 * torch.randn_like(parameter)
    write_gguf(model, tokenizer, tmp_path / "m.gguf", "f32", "m")
    loaded, again = load_gguf(tmp_path / "m.gguf")
    ids = torch.tensor([tokenizer("some words, and 12 numbers")["input_ids"]])
    assert again("some words, and 12 numbers")["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        assert float((model(ids).logits - loaded(ids).logits).abs().max()) < 1e-5


def _answer(tokens: tuple[int, ...], logits: list[list[float]]) -> Answer:
    import torch

    return Answer((1,), tokens, torch.tensor(logits))


def test_a_text_may_change_only_where_two_tokens_were_as_likely() -> None:
    one = _answer((0, 1), [[3.0, 1.0], [1.99, 2.0]])
    assert is_tie(one, (0, 0), Bound(logit=0.01))
    assert not is_tie(one, (0, 0), Bound(logit=0.001))
    assert not is_tie(one, (1, 1), Bound(logit=0.01))
    assert not is_tie(one, (0,), Bound(logit=0.01))  # it ended where the other went on


def test_logits_that_are_no_numbers_are_a_fault() -> None:
    import torch

    one = _answer((0,), [[3.0, 1.0]])
    found = compare([one, one], [torch.tensor([[3.0, 1.0]]), torch.tensor([[float("nan"), 1.0]])], Bound(logit=0.1))
    assert next(p.message for p in faults(found, {"en": "it", "zh": "它"})) == (
        "it: logits differ by up to nan, allowed are 0.1"
    )


def test_a_share_of_likeliest_tokens_is_judged_by_itself() -> None:
    import torch

    one = _answer((0, 0), [[3.0, 1.0], [3.0, 1.0]])
    found = compare([one], [torch.tensor([[9.0, 1.0], [0.0, 1.0]])], Bound(share=0.9))
    assert (found.share, found.same_text) == (0.5, 0)
    assert len(faults(found, {"en": "it", "zh": "它"})) == 1
    assert faults(replace(found, share=0.9), {"en": "it", "zh": "它"}) == []
