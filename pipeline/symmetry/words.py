"""Words in a group's generators, and the relations that make a group of them (a presentation).

The generators are written a, b, c, … in their order; `e` is the identity. In `b a` a comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from equigrid.symmetry.groups import FiniteGroup

#: Of generators; `e` is the identity.
LETTERS = "abcdfghijklmnopqrstuvwxyz"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: The highest power in a word; a group has no more elements.
HIGHEST = 1024

_FACTOR = re.compile(r"([a-z])(?:\^(-?[0-9]{1,4}))?")

#: Generators by number, each with a power: (0, 2), (1, -1) is a² b⁻¹.
Word = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Relation:
    """left = right, two words that are the same element."""

    left: Word
    right: Word

    def __str__(self) -> str:
        return f"{written(self.left)} = {written(self.right)}"


def parse_word(text: str, generators: int) -> Word:
    """`a^2 b^-1`; ValueError names what is no power of one of so many generators."""
    found = []
    for factor in text.split():
        match = _FACTOR.fullmatch(factor)
        if match is None or (match[1] != "e" and match[1] not in LETTERS[:generators]):
            allowed = ", ".join((*LETTERS[:generators], "e"))
            raise ValueError(f"{factor!r} is no power of {allowed}, such as a^2 or a^-1")
        power = int(match[2] or 1)
        if abs(power) > HIGHEST:
            raise ValueError(f"{factor!r}: allowed: powers up to {HIGHEST}")
        if match[1] != "e":
            found.append((LETTERS.index(match[1]), power))
    return tuple(found)


def parse_relation(text: str, generators: int) -> Relation:
    """`b a b a = e`; ValueError says what is wrong with it."""
    sides = text.split("=")
    if len(sides) != 2 or not all(side.strip() for side in sides):
        raise ValueError(f"{text!r}: expected two words and one =, such as a^2 = e")
    return Relation(*(parse_word(side, generators) for side in sides))


def written(word: Word) -> str:
    """`a²b⁻¹`, for people."""
    return "".join(
        LETTERS[n] + (str(power).translate(SUPERSCRIPTS) if power != 1 else "")
        for n, power in word
    ) or "e"  # fmt: skip


def element_of(word: Word, group: FiniteGroup) -> int:
    """The element that a word is."""
    found = 0
    for n, power in word:
        generator = group.generators[n]
        step = generator if power > 0 else int(group.inverse[generator])
        for _ in range(abs(power)):
            found = int(group.table[found, step])
    return found


def holds(relation: Relation, group: FiniteGroup) -> bool:
    return element_of(relation.left, group) == element_of(relation.right, group)


def words_of(group: FiniteGroup) -> dict[int, Word]:
    """A shortest word of every element, the identity and the nearest first."""
    letters: dict[int, tuple[int, ...]] = {0: ()}
    reached = [0]
    for element in reached:  # grows on the way: breadth first
        for n, generator in enumerate(group.generators):
            found = int(group.table[generator, element])
            if found not in letters:
                letters[found] = (n, *letters[element])
                reached.append(found)
    return {
        element: tuple((n, len(list(run))) for n, run in groupby(word))
        for element, word in letters.items()
    }


def order_of(element: int, group: FiniteGroup) -> int:
    """The least n with gⁿ = e."""
    power, n = element, 1
    while power != 0:
        power, n = int(group.table[power, element]), n + 1
    return n


def presentation(group: FiniteGroup) -> tuple[Relation, ...]:
    """Relations between the generators that hold in this group and in no larger one.

    C_n: aⁿ = e. D_n: aⁿ = b² = baba = e. A product: those of its factors, and that generators of
    different factors commute. Any other group: for each element and generator that what they give
    is the element they should (all edges of the Cayley graph).
    """
    if group.factors:
        left, right = group.factors
        first, shift = presentation(left), len(left.generators)
        second = [
            Relation(_shifted(it.left, shift), _shifted(it.right, shift))
            for it in presentation(right)
        ]
        commute = [
            Relation(((a, 1), (b, 1)), ((b, 1), (a, 1)))
            for a, b in product(range(shift), range(shift, shift + len(right.generators)))
        ]
        return (*first, *second, *commute)
    orders = [order_of(generator, group) for generator in group.generators]
    if len(orders) == 1:
        return (Relation(((0, orders[0]),), ()),)
    if len(orders) == 2 and orders[1] == 2 and group.order == 2 * orders[0]:
        relations = (
            Relation(((0, orders[0]),), ()),
            Relation(((1, 2),), ()),
            Relation(((1, 1), (0, 1)) * 2, ()),
        )
        if holds(relations[2], group):
            return relations
    words = words_of(group)
    edges = [
        (((n, 1), *word), words[int(group.table[generator, element])])
        for element, word in words.items()
        for n, generator in enumerate(group.generators)
    ]
    return tuple(Relation(_joined(left), right) for left, right in edges if _joined(left) != right)


def _shifted(word: Word, by: int) -> Word:
    return tuple((n + by, power) for n, power in word)


def _joined(word: Sequence[tuple[int, int]]) -> Word:
    """a a → a²."""
    return tuple(
        (n, sum(power for _, power in run)) for n, run in groupby(word, key=lambda it: it[0])
    )


def relations_of(weights: Mapping[str, float], group: FiniteGroup) -> dict[Relation, float]:
    """Relations written as text, with their weights; all of the group's own at 1 where none are.

    Raises ValueError for a text that is no relation, or one that does not hold in the group.
    """
    if not weights:
        return dict.fromkeys(presentation(group), 1.0)
    found = {parse_relation(text, len(group.generators)): w for text, w in weights.items()}
    for relation in found:
        if not holds(relation, group):
            raise ValueError(f"{relation} does not hold in {group.name}")
    return found
