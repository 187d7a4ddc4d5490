"""Subsampling cases: who takes part, and what the gate lets pass."""

import pytest
import torch

from benchmarks import subsample
from benchmarks.suite import SubsampleCase


@pytest.mark.parametrize("task", ["voxel_grid", "farthest"])
def test_contenders_agree_and_are_timed(task):
    rows = subsample.measure_subsampling("tiny", SubsampleCase("tiny", task, points=(300,), repeats=1))
    assert [row.contender for row in rows][:2] == ["auto", "plain"]
    assert all(row.milliseconds > 0 and not row.failed for row in rows)


@pytest.mark.parametrize(
    ("task", "ours", "note"), [("voxel_grid", "voxel_grid", "points agree"), ("farthest", "farthest", "times as far")]
)
def test_other_points_have_no_time(task, ours, note, monkeypatch):
    """Here the first points, whatever was asked for."""
    monkeypatch.setattr(subsample, ours, lambda points, _: torch.arange(len(points) // 4))
    ours, *others = subsample.measure_subsampling("tiny", SubsampleCase("tiny", task, points=(300,), repeats=1))
    assert ours.failed
    assert note in ours.note
    assert ours.milliseconds is None
    assert not any(row.failed for row in others)
