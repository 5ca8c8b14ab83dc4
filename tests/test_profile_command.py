"""`advisor profile` through the command line: what is shown, said in JSON, saved, and refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from advisor.answers import read_answers
from advisor.decision import Inputs
from advisor.profile.documents import measure_documents
from advisor.profile.examine import examine
from advisor.profile.lengths import Counter
from advisor.profile.machine import measure_machine, read_capabilities, read_processor
from advisor.profile.model import architecture_of, describe_model
from executors.base import Event, UserError
from tests.conftest import DEMO
from tests.test_profile import GPT2, MIXTRAL, SMOLLM2

Advisor = Callable[..., tuple[int, str, str]]

NOISY = [(f"request {n} for a {word}", word) for n in range(20) for word in ("refund", "parcel")]
CONFLICTING = [("my order is wrong", "refund"), ("my order is wrong", "parcel"), ("where is it", "parcel"),
               ("where is it", "refund"), ("help me", "parcel"), ("help me", "refund")]  # fmt: skip


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *rows])
    return str(path)


# -- what is shown ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "shown"), [("en", ["This machine", "bf16 in hardware:"]), ("zh", ["本机", "硬件支持 bf16："])]
)
def test_without_options_the_machine_is_shown(lang: str, shown: list[str], advisor: Advisor) -> None:
    status, out, _ = advisor("profile", "--lang", lang)
    assert status == 0
    assert [words for words in shown if words not in out] == []
    assert "advisor ask" in out.splitlines()[-1]


def test_every_line_of_the_demo_is_shown(advisor: Advisor) -> None:
    train, test, docs = DEMO / "requests-train.csv", DEMO / "requests-test.csv", DEMO / "handbook"
    status, out, _ = advisor("profile", "--data", str(train), "--test", str(test), "--docs", str(docs), "--lang", "en")
    assert status == 0
    shown = " ".join(out.split())
    for words in (
        "210 of 210 can be used (CSV, UTF-8", "210 to learn from, 150 held out", "label → column 'intent', by its name",
        "'intent' holds 12 short values", "largest account_access (18)", "evenness 1.00", "Duplicates", "Conflicts",
        "Near-duplicates", "similarity from 0.8 on", "do not fit the window of 8,192 tokens", "English 100", "35 files",
        "Labelled examples 210 examples",
    ):  # fmt: skip
        assert words in shown, words
    assert out.rstrip().endswith(f"advisor ask --data {train} --test {test} --docs {docs}")


def test_chinese_is_not_cut(advisor: Advisor, tmp_path: Path) -> None:
    rows = [(f"第{n}个包裹在哪里，请帮我查询一下物流信息，谢谢", "物流" if n % 2 else "退款") for n in range(30)]
    status, out, _ = advisor("profile", "--data", write(tmp_path / "rows.csv", rows), "--lang", "zh")
    assert status == 0
    assert "…" not in out
    assert "中文 100%" in out
    assert "2 类；最大 物流（15 条），最小 退款（15 条）" in out
    assert "请使用 --model qwen" in out.replace("\n", "").replace("  ", "")


# -- JSON and answers --------------------------------------------------------------------------------------


def test_json_is_one_object_with_every_part(advisor: Advisor, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", NOISY + CONFLICTING)
    status, out, _ = advisor("profile", "--data", path, "--embedder", "all-minilm-l6-v2", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["schema_version"] == 1
    assert set(found) == {
        "machine", "facts", "model", "embedder", "data", "rows", "embedder_cut", "documents", "trial", "domain",
        "warnings", "schema_version",
    }  # fmt: skip
    assert found["model"] is None
    assert found["documents"] is None
    assert (found["rows"]["usable"], found["rows"]["repeats"]["conflicting"]) == (46, 3)
    assert found["rows"]["balance"]["classes"] == 2
    assert found["embedder_cut"] == 0
    assert found["facts"]["labelled_examples"]["origin"] == "measured"
    assert set(found["facts"]["labelled_examples"]["evidence"]) == {"en", "zh"}
    assert {"cpu", "cpu_bf16", "gpu_bf16", "memory_gb"} <= set(found["machine"])


def test_conflicting_labels_are_a_fact_where_there_are_enough(tmp_path: Path) -> None:
    noisy = examine(Inputs(data=write(tmp_path / "noisy.csv", NOISY + CONFLICTING)))
    assert noisy.facts.value("label_quality") == "noisy"
    assert "3 of 43 different inputs" in noisy.facts["label_quality"].evidence["en"]
    few = examine(Inputs(data=write(tmp_path / "few.csv", NOISY + CONFLICTING[:4])))
    assert "label_quality" not in few.facts  # two may be chance; none would prove nothing


def test_saved_facts_are_answers_that_stay_measured(advisor: Advisor, tmp_path: Path) -> None:
    data, kept = write(tmp_path / "rows.csv", NOISY), tmp_path / "answers.yaml"
    assert advisor("profile", "--data", data, "--save", str(kept))[0] == 0
    facts = read_answers(kept)
    assert facts.value("labelled_examples") == 32
    assert facts["labelled_examples"].origin == "measured"
    assert str(kept) in facts["labelled_examples"].evidence["zh"]
    status, out, _ = advisor("ask", "--answers", str(kept), "--json")
    decided = json.loads(out)
    assert status == 0
    assert decided["facts"]["classes"]["origin"] == "measured"
    status, out, _ = advisor("ask", "--answers", str(kept), "--data", data, "--json")
    assert [w["en"] for w in json.loads(out)["warnings"] if "you said" in w["en"]] == []


def test_an_answer_whose_mark_was_taken_away_counts_as_said(tmp_path: Path) -> None:
    kept = tmp_path / "answers.yaml"
    kept.write_text("classes: 3  # measured\nlabelled_examples: 80 # not measured by us\n", encoding="utf-8")
    facts = read_answers(kept)
    assert (facts["classes"].origin, facts["labelled_examples"].origin) == ("measured", "asked")


# -- what is refused ---------------------------------------------------------------------------------------


def test_every_fault_is_told_at_once(advisor: Advisor, tmp_path: Path) -> None:
    status, _, err = advisor(
        "profile", "--data", "none.csv", "--test", "neither.csv", "--docs", "nowhere", "--model", "smolm2-135m-instruct"
    )
    assert status == 1
    for words in ("4 problems", "none.csv", "neither.csv", "nowhere", "smollm2-135m-instruct"):
        assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--test", "x.csv"], "--data"),
        (["--columns", "text=a"], "--data"),
        (["--measure"], "--docs"),
        (["--save", "no/such/folder/a.yaml"], "--save"),
    ],
)
def test_options_that_lack_another_are_refused(arguments: list[str], words: str, advisor: Advisor) -> None:
    for lang in ("en", "zh"):
        status, _, err = advisor("profile", *arguments, "--lang", lang)
        assert status == 1
        assert words in err


def test_no_torch_is_loaded_to_profile(tmp_path: Path) -> None:
    code = (
        "import sys; from advisor.cli import run; "
        f"status = run(['profile', '--data', {str(DEMO / 'requests-train.csv')!r}, '--json']); "
        "print('STATUS', status, *sorted({'torch', 'transformers', 'faiss'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "STATUS 0"


# -- documents ---------------------------------------------------------------------------------------------


def test_documents_that_cannot_be_read_are_listed_and_never_fatal(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_bytes(b"word " * 12)  # 60 bytes
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01" * 10)  # 20
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "other.ppt").write_bytes(b"." * 40)  # 40
    (tmp_path / ".hidden").write_bytes(b"x" * 1000)
    found = measure_documents(str(tmp_path), Counter(lambda texts: [len(t.split()) for t in texts], "words"))
    assert (found.files, found.tokens, found.counted_by) == (1, 12, "words")
    assert [p.message.split(":")[0].rpartition("/")[2] for p in found.unreadable] == ["binary.txt", "empty.md"]
    assert found.others == {".ppt": 1}
    assert found.unread_share == pytest.approx(60 / 120)
    assert found.kinds[".md"].files == 1


def test_a_folder_without_one_readable_document_is_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "binary.md").write_bytes(b"\x00")
    found = examine(Inputs(docs=str(tmp_path)))
    assert found.documents is not None
    assert (found.documents.files, len(found.documents.unreadable), found.documents.unread_share) == (0, 1, 1.0)
    assert "knowledge_tokens" not in found.facts
    with pytest.raises(UserError, match="no document with text"):
        measure_documents(str(tmp_path))


def test_damaged_characters_count_as_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc\ufffd" * 25, encoding="utf-8")
    assert measure_documents(str(tmp_path)).unread_share == pytest.approx(0.25, abs=0.01)


# -- machine and model -------------------------------------------------------------------------------------

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu avx2 avx512f{}\n"


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        (X86.format(" avx512_bf16"), ("Some CPU @ 2.0GHz", True)),
        (X86.format(" amx_tile amx_bf16"), ("Some CPU @ 2.0GHz", True)),
        (X86.format(""), ("Some CPU @ 2.0GHz", False)),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm\n", ("", True)),
        ("", ("", None)),
    ],
)
def test_the_processor_says_whether_it_computes_in_bf16(listing: str, told: tuple[str, bool | None]) -> None:
    assert read_processor(listing) == told


def test_capabilities_are_read_or_unknown() -> None:
    assert read_capabilities("8.9\n7.5\n") == [(8, 9), (7, 5)]
    assert read_capabilities("Field 'compute_cap' is not valid\n") == []
    assert read_capabilities(None) == []


@pytest.mark.parametrize(("levels", "bf16"), [("9.0\n8.0\n", True), ("8.9\n7.5\n", False), ("no such field", None)])
def test_bf16_needs_every_accelerator(levels: str, bf16: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listing = "NVIDIA A, 81559\nNVIDIA B, 15360\n"
    machine = measure_machine(lambda command: levels if "compute_cap" in command[1] else listing)
    assert machine.gpu_bf16 is bf16
    assert machine.gpu_names == ("NVIDIA A", "NVIDIA B")


def test_a_hidden_accelerator_does_not_decide_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    machine = measure_machine(lambda c: "8.0\n7.5\n" if "compute_cap" in c[1] else "NVIDIA A, 81559\nNVIDIA B, 15360\n")
    assert (machine.gpu_bf16, machine.capabilities) == (True, ("8.0",))


def test_the_architecture_follows_from_the_configuration() -> None:
    assert architecture_of(SMOLLM2) == {
        "type": "llama", "layers": 30, "width": 576, "heads": 9, "kv_heads": 3, "vocabulary": 49152,
    }  # fmt: skip
    assert architecture_of(MIXTRAL)["experts"] == 8
    assert architecture_of(GPT2) == {
        "type": "gpt2", "layers": 12, "width": 768, "heads": 12, "kv_heads": 12, "vocabulary": 50257,
    }  # fmt: skip
    assert architecture_of({}) == {}


def test_a_folder_is_described_by_its_configuration(tmp_path: Path, advisor: Advisor) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMOLLM2), encoding="utf-8")
    status, out, _ = advisor("profile", "--model", str(tmp_path), "--lang", "en")
    assert status == 0
    assert "llama, 30 layers, width 576, 9 heads, 3 key/value heads, vocabulary of 49,152" in out
    assert "134,515,008" in out or "135 million" in out


def test_a_hub_id_without_a_network_is_unknown_not_fatal(advisor: Advisor) -> None:
    assert describe_model("someone/some-model").architecture == {}
    status, out, _ = advisor("profile", "--model", "someone/some-model", "--lang", "en")
    assert status == 0
    assert out.count("unknown") >= 3
    assert "someone/some-model is neither in the model list nor a folder" in out


def test_progress_is_told_of_long_files_only(tmp_path: Path) -> None:
    events: list[Event] = []
    examine(Inputs(data=write(tmp_path / "rows.csv", NOISY)), report=events.append)
    assert events == []
