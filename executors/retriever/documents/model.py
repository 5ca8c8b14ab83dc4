"""What a file is once it is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A page or a row of a document, as Markdown; both count from 1. A table's head is no row."""

    text: str
    page: int | None = None
    row: int | None = None


@dataclass(frozen=True)
class Document:
    """One file. `path` is relative to the documents' folder, with forward slashes; `text` is Markdown of all of it.

    Where the kind has pages or rows, `parts` are those with text in them, and `text` is their join.
    """

    path: str
    text: str
    title: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Content:
    """What one kind's reader makes of a file: its text, or its parts; a title where the file has one."""

    text: str = ""
    title: str = ""
    parts: tuple[Part, ...] = ()
    joint: str = "\n\n"  # between the parts


class Unreadable(Exception):
    """A file that is not what its name says, or has no text: why, and what to do, in English and in Chinese.

    The texts do not name the file; who reads it does.
    """

    def __init__(self, why: str, hint: str, zh: str, hint_zh: str) -> None:
        super().__init__(why)
        self.why, self.hint, self.zh, self.hint_zh = why, hint, zh, hint_zh
