"""Tuning: LoRA adapters and full fine-tuning of causal models, by transformers.Trainer and peft."""

from __future__ import annotations

from executors.tuning.executor import FullExecutor, PeftExecutor
from executors.tuning.params import FullParams, PeftParams
from executors.tuning.predictor import TunedPredictor

__all__ = ["FullExecutor", "FullParams", "PeftExecutor", "PeftParams", "TunedPredictor"]
