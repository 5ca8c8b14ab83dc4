"""What training leaves beside its weights for others: a model card, and the fingerprint an export is held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import write_json
from executors.export.card import Card, write_card
from executors.export.fingerprint import FINGERPRINT, take
from executors.models.adapters import PEFT_CONFIG

if TYPE_CHECKING:
    from executors.tuning.encoder.predictor import TunedEncoder
    from executors.tuning.predictor import Tuned


def describe(folder: Path, about: Tuned, tokenizer: Any, rows: int) -> None:
    """Write both into the artifact in `folder`, whose weights lie in `adapter/` or `model/`. `rows`: trained on."""
    found = take(tokenizer)
    write_json(folder / FINGERPRINT, found)
    whole = (folder / "model").is_dir()
    inner = folder / ("model" if whole else "adapter")
    write_card(
        inner,
        Card(
            form="merged" if whole else "adapter",
            about=about,
            fingerprint=found,
            template=tokenizer.chat_template or "",
            rows={"train": rows},
            standard=whole or (inner / PEFT_CONFIG).is_file(),
        ),
    )


def describe_encoder(folder: Path, about: TunedEncoder, method: str, rows: int) -> None:
    """Write the model card of a tuned encoder beside its weights in `folder`. `rows`: trained on. An adapter that could
    not be folded into the weights lies in the artifact, beside `folder`."""
    from executors.tuning.predictor import Tuned

    card = Card(
        form="encoder",
        about=Tuned(method, about.task, about.labels, about.base, about.sha256, about.params),
        fingerprint=None,
        template="",
        rows={"train": rows},
        standard=not (folder.parent / "adapter").is_dir(),
        limit=about.limit,
        prompt=about.prompt,
    )
    write_card(folder, card)
