"""SetFit on two CSV files of text and label: its accuracy and seconds, as JSON. Run by `encoders.peers` in its own
environment: TRAIN TEST ENCODER [STEPS]."""

from __future__ import annotations

import csv
import json
import sys
import time


def main(train: str, test: str, encoder: str, steps: str = "400") -> None:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    rows = [_read(path) for path in (train, test)]
    begin = time.perf_counter()
    model = SetFitModel.from_pretrained(encoder, device="cpu", local_files_only=True)
    arguments = TrainingArguments(
        batch_size=16, num_epochs=1, max_steps=int(steps), report_to="none", save_strategy="no", show_progress_bar=False
    )
    Trainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows[0])).train()
    seconds = time.perf_counter() - begin
    answers = [str(found) for found in model.predict([row["text"] for row in rows[1]])]
    right = sum(found == row["label"] for found, row in zip(answers, rows[1], strict=True))
    print(json.dumps({"accuracy": right / len(answers), "seconds": seconds, "n": len(answers)}))


def _read(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
