"""The encoder with weights of 8 bits: near the one it is made from, a model of its own, and taken where it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advisor import encoders
from executors.base import Passage, Plan, UserError
from executors.models import Embedder, load_embedder
from executors.models.folder import weights_sha256
from executors.models.int8 import pays_here
from executors.retriever.index import build_index, embedded_text, open_index

SMALL = "all-minilm-l6-v2-int8"
TEXTS = ["where is my parcel?", "the battery lasts two years", "a long text about taxes " * 90, "水表"]


@pytest.fixture(scope="module")
def both() -> tuple[Embedder, Embedder]:
    return load_embedder(Plan.embedder), load_embedder(SMALL)


def test_vectors_are_near_those_of_the_encoder_it_is_made_from(both: tuple[Embedder, Embedder]) -> None:
    plain, small = (encoder.embed(TEXTS) for encoder in both)
    assert small.shape == plain.shape
    assert np.allclose(np.linalg.norm(small, axis=1), 1, atol=1e-5)
    assert ((small * plain).sum(axis=1) > 0.95).all()
    assert not np.allclose(small, plain, atol=1e-4), "they are not the same vectors"


def test_vectors_stay_with_their_texts(both: tuple[Embedder, Embedder]) -> None:
    """Activations are rounded by the range of the whole batch, so a vector moves a little with its neighbours."""
    small = both[1]
    together = small.embed(TEXTS)
    for n, text in enumerate(TEXTS):
        assert float(together[n] @ small.embed([text])[0]) > 0.98
    assert small.embed([]).shape == (0, small.dimension)


def test_an_index_of_one_is_refused_to_the_other(both: tuple[Embedder, Embedder], tmp_path: Path) -> None:
    plain, small = both
    passages = [Passage("a red lamp", "lamp.md")]
    build_index(passages, small.embed([embedded_text(p) for p in passages]), small, tmp_path / "ix")
    with pytest.raises(UserError, match=SMALL), open_index(tmp_path / "ix", plain):
        pass
    with open_index(tmp_path / "ix", small) as index:
        assert len(index) == 1


def test_its_weights_are_part_of_its_hash(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = weights_sha256(tmp_path)
    (tmp_path / "encoder-int8.onnx").write_bytes(b"in 8 bits")
    assert weights_sha256(tmp_path) != before


def test_another_pooling_is_refused_not_ignored(both: tuple[Embedder, Embedder]) -> None:
    small = both[1]
    assert small.pooled("mean") is small
    with pytest.raises(UserError, match="pooled as it was made"):
        small.pooled("cls")


@pytest.mark.parametrize(
    ("text", "pays"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags : avx2 avx_vnni", True),
        ("processor : 0\nflags\t\t: fpu sse4_2 avx2 avx512f\n", False),
        ("CPU architecture: 8", False),
    ],
)
def test_it_pays_where_the_cpu_has_the_instructions(text: str, pays: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert pays_here(tmp_path / "cpuinfo") is pays
    assert not pays_here(tmp_path / "missing")


@pytest.mark.parametrize(("words", "quick", "expected"), [(400_000, True, SMALL), (400_000, False, Plan.embedder)])
def test_many_documents_are_indexed_by_it_where_it_pays(
    words: int, quick: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executors.models.int8.pays_here", lambda: quick)  # the tests' machine has it, or has not
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.md").write_text("few words")
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "a.md").write_text("some more words " * (words // 3))
    assert encoders.default_encoder(tmp_path / "many") == expected
    assert encoders.default_encoder(tmp_path / "few") == Plan.embedder
