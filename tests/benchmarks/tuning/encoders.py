"""Small encoders and probes on Banking77 and SST-2, through `run_plan`, beside the floor and peers where they install.

Defaults were chosen on rows of the training files that no draw here learns from; test rows decide nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests.benchmarks.harness import OUT, ROOT, Figure
from tests.benchmarks.prompting import data
from tests.benchmarks.tuning.quality import COMMAND, figure, run

A_CLASS = 10
BANKING_TEST = 1000
SST2_ROWS = 64
SST2_TEST = 400
SEEDS = 5
VARIANTS = ("head_and_all", "last_layers", "first_frozen", "continued", "scratch", "lora", "ia3", "bottleneck_adapters")
LANGUAGE = {"model": "language", "layer": "best"}


def banking10() -> list[Figure]:
    """Ten rows a class: the encoder and the probe as they come, beside the floor."""
    train, test = _banking(A_CLASS)
    tuned = run("banking10", "small_encoder", "classification", train, test)
    probe = run("banking10-probe", "probe", "classification", train, test)
    floor = run("banking10-floor", "baseline", "classification", train, test)
    title = "Banking77, 10 a class"
    return [
        figure(f"{title}, small encoder: accuracy", tuned, "accuracy", "banking10", 0.86),
        figure(f"{title}, probe: accuracy", probe, "accuracy", "banking10", 0.83),
        figure(f"{title}, floor: accuracy", floor, "accuracy", "banking10"),
        Figure(f"{title}, small encoder: seconds of training", tuned.seconds["build"], command=COMMAND + "banking10"),
        Figure(f"{title}, probe: seconds of training", probe.seconds["build"], command=COMMAND + "banking10"),
    ]


def banking_all() -> list[Figure]:
    """All 10,003 rows."""
    train, test = _banking(0)
    tuned = run("banking-all", "small_encoder", "classification", train, test)
    probe = run("banking-all-probe", "probe", "classification", train, test)
    title = "Banking77, all rows"
    return [
        figure(f"{title}, small encoder: accuracy", tuned, "accuracy", "banking-all", 0.92),
        figure(f"{title}, probe: accuracy", probe, "accuracy", "banking-all"),
        Figure(f"{title}, small encoder: seconds of training", tuned.seconds["build"], command=COMMAND + "banking-all"),
    ]


def sst2() -> list[Figure]:
    """64 rows of SST-2, five draws: what reads sentiment best from so few."""
    test = data.write_rows("sst2-encoders-test", data.drawn(data.sst2("test"), SST2_TEST))
    found: dict[str, list[float]] = {"probe on SmolLM2's best layer": [], "probe": [], "small encoder": []}
    for seed in range(SEEDS):
        train = data.write_rows(f"sst2-{SST2_ROWS}-{seed}", data.drawn(data.sst2("train"), SST2_ROWS, seed))
        plans = (("probe", LANGUAGE), ("probe", {}), ("small_encoder", {}))
        for (method, params), (name, scores) in zip(plans, found.items(), strict=True):
            result = run(f"sst2-{name.replace(' ', '-')}-{seed}", method, "classification", train, test, params)
            scores.append(result.scores["accuracy"].value)
    bars = {"probe on SmolLM2's best layer": 0.75}
    return [
        Figure(
            f"SST-2, 64 rows, mean of {SEEDS} draws, {name}: accuracy",
            mean(scores),
            bars.get(name),
            ">=" if name in bars else "",
            n=SEEDS * SST2_TEST,
            interval=(min(scores), max(scores)),
            command=COMMAND + "sst2",
        )
        for name, scores in found.items()
    ]


def encoder_variants() -> list[Figure]:
    """Every variant on the demo's requests; numbers are in `quality.urgency`."""
    train, test = ROOT / "knowledge/demo/requests-train.csv", ROOT / "knowledge/demo/requests-test.csv"
    figures = []
    for variant in ("setfit", *VARIANTS):
        found = run(f"encoder-{variant}", "small_encoder", "classification", train, test, {"variant": variant})
        figures.append(figure(f"variant.small_encoder.{variant}: accuracy", found, "accuracy", "encoder-variants"))
    return figures


@dataclass(frozen=True)
class Peer:
    """Another product that trains on the same rows, in an environment of its own; `shared` with our packages."""

    name: str
    requirement: str
    script: str
    shared: bool

    def python(self) -> Path | None:
        """The interpreter of its environment, made once; None where it does not install."""
        place = OUT / f"peers-{self.name.lower()}"
        python = place / "bin" / "python"
        if not python.is_file():
            shared = ["--system-site-packages"] if self.shared else []
            subprocess.run([sys.executable, "-m", "venv", *shared, str(place)], check=True)
            install = [str(python), "-m", "pip", "install", "-q", f"torch=={torch_version()}", self.requirement]
            if subprocess.run(install, check=False).returncode:
                return None
        return python


PEERS = (
    Peer("SetFit", "setfit==1.2.0", "setfit_peer.py", shared=True),
    Peer("AutoGluon", "autogluon.tabular[lightgbm]==1.6.3", "autogluon_peer.py", shared=False),
)


def peers() -> list[Figure]:
    """Peers on the rows of `banking10` by their own defaults: accuracy and seconds.

    SetFit tunes the same encoder, in 400 steps at most; AutoGluon reads n-grams, for ten minutes at most.
    """
    train, test = _banking(A_CLASS)
    return [figure for peer in PEERS for figure in _beside(peer, train, test)]


def _beside(peer: Peer, train: Path, test: Path) -> list[Figure]:
    python = peer.python()
    if python is None:
        print(f"peers: {peer.name} does not install here: left out", file=sys.stderr)
        return []
    call = [str(python), str(Path(__file__).with_name(peer.script)), str(train), str(test), _encoder_folder()]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    about = {"n": told["n"], "peer_version": peer.requirement, "command": COMMAND + "peers"}
    named = f"Banking77, 10 a class, {peer.name}"
    return [
        Figure(f"{named}: accuracy", told["accuracy"], **about),
        Figure(f"{named}: seconds of training", told["seconds"], **about),
    ]


def torch_version() -> str:
    """The torch of this environment, without its platform's suffix."""
    return importlib.metadata.version("torch").partition("+")[0]


def _encoder_folder() -> str:
    from executors.models import resolve

    return str(resolve("all-minilm-l6-v2"))


def _banking(a_class: int) -> tuple[Path, Path]:
    """Training rows, `a_class` of each intent (0: all), and the test rows."""
    rows = data.banking77("train")
    chosen = data.few_a_class(rows, a_class, seed=0) if a_class else rows
    train = data.write_rows(f"banking77-encoders-{a_class or 'all'}", chosen)
    return train, data.write_rows(f"banking77-{BANKING_TEST}", data.drawn(data.banking77("test"), BANKING_TEST))
