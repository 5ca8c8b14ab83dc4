"""Indexes of other tools that are refused, with the reason and the way on.

LangChain's FAISS store keeps its texts in a pickle, and a pickle runs code when it is read: it is never opened here,
not even to look. Its documents are indexed again from their files.
"""

from __future__ import annotations

from pathlib import Path

from executors.base import Problem, UserError


def pickled_store_problem(folder: Path) -> Problem | None:
    """Why `folder` cannot be imported, where it holds NAME.faiss and NAME.pkl, as `FAISS.save_local` writes them."""
    stores = sorted(path.stem for path in folder.glob("*.faiss") if path.with_suffix(".pkl").is_file())
    if not stores:
        return None
    name = f"{stores[0]}.pkl"
    return Problem(
        f"{folder}: a FAISS store of LangChain. Its texts are in {name}, a pickle, which can run code when it is read",
        "index the documents themselves again: advisor index DOCS",
        Problem(
            f"{folder}：这是 LangChain 的 FAISS 存储，其文本保存在 {name} 中；pickle 在读取时可能执行代码，因此不导入",
            "请用原始文档重新建立索引：advisor index DOCS",
        ),
    )


def refuse_pickled_store(folder: Path) -> None:
    """Raises `UserError` for a folder of a LangChain FAISS store."""
    problem = pickled_store_problem(folder)
    if problem is not None:
        raise UserError.of([problem])
