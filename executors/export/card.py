"""The model card beside exported or trained weights: README.md, and the same in Chinese as README.zh.md.

It says what the model is, from what and on how many rows it was made (never what stands in them), how it scored, where
its limits lie, and how it is loaded without this project. The head is the metadata that model hubs read.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from executors.base import Input, Score, Text
from executors.messages import answer_tokens, chat
from executors.models import alias_of, tuned_run
from executors.models.catalogue import KNOWLEDGE

if TYPE_CHECKING:
    from executors.export.fingerprint import Fingerprint
    from executors.export.parity import Parity
    from executors.tuning.predictor import Tuned

LANGUAGES = {"en": "README.md", "zh": "README.zh.md"}
LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "encoder": "sentence-transformers"}
PACKAGES = {
    **{"adapter": "torch transformers peft", "merged": "torch transformers", "gguf": "torch transformers gguf"},
    "encoder": "torch sentence-transformers",
}
PLACE = "…"  # where the input goes
PARAMETERS = ("variant", "rank", "alpha", "layers", "learning_rate", "epochs", "batch_size", "max_length")
LABELS = 100  # named in a card, at most


@dataclass(frozen=True)
class Card:
    """All that a card says. `scores` is empty where the card is written as training ends, before anything is scored.
    An encoder has no `fingerprint` and no template; it reads `limit` tokens of a text, with `prompt` before it."""

    form: Literal["adapter", "merged", "gguf", "encoder"]
    about: Tuned
    fingerprint: Fingerprint | None
    template: str
    rows: Mapping[str, int]
    metric: str = ""
    scores: Mapping[str, Score] = field(default_factory=dict)
    parity: Mapping[str, Parity] = field(default_factory=dict)
    file: str = ""  # of a GGUF export
    standard: bool = True  # False where plain peft cannot load the adapter
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0
    prompt: str = ""

    @property
    def base(self) -> str:
        """The base model as others know it: a hub id; of a folder its name, for where it lies is no one's business."""
        alias = alias_of(self.about.base) if tuned_run(self.about.base) is None else None
        if alias and alias.hub:
            return alias.hub
        return Path(self.about.base).name if Path(self.about.base).exists() else self.about.base

    @property
    def licence(self) -> str:
        """The base model's licence, where the catalogue knows it; else empty."""
        alias = alias_of(self.about.base) if tuned_run(self.about.base) is None else None
        return alias.licence if alias else ""


def write_card(folder: Path, card: Card) -> None:
    """Write the card in both languages."""
    for lang, name in LANGUAGES.items():
        (folder / name).write_text(card_text(card, lang), encoding="utf-8")


def card_text(card: Card, lang: str) -> str:
    """The card as Markdown with a head of metadata."""
    sections = {
        "made": _table(("", ""), _facts(card, lang)),
        "scored": _scores(card, lang),
        "use": _intended(card, lang),
        "limits": "\n".join(f"- {limit}" for limit in _limits(card, lang)),
        "load": _loading(card, lang),
    }
    if card.parity:
        sections["compared"] = _parity(card, lang)
    title = _say("title", lang, base=card.base, task=card.about.task)
    lead = _say(f"lead_{card.form}", lang, base=card.base, method=card.about.method)
    parts = [f"## {_say(name, lang)}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join([_head(card), f"# {title}", lead, *parts]) + "\n"


def _head(card: Card) -> str:
    """YAML that hubs read. A base that has no public name, and an unknown licence, are left out."""
    lines = ["---"]
    if "/" in card.base:
        lines.append(f"base_model: {card.base}")
    if card.licence:
        lines.append(f"license: {card.licence.lower()}")
    tags = [card.about.method, str(card.about.params.get("variant", "")), card.about.task]
    pipeline = "text-classification" if card.form == "encoder" else "text-generation"
    lines += [f"library_name: {LIBRARIES[card.form]}", f"pipeline_tag: {pipeline}", "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in tags if tag), "---"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text that stands in one cell, whatever bars are in it."""
    return text.replace("|", "\\|")


def _facts(card: Card, lang: str) -> list[tuple[str, str]]:
    """What it was made of and how, without a word of the rows themselves."""
    about = card.about
    left_out = {name: count for name, count in card.rows.items() if name not in ("train", "test")}
    asked = card.fingerprint
    template = f"`{asked.template}`" if asked and card.template else _say("no_template", lang)
    told = {
        "base": f"`{card.base}`",
        "weights": f"`{about.sha256}`",
        "licence": card.licence or _say("licence_unknown", lang),
        "method": f"`{about.method}`",
        "parameters": ", ".join(f"{n} {about.params[n]}" for n in PARAMETERS if about.params.get(n) is not None),
        "share": f"{about.trained_share:.2%}" if about.trained_share is not None else "",
        "rows": str(card.rows.get("train", "")),
        "held_out": str(card.rows.get("test", "")),
        "left_out": ", ".join(f"{name} {count}" for name, count in left_out.items()),
        "seed": "" if card.seed is None else str(card.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "end": f"`{asked.end_token}` ({asked.end_id})" if asked else "",
        "template": template if asked else "",
        "limit": str(card.limit or ""),
        "prompt": f"`{card.prompt}`" if card.prompt else "",
    }
    return [(_say(f"fact_{name}", lang), value) for name, value in told.items() if value]


def _scores(card: Card, lang: str) -> str:
    if not card.scores:
        return _say("unscored", lang)
    ordered = sorted(card.scores.items(), key=lambda item: item[0] != card.metric)
    rows = [(f"`{name}`", f"{s.value:.3f}", f"{s.low:.3f} – {s.high:.3f}", str(s.n)) for name, s in ordered]
    return _table([_say(name, lang) for name in ("metric", "value", "interval", "held_out")], rows)


def _intended(card: Card, lang: str) -> str:
    told = [_say("intended_encoder" if card.form == "encoder" else "intended", lang, task=card.about.task)]
    if card.about.labels:
        labels = ", ".join(f"`{label}`" for label in card.about.labels[:LABELS])
        more = len(card.about.labels) - LABELS
        labels = _say("more_labels", lang, labels=labels, count=more) if more > 0 else labels
        told.append(_say("labels", lang, labels=labels))
    return ("" if lang == "zh" else " ").join(told)


def _limits(card: Card, lang: str) -> list[str]:
    written = ["limit_written"] if card.about.task == "classification" else []
    own = ["limit_cut"] if card.form == "encoder" else ["limit_base", "limit_forms", *written]
    return [_say(name, lang, limit=card.limit) for name in ("limit_rows", *own, "limit_licence", "limit_kept")]


def _parity(card: Card, lang: str) -> str:
    rows = []
    for name, found in card.parity.items():
        bound = f"≤ {found.bound.logit:g}" if found.bound.logit is not None else f"≥ {found.bound.share or 0:.0%}"
        told = (f"{found.logit:.2g}", f"{found.share:.1%}", bound, f"{found.same_text} / {found.prompts}")
        rows.append((_say(f"parity_{name}", lang), *told))
    any_of = next(iter(card.parity.values()))
    head = [_say(f"parity_{name}", lang) for name in ("what", "logit", "share", "bound", "text")]
    return f"{_say('parity_lead', lang, prompts=any_of.prompts, tokens=any_of.tokens)}\n\n{_table(head, rows)}"


def _say(name: str, lang: str, **values: object) -> str:
    return _texts()[name][lang].format(**values)


@functools.cache
def _texts() -> Mapping[str, Text]:
    read: Mapping[str, Text] = yaml.safe_load((KNOWLEDGE / "texts" / "card.yaml").read_text(encoding="utf-8"))
    return read


# -- loading it without this project -------------------------------------------------------------------


def _loading(card: Card, lang: str) -> str:
    encoder = card.form == "encoder"
    parts = [_say("load_lead", lang, packages=PACKAGES[card.form])]
    parts += [] if card.standard else [_say("load_ours_encoder" if encoder else "load_ours", lang)]
    parts.append(f"```python\n{loading_code(card)}\n```")
    parts.append(_say("input_encoder" if encoder else "input", lang, place=PLACE))
    if card.form == "gguf":
        parts.append(f"{_say('llama', lang)}\n\n```sh\nllama-server -m {card.file}\n```")
    return "\n\n".join(parts)


def loading_code(card: Card) -> str:
    """Python that loads what lies in the current folder and answers one input, without this project."""
    if card.form == "encoder":
        return "\n".join(_encoding(card))
    return "\n".join([*_imports(card), "", *_opening(card), "", *_asking(card)])


def _encoding(card: Card) -> list[str]:
    """An encoder whose last module is its head; one that its adapter lies beside is opened by this project."""
    text = json.dumps(f"{card.prompt}{PLACE}", ensure_ascii=False)
    if not card.standard:
        return [
            "from pathlib import Path",
            "from executors.base import Input",
            "from executors.tuning.encoder import EncoderPredictor",
            "",
            'predictor = EncoderPredictor.load(Path(".."))',
            f'print(predictor.predict([Input("{PLACE}")])[0].text)',
        ]
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer(".")',
        f"model.max_seq_length = {card.limit}",
        f"outputs = model.encode([{text}])[0]",
    ]
    if not card.about.labels:
        return [*lines, "print(float(outputs[0]))"]
    labels = json.dumps(card.about.labels, ensure_ascii=False)
    return [*lines, f"labels = {labels}", "print(labels[outputs.argmax()])"]


def _imports(card: Card) -> list[str]:
    if card.form != "adapter":
        return ["import torch", "from transformers import AutoModelForCausalLM, AutoTokenizer"]
    peft = "from peft import PeftModel" if card.standard else "from executors.models.adapters import attach"
    return ["import torch", peft, "from transformers import AutoModelForCausalLM, AutoTokenizer"]


def _opening(card: Card) -> list[str]:
    if card.form == "gguf":
        file = f'gguf_file="{card.file}"'
        return [
            f'tokenizer = AutoTokenizer.from_pretrained(".", {file})',
            f'model = AutoModelForCausalLM.from_pretrained(".", {file}, dtype=torch.float32)',
        ]
    if card.form == "merged":
        return [
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            'model = AutoModelForCausalLM.from_pretrained(".", dtype=torch.float32)',
        ]
    put = 'PeftModel.from_pretrained(model, ".")' if card.standard else 'attach(model, Path("."))'
    lines = [
        f'base = "{card.base}"' + ("" if "/" in card.base else "  # the folder of the base model"),
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        "model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)",
        f"model = {put}.eval()",
    ]
    return lines if card.standard else ["from pathlib import Path", *lines]


def _asking(card: Card) -> list[str]:
    """One input asked as in training: the same messages, and an answer that ends at the same token."""
    messages = chat(card.about.task, card.about.labels, Input(PLACE))
    settings = f"do_sample=False, max_new_tokens={answer_tokens(card.about.task)}"
    end = "eos_token_id=tokenizer.eos_token_id"
    told = json.dumps(messages, ensure_ascii=False, indent=4)
    lines = [f"messages = {told}"]
    if card.template:
        thinking = ", enable_thinking=False" if "enable_thinking" in card.template else ""
        lines += [
            "prompt = tokenizer.apply_chat_template(",
            f'    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"{thinking}',
            ")",
        ]
    else:
        lines += [
            'text = "".join(f"{m[\'role\'].capitalize()}: {m[\'content\']}\\n" for m in messages) + "Assistant:"',
            'prompt = tokenizer(text, return_tensors="pt")',
        ]
    return [
        *lines,
        f"answer = model.generate(**prompt, {settings}, {end})",
        'print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
