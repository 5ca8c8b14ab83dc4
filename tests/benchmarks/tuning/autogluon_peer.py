"""AutoGluon on two CSV files of text and label: its accuracy and seconds, as JSON. Run by `encoders.peers` in its own
environment: TRAIN TEST [ENCODER [SECONDS]]. Its tabular predictor with its defaults, which reads texts as word and
character n-grams: the multimodal one, which would tune the same encoder, wants a build of torchvision for CUDA.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time


def main(train: str, test: str, encoder: str = "", limit: str = "600") -> None:
    """`encoder` is what other peers begin from; not used here."""
    import pandas as pd
    from autogluon.tabular import TabularPredictor

    rows, held_out = (pd.read_csv(path, dtype=str) for path in (train, test))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("label", problem_type="multiclass", path=f"{folder}/model", verbosity=1)
        predictor.fit(rows, time_limit=int(limit))
        seconds = time.perf_counter() - begin
        answers = predictor.predict(held_out[["text"]])
    right = int((answers.to_numpy() == held_out["label"].to_numpy()).sum())
    print(json.dumps({"accuracy": right / len(held_out), "seconds": seconds, "n": len(held_out)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
