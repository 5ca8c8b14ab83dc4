"""When the documents of a folder change: the system tells, nothing is read until it does.

Covered: files that appear, change, move or go, in sub-folders too; many changes at once are one (debounced). Folders
whose system tells nothing (some network shares, containers) are looked through instead where the user says so, by
`WATCHFILES_FORCE_POLLING`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from executors.base import Problem, UserError

SETTLED = 400  # milliseconds without a change until what changed is told
LONGEST = 5_000  # milliseconds after which it is told all the same
AWAKE = 1_000  # milliseconds between two looks at Ctrl-C while nothing happens


def follow(docs: Path) -> Iterator[None]:
    """Yields whenever documents may have changed, and once soon after the start: for what changed before it could be
    seen. Ends with `KeyboardInterrupt`. Raises `UserError` where the folder cannot be followed."""
    from watchfiles import watch

    from executors.retriever.documents import ENDINGS

    root, only = (docs.parent, docs) if docs.is_file() else (docs, None)

    def concerns(_: object, changed: str) -> bool:
        path = Path(changed)
        if only is not None:
            return path.name == only.name
        return path.suffix.lower() in (*ENDINGS, "") and not path.name.startswith((".", "~$"))  # "": a folder, maybe

    start = True
    told = watch(root, watch_filter=concerns, debounce=LONGEST, step=SETTLED, rust_timeout=AWAKE, yield_on_timeout=True)
    try:
        for changes in told:
            if changes or start:
                start = False
                yield
    except OSError as error:
        again = "WATCHFILES_FORCE_POLLING=1 advisor index … --watch"
        zh = Problem(f"无法监视 {docs}：{error}", f"可改为定时查看：{again}")
        raise UserError(
            f"{docs} cannot be followed: {error}", f"have it looked through now and then: {again}", zh
        ) from error
