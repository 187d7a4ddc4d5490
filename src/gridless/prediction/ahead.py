"""What is needed next is made, and what is finished is kept, in a thread beside the work between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

_Item = TypeVar("_Item")


def one_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items in their order; while one is worked on, a thread makes the next.

    Example:
        >>> list(one_ahead(number * number for number in range(4)))
        [0, 1, 4, 9]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, iterator, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, iterator, None)
            yield item


class OneBehind:
    """Runs one call after the other in a thread; the next one waits until the last is done.

    An error comes out of the next call, or at the end.

    Example:
        >>> kept = []
        >>> with OneBehind() as behind:
        ...     for number in range(3):
        ...         behind(kept.append, number)
        >>> kept
        [0, 1, 2]
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[object] | None = None

    def __enter__(self) -> OneBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self._wait()

    def __call__(self, function: Callable[..., object], *arguments: object) -> None:
        """Start a call as soon as the one before it is done."""
        self._wait()
        self._last = self._thread.submit(function, *arguments)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
