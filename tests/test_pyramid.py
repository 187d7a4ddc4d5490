"""Pyramids: levels, neighborhoods, concatenation, devices, bad batches."""

import pytest
import torch

from gridless.neighbors import knn
from gridless.pyramid import Pyramid, PyramidSettings
from gridless.subsample import voxel_grid

SETTINGS = PyramidSettings((0.4, 1.0), num_neighbors=6, pooling_neighbors=5, upsampling_neighbors=2)


def tensors_of(pyramid):
    """Every tensor of a pyramid by name."""
    named = {}
    for depth, level in enumerate(pyramid.levels):
        named |= {f"{depth}.positions": level.positions, f"{depth}.batch": level.batch}
        for name in ("neighborhoods", "pooling", "upsampling"):
            rows = getattr(level, name)
            if rows is not None:
                named |= {f"{depth}.{name}.indices": rows.indices, f"{depth}.{name}.offsets": rows.offsets}
    return named


def assert_equal(first, second):
    assert first.num_clouds == second.num_clouds
    one, other = tensors_of(first), tensors_of(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_levels_are_voxel_grids_of_the_level_before():
    positions = torch.rand(300, 3) * 3
    pyramid = Pyramid.build(positions, SETTINGS)
    assert len(pyramid.levels) == 3
    finest = pyramid.levels[0]
    assert finest.positions is positions
    assert finest.pooling is finest.upsampling is None
    for size, finer, level in zip(SETTINGS.voxel_sizes, pyramid.levels[:-1], pyramid.levels[1:], strict=True):
        assert 1 < len(level.positions) < len(finer.positions)
        assert torch.equal(level.positions, finer.positions[voxel_grid(finer.positions, size)])
        expected = {
            "neighborhoods": knn(level.positions, level.positions, 6),
            "pooling": knn(finer.positions, level.positions, 5),
            "upsampling": knn(level.positions, finer.positions, 2),
        }
        for name, rows in expected.items():
            assert torch.equal(getattr(level, name).indices, rows.indices), name
            assert torch.equal(getattr(level, name).offsets, rows.offsets), name


def test_concatenated_pyramids_equal_one_built_with_a_batch_vector():
    sizes = [70, 1, 120]
    clouds = [torch.rand(size, 3) * 2 for size in sizes]
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    joined = Pyramid.concatenate([Pyramid.build(cloud, SETTINGS) for cloud in clouds])
    assert_equal(joined, Pyramid.build(torch.cat(clouds), SETTINGS, batch))
    again = Pyramid.concatenate([joined, Pyramid.build(clouds[0], SETTINGS)])
    assert again.num_clouds == 4
    assert again.levels[2].batch.unique().tolist() == [0, 1, 2, 3]


def test_an_empty_cloud_is_a_cloud():
    empty, other = torch.empty(0, 3), torch.rand(20, 3)
    pyramid = Pyramid.build(empty, SETTINGS)
    assert pyramid.num_clouds == 1
    assert [len(level.positions) for level in pyramid.levels] == [0, 0, 0]
    joined = Pyramid.concatenate([pyramid, Pyramid.build(other, SETTINGS)])
    assert joined.num_clouds == 2
    assert (joined.levels[0].batch == 1).all()


def test_to_moves_everything():
    pyramid = Pyramid.build(torch.rand(50, 3), SETTINGS)
    assert_equal(pyramid.to("cpu"), pyramid)
    moved = tensors_of(pyramid.to("meta"))
    assert moved.keys() == tensors_of(pyramid).keys()
    assert all(tensor.device.type == "meta" for tensor in moved.values())


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.tensor([1, 0, 0, 0]), ValueError, "must be ascending"),
        (torch.tensor([-1, 0, 0, 0]), ValueError, "must number clouds from 0, got -1"),
        (torch.tensor([0, 0, 0]), ValueError, r"must have shape \(4,\), got \(3,\)"),
        (torch.zeros(4), TypeError, "must be int64, got torch.float32"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=f"Pyramid.build: batch {message}"):
        Pyramid.build(torch.rand(4, 3), SETTINGS, batch)


@pytest.mark.parametrize(
    "settings",
    [
        {"voxel_sizes": (1.0, 1.0)},
        {"voxel_sizes": (0.0,)},
        {"voxel_sizes": (2.0, 1.0)},
        {"voxel_sizes": (float("nan"),)},
        {"num_neighbors": 0},
        {"pooling_neighbors": -1},
        {"upsampling_neighbors": 0},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        PyramidSettings(**settings)


def test_bad_concatenations():
    with pytest.raises(ValueError, match="at least one pyramid"):
        Pyramid.concatenate([])
    pyramids = [Pyramid.build(torch.rand(9, 3), settings) for settings in (SETTINGS, PyramidSettings())]
    with pytest.raises(ValueError, match=r"as many levels, got \[1, 3\]"):
        Pyramid.concatenate(pyramids)
