"""RadHAR: what a person does, from the points of a radar over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data.labels import LabelMap
from gridless.data.published.archive import read_arrays
from gridless.data.published.base import DataSet
from gridless.errors import ReadError

# From first to last frame a recording of 20 s takes 19.98 s; this adds the last frame's own time, in seconds.
_FRAME = 0.05


@dataclass(frozen=True, eq=False)
class _Recordings:
    """Recordings of a part, one after the other: recording k has the rows offsets[k] : offsets[k + 1]."""

    labels: NDArray[Any]
    offsets: NDArray[np.int64]
    seconds: NDArray[Any]
    values: NDArray[Any]

    def of(self, recording: int) -> slice:
        return slice(int(self.offsets[recording]), int(self.offsets[recording + 1]))


class RadHAR(DataSet):
    """Human activities seen by a millimetre-wave radar, cut into windows of time; parts are train and test.

    ``radhar.npz`` holds for each part ``part_label`` [R], ``part_offsets`` [R + 1] (recording k has the rows
    ``offsets[k]`` to ``offsets[k + 1]``), ``part_t`` [n] in seconds, ``part_xyzvi`` [n, 5] (x away from the radar, y
    sideways and z up in metres, velocity in m/s, intensity in dB), and ``classes``. A cloud is one window in four
    dimensions: y, x, z and time, the last in metres by ``speed``, so that one distance measures all four. Its columns
    are ``velocity``, ``intensity``, ``elevation`` (z), ``distance`` (from the radar) and ``label``. Windows of one
    recording stay on one side of a validation split. One path of :meth:`files` is the archive's followed by part,
    recording and window, ``radhar.npz/train/12/3``.

    Args:
        root: folder that has radhar.npz in it.
        window: seconds of a cloud.
        step: seconds between the starts of two windows; at most ``window``.
        training_step: the same in the part train, where windows may overlap to have more of them.
        speed: metres that stand for a second.
        reach: points farther from the radar, in metres, are left out as errors of the transmission (the published test
            recordings have one at 69 m and -888 m/s; all others lie within 6 m).

    Raises:
        ValueError: a length of time, the speed or the reach is not positive.

    Source: Singh et al., "RadHAR: Human Activity Recognition from Point Clouds Generated through a Millimeter-wave
    Radar", mmNets 2019.

    Example:
        >>> import tempfile; root = Path(tempfile.mkdtemp())
        >>> arrays = {"classes": ["walk"], "test_label": [0], "test_offsets": [0, 180]}
        >>> arrays |= {"test_t": np.arange(180) / 30, "test_xyzvi": np.ones((180, 5))}
        >>> np.savez(root / "radhar.npz", **arrays)
        >>> data = RadHAR(root)
        >>> [data.read(window).positions.shape for window in data.files("test")]
        [(60, 4), (60, 4), (60, 4)]
    """

    task = "classification"
    title = "RadHAR"
    how_to_get = (
        "The recordings are at https://github.com/nesl/RadHAR as text; save their points as radhar.npz with the arrays "
        "{train,test}_{label,offsets,t,xyzvi} and classes; the path is the folder that has it in it."
    )

    def __init__(
        self,
        root: Path,
        window: float = 2.0,
        step: float = 2.0,
        training_step: float = 0.5,
        speed: float = 1.0,
        reach: float = 10.0,
    ) -> None:
        super().__init__(root)
        lengths = {"window": window, "step": step, "training_step": training_step, "speed": speed, "reach": reach}
        for name, value in lengths.items():
            if not value > 0:
                raise ValueError(f"{self.title}: {name} must be positive, got {value}")
        self.window, self.speed, self.reach = window, speed, reach
        self.steps = {"train": training_step, "test": step}
        self._archive = self.require(root / "radhar.npz")
        self.class_names = tuple(str(name) for name in read_arrays(self._archive, "classes")[0])
        self._parts: dict[str, _Recordings] = {}

    @property
    def cache_key(self) -> str:
        return f"{super().cache_key} {self.window} s, steps {self.steps}, {self.speed} m/s, {self.reach} m"

    @property
    def labels(self) -> LabelMap:
        return LabelMap.numbered(self.class_names)

    def files(self, part: str) -> list[Path]:
        self.one_of(part, list(self.steps))
        recordings = self._recordings(part)
        found: list[Path] = []
        for recording in range(len(recordings.labels)):
            for window in range(self._num_windows(part, recordings, recording)):
                path = self._archive / part / str(recording) / str(window)
                if self._rows(path).size:
                    found.append(path)
        return found

    def stratum(self, path: Path) -> str:
        part, recording, _ = path.parts[-3:]
        return self.class_names[self._recordings(part).labels[int(recording)]]

    def group(self, path: Path) -> str:
        return str(path.parent)

    def read(self, path: Path) -> PointCloud:
        part, recording, _ = path.parts[-3:]
        recordings, rows = self._recordings(part), self._rows(path)
        x, y, z, velocity, intensity = recordings.values[rows].astype(np.float64).T
        time = recordings.seconds[rows].astype(np.float64)
        return PointCloud(
            np.column_stack([y, x, z, self.speed * (time - time.min())]),
            {
                "velocity": velocity.astype(np.float32),
                "intensity": intensity.astype(np.float32),
                "elevation": z.astype(np.float32),
                "distance": np.sqrt(x**2 + y**2 + z**2).astype(np.float32),
                "label": np.full(len(rows), recordings.labels[int(recording)], np.uint8),
            },
        )

    def _num_windows(self, part: str, recordings: _Recordings, recording: int) -> int:
        """Whole windows that fit into a recording; one at least."""
        seconds = recordings.seconds[recordings.of(recording)]
        length = float(seconds.max() - seconds.min()) if len(seconds) else 0.0
        return 1 + max(0, int((length + _FRAME - self.window) / self.steps[part]))

    def _rows(self, path: Path) -> NDArray[np.int64]:
        part, recording, window = path.parts[-3:]
        recordings = self._recordings(part)
        own = recordings.of(int(recording))
        seconds = recordings.seconds[own]
        if not len(seconds):
            return np.zeros(0, np.int64)
        start = float(seconds.min()) + int(window) * self.steps[part]
        near = np.linalg.norm(recordings.values[own, :3], axis=1) <= self.reach
        return own.start + np.flatnonzero((seconds >= start) & (seconds < start + self.window) & near)

    def _recordings(self, part: str) -> _Recordings:
        """The recordings of a part, read once."""
        if part not in self._parts:
            names = [f"{part}_{name}" for name in ("label", "offsets", "t", "xyzvi")]
            labels, offsets, seconds, values = read_arrays(self._archive, *names)
            ends = (int(offsets[0]), int(offsets[-1])) if offsets.shape == (len(labels) + 1,) else None
            if ends != (0, len(seconds)) or (np.diff(offsets) < 0).any() or values.shape != (len(seconds), 5):
                raise ReadError(
                    self._archive,
                    f"{part}: expected offsets [R + 1] that rise from 0 to n, t [n] and xyzvi [n, 5] for label [R], "
                    f"got {offsets.shape}, {seconds.shape}, {values.shape} and {labels.shape}",
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.class_names):
                raise ReadError(self._archive, f"{part}_label must be in 0 .. {len(self.class_names) - 1}")
            self._parts[part] = _Recordings(labels, offsets, seconds, values)
        return self._parts[part]
