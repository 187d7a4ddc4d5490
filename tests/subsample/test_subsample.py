"""Voxel grid and farthest points against plain loops."""

import math

import pytest
import torch

from gridless.subsample import farthest, voxel_grid


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_voxel_grid_equals_a_loop(dim):
    generator = torch.Generator().manual_seed(dim)
    points = torch.randint(-8, 8, (80, dim), generator=generator).double() / 4
    batch = torch.randint(0, 3, (80,), generator=generator) * 7
    voxels = {}
    for i, point in enumerate(points.tolist()):
        voxels.setdefault((int(batch[i]), *(math.floor(x / 1.5) for x in point)), []).append(i)
    kept, inverse = voxel_grid(points, 1.5, batch, return_inverse=True)
    assert len(kept) == len(voxels)
    assert kept.tolist() == sorted(kept.tolist(), key=lambda i: (int(batch[i]), i))
    for members in voxels.values():
        assert {int(kept[inverse[i]]) in members for i in members} == {True}
        squared = (points[members] - points[members].mean(0)).square().sum(1)
        chosen = members.index(int(kept[inverse[members[0]]]))
        assert squared[chosen] <= squared.min() + 1e-12


def test_tiny_voxels_far_away_do_not_overflow():
    points = torch.tensor([[1e7, -1e7, 1e7], [1e7, -1e7, 1e7], [-1e7, 1e7, 0.0]], dtype=torch.float64)
    assert voxel_grid(points, 1e-6).tolist() == [0, 2]
    with pytest.raises(ValueError, match="too small"):
        voxel_grid(points, 1e-15)


def test_farthest_equals_a_loop_and_stays_in_its_cloud():
    points = torch.randint(0, 50, (60, 3), generator=torch.Generator().manual_seed(0)).float()
    chosen = [0]
    while len(chosen) < 20:
        nearest = torch.stack([(points - points[c]).square().sum(1) for c in chosen]).amin(0)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    assert farthest(points, 20).tolist() == chosen
    both = farthest(torch.cat([points, points + 3]), 20, batch=torch.arange(2).repeat_interleave(60))
    assert both.tolist() == chosen + [c + 60 for c in chosen]
    assert sorted(farthest(torch.ones(5, 3), 9).tolist()) == list(range(5))
    assert len(farthest(torch.empty(0, 3), 4)) == len(voxel_grid(torch.empty(0, 3), 1.0)) == 0
