"""PointCloud: N positions and the named columns that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridless.errors import ReadError

if TYPE_CHECKING:
    from torch import Tensor


Coordinates = TypeVar("Coordinates", "NDArray[np.float64]", "Tensor")


def horizontal(places: Coordinates) -> Coordinates:
    """All coordinates [..., D] of places but the last, or the only one: [..., max(1, D - 1)].

    Example:
        >>> horizontal(np.array([[1.0, 2.0, 9.0]])).tolist(), horizontal(np.array([[1.0]])).tolist()
        ([[1.0, 2.0]], [[1.0]])
    """
    return places[..., : max(1, places.shape[-1] - 1)]


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in any dimension with named columns.

    Args:
        positions: [N, D], kept in float64 because map coordinates (near 6.2e6 m) have steps of 0.5 m in float32.
        columns: name -> array whose first dimension is N (for example ``intensity`` [N], ``rgb`` [N, 3]).
        metadata: what a format wants carried to the output (header, reference system); never interpreted here.

    Raises:
        ValueError: a column's length differs from N, or positions are not [N, D].

    Example:
        >>> import numpy as np
        >>> cloud = PointCloud(np.zeros((2, 3)), {"intensity": np.array([7, 9])})
        >>> len(cloud), cloud["intensity"].tolist(), cloud[1:]["intensity"].tolist()
        (2, [7, 9], [9])
    """

    positions: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] < 1:
            raise ValueError(f"PointCloud: positions must be [N, D] with D >= 1, got shape {positions.shape}")
        columns = {str(name): np.asarray(values) for name, values in self.columns.items()}
        for name, values in columns.items():
            if values.ndim < 1 or len(values) != len(positions):
                raise ValueError(
                    f"PointCloud: column {name!r} must have {len(positions)} rows like positions, "
                    f"got shape {values.shape}"
                )
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "metadata", dict(self.metadata))

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def dim(self) -> int:
        """Number of coordinates D."""
        return self.positions.shape[1]

    @property
    def horizontal(self) -> NDArray[np.float64]:
        """All coordinates but the last, or the only one: [N, max(1, D - 1)]."""
        return horizontal(self.positions)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, key: str | slice | ArrayLike) -> Any:
        """A column by its name, or the cloud of the rows selected by a slice, a mask or indices."""
        if isinstance(key, str):
            if key not in self.columns:
                raise KeyError(f"no column {key!r}; this cloud has {', '.join(self.columns) or 'none'}")
            return self.columns[key]
        rows = key if isinstance(key, slice) else np.asarray(key)
        return replace(
            self, positions=self.positions[rows], columns={name: values[rows] for name, values in self.columns.items()}
        )

    def with_columns(self, **columns: ArrayLike) -> PointCloud:
        """The same points with columns added or replaced."""
        return replace(self, columns={**self.columns, **{name: np.asarray(values) for name, values in columns.items()}})

    def without_columns(self, *names: str) -> PointCloud:
        """The same points without these columns; unknown names are ignored."""
        return replace(self, columns={name: values for name, values in self.columns.items() if name not in names})

    def local_positions(self, origin: ArrayLike | None = None) -> NDArray[np.float32]:
        """Positions minus ``origin`` (default: middle of the bounds), subtracted in float64, as float32 [N, D]."""
        center = self.center() if origin is None else np.asarray(origin, dtype=np.float64)
        return (self.positions - center).astype(np.float32)

    def center(self) -> NDArray[np.float64]:
        """Middle of the axis-aligned bounds [D] (zeros for an empty cloud)."""
        if len(self) == 0:
            return np.zeros(self.dim)
        return (self.positions.min(axis=0) + self.positions.max(axis=0)) / 2

    def require_finite(self, context: str) -> None:
        """Raise ReadError, naming ``context`` and the first bad row, if any coordinate is NaN or infinite."""
        bad = ~np.isfinite(self.positions).all(axis=1)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise ReadError(
                context,
                f"{int(bad.sum())} of {len(self)} points have NaN or infinite coordinates "
                f"(first: row {first}, {self.positions[first].tolist()}); remove them, for example "
                "cloud[np.isfinite(cloud.positions).all(axis=1)]",
            )

    @staticmethod
    def concatenate(clouds: Iterable[PointCloud]) -> PointCloud:
        """All points of several clouds, with the columns that every one of them has; metadata of the first."""
        parts: Sequence[PointCloud] = list(clouds)
        if not parts:
            raise ValueError("PointCloud.concatenate: at least one cloud is needed")
        names = [name for name in parts[0].columns if all(name in part for part in parts)]
        return PointCloud(
            np.concatenate([part.positions for part in parts]),
            {name: np.concatenate([part[name] for part in parts]) for name in names},
            parts[0].metadata,
        )
