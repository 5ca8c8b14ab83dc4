"""Text models behind one door: generate, score, count.

Covered: causal models of transformers on this machine, with or without a PEFT adapter. What many prompts begin with
is computed once (key/value cache) and kept for the next call (see `prefix`); rows stand beside one another in a forward
pass, and so do the labels of a row (see `packing`). Decoding is greedy unless a temperature is given; either way the
same call has the same answer. Endpoints: see `endpoint`.
"""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from executors.base import Event, Problem, Reporter, Usage, UserError, silent
from executors.models.adapters import attach, check_adapter, merged, virtual_tokens
from executors.models.catalogue import name_problems
from executors.models.device import choose_device, prepare_torch, prepare_transformers
from executors.models.endpoint import is_endpoint
from executors.models.fetch import model_sha256, resolve
from executors.models.four_bit import four_bits, merged_first, settle
from executors.models.memory import Halving
from executors.models.packing import Decoding, PackedRows, PaddedRows, Tree, batches, grow_trees, packs, score_pack
from executors.models.prefix import KeptPrefixes
from executors.models.template import answer_end, as_taken, stop_ids
from executors.models.tuned import TunedRun, check_mergeable, tuned_run

if TYPE_CHECKING:
    from torch import Tensor

Chat = Sequence[Mapping[str, str]]
"""Messages of ``{"role": "system" | "user" | "assistant", "content": text}``."""

BATCH_TOKENS = 16_384  # prompt, cache and answer tokens of a batch: bounds the memory of the cache
BATCH_ROWS = 32
PACK_TOKENS = 1024  # rows beside one another on a CPU: more of them pay attention to each other in vain
PACK_TOKENS_GPU = 4096  # where a pass costs about the same from 1 to some thousand tokens
SHARED_AT_LEAST = 8  # tokens; a shorter common beginning is not worth a pass of its own
ALONE_AT_LEAST = 256  # tokens of a prompt asked by itself, from which the next one may gain by what is kept of it
QUIET = {"verbose": False}  # a prompt beyond the window is our own matter: counted, refused or shortened
PRIVATE = range(0xE000, 0xF8FF)  # characters that stand for nothing


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: the likeliest at `temperature` 0, else by chance from `seed`. `stop` texts end it."""

    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True)
class Completion:
    """One answer. `finish` is "length" where it was cut at the maximum instead of ending by itself."""

    text: str
    usage: Usage
    finish: Literal["stop", "length"]


class LanguageModel(ABC):
    """A model that continues chats. `window` is the most tokens a prompt and its answer may have.

    `can_score`: whether it tells how likely a given continuation is; `score` is called on such models only.
    """

    name: str
    window: int
    can_score: bool = True

    @abstractmethod
    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        """An answer to each chat, in order. Raises `UserError` for a chat beyond the window."""

    @abstractmethod
    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        """Log-probability (natural, summed over tokens) of each continuation as the answer to each chat.

        Returns ``[len(chats)][len(continuations)]``. The end of the answer is part of it, so that of two labels one
        of which begins with the other the longer is not at a disadvantage by design.
        Raises `UserError` for a chat beyond the window.
        """

    @abstractmethod
    def count(self, text: str) -> int:
        """Tokens of a plain text."""

    @abstractmethod
    def count_chat(self, chat: Chat) -> int:
        """Tokens of a chat as the model will see it, up to where its answer begins."""


def encode_chat(tokenizer: Any, chat: Chat) -> list[int]:
    """Token ids of `chat` up to where the answer begins, by the tokenizer's chat template.

    Training and prediction both go through here. Names of special tokens within a message are plain text, see
    `_written_marks`. A model without a template gets plain ``Role: text`` lines, and a system turn that a template does
    not take stands at the head of the first user turn.
    """
    messages = as_taken(tokenizer, chat)
    marks = _written_marks(tokenizer, "\n".join(m["content"] for m in messages))
    if marks:
        cut = next(sign for sign in map(chr, PRIVATE) if all(sign not in m["content"] for m in messages))
        messages = [{**m, "content": cut.join(marks.split(m["content"]))} for m in messages]
    if tokenizer.chat_template:
        # enable_thinking: answers are short here; templates that do not know the switch ignore it
        settings = {"add_generation_prompt": True, "enable_thinking": False}
        if marks:
            text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
            return _encode_parts(tokenizer, text.split(cut))
        encoded = tokenizer.apply_chat_template(messages, tokenizer_kwargs=QUIET, **settings)
        ids: list[int] = encoded["input_ids"]
        return ids
    text = "".join([*(f"{m['role'].capitalize()}: {m['content']}\n" for m in messages), "Assistant:"])
    first, *rest = text.split(cut) if marks else [text]
    plain: list[int] = tokenizer(first, **QUIET)["input_ids"]
    return [*plain, *_encode_parts(tokenizer, rest)]


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of an answer as it follows `encode_chat`, with the token that ends it."""
    text = answer if tokenizer.chat_template else f" {answer}"
    return [*encode_text(tokenizer, text), answer_end(tokenizer)]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text alone, in which names of special tokens are the words they are written with."""
    marks = _written_marks(tokenizer, text)
    return _encode_parts(tokenizer, marks.split(text) if marks else [text])


def _written_marks(tokenizer: Any, text: str) -> re.Pattern[str] | None:
    """The places after the first sign of each special token's name in `text`; None where there is none.

    A document, a question or an answer that has the name of a special token written in it must not become one, or it
    could end its turn and begin another. Cut at that place, the name is encoded as the plain text it is.
    """
    names = [token.content for token in tokenizer.added_tokens_decoder.values()]
    found = [name for name in names if len(name) > 1 and name.strip() and name in text]
    if not found:
        return None
    return re.compile("|".join(f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})" for name in found))


def _encode_parts(tokenizer: Any, parts: Sequence[str]) -> list[int]:
    """Token ids of a text in parts that are encoded each by itself."""
    return [i for part in parts for i in tokenizer(part, add_special_tokens=False, **QUIET)["input_ids"]]


def load_causal(name: str, report: Reporter = silent, four_bit: bool = False) -> tuple[Any, Any]:
    """The causal model `name` on the chosen device, dense and trainable, with its tokenizer.

    Alias, hub id, folder, or a tuned run, whose adapter is made part of the weights. With `four_bit` its matrices are
    held in 4 bits, to train adapters on. Raises `UserError`, see `fetch.resolve`; also where `name` is not a text
    generator, and for an adapter that cannot be merged.
    """
    problems = [*name_problems(name, "language"), *_weightless(name)]
    if problems:
        raise UserError.of(problems)
    run = tuned_run(name)
    if run is not None and run.adapter is not None:
        check_mergeable(name, run)
        if four_bit:
            raise merged_first(name)
        model, tokenizer = _with_adapter(run, report)
        return merged(model).requires_grad_(True), tokenizer  # the adapter had frozen what it stands on
    folder = resolve(name, report)
    report(Event("load", 0, 1, name))
    device = choose_device()
    torch, transformers = prepare_torch(), prepare_transformers()
    config = _config(transformers, name, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, device.dtype),  # always named: left out, a checkpoint in bfloat16 stays in it
        local_files_only=True,
        use_safetensors=True,
        **(four_bits(device) if four_bit else {}),
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    report(Event("load", 1, 1, name))
    return (settle(model) if four_bit else model.to(device.kind)).eval(), tokenizer


def _with_adapter(run: TunedRun, report: Reporter) -> tuple[Any, Any]:
    """The base model of a tuned run with its adapter, and the tokenizer."""
    assert run.adapter is not None
    check_base(run.base, run.sha256, report)
    model, tokenizer = load_causal(run.base, report)
    return attach(model, run.adapter), tokenizer


def check_base(base: str, sha256: str, report: Reporter = silent) -> None:
    """Raises `UserError` where the model `base` has other weights than those an adapter was trained on."""
    if model_sha256(base, report) == sha256:
        return
    raise UserError(
        f"the model '{base}' has other weights than the ones this adapter was trained on",
        "run the plan again with this model, or put the former weights back",
        Problem(f"模型“{base}”的权重与训练该适配器时不同", "请用现在的模型重新运行计划，或恢复原来的权重"),
    )


def _weightless(name: str) -> list[Problem]:
    """A fault where `name` is behind an endpoint: what it is asked for here are its weights."""
    if not is_endpoint(name):
        return []
    hint = "prompt and rag can ask it; training and measuring need an alias, a hub id or a folder"
    zh = Problem(
        f"模型“{name}”只能通过网络访问，这里没有它的权重",
        "prompt 和 rag 可以使用它；训练和测量需要模型别名、hub 名称或文件夹",
    )
    return [Problem(f"model '{name}' is reached over the network: its weights are not here", hint, zh)]


def _config(transformers: Any, name: str, folder: Path) -> Any:
    """The configuration, once it is known to be of a text generator that needs no code of its own."""
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        raise UserError(
            f"model '{name}': transformers {transformers.__version__} does not know its architecture",
            "code that comes with weights is never run; name another model, or a newer transformers",
        ) from error
    if type(config) not in transformers.AutoModelForCausalLM._model_mapping:
        raise UserError(f"model '{name}' ({config.model_type}) does not write text", "name a causal language model")
    written = config.architectures or []
    if written and not any("CausalLM" in a or "LMHead" in a or "Generation" in a for a in written):
        raise UserError(f"model '{name}' ({written[0]}) does not write text", "name a causal language model")
    return config


def load_language_model(
    name: str, report: Reporter = silent, adapter: Path | None = None, four_bit: bool = False
) -> LanguageModel:
    """The language model `name`, with the adapter in the folder `adapter` where one is given; see `load_causal`.

    One behind an endpoint keeps to the spending that is open, see `endpoint.session`.
    Raises `UserError`, see `load_causal` and `load_endpoint`; also for a folder that holds no adapter.
    """
    if is_endpoint(name) and adapter is None:
        from executors.models.endpoint.model import load_endpoint

        return load_endpoint(name, report)
    if adapter is not None:
        check_adapter(adapter)
    run = tuned_run(name)
    if adapter is None and run is not None and not run.merges:
        model, tokenizer = _with_adapter(run, report)
        return LocalModel(model.eval(), tokenizer, name)
    model, tokenizer = load_causal(name, report, four_bit)
    if adapter is not None:
        model = attach(model, adapter)
    return LocalModel(model, tokenizer, name)


class LocalModel(LanguageModel):
    """A transformers model on this machine. Takes any causal model with its tokenizer, trained further or not."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.window = tokens_window(model.config, tokenizer) - virtual_tokens(model)
        self._stops = stop_ids(model.generation_config.eos_token_id, tokenizer)
        self._shares = can_share(model)
        self._pads = not virtual_tokens(model) or sees_everything(model.config.get_text_config())  # see `soft`
        self._kept = KeptPrefixes(model)
        self.halving = Halving()  # of rows computed together, where memory runs out
        self._pack_tokens = PACK_TOKENS if model.device.type == "cpu" else PACK_TOKENS_GPU

    def count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def count_chat(self, chat: Chat) -> int:
        return len(encode_chat(self.tokenizer, chat))

    # -- generation ------------------------------------------------------------------------------------

    def generate(
        self, chats: Sequence[Chat], max_tokens: int, report: Reporter = silent, sampling: Sampling = GREEDY
    ) -> list[Completion]:
        torch = prepare_torch()
        prompts = [encode_chat(self.tokenizer, chat) for chat in chats]
        self._check_window(prompts, max_tokens)
        done: dict[int, Completion] = {}
        self.model.eval()
        chance = torch.Generator().manual_seed(sampling.seed)
        with torch.inference_mode():
            shared = self._shared_length(prompts)
            prefix = self._kept.of(prompts[0][:shared]) if shared else None
            lengths = [len(prompt) - shared for prompt in prompts]
            packed = sum(lengths) <= shared * len(lengths)  # else the beginning is the least of it
            for group in self._grouped(lengths, shared, max_tokens, packed):

                def answer_all(rows: Sequence[list[int]]) -> list[list[int]]:
                    decoding = self._decoding(list(rows), prefix, shared, packed)
                    return self._decode(decoding, len(rows), max_tokens, sampling, chance)

                answers = self.halving(answer_all, [prompts[i][shared:] for i in group])
                for i, answer in zip(group, answers, strict=True):
                    done[i] = self._completion(answer, len(prompts[i]), sampling.stop)
                report(Event("predict", len(done), len(prompts)))
        return [done[i] for i in range(len(prompts))]

    def _completion(self, ids: list[int], prompt_tokens: int, stop: Sequence[str]) -> Completion:
        ended = bool(ids) and ids[-1] in self._stops
        text = self._text(ids[:-1] if ended else ids)
        cut = min((text.find(mark) for mark in stop if mark in text), default=len(text))
        stopped = ended or cut < len(text)
        return Completion(text[:cut].strip(), Usage(prompt_tokens, len(ids)), "stop" if stopped else "length")

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _has_ended(self, ids: list[int], stop: Sequence[str]) -> bool:
        return ids[-1] in self._stops or (bool(stop) and any(mark in self._text(ids) for mark in stop))

    def _grouped(self, lengths: list[int], shared: int, max_tokens: int, packed: bool) -> Iterator[list[int]]:
        """Indices of the rows that are decoded together."""
        if packed:
            return packs(lengths, self._pack_tokens, BATCH_ROWS)
        groups = batches(lengths, shared + max_tokens, BATCH_TOKENS, BATCH_ROWS)
        return groups if self._pads else (list(g) for b in groups for _, g in itertools.groupby(b, lengths.__getitem__))

    def _decoding(self, rows: list[list[int]], prefix: Any, shared: int, packed: bool) -> Decoding:
        if packed:
            return PackedRows(self.model, prefix, shared, rows)
        return PaddedRows(self.model, prefix, shared, rows, self.tokenizer.pad_token_id or 0)

    def _decode(self, rows: Decoding, count: int, max_tokens: int, sampling: Sampling, chance: Any) -> list[list[int]]:
        """A continuation of each of `count` rows, with its stop token. Finished rows leave."""
        answers: list[list[int]] = [[] for _ in range(count)]
        active = list(range(count))
        logits = rows.start()
        for step in range(max_tokens):
            chosen = _choose(logits, sampling.temperature, chance)
            for row, token in zip(active, chosen.tolist(), strict=True):
                answers[row].append(token)
            stay = [n for n, row in enumerate(active) if not self._has_ended(answers[row], sampling.stop)]
            if not stay or step + 1 == max_tokens:
                break
            active = [active[n] for n in stay]
            logits = rows.go_on(chosen, stay)
        return answers

    # -- scoring ---------------------------------------------------------------------------------------

    def score(
        self, chats: Sequence[Chat], continuations: Sequence[str], report: Reporter = silent
    ) -> list[list[float]]:
        torch = prepare_torch()
        prompts = [encode_chat(self.tokenizer, chat) for chat in chats]
        answers = [encode_answer(self.tokenizer, text) for text in continuations]
        self._check_window(prompts, max(map(len, answers), default=0))
        self.model.eval()
        with torch.inference_mode():
            if not self._shares:
                return self._score_each(prompts, answers, report)
            return self._score_shared(prompts, answers, report)

    def _score_each(self, prompts: list[list[int]], answers: list[list[int]], report: Reporter) -> list[list[float]]:
        """Every prompt with every answer as a sequence of its own: slow, and right for any architecture."""
        scores = []
        for n, prompt in enumerate(prompts, 1):
            scores.append([self._score_one(prompt, answer) for answer in answers])
            report(Event("predict", n, len(prompts)))
        return scores

    def _score_one(self, prompt: list[int], answer: list[int]) -> float:
        torch = prepare_torch()
        ids = torch.tensor([prompt + answer], device=self.model.device)
        out = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer) + 1)
        steps = out.logits[0, :-1].float().log_softmax(-1)
        return float(steps.gather(1, ids[0, -len(answer) :, None]).sum())

    def _score_shared(self, prompts: list[list[int]], answers: list[list[int]], report: Reporter) -> list[list[float]]:
        trees = grow_trees(answers, self._pack_tokens)
        scores: list[list[float]] = []
        for cache, shared, rows in self._scored_together(prompts, trees):

            def score_all(rows: Sequence[list[int]], cache: Any = cache, shared: int = shared) -> list[list[float]]:
                parts = [(indices, score_pack(self.model, cache, shared, list(rows), tree)) for indices, tree in trees]
                return _side_by_side(parts, len(rows))

            scores += self.halving(score_all, rows)
            report(Event("predict", len(scores), len(prompts)))
        return scores

    def _scored_together(
        self, prompts: list[list[int]], trees: list[tuple[list[int], Tree]]
    ) -> Iterator[tuple[Any, int, list[list[int]]]]:
        """(cache, its tokens, the rows after it): rows beside one another, or one by one where the answers are many."""
        if len(trees) == 1:
            shared = self._shared_length(prompts)
            cache = self._kept.of(prompts[0][:shared]) if shared else None
            lengths = [len(prompt) - shared + len(trees[0][1].tokens) for prompt in prompts]
            for pack in packs(lengths, self._pack_tokens, len(prompts)):
                yield cache, shared, [prompts[i][shared:] for i in pack]
        else:
            for prompt in prompts:
                yield self._kept.of(prompt[:-1]), len(prompt) - 1, [prompt[-1:]]

    # -- what both share -------------------------------------------------------------------------------

    def _check_window(self, prompts: list[list[int]], extra: int) -> None:
        longest = max(map(len, prompts), default=0)
        if longest + extra > self.window:
            raise UserError(
                f"a prompt of {longest:,} tokens and an answer of up to {extra:,} exceed the window of "
                f"{self.name} ({self.window:,} tokens)",
                "shorten the text, give fewer demonstrations or passages, or name a model with a longer window",
            )

    def _shared_length(self, prompts: list[list[int]]) -> int:
        """How many leading tokens all prompts have in common; 0 where computing them apart gains nothing."""
        if not prompts or not self._shares:
            return 0
        first, last = min(prompts), max(prompts)  # in sorted order the extremes share least
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
        same = min(same, min(map(len, prompts)) - 1)  # every row keeps a token to go on from
        return same if same >= (SHARED_AT_LEAST if len(prompts) > 1 else ALONE_AT_LEAST) else 0


def _choose(logits: Tensor, temperature: float, chance: Any) -> Tensor:
    """The next token of each row: the likeliest, or one drawn by its probability at `temperature`."""
    if temperature <= 0:
        return logits.argmax(-1)
    shares = (logits.float().cpu() / temperature).softmax(-1)
    return shares.multinomial(1, generator=chance)[:, 0].to(logits.device)


def _side_by_side(parts: list[tuple[list[int], list[list[float]]]], rows: int) -> list[list[float]]:
    """Scores of groups of answers, ``(indices, [rows][indices])`` each, in the order of the answers."""
    scores = [[0.0] * sum(len(indices) for indices, _ in parts) for _ in range(rows)]
    for indices, found in parts:
        for row, values in zip(scores, found, strict=True):
            for i, value in zip(indices, values, strict=True):
                row[i] = value
    return scores


def tokens_window(config: Any, tokenizer: Any) -> int:
    """The most tokens a prompt and its answer may have, by the model's configuration and its tokenizer."""
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length]
    return min(int(limit) for limit in [*limits, 1 << 30] if limit)


def can_share(model: Any) -> bool:
    """Whether a prefix's cache and a mask of our own are right for this model.

    Not for sliding windows and recurrent layers, whose state cannot be branched by a mask, nor for soft prompts as
    PEFT computes them, whose virtual tokens shift all positions; see `soft`.
    """
    config = model.config.get_text_config()
    adapters = getattr(model, "peft_config", {}).values()
    soft = any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters)
    soft = soft and not getattr(model, "takes_any_mask", False)
    return sees_everything(config) and not soft and getattr(config, "_attn_implementation", "") == "sdpa"


def sees_everything(config: Any) -> bool:
    """Whether every layer of a text model sees all that came before: no sliding window, no recurrence."""
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    return layers == {"full_attention"} and not (getattr(config, "sliding_window", None) and _slides(config))


def _slides(config: Any) -> bool:
    return bool(getattr(config, "use_sliding_window", True))
