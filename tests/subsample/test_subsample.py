"""Voxel grid and farthest points against plain loops, by every implementation, on ordinary and hard clouds."""

import math

import numpy as np
import pytest
import torch

from gridless import gpu, native
from gridless.errors import UnsupportedError
from gridless.native import why_unavailable
from gridless.subsample import farthest, reference, triton, voxel_grid
from gridless.subsample.implementations import implementation_for

NATIVE = pytest.param("native", marks=pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable()))
IMPLS = ["reference", NATIVE]
NAMES = ["random", "lattice", "duplicates", "collinear", "far from origin", "huge", "empty", "single point"]


@pytest.fixture(params=IMPLS)
def impl(request):
    return request.param


def cloud(name, count, dim, generator):
    return {
        "random": lambda: torch.randn(count, dim, generator=generator),
        "lattice": lambda: torch.randint(-8, 8, (count, dim), generator=generator).double() / 4,
        "duplicates": lambda: torch.ones(count, dim),
        "collinear": lambda: torch.arange(count).float()[:, None].repeat(1, dim) / 3,
        "far from origin": lambda: 6.2e6 + torch.randint(0, 16, (count, dim), generator=generator).double() / 8,
        "huge": lambda: torch.randint(-1, 2, (count, dim), generator=generator) * 3.3e38,
        "empty": lambda: torch.empty(0, dim),
        "single point": lambda: torch.ones(1, dim),
    }[name]()


def voxel_loop(points, size, labels):
    """For each point the one that is kept in its voxel."""
    rows = points.double().tolist()
    voxels = {}
    for i, point in enumerate(rows):
        voxels.setdefault((labels[i], *(math.floor(x / size) for x in point)), []).append(i)
    kept_of = [0] * len(rows)
    for members in voxels.values():
        squared = dict.fromkeys(members, 0.0)
        for axis in range(points.shape[1]):
            total, values = 0.0, {i: rows[i][axis] - rows[members[0]][axis] for i in members}
            for i in members:
                total += values[i]
            for i in members:
                squared[i] += (values[i] - total / len(members)) * (values[i] - total / len(members))
        for i in members:
            kept_of[i] = min(members, key=lambda j: (squared[j], j))
    return kept_of


def farthest_loop(points, count, start):
    """Distances in the points' own precision, as documented."""
    rows = (points - points[:1]).numpy()
    nearest, chosen = np.full(len(rows), np.inf, rows.dtype), []
    for step in range(min(count, len(rows))):
        current = min(start, len(rows) - 1) if step == 0 else int(nearest.argmax())
        chosen.append(current)
        squared = np.zeros_like(nearest)
        with np.errstate(over="ignore", invalid="ignore"):
            for axis in range(rows.shape[1]):
                difference = rows[:, axis] - rows[current, axis]
                squared += difference * difference
        nearest = np.fmin(nearest, squared)
        nearest[chosen] = -1
    return chosen


def batches(count, generator):
    """None, sorted with gaps, and in any order with negative numbers."""
    labels = torch.randint(-2, 3, (count,), generator=generator) * 5
    return [None, labels.sort()[0], labels]


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_voxel_grid_equals_a_loop(name, dim, impl):
    generator = torch.Generator().manual_seed(dim)
    points = cloud(name, 90, dim, generator)
    size = 1e38 if name == "huge" else 1.5
    for batch in batches(len(points), generator):
        labels = [0] * len(points) if batch is None else batch.tolist()
        expected = voxel_loop(points, size, labels)
        kept, inverse = voxel_grid(points, size, batch, return_inverse=True, impl=impl)
        assert kept.tolist() == sorted(set(expected), key=lambda i: (labels[i], i))
        assert kept[inverse].tolist() == expected
        assert torch.equal(voxel_grid(points, size, batch, impl=impl), kept)


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_farthest_equals_a_loop(name, dim, impl):
    generator = torch.Generator().manual_seed(dim)
    points = cloud(name, 90, dim, generator)
    for batch in batches(len(points), generator):
        members = (
            [torch.arange(len(points))] if batch is None else [(batch == c).nonzero()[:, 0] for c in batch.unique()]
        )
        for count, start in [(0, 0), (1, 3), (25, 0), (200, 1000)]:
            expected = [int(own[i]) for own in members for i in farthest_loop(points[own], count, start)]
            assert farthest(points, count, batch=batch, start=start, impl=impl).tolist() == expected, (count, start)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())
def test_implementations_give_the_same_points_of_large_clouds(dtype, dim):
    generator = torch.Generator().manual_seed(dim)
    parts = [torch.randn(5000, dim, generator=generator), torch.randint(-9, 9, (6000, dim), generator=generator) / 4]
    outlier = torch.full((1, dim), 3e4)
    points = torch.cat([*parts, torch.ones(700, dim), outlier])[torch.randperm(11701, generator=generator)].to(dtype)
    for batch in batches(len(points), generator):
        for size in (0.02, 0.3, [0.5] * (dim - 1) + [4.0]):
            here, there = (
                voxel_grid(points, size, batch, return_inverse=True, origin=0.1, impl=impl)
                for impl in ("native", "reference")
            )
            assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True)), size
        for wanted in ({"num_samples": 300}, {"ratio": 0.03}):
            assert torch.equal(
                farthest(points, batch=batch, start=7, impl="native", **wanted),
                farthest(points, batch=batch, start=7, impl="reference", **wanted),
            )


def test_threads_and_repetitions_change_no_bit(impl):
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(0, 60, (20_000, 3), generator=generator) / 7
    clouds = torch.randint(0, 5, (20_000,), generator=generator)
    threads, first = torch.get_num_threads(), None
    try:
        for repeat in range(6):
            torch.set_num_threads(1 + repeat % 2)
            found = [*voxel_grid(points, 0.5, clouds, return_inverse=True, impl=impl)]
            found += [farthest(points, 100, batch=clouds, impl=impl)]
            first = first or found
            for one, other in zip(found, first, strict=True):
                assert torch.equal(one, other)
    finally:
        torch.set_num_threads(threads)


def test_tiny_voxels_far_away_do_not_overflow(impl):
    points = torch.tensor([[1e7, -1e7, 1e7], [1e7, -1e7, 1e7], [-1e7, 1e7, 0.0]], dtype=torch.float64)
    assert voxel_grid(points, 1e-6, impl=impl).tolist() == [0, 2]
    with pytest.raises(ValueError, match="too small"):
        voxel_grid(points, 1e-15, impl=impl)
    with pytest.raises(ValueError, match="too small"):
        voxel_grid(torch.tensor([[1e308]], dtype=torch.float64), 1e-3, origin=-1.7e308, impl=impl)


def test_positions_and_clouds_may_be_views(impl):
    wide = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    clouds = torch.arange(600)[::2] // 200
    points = wide[:, ::2]
    copy = points.detach().clone()
    assert torch.equal(voxel_grid(points, 1.0, clouds, impl=impl), voxel_grid(copy, 1.0, clouds.clone(), impl=impl))
    assert torch.equal(farthest(points, 9, batch=clouds, impl=impl), farthest(copy, 9, batch=clouds.clone(), impl=impl))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_samples": 0.5}, TypeError, "num_samples must be an int, got float"),
        ({"num_samples": 2, "start": 1.0}, TypeError, "start must be an int, got float"),
        ({"num_samples": -1}, ValueError, "num_samples must be at least 0, got -1"),
        ({"ratio": 2}, ValueError, r"ratio must be in \(0, 1\], got 2"),
        ({"num_samples": 2, "batch": [0, 0]}, TypeError, "batch must be a torch tensor, got list"),
    ],
)
def test_settings_of_farthest_that_are_wrong_are_named(settings, error, message):
    assert len(farthest(torch.rand(2, 3), np.int64(2))) == 2
    with pytest.raises(error, match=f"^farthest: {message}"):
        farthest(torch.rand(2, 3), **settings)


@pytest.mark.parametrize("size", [float("inf"), float("nan"), (1.0, float("inf")), (1.0,) * 3, "coarse", None])
def test_sizes_of_voxels_that_are_no_numbers_are_named(size):
    with pytest.raises(ValueError, match="voxel_grid: size must be a finite number or 2 of them, got "):
        voxel_grid(torch.rand(2, 2), size)


@pytest.mark.parametrize("impl", [NATIVE])
def test_many_copies_are_sampled_in_time(impl):
    points = torch.ones(100_000, 3)
    assert torch.equal(farthest(points, 100_000, impl=impl), torch.arange(100_000))
    assert voxel_grid(points, 0.1, impl=impl).tolist() == [0]


def test_without_compiled_kernels_auto_takes_another_way_and_native_says_why(monkeypatch):
    points = torch.rand(50, 2)
    expected = farthest(points, 9, impl="reference"), voxel_grid(points, 0.3, impl="reference")
    monkeypatch.setattr(native, "_load", lambda: (None, "no compiler"))
    assert torch.equal(farthest(points, 9), expected[0])
    assert torch.equal(voxel_grid(points, 0.3), expected[1])
    for refused in (lambda: farthest(points, 9, impl="native"), lambda: voxel_grid(points, 0.3, impl="native")):
        with pytest.raises(UnsupportedError, match="no compiler"):
            refused()
    with pytest.raises(ValueError, match="impl must be one of auto, native, reference, triton, got 'kdtree'"):
        farthest(points, 9, impl="kdtree")


@pytest.mark.skipif(bool(gpu.why_unavailable()), reason=gpu.why_unavailable())
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # of the interpreter's numpy
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_takes_the_farthest_points_of_the_reference(name, monkeypatch):
    """Clouds in any order, smaller ones than what is asked for, more points than a block, the lowest of equals."""
    from gridless.subsample import triton_farthest

    monkeypatch.setattr(triton_farthest, "_BLOCK", 16)
    generator = torch.Generator().manual_seed(0)
    points = cloud(name, 60, 3, generator)
    for batch, start in zip(batches(len(points), generator), (0, 1000, 3), strict=True):
        found, expected = (farthest(points, 9, batch=batch, start=start, impl=impl) for impl in ("triton", "reference"))
        assert torch.equal(found, expected), start


def test_on_a_gpu_auto_stays_there(monkeypatch):
    device = torch.device("cuda")
    assert implementation_for("farthest", "reference", device) == (reference, device)
    for reason, expected in ("", triton), ("Triton is not installed", reference):
        monkeypatch.setattr(gpu, "why_not_on", lambda device, reason=reason: reason)
        assert implementation_for("farthest", "auto", device) == (expected, device)
    with pytest.raises(UnsupportedError, match="impl='triton' cannot run here: Triton is not installed"):
        implementation_for("farthest", "triton", device)
