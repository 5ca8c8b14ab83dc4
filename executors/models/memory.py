"""Memory that runs out: how it is told, and what to do about it where the work can be done in smaller pieces."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from executors.base import Problem, Text, UserError

T = TypeVar("T")
R = TypeVar("R")

MARKS = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: torch's allocators on the CPU and on Apple GPUs raise a plain
    RuntimeError."""
    torch = sys.modules.get("torch")  # not loaded: its error cannot be at hand
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error).lower() for mark in MARKS)


class Halving:
    """Work on several items at once, in halves where memory runs out; it remembers how many fitted."""

    def __init__(self) -> None:
        self.most: int | None = None  # None: nothing had to be halved

    def __call__(self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
        """`work(items)`, one result an item. Raises `UserError` where one item is too many."""
        if self.most is not None and len(items) > self.most:
            return self._halves(work, items)
        try:
            return work(items)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(items) == 1:
                raise _too_long() from error
        free_memory()
        self.most = (len(items) + 1) // 2
        return self._halves(work, items)

    def _halves(self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
        half = (len(items) + 1) // 2
        return [*self(work, items[:half]), *self(work, items[half:])]

    @property
    def notes(self) -> tuple[Text, ...]:
        """What was halved, in words; empty where nothing was."""
        if self.most is None:
            return ()
        return (
            {
                "en": f"memory ran out in prediction: at most {self.most} rows were computed at a time, with the same "
                "answers",
                "zh": f"预测时内存不足：每次最多计算 {self.most} 条数据，答案不变",
            },
        )


def _too_long() -> UserError:
    return UserError(
        "out of memory with one text at a time",
        "give fewer passages or demonstrations, shorten the text, or name a smaller model",
        Problem("即使一次只处理一条文本，内存仍不足", "请减少段落或示例、缩短文本，或指定更小的模型"),
    )


def free_memory() -> None:
    """Give back what no one holds any longer, so that a smaller piece finds room. Not to be called while the error
    is being handled: its traceback holds the tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
