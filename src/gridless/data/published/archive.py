"""Arrays of a NumPy archive that holds a whole part of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gridless.errors import ReadError
from gridless.io.npz import opened


def read_arrays(path: Path, *names: str) -> tuple[NDArray[Any], ...]:
    """The arrays of these names, in the order asked for.

    Args:
        path: an NPZ archive.
        names: of its arrays.

    Raises:
        ReadError: damaged, or one of the arrays is missing or cut short.
    """
    with opened(path) as (archive, shapes):
        missing = [name for name in names if name not in shapes]
        if missing:
            raise ReadError(path, f"has no array {', '.join(missing)}; it has {', '.join(shapes)}")
        return tuple(archive[name] for name in names)
