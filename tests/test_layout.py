"""Where the drawing of the chart puts things: lines of text, rows, and what stands beside what."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from advisor.drawing.layers import GAP, Layout, Wire, arrange, isotonic
from advisor.drawing.lettering import ROOM, width, wrap

# -- lines of text -----------------------------------------------------------------------------------


def test_a_wide_character_is_one_em_and_a_latin_one_about_half() -> None:
    assert width("检索", 10) == pytest.approx(20 * ROOM)
    assert width("aA", 10) == pytest.approx((5.6 + 6.7) * ROOM)
    assert width("", 10) == 0


@pytest.mark.parametrize("room", [50, 80, 160])
@pytest.mark.parametrize(
    "text", ["What may one training run cost?", "缺的是陌生领域的事实，且语料大而稳定（约十亿 token）。"]
)
def test_lines_hold_the_whole_text_within_the_room(text: str, room: float) -> None:
    lines = wrap(text, 10, room)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width(line, 10) <= room for line in lines if " " in line or not line.isascii())


def test_chinese_lines_do_not_begin_with_a_closing_mark_or_end_with_an_opening_one() -> None:
    text = "检索，增强（生成）。再，微调（适配器）！" * 3
    for room in range(20, 120, 3):
        lines = wrap(text, 10, room)
        assert not any(line[0] in "，。）！" or line[-1] == "（" for line in lines)


def test_lines_are_about_equally_long_and_a_plus_stays_with_its_word() -> None:
    assert wrap("one two three four", 10, width("one two three", 10)) == ("one two", "three four")
    assert wrap("yes + Retrieval", 10, width("+ Retrieval", 10)) == ("yes", "+ Retrieval")


def test_a_word_wider_than_the_room_is_left_whole() -> None:
    assert wrap("incomprehensibilities", 10, 20) == ("incomprehensibilities",)


# -- places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wishes", "weights", "found"),
    [
        ([1, 2, 3], [1, 1, 1], [1, 2, 3]),
        ([3, 1], [1, 1], [2, 2]),
        ([3, 1], [3, 1], [2.5, 2.5]),
        ([4, 3, 2, 9], [1, 1, 1, 1], [3, 3, 3, 9]),
        ([0, 5, 3, 4], [1, 1, 1, 2], [0, 4, 4, 4]),
    ],
)
def test_ascending_numbers_nearest_to_the_wishes(wishes: list[float], weights: list[float], found: list[float]) -> None:
    assert isotonic(wishes, weights) == pytest.approx(found)


def laid_out(*pairs: tuple[str, str], label: tuple[float, float] = (20.0, 10.0)) -> Layout:
    names = dict.fromkeys(name for pair in pairs for name in pair)
    return arrange(dict.fromkeys(names, (50.0, 20.0)), [Wire(a, b, label) for a, b in pairs])


def test_rows_follow_the_longest_path_with_a_row_for_answers_between() -> None:
    layout = laid_out(("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"))
    assert {name: item.row for name, item in layout.nodes.items()} == {"a": 0, "b": 2, "c": 4, "d": 6}
    assert [[item.row for item in route] for route in layout.routes] == [
        [0, 1, 2],
        [2, 3, 4],
        [0, 1, 2, 3, 4],
        [4, 5, 6],
    ]


def test_a_chain_stands_upright() -> None:
    layout = laid_out(("a", "b"), ("b", "c"), ("c", "d"))
    assert {item.x for item in layout.nodes.values()} == {25.0}
    assert layout.width == 50.0


def test_a_fork_is_symmetric() -> None:
    nodes = laid_out(("a", "b"), ("a", "c")).nodes
    assert nodes["a"].x - nodes["b"].x == pytest.approx(nodes["c"].x - nodes["a"].x, abs=0.2)
    assert nodes["c"].x - nodes["b"].x >= 50.0 + GAP


def test_crossings_that_can_be_avoided_are_avoided() -> None:
    nodes = laid_out(("r", "a"), ("r", "b"), ("a", "x"), ("a", "y"), ("b", "x")).nodes
    assert (nodes["a"].x < nodes["b"].x) == (nodes["y"].x < nodes["x"].x)


def test_a_long_edge_falls_straight() -> None:
    label, *bends = laid_out(("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")).routes[3][1:-1]
    assert len(bends) == 4
    assert [bend.x for bend in bends] == pytest.approx([label.x] * 4, abs=GAP)  # it gives way to a box, no more


@pytest.mark.parametrize("seed", range(30))
def test_nothing_overlaps_in_any_chart(seed: int) -> None:
    rng = random.Random(seed)
    names = [str(n) for n in range(rng.randint(2, 14))]
    wires = [Wire(names[rng.randint(max(0, n - 4), n - 1)], names[n], (40.0, 12.0)) for n in range(1, len(names))]
    wires += [Wire(*sorted(rng.sample(names, 2), key=int)) for _ in names]
    layout = arrange({name: (float(rng.randint(20, 120)), 20.0) for name in names}, wires)
    items = {id(item): item for route in layout.routes for item in route}.values()
    for one, other in combinations(items, 2):
        if one.row == other.row:
            assert abs(one.x - other.x) >= (one.size[0] + other.size[0]) / 2 + GAP - 0.2  # rounded to a tenth
        else:
            assert (one.y < other.y) == (one.row < other.row)


def test_wires_that_form_a_cycle_are_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        laid_out(("a", "b"), ("b", "a"))
