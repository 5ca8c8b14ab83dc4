"""How like the model's training data the user's text is: bits a byte of it against a text of everyday prose.

Rule: up to `HIGH` times the bits of the reference in the same language the text is much like it, up to `MEDIUM`
times partly, beyond that it is different. With SmolLM2-135M-Instruct and 8 kB of each this gave: encyclopaedia
paragraphs .98, school mathematics 1.01, banking questions 1.19, abstracts on electronics 1.26, program code 1.0 to
1.3, fragments of film reviews 1.5, words in random order 2.4, clinical shorthand 3.9. A model that predicts the
reference in this language far worse than that in another hardly knows the language (Chinese: 2.5 times): then the
text counts as different, whatever its ratio.

Not covered: languages without a reference here; knowledge as such: a text that is repetitive or boilerplate is easy to
predict however special its subject, so `high` is a weaker statement than `low`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.facts import Fact, Facts
from advisor.texts import KNOWLEDGE, text
from executors.base import Reporter, Text, silent, write_json

REFERENCES = ("en", "zh")  # knowledge/reference/<language>.txt
HIGH, MEDIUM = 1.25, 1.75
SUSPECT = 1.5  # bits a byte of everyday prose above which a model may not know the language; it knows others below 1.2
FOREIGN = 1.75  # bits of the reference in this language against the best one's, from which a language is hardly known
BYTES = 8000  # of the text that are judged
LEAST = 400  # bytes below which nothing is told


@dataclass(frozen=True)
class Domain:
    """`bits` and `reference_bits` are bits a byte; `similarity` is None where nothing can be told."""

    model: str
    language: str
    similarity: str | None
    reason: Text
    bits: float = 0.0
    reference_bits: float = 0.0
    ratio: float = 0.0
    bytes: int = 0


def language_of(languages: Mapping[str, float]) -> str:
    """The language most of the text is in. Code and codes in Latin letters count as English."""
    first = next(iter(languages), "")
    return "en" if first == "latin" else first


def measure_domain(model: str, texts: Iterable[str], language: str, folder: Path, report: Reporter = silent) -> Domain:
    """Compare `texts`, one after the other, with the references. Each figure is kept in `folder` at once.

    Raises `UserError` where the weights cannot be had.
    """
    sample = _sample(texts)
    if language not in REFERENCES:
        return Domain(model, language, None, text("profile.domain_language", known=text("profile.domain_known")))
    if len(sample.encode()) < LEAST:
        return Domain(model, language, None, text("profile.domain_short", least=LEAST))
    own, reference = _surprises(model, (sample, read_reference(language)), folder, report)
    best = reference
    if reference > SUSPECT:
        others = [read_reference(name) for name in REFERENCES if name != language]
        best = min(reference, *_surprises(model, others, folder, report))
    similarity, reason = judge(own, reference, best, model, language, len(sample.encode()))
    return Domain(
        model, language, similarity, reason, round(own, 3), round(reference, 3), round(own / reference, 2),
        len(sample.encode()),
    )  # fmt: skip


def judge(own: float, reference: float, best: float, model: str, language: str, size: int) -> tuple[str, Text]:
    """The similarity and the sum behind it. All three are bits a byte; `best` is of the reference predicted best."""
    ratio = own / reference
    values = {"model": model, "own": f"{own:.2f}", "reference": f"{reference:.2f}", "size": f"{size:,}"}
    named = text(f"profile.lang_{language}")
    if reference > FOREIGN * best:
        times = f"{reference / best:.1f}"
        return "low", text("profile.domain_foreign", language=named, times=times, best=f"{best:.2f}", **values)
    similarity = "high" if ratio <= HIGH else "medium" if ratio <= MEDIUM else "low"
    limits = {"high": f"{HIGH:g}", "medium": f"{MEDIUM:g}"}
    return similarity, text("profile.domain", language=named, ratio=f"{ratio:.2f}", **limits, **values)


def domain_facts(domain: Domain) -> Facts:
    """`domain_similarity`, where it could be told."""
    if domain.similarity is None:
        return Facts()
    return Facts().with_(Fact("domain_similarity", domain.similarity, "measured", domain.reason))


def _sample(texts: Iterable[str]) -> str:
    """The beginnings of the texts, until there are enough bytes."""
    parts, size = [], 0
    for part in texts:
        if part.strip():
            parts.append(part.strip())
            size += len(parts[-1].encode()) + 2
        if size >= BYTES:
            break
    return "\n\n".join(parts).encode()[:BYTES].decode(errors="ignore")


def read_reference(language: str) -> str:
    """The text of everyday prose in a language."""
    return (KNOWLEDGE / "reference" / f"{language}.txt").read_text(encoding="utf-8")


def _surprises(model: str, texts: Sequence[str], folder: Path, report: Reporter) -> list[float]:
    """Bits a byte of each text; those kept in `folder` are not measured again."""
    from executors.models.language import load_causal
    from executors.models.perplexity import measure_surprise

    kept = folder / "surprise.json"
    known: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    keys = [hashlib.sha256(f"{model}\0{content}".encode()).hexdigest() for content in texts]
    missing = [place for place, key in enumerate(keys) if key not in known]
    loaded, tokenizer = load_causal(model, report) if missing else (None, None)
    for place in missing:
        known[keys[place]] = measure_surprise(loaded, tokenizer, [texts[place]], BYTES, report).bits
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, known)
    return [known[key] for key in keys]
