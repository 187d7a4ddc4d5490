"""Pace: how many points a browser draws smoothly, learned from how long its frames take."""

from __future__ import annotations

import math

_SMOOTH = 50.0  # milliseconds a frame, while the camera moves
_AT_REST = 2  # times as many points while nobody waits for a frame


class Pace:
    """The number of points that may be drawn, now that the camera moves or rests.

    Drawing takes longer the more points there are, though not in proportion, so each report takes the number half the
    way to what would be right in proportion: n ← n · √(50 ms / t), between ``fewest`` and ``most``.

    Args:
        fewest: points, however slow the browser is.
        most: points, and the number before anything is known.

    Example:
        >>> pace = Pace(50_000, 1_500_000)
        >>> pace.learn(200.0, drawn=1_500_000)
        >>> pace.moving, pace.resting
        (750000, 1500000)
    """

    def __init__(self, fewest: int, most: int) -> None:
        self.fewest, self.most = fewest, most
        self.moving = most

    @property
    def resting(self) -> int:
        """Points while the camera rests: more, yet so few that the first frame of a movement is not waited for."""
        return min(_AT_REST * self.moving, self.most)

    def learn(self, milliseconds: float, drawn: int) -> None:
        """Take note of frames of ``drawn`` points that took so long each."""
        if milliseconds > 0 and drawn > 0:
            wanted = drawn * math.sqrt(_SMOOTH / milliseconds)
            self.moving = round(min(max(wanted, self.fewest), self.most))
