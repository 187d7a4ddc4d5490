"""Threads of the network beside processes that prepare its data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads_beside_workers(num_workers: int) -> Iterator[int]:
    """Leave a core to each loader process for as long as the context lasts.

    A thread that shares its core with another process holds up all other threads at the end of every operation: on two
    cores with one busy worker, steps with two threads took more than twice as long as with one.

    Args:
        num_workers: loader processes; torch keeps max(1, threads - num_workers).

    Yields:
        The number of threads that torch has inside.

    Example:
        >>> with threads_beside_workers(10**6) as num_threads:
        ...     num_threads
        1
    """
    before = torch.get_num_threads()
    inside = max(1, before - num_workers)
    torch.set_num_threads(inside)
    try:
        yield inside
    finally:
        torch.set_num_threads(before)
