"""Small encoders tuned for labels and numbers: contrastively, with a head, in part, anew, or by PEFT's variants."""

from __future__ import annotations

from executors.tuning.encoder.executor import SmallEncoderExecutor
from executors.tuning.encoder.params import EncoderParams
from executors.tuning.encoder.predictor import EncoderPredictor

__all__ = ["EncoderParams", "EncoderPredictor", "SmallEncoderExecutor"]
