"""AutoGluon on two CSV files of text and label: its accuracy and seconds, as JSON. Run by `encoders.peers` in its own
environment: TRAIN TEST ENCODER [SECONDS]. Its defaults but for the encoder, which is the one of the other methods."""

from __future__ import annotations

import json
import sys
import tempfile
import time


def main(train: str, test: str, encoder: str, limit: str = "600") -> None:
    import pandas as pd
    from autogluon.multimodal import MultiModalPredictor

    rows, held_out = (pd.read_csv(path, dtype=str) for path in (train, test))
    settings = {
        "model.names": ["hf_text"],
        "model.hf_text.checkpoint_name": encoder,
        "env.num_gpus": 0,
        "env.precision": "32",
    }
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=f"{folder}/model", verbosity=1)
        predictor.fit(rows, hyperparameters=settings, time_limit=int(limit), seed=0)
        seconds = time.perf_counter() - begin
        answers = predictor.predict(held_out[["text"]])
    right = int((answers.to_numpy() == held_out["label"].to_numpy()).sum())
    print(json.dumps({"accuracy": right / len(held_out), "seconds": seconds, "n": len(held_out)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
