"""Arrays of a NumPy archive that holds a whole part of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.errors import ReadError


def read_arrays(path: Path, *names: str) -> tuple[NDArray[Any], ...]:
    """The arrays of these names, in the order asked for.

    Args:
        path: an NPZ archive.
        names: of its arrays.

    Raises:
        ReadError: damaged, or one of the arrays is missing.
    """
    try:
        # Opened here, because np.load leaves a file that it opened itself open when the archive is damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise ReadError(path, f"has no array {', '.join(missing)}; it has {', '.join(archive.files)}")
            return tuple(archive[name] for name in names)
    except (ReadError, FileNotFoundError):
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged archives
        raise ReadError(path, f"the archive cannot be read: {error}") from error
