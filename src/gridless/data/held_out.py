"""Files, or strips of clouds, held aside for validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.data.inputs import PreparedCloud
from gridless.data.labels import IGNORED


def hold_out_files(
    files: Sequence[Path], strata: Sequence[str], groups: Sequence[str], fraction: float, seed: int
) -> tuple[list[Path], list[Path]]:
    """Hold aside a random share of the groups of files for validation, the same of each stratum but at least one.

    Args:
        files: one a cloud.
        strata: of each file, what the share is taken of separately (a class).
        groups: of each file, what stays on one side (a recording); all files of a group are of one stratum.
        fraction: of the groups, in (0, 1).
        seed: of the draw.

    Returns:
        training files, validation files, each in the given order

    Raises:
        ValueError: a fraction outside (0, 1), or fewer than two groups.

    Example:
        >>> names = [Path(f"{i}.off") for i in range(6)]
        >>> strata, groups = ["chair"] * 4 + ["sofa"] * 2, [name.stem for name in names]
        >>> training, validation = hold_out_files(names, strata, groups, 0.5, seed=0)
        >>> len(training), len(validation)
        (3, 3)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"hold_out_files: fraction must be between 0 and 1, got {fraction}")
    stratum_of = dict(zip(groups, strata, strict=True))
    if len(stratum_of) < 2:
        raise ValueError(
            f"hold_out_files: two files, or groups of them, are needed to hold one aside, got {len(stratum_of)}"
        )
    names = list(stratum_of)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    held: set[str] = set()
    for stratum in sorted(set(strata)):
        members = [group for group in order if stratum_of[group] == stratum]
        held.update(members[: round(fraction * len(members))])
    if not held:
        held.add(order[0])
    if len(held) == len(names):
        held.remove(order[-1])  # to learn from
    sides = list(zip(files, groups, strict=True))
    return [file for file, group in sides if group not in held], [file for file, group in sides if group in held]


def hold_out_strips(
    clouds: Sequence[PreparedCloud], fraction: float
) -> tuple[list[PreparedCloud], list[PreparedCloud]]:
    """Hold aside a strip along one side of every cloud for validation.

    The side changes from name to name (+x, -x, +y, -y, ...); clouds of one name, variants of a file, lose the
    strip that the first of them loses. Training clouds lose the strip's points altogether; validation clouds keep the
    points around the strip as surroundings, without labels.

    Args:
        clouds: prepared clouds with labels.
        fraction: of the labelled points of each cloud, in (0, 1).

    Returns:
        training clouds, validation clouds

    Example:
        >>> line = np.column_stack([np.arange(10.0), np.zeros(10), np.zeros(10)])
        >>> cloud = PreparedCloud(line, np.zeros((10, 1), np.float32), np.zeros(10, np.int64), ("constant",), "line")
        >>> (training,), (validation,) = hold_out_strips([cloud], 0.2)
        >>> len(training), validation.labels.tolist()
        (8, [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"hold_out_strips: fraction must be between 0 and 1, got {fraction}")
    training, validation = [], []
    strips: dict[str, tuple[int, float | None]] = {}
    for cloud in clouds:
        assert cloud.labels is not None
        index, limit = strips.get(cloud.name, (len(strips), None))
        horizontal = cloud.horizontal
        along = horizontal[:, (index // 2) % horizontal.shape[1]] * (1 if index % 2 == 0 else -1)
        if limit is None:
            labelled = cloud.labels != IGNORED
            limit = _beginning_of_strip(along[labelled] if labelled.any() else along, fraction)
            strips[cloud.name] = index, limit
        held = along > limit
        training.append(cloud.restricted(~held))
        validation.append(cloud.with_labels(np.where(held, cloud.labels, IGNORED)))
    return training, validation


def _beginning_of_strip(along: NDArray[np.float64], fraction: float) -> float:
    """The coordinate beyond which about so many points lie; on a grid no fewer than those of its last line."""
    limit = float(np.quantile(along, 1 - fraction))
    before = along[along < limit]
    return float(before.max()) if limit == along.max() and len(before) else limit
