"""Clock: seconds spent in each stage of a prediction."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Adds up seconds by stage.

    Example:
        >>> clock = Clock()
        >>> with clock("reading"):
        ...     pass
        >>> list(clock.seconds), clock.seconds["reading"] < 1
        (['reading'], True)
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
