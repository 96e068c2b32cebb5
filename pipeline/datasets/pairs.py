"""How the pairs of inputs are drawn that an objective compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """Of a pair x1 = a·x, x2 = g·x1.

    weights: how often each g is drawn, [n]; all alike where None. moves_first: whether a is drawn,
    or x1 is x itself. shares_draws: both inputs have the same draw, which then is a frame that they
    share and no artefact.
    """

    weights: tuple[float, ...] | None = None
    moves_first: bool = True
    shares_draws: bool = False


#: All elements alike, each input with a draw of its own.
ANY_PAIRS = Pairs()
