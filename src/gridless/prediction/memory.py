"""How many points fit into a given memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import re

BYTES_PER_POINT = 400
"""A point in memory with its columns, features, search tree and scores, about, while its crops are made."""
POINTS_AT_A_TIME = 500_000
"""Points that are in memory together while a file is gone through from one end to the other."""
_LEAST = 10**6
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def bytes_of(text: str) -> int:
    """Read an amount of memory.

    Raises:
        ValueError: it is none, or less than a megabyte.

    Example:
        >>> bytes_of("4GB"), bytes_of("1.5 MB"), bytes_of("5000000")
        (4000000000, 1500000, 5000000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"memory: {text!r} is no amount of memory; write for example 4GB or 800MB")
    amount = round(float(match[1]) * _UNITS[match[2].upper()])
    if amount < _LEAST:
        raise ValueError(f"memory: {text!r} is less than a megabyte; write for example 4GB or 800MB")
    return amount


def text_of(amount: int) -> str:
    """An amount of memory, rounded up, as :func:`bytes_of` reads it.

    Example:
        >>> text_of(4_000_000_000), text_of(12_345_678)
        ('4GB', '12.4MB')
    """
    unit = next(unit for unit in ("T", "G", "M", "K", "") if amount >= _UNITS[unit] or unit == "")
    return f"{math.ceil(amount / _UNITS[unit] * 10) / 10:g}{unit}B"


def points_in(memory: int, num_classes: int) -> int:
    """Points that may be in memory at once; half of it is left to the network and the interpreter."""
    return max(1, memory // 2 // (BYTES_PER_POINT + 8 * num_classes))


def memory_for(points: int, num_classes: int) -> int:
    """The least memory in which so many points may be at once."""
    return 2 * points * (BYTES_PER_POINT + 8 * num_classes)


def give_back_freed() -> None:
    """Hand memory that was freed back to the system; the C library would keep it, in ever smaller pieces."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
