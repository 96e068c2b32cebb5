"""Words in generators, and presentations: relations that hold in a group and in no larger one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equigrid.symmetry import FiniteGroup, group_by_name
from equigrid.symmetry.words import (
    element_of,
    holds,
    order_of,
    parse_relation,
    parse_word,
    presentation,
    relations_of,
    words_of,
    written,
)

GROUPS = ["C1", "C2", "C4", "C5", "D1", "D2", "D3", "D4", "C2xC2", "C4xC4", "D3xC2", "octahedral"]


@pytest.mark.parametrize("name", GROUPS)
def test_a_word_is_its_element(name: str) -> None:
    group = group_by_name(name)
    words = words_of(group)
    assert sorted(words) == list(range(group.order))
    assert next(iter(words.items())) == (0, ())
    assert all(element_of(word, group) == element for element, word in words.items())
    lengths = [sum(power for _, power in word) for word in words.values()]
    assert lengths == sorted(lengths)


def cosets(relations: list[tuple[int, ...]], generators: int, most: int = 400) -> int:
    """The order of the group that relations present, by Todd and Coxeter; words of ±(n + 1)."""
    letters = [s * (n + 1) for n in range(generators) for s in (1, -1)]
    table: list[dict[int, int]] = [{}]
    same = [0]

    def root(c: int) -> int:
        while same[c] != c:
            c = same[c]
        return c

    def merge(a: int, b: int) -> None:
        queue = [(a, b)]
        while queue:
            a, b = map(root, queue.pop())
            if a == b:
                continue
            a, b = min(a, b), max(a, b)
            same[b] = a
            for x, d in list(table[b].items()):
                if x in table[a]:
                    queue.append((table[a][x], d))
                else:
                    table[a][x] = d
                back = root(d)
                if -x in table[back]:
                    queue.append((table[back][-x], a))
                else:
                    table[back][-x] = a

    def step(c: int, x: int) -> int:
        c = root(c)
        if x not in table[c]:
            table.append({-x: c})
            same.append(len(table) - 1)
            table[c][x] = len(table) - 1
        return root(table[c][x])

    for c in range(most):
        if c >= len(table):
            break
        if same[c] != c:
            continue
        for word in relations:
            end = c
            for x in word:
                end = step(end, x)
            merge(end, c)
            if same[c] != c:
                break
        else:
            for x in letters:
                step(c, x)
    return len({root(c) for c in range(len(table))})


@pytest.mark.parametrize("name", GROUPS)
def test_a_presentation_is_of_that_group_and_of_no_larger_one(name: str) -> None:
    group = group_by_name(name)
    relations = presentation(group)
    assert all(holds(relation, group) for relation in relations)

    def letters(word: tuple[tuple[int, int], ...]) -> list[int]:
        return [n + 1 for n, power in word for _ in range(power)]

    flat = [tuple(letters(r.left) + [-x for x in reversed(letters(r.right))]) for r in relations]
    assert cosets(flat, len(group.generators)) == group.order


def test_a_group_from_outside_has_a_presentation_too() -> None:
    """Of the quaternions, by their multiplication table alone."""
    units = [
        np.eye(2),
        np.diag([1j, -1j]),
        np.array([[0, 1], [-1, 0]]),
        np.array([[0, 1j], [1j, 0]]),
    ]
    units = [sign * unit for unit in units for sign in (1, -1)]
    table = np.array([
        [next(n for n, u in enumerate(units) if np.allclose(u, a @ b)) for b in units]
        for a in units
    ])  # fmt: skip
    group = FiniteGroup("quaternions", table, (2, 4))
    assert order_of(2, group) == 4
    assert all(holds(relation, group) for relation in presentation(group))


def test_relations_are_read_as_they_are_written() -> None:
    group = group_by_name("D3")
    found = relations_of({"a^3 = e": 0.5, "b a b = a^-1": 2}, group)
    assert {str(relation): weight for relation, weight in found.items()} == {
        "a³ = e": 0.5,
        "bab = a⁻¹": 2,
    }
    assert [str(it) for it in relations_of({}, group)] == ["a³ = e", "b² = e", "baba = e"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a^2 = e", "does not hold in D3"),
        ("c = e", "'c' is no power of a, b, e"),
        ("a^3", "expected two words"),
        ("= e", "expected two words"),
        ("a^99999 = e", "'a^99999' is no power"),
        ("a^2000 = e", "powers up to 1024"),
    ],
)
def test_what_is_no_relation_of_the_group_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("^", r"\^")):
        relations_of({text: 1}, group_by_name("D3"))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5).filter(bool)), max_size=6))
def test_a_word_goes_to_text_and_back(word: list[tuple[int, int]]) -> None:
    text = " ".join(f"{'ab'[n]}^{power}" for n, power in word) or "e"
    assert parse_word(text, 2) == tuple(word)
    assert written(parse_relation(f"{text} = e", 2).left).isprintable()
