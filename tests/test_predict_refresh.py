"""`predict` and `chat` say which documents changed since they were indexed; `--refresh` takes them in first."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from advisor.freshness import changed
from executors.base import UserError
from tests.test_chat import Echo, Still, finished, pipe  # noqa: F401 (fixtures)

Advisor = Callable[..., tuple[int, str, str]]
COMMANDS = {"predict": ["one"], "chat": []}


@pytest.fixture(params=COMMANDS)
def call(request: Any, finished: Any, pipe: Any, advisor: Advisor) -> Callable[..., tuple[int, str, str]]:  # noqa: F811
    """Asks a run of this predictor one question by either command."""

    def ask(kind: type[Echo], *options: str) -> tuple[int, str, str]:
        pipe("one\n")
        return advisor(request.param, finished(kind), *COMMANDS[request.param], *options)

    return ask


def change(**files: tuple[str, ...]) -> Any:
    return SimpleNamespace(**{"added": (), "updated": (), "deleted": (), "embedded": 0, **files})


def test_files_that_changed_are_named_before_the_answer_with_the_command_that_takes_them_in(call: Any) -> None:
    status, out, err = call(Echo, "--lang", "en")
    assert status == 0
    assert "the documents changed since they were indexed (changed network.md): answers are from before" in err
    assert "r1 --refresh" in err
    assert out.startswith("one!")


def test_refresh_takes_them_in_and_says_what_it_took(call: Any) -> None:
    err = call(Echo, "--refresh", "--lang", "en")[2]
    assert "brought up to date: changed network.md; passages embedded: 2" in err
    assert "from before" not in err


def test_where_nothing_changed_nothing_is_said_unless_asked(call: Any) -> None:
    assert "index" not in call(Still, "--lang", "en")[2]


def test_a_refresh_that_finds_nothing_says_so(call: Any) -> None:
    assert "nothing to update" in call(Still, "--refresh", "--lang", "en")[2]


def test_documents_that_have_moved_do_not_keep_it_from_answering(call: Any) -> None:
    class Moved(Echo):
        def stale(self) -> Any:
            raise UserError("handbook: no such folder of documents", "check the path")

    status, out, err = call(Moved, "--lang", "en")
    assert (status, out.startswith("one!")) == (0, True)
    assert "whether the documents changed cannot be told: handbook: no such folder" in err


def test_it_is_told_in_chinese(call: Any) -> None:
    assert "修改 network.md" in call(Echo, "--lang", "zh")[2]
    assert "已更新：修改 network.md" in call(Echo, "--refresh", "--lang", "zh")[2]


def test_many_files_are_counted_instead_of_named() -> None:
    found = changed(change(added=tuple(f"{n}.md" for n in range(9)), deleted=("gone.md",)))
    assert found is not None
    assert found["en"] == "new 0.md, 1.md, 2.md, 3.md and 5 more; deleted gone.md"
    assert found["zh"] == "新增 0.md、1.md、2.md、3.md 等另外 5 个；删除 gone.md"
    assert changed(change()) is None
