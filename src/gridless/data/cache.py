"""Clouds on disk in a form that is read fast, in a folder that many processes may share."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io import lack_of_room, read, remove_leftovers, write

_RECOUNTED_AFTER = 0.02  # of the limit: listing the folder after every small cloud would take longer than writing it


class CloudCache:
    """Keeps clouds by key; where they outgrow the limit, those that were used longest ago go.

    Processes may share the folder, on one machine or several: a cloud appears whole or not at all, and one that is
    damaged, or was removed by another process, is made again.

    Args:
        folder: made if it does not exist.
        limit: bytes that the clouds take together, about.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> cache = CloudCache(Path(tempfile.mkdtemp()), limit=10**6)
        >>> made = []
        >>> def make():
        ...     made.append(1)
        ...     return PointCloud(np.zeros((5, 3)))
        >>> len(cache.get("zeros", make)), len(cache.get("zeros", make)), len(made)
        (5, 5, 1)
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        self.folder, self.limit = folder, limit
        self._written = limit  # since the clouds were counted: at first nothing is known

    def get(self, key: str, make: Callable[[], PointCloud]) -> PointCloud:
        """The cloud of a key, from the folder or else from ``make``, which decides what errors there are."""
        file = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        with contextlib.suppress(FileNotFoundError, ReadError):
            cloud = read(file)
            with contextlib.suppress(OSError):  # a folder that may only be read
                file.touch()  # used last
            return cloud
        cloud = make()
        try:
            write(file, cloud)
        except OSError as error:
            if lack_of_room(error) is None:
                raise
            warnings.warn(f"the cache keeps no more clouds: {error}", stacklevel=2)
        except ValueError as error:
            warnings.warn(f"the cache cannot keep this cloud: {error}", stacklevel=2)
        else:
            self._count(file)
        return cloud

    def _count(self, new: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._written += new.stat().st_size
        if self._written > _RECOUNTED_AFTER * self.limit:
            self._shrink()
            self._written = 0

    def _shrink(self) -> None:
        clouds = []
        for file in self.folder.glob("[!.]*.npz"):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                clouds.append((status.st_mtime_ns, status.st_size, file))
        total = sum(size for _, size, _ in clouds)
        for _, size, file in sorted(clouds):
            if total <= self.limit:
                break
            file.unlink(missing_ok=True)
            total -= size
