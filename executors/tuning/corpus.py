"""Continued pre-training: the model goes on reading a corpus without labels, all of whose tokens are trained on.

Covered: documents of every kind that retrieval reads, or a file of texts; windows packed from whole documents and the
pieces of long ones, none of which sees another; a share of general text read again, against forgetting (`replay`);
all weights or low-rank updates; the perplexity of documents held out, before and after. Not covered: new words in the
vocabulary and training the embeddings alone, choosing a part of the corpus, near-duplicate documents, a corpus whose
tokens do not fit in memory.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from executors.base import Event, Job, Plan, Problem, Reporter, Text, UserError, parse_params, silent, write_json
from executors.models.catalogue import KNOWLEDGE
from executors.tuning.executor import FullExecutor, PeftExecutor, TuningExecutor, row_limit
from executors.tuning.material import Material
from executors.tuning.params import DEVELOPMENT_MOST, FULL_RATE, PeftParams, TuningParams
from executors.tuning.windows import Piece, Window, WindowBatcher, cut, encode_document, pack

if TYPE_CHECKING:
    from executors.retriever.documents import Document

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".xlsx")  # files with a text a row
FEW = 10  # documents, below which parts of them are held out instead
PART = 2000  # characters of such a part
PASSES = 4  # over the replay text, at most: what is read more often teaches little (Muennighoff et al. 2023)
CHARACTERS = 4  # of a token, about
PERPLEXITY = "perplexity.json"
BEFORE = "perplexity-before.json"  # in the job's folder

Named = tuple[str, str]
"""(where the text stands, the text)"""


@dataclass(frozen=True)
class CptParams(TuningParams):
    """Reading on. One pass, as long as that gives `min_steps` steps; batches of `batch_size` windows."""

    epochs: float = 1.0
    min_steps: int = 40
    batch_size: int = 4
    max_length: int = 512  # tokens of a window
    checkpoint_steps: int = 50
    weights: Literal["all", "low_rank"] = "all"
    rank: int = 32  # of low-rank updates: higher than for a task, for there is more to learn
    replay: float = 0.05  # of the trained tokens, the share of general text; .25 where the language is new
    replay_file: str = ""  # texts to replay, better of the kind the model was trained on; else some of ours

    @property
    def rate_share(self) -> float:
        """All weights take a tenth of what low-rank updates do, as in full tuning."""
        return FULL_RATE["all"] if self.weights == "all" else 1.0


def cpt_problems(plan: Plan, params: CptParams) -> list[Problem]:
    """Everything wrong with a plan that can be seen without reading the documents."""
    from executors.models import name_problems
    from executors.retriever.documents import folder_problems
    from executors.tuning.encoder.names import is_encoder, task_problems

    problems = [] if is_encoder(plan.model) else name_problems(plan.model, "language")
    if is_encoder(plan.model) and not task_problems(plan):  # which says as much of other tasks
        hint = "name a causal language model; an encoder reads on with --method small_encoder --set variant=continued"
        zh = Problem(
            f"model：“{plan.model}”是编码器，不能逐词元续读",
            "请使用因果语言模型；编码器可用 --method small_encoder --set variant=continued",
        )
        problems.append(Problem(f"model: '{plan.model}' is an encoder and writes no text", hint, zh))
    if not 0 <= params.replay < 1:
        zh = Problem(f"params.replay：应在 0（含）到 1（不含）之间，收到 {params.replay}")
        problems.append(Problem(f"params.replay: must be from 0 to below 1, got {params.replay}", "", zh))
    if params.rank < 1:
        zh = Problem(f"params.rank：必须大于 0，收到 {params.rank}")
        problems.append(Problem(f"params.rank: must be above 0, got {params.rank}", "", zh))
    if params.replay_file and not Path(params.replay_file).is_file():
        zh = Problem(f"params.replay_file：没有文件 {params.replay_file}", "请检查路径")
        problems.append(Problem(f"params.replay_file: no file {params.replay_file}", "check the path", zh))
    if plan.docs and not _is_table(Path(plan.docs)):
        problems += folder_problems(plan.docs)
    return problems


# -- texts ---------------------------------------------------------------------------------------------


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES and path.is_file()


def read_corpus(docs: Path, report: Reporter = silent) -> tuple[list[Named], list[Problem]]:
    """Every document's text with its name, and why files were left out. Raises `UserError` where there is no text."""
    if _is_table(docs):
        from executors.data.texts import read_texts

        return read_texts(docs), []
    from executors.retriever.documents import read_documents

    skipped: list[Problem] = []
    read: list[Document] = read_documents(docs, skipped)
    report(Event("read", len(read), len(read)))
    return [(one.path, one.text) for one in read], skipped


def in_parts(texts: Sequence[Named]) -> list[Named]:
    """Few texts as parts of about `PART` characters, cut between paragraphs, so that some can be held out."""
    parts: list[Named] = []
    for name, text in texts:
        gathered: list[str] = []
        for paragraph in [*text.split("\n\n"), None]:
            if gathered and (paragraph is None or sum(map(len, gathered)) >= PART):
                parts.append((f"{name} #{len(parts) + 1}", "\n\n".join(gathered)))
                gathered = []
            gathered += [paragraph] if paragraph else []
    return parts


def hold_out(texts: Sequence[Named], share: float, seed: int, most: int = 1 << 30) -> tuple[list[Named], list[Named]]:
    """(texts to read, texts held out): whole texts drawn at random, until they hold `share` of the characters, or
    `most`; none that would make it twice as much, unless all would.

    None is held out of fewer than four. Equal texts go to the same side.
    """
    unique = list(dict.fromkeys(text for _, text in texts))
    if len(unique) < 4 or not share:
        return list(texts), []
    wanted, taken, held = min(share * sum(map(len, unique)), most), 0, set[str]()
    for text in random.Random(f"held out {seed}").sample(unique, len(unique)):
        if taken < wanted and taken + len(text) <= 2 * wanted:
            held.add(text)
            taken += len(text)
    held = held or {min(unique, key=len)}
    return [one for one in texts if one[1] not in held], [one for one in texts if one[1] in held]


# -- replay --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """General text to read among the corpus: its pieces, and the share of all trained tokens that they are."""

    pieces: tuple[Piece, ...]
    share: float


def replay_pieces(available: Sequence[Piece], corpus: int, share: float, seed: int) -> Replay:
    """As many of the `available` pieces as make `share` of all trained tokens, where the corpus has `corpus` of them;
    each at most `PASSES` times, so that a small text may not suffice."""
    wanted, chosen, taken = corpus * share / (1 - share), list[Piece](), 0
    for turn in range(PASSES):
        for piece in random.Random(f"replay {seed} {turn}").sample(list(available), len(available)):
            if taken + piece.trained / 2 > wanted:  # nearest to what is wanted
                return Replay(tuple(chosen), taken / max(corpus + taken, 1))
            chosen.append(piece)
            taken += piece.trained
    return Replay(tuple(chosen), taken / max(corpus + taken, 1))


def replay_texts(params: CptParams, texts: Sequence[Named]) -> list[str]:
    """The user's own texts, or ours in the corpus's language: everyday prose, a paragraph a text."""
    if params.replay_file:
        from executors.data.texts import read_texts

        return [text for _, text in read_texts(Path(params.replay_file))]
    from executors.retriever.lexical import chinese_share

    chinese = chinese_share("".join(text[:2000] for _, text in texts[:200])) >= 0.3
    bundled = (KNOWLEDGE / "reference" / f"{'zh' if chinese else 'en'}.txt").read_text(encoding="utf-8")
    return [paragraph for paragraph in bundled.split("\n\n") if paragraph.strip()]


# -- the method ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """What is read and what is held out of it, as windows, with what to say about them."""

    windows: list[Window]
    held: list[Window]
    notes: tuple[Text, ...]


class CptExecutor(TuningExecutor):
    """The model reads the documents; labelled rows are for scoring it alone."""

    method = "cpt"
    Params = CptParams
    needs_docs = True

    def __init__(self) -> None:
        self._held: list[Window] = []
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}
        self._batcher: WindowBatcher | None = None

    def check(self, plan: Plan) -> list[Problem]:
        params, _ = parse_params(CptParams, plan.params)
        return [*super().check(plan), *(cpt_problems(plan, params) if params else ())]

    def prepare(self, model: Any, params: CptParams) -> Any:
        if params.weights == "low_rank":
            return PeftExecutor().prepare(model, PeftParams(rank=params.rank))
        return model.float()

    def material(self, job: Job, params: CptParams, model: Any, tokenizer: Any) -> Material:
        """The documents as windows. Measures the held-out ones first, while the model has read nothing."""
        from executors.models.language import can_share
        from executors.tuning.batches import completion_loss

        corpus = make_corpus(job, params, row_limit(params, model), can_share(model), tokenizer)
        self._batcher = WindowBatcher(tokenizer.pad_token_id, model.device.type == "cpu")
        self._held = corpus.held
        self._before = self._measured_before(job, model)
        notes = (*corpus.notes, *_rows_note(len(job.rows)))
        return Material(corpus.windows, corpus.held, self._batcher, completion_loss, notes)

    def _measured_before(self, job: Job, model: Any) -> dict[str, float]:
        """As kept from before an interruption, for a model that has gone on reading is no longer the one before."""
        kept = job.folder / BEFORE
        if not kept.is_file():
            write_json(kept, measure(model, self._held, self._batcher, job.report))
        found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return found

    def notes(self, model: Any, params: CptParams) -> tuple[Text, ...]:
        self._after = measure(model, self._held, self._batcher)
        return _perplexity_note(self._before, self._after)

    def write(self, folder: Path, base: str, model: Any, tokenizer: Any) -> None:
        whole = not hasattr(model, "peft_config")
        (FullExecutor() if whole else PeftExecutor()).write(folder, base, model, tokenizer)
        write_json(folder / PERPLEXITY, {"before": self._before, "after": self._after})


def make_corpus(job: Job, params: CptParams, length: int, packs: bool, tokenizer: Any) -> Corpus:
    """The plan's documents, and the replay among them, in windows of `length` tokens.

    `packs`: whether pieces may share a window. Raises `UserError`: nothing to read.
    """
    texts, skipped = read_corpus(Path(str(job.plan.docs)), job.report)
    whole = len(texts)
    if whole < FEW:
        texts = in_parts(texts)
    read, held = hold_out(texts, params.development, job.plan.seed, DEVELOPMENT_MOST * length * CHARACTERS)
    pieces = list(_pieces(tokenizer, [text for _, text in read], length, job.report))
    if not pieces:
        raise UserError(
            f"{job.plan.docs}: there is no token to read",
            "name documents with text in them: --docs DIR",
            Problem(f"{job.plan.docs}：没有可训练的词元", "请给出含有文字的文档：--docs 文件夹"),
        )
    corpus = sum(piece.trained for piece in pieces)
    replayed = Replay((), 0.0)
    if params.replay:
        available = list(_pieces(tokenizer, replay_texts(params, texts), length))
        replayed = replay_pieces(available, corpus, params.replay, job.plan.seed)
    held_pieces = list(_pieces(tokenizer, [text for _, text in held], length))
    windows = _windows([*pieces, *replayed.pieces], length, packs, job.plan.seed)
    watched = _windows(held_pieces, length, packs, job.plan.seed)
    notes = (
        *_corpus_notes(whole, len(texts), len(held), corpus, length, packs),
        *_replay_note(params, replayed),
        *_skipped(skipped),
    )
    return Corpus(windows, watched, notes)


def _windows(pieces: Sequence[Piece], length: int, packs: bool, seed: int) -> list[Window]:
    return pack(pieces, length, seed) if packs else [Window((piece,)) for piece in pieces]


def _pieces(tokenizer: Any, texts: Sequence[str], length: int, report: Reporter = silent) -> Iterator[Piece]:
    for n, text in enumerate(texts, 1):
        if text.strip():
            yield from cut(encode_document(tokenizer, text.strip()), length)
        report(Event("read", n, len(texts)))


def measure(
    model: Any, windows: Sequence[Window], batcher: WindowBatcher | None, report: Reporter = silent
) -> dict[str, float]:
    """Mean loss (nats a token), perplexity and tokens of windows; empty without any."""
    import torch

    from executors.tuning.batches import completion_loss

    if not windows or batcher is None:
        return {}
    total, tokens, seen = 0.0, 0, batcher.tokens
    model.eval()
    with torch.no_grad():
        for n, window in enumerate(windows, 1):
            batch = {name: tensor.to(model.device) for name, tensor in batcher([[window]]).items()}
            labels = batch.pop("labels")
            total += float(completion_loss(model(**batch), labels)) * window.trained
            tokens += window.trained
            report(Event("surprise", n, len(windows)))
    batcher.tokens = seen  # what is measured is not trained
    loss = total / tokens
    return {"loss": round(loss, 6), "perplexity": round(math.exp(loss), 4), "tokens": tokens}


# -- notes ---------------------------------------------------------------------------------------------


def _corpus_notes(whole: int, texts: int, held: int, tokens: int, length: int, packs: bool) -> tuple[Text, ...]:
    unit, unit_zh = ("documents", "份文档") if texts == whole else (f"parts of {whole} documents", "个部分")
    alone, alone_zh = ("packed into", "打包为") if packs else ("each document in its own", "每份文档单独成为")
    return (
        {
            "en": f"read {tokens:,} tokens of {texts - held} {unit}, {alone} windows of up to {length} tokens in which "
            f"no document sees another; {held} {unit} were held out to measure perplexity on",
            "zh": f"阅读了 {texts - held} {unit_zh}的 {tokens:,} 个词元，{alone_zh}最多 {length} 个词元的窗口，"
            f"文档之间互不可见；另有 {held} {unit_zh}留出用于测量困惑度",
        },
    )


def _replay_note(params: CptParams, replayed: Replay) -> tuple[Text, ...]:
    if not params.replay:
        return ()
    short = replayed.share < 0.9 * params.replay
    told = {
        "en": f"{replayed.share:.1%} of the trained tokens are general text, read again against forgetting",
        "zh": f"训练词元中有 {replayed.share:.1%} 是通用文本，用于减少遗忘",
    }
    if short:
        told["en"] += f"; {params.replay:.0%} were asked for and the text has no more: params.replay_file=FILE"
        told["zh"] += f"；要求 {params.replay:.0%}，但现有通用文本不足：params.replay_file=文件"
    return (told,)


def _skipped(skipped: Sequence[Problem]) -> list[Text]:
    from executors.retriever.documents import skipped_notes

    return skipped_notes(skipped)


def _rows_note(rows: int) -> tuple[Text, ...]:
    return (
        {
            "en": f"the {rows} labelled training rows were not trained on: tune on them next, with --method peft",
            "zh": f"{rows} 条带标注的训练数据没有用于训练：下一步请用 --method peft 在其上微调",
        },
    )


def _perplexity_note(before: dict[str, float], after: dict[str, float]) -> tuple[Text, ...]:
    if not before or not after:
        return (
            {
                "en": "too little text to hold some out: perplexity was not measured",
                "zh": "文本太少，无法留出一部分：未测量困惑度",
            },
        )
    was, now = (f"{found['perplexity']:.2f}" for found in (before, after))
    return (
        {
            "en": f"perplexity of the held-out text: {was} before, {now} after",
            "zh": f"留出文本的困惑度：训练前 {was}，训练后 {now}",
        },
    )
