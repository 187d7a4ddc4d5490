"""knn and within_radius against plain loops, on ordinary and hard clouds."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from gridless import gpu, native
from gridless.errors import UnsupportedError
from gridless.native import why_unavailable
from gridless.neighbors import PointIndex, cells, grid, knn, local_density, point_index, within_radius

NATIVE = pytest.param("native", marks=pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable()))
GRID_DIMS = (1, 2, 3, 4)


def ways(impls, dims):
    """Every implementation with every number of dimensions that it takes."""
    return pytest.mark.parametrize(
        ("impl", "dim"),
        [
            pytest.param(impl, dim, marks=NATIVE.marks if impl == "native" else ())
            for impl in impls
            for dim in dims
            if impl != "grid" or dim in GRID_DIMS
        ],
    )


@pytest.fixture(params=["kdtree", "grid", NATIVE])
def fast_impl(request):
    return request.param


def clouds(name, count, dim, generator):
    return {
        "random": lambda: torch.randn(count, dim, generator=generator),
        "integer grid": lambda: torch.randint(0, 4, (count, dim), generator=generator).float(),
        "duplicates": lambda: torch.ones(count, dim),
        "collinear": lambda: torch.arange(count).float()[:, None].repeat(1, dim),
        "far from origin": lambda: 6.2e6 + torch.randint(0, 8, (count, dim), generator=generator).double() / 8,
        "empty": lambda: torch.empty(0, dim),
        "single point": lambda: torch.ones(1, dim),
    }[name]()


def loop(source, query, k, radius, source_batch, query_batch):
    rows = []
    for i, x in enumerate(query.double().tolist()):
        row = []
        for j, y in enumerate(source.double().tolist()):
            squared = 0.0
            for a, b in zip(x, y, strict=True):
                squared += (a - b) * (a - b)
            if source_batch[j] == query_batch[i] and (radius is None or squared <= radius * radius):
                row.append((squared, j))
        rows.append([j for _, j in sorted(row)][:k])
    return rows


def rows_of(nbhd):
    return [part.tolist() for part in nbhd.indices.split(nbhd.counts().tolist())] if nbhd.num_queries else []


@ways(["reference", "kdtree", "grid", "native"], [1, 2, 3, 4, 6])
@pytest.mark.parametrize(
    "name", ["random", "integer grid", "duplicates", "collinear", "far from origin", "empty", "single point"]
)
def test_rows_equal_a_plain_loop(name, dim, impl):
    generator = torch.Generator().manual_seed(dim)
    source, query = clouds(name, 40, dim, generator), clouds(name, 15, dim, generator)
    source_batch = torch.randint(0, 3, (len(source),), generator=generator) * 5
    query_batch = torch.randint(0, 4, (len(query),), generator=generator) * 5
    for k, radius in [(1, None), (4, None), (100, None), (None, 1.0), (3, 1.0)]:
        for batches in [(None, None), (source_batch, query_batch)]:
            if radius is None:
                found = knn(source, query, k, *batches, impl=impl)
            else:
                found = within_radius(source, query, radius, k, *batches, impl=impl)
            found.validate(len(source))
            labels = batches if batches[0] is not None else ([0] * len(source), [0] * len(query))
            assert rows_of(found) == loop(source, query, k, radius, *labels), (k, radius)


def test_exact_translation_changes_nothing():
    points = torch.randint(0, 64, (200, 3), generator=torch.Generator().manual_seed(1)).double() / 8
    here, there = knn(points, points, 9), knn(points + 2.0**22, points + 2.0**22, 9)
    assert torch.equal(here.indices, there.indices)


def test_not_finite_positions_are_counted():
    points = torch.zeros(5, 3)
    points[2:4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"2 of 5 rows of source_positions.*row 2"):
        knn(points, torch.zeros(1, 3), 1)


@pytest.mark.parametrize("impl", ["kdtree", "grid", "reference", NATIVE])
def test_counts_of_numpy_and_copies_of_an_index(impl):
    points = torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
    index = PointIndex(points.clone().requires_grad_() * 1, impl=impl)
    expected = index.knn(points, 2).indices
    for other in (copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert torch.equal(other.knn(points, np.int64(2)).indices, expected)
    assert torch.equal(knn(points, points, np.int32(2), impl=impl).indices, expected)
    within = within_radius(points, points, 9.0, np.int64(2), impl=impl)
    assert torch.equal(within.indices, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 2.0}, "k must be an int, got float"),
        ({"k": True}, "k must be an int, got bool"),
        ({"source_batch": [0] * 4, "query_batch": [0] * 4}, "source_batch must be a torch tensor, got list"),
    ],
)
def test_wrong_types_are_named(changed, message):
    points = torch.rand(4, 3)
    with pytest.raises(TypeError, match=f"^knn: {message}"):
        knn(**({"source_positions": points, "query_positions": points, "k": 2} | changed))


def test_density_of_a_line_and_of_copies():
    line = torch.arange(50.0)[:, None]
    assert torch.allclose(local_density(line, 4)[2:-2], torch.tensor(1.0))
    assert torch.isfinite(local_density(torch.ones(30, 3), 4)).all()
    torch.testing.assert_close(local_density(line.double(), 3)[0].item(), 0.5, rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="local_density: k must be at least 1, got 0"):
        local_density(line, 0)


@ways(["kdtree", "grid", "native"], [1, 3, 4, 5, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_implementations_give_the_same_rows_of_many_points(impl, dim, dtype):
    generator = torch.Generator().manual_seed(dim)
    points = torch.cat(
        [
            torch.randint(0, 5, (900, dim), generator=generator).to(dtype),
            torch.randn(900, dim, generator=generator, dtype=torch.float64).to(dtype),
            1e7 + torch.randn(300, dim, generator=generator, dtype=torch.float64).to(dtype),
            torch.ones(400, dim, dtype=dtype),
        ]
    )[torch.randperm(2500, generator=generator)]
    queries = torch.cat([points[:150], torch.randn(50, dim, generator=generator).to(dtype)])
    clouds = torch.randint(-2, 3, (2500,), generator=generator)
    query_clouds = torch.randint(-3, 4, (200,), generator=generator)
    for batches in [(None, None), (clouds, query_clouds)]:
        for k in (1, 16, 65, 3000):
            found, expected = (knn(points, queries, k, *batches, impl=way) for way in (impl, "reference"))
            assert torch.equal(found.offsets, expected.offsets), k
            assert torch.equal(found.indices, expected.indices), k
        for most in (None, 7, 100):
            found, expected = (
                within_radius(points, queries, 2.0, most, *batches, impl=way) for way in (impl, "reference")
            )
            assert torch.equal(found.offsets, expected.offsets), most
            assert torch.equal(found.indices, expected.indices), most


@pytest.mark.parametrize("instruction_set", [] if why_unavailable() else native.extension().instruction_sets())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_every_instruction_set_finds_the_same_rows(dim, dtype, instruction_set, monkeypatch):
    generator = torch.Generator().manual_seed(dim)
    scattered = torch.randn(700, dim, generator=generator, dtype=torch.float64)
    points = torch.cat([scattered, (scattered * 2).round()]).to(dtype)
    queries = torch.cat([points[::7], points[:50] * 30])
    expected = {k: knn(points, queries, k, impl="reference") for k in (1, 8, 9, 16, 31, 64, 70)}
    monkeypatch.setattr(native, "instruction_set", lambda: instruction_set)
    for k, rows in expected.items():
        found = knn(points, queries, k, impl="native")
        assert torch.equal(found.offsets, rows.offsets), k
        assert torch.equal(found.indices, rows.indices), k


@pytest.mark.parametrize("batched", [False, True])
def test_points_whose_squared_distances_overflow_are_nobodys_neighbors(fast_impl, batched):
    positions = torch.tensor([[0.0], [1.0], [1e200], [2.0]], dtype=torch.float64)
    batch = torch.zeros(4, dtype=torch.int64) if batched else None
    rows = knn(positions, positions, 2, batch, batch, impl=fast_impl)
    assert [part.tolist() for part in rows.indices.split(rows.counts().tolist())] == [[0, 1], [1, 0], [2], [3, 1]]


def test_the_sign_of_a_view_is_seen(fast_impl):
    positions = torch.tensor([[1.0], [-2.0], [5.0]])
    negated = torch._neg_view(positions)
    assert knn(negated, positions, 1, impl=fast_impl).indices.tolist() == [1, 0, 1]


@pytest.mark.parametrize("num_points", [1, 15, 16, 17, 33, 100])
def test_every_size_of_tree_finds_all_points(num_points, fast_impl):
    points = torch.randn(num_points, 3, generator=torch.Generator().manual_seed(num_points))
    found = knn(points, points[:5], num_points + 1, impl=fast_impl)
    expected = knn(points, points[:5], num_points + 1, impl="reference")
    assert torch.equal(found.indices, expected.indices)


@pytest.mark.parametrize("impl", ["kdtree", NATIVE])
def test_threads_and_repetitions_change_no_bit(impl):
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(0, 30, (5000, 3), generator=generator).float()
    threads = torch.get_num_threads()
    first = None
    try:
        for repeat in range(20):
            torch.set_num_threads(1 + repeat % 2)
            rows = [knn(points, points, 9, impl=impl), within_radius(points, points, 1.5, impl=impl)]
            first = first or rows
            for one, other in zip(rows, first, strict=True):
                assert torch.equal(one.indices, other.indices)
                assert torch.equal(one.offsets, other.offsets)
    finally:
        torch.set_num_threads(threads)


def test_an_index_is_searched_often(fast_impl):
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    index = PointIndex(points, impl=fast_impl)
    for queries, k in [(points, 4), (points[:10] + 1, 400)]:
        assert torch.equal(index.knn(queries, k).indices, knn(points, queries, k, impl="reference").indices)
    within = index.within_radius(points, 0.5, 3)
    assert torch.equal(within.indices, within_radius(points, points, 0.5, 3, impl="reference").indices)


@pytest.mark.parametrize(
    ("impl", "copies"), [pytest.param("native", 200_000, marks=NATIVE.marks), ("grid", 40_000), ("kdtree", 200_000)]
)
def test_many_copies_are_searched_in_time(impl, copies):
    points = torch.ones(copies, 3)
    assert knn(points, points, 3, impl=impl).indices.view(-1, 3).unique(dim=0).tolist() == [[0, 1, 2]]


# All pairs of copies, which memory is too small for: 7 GB of indices.
_PAIRS_WITHOUT_END = """
import resource, torch
from gridless.neighbors import within_radius
points = torch.zeros(30_000, 3)
within_radius(points[:300], points[:300], 1.0, impl="native")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)
try:
    within_radius(points, points, 1.0, impl="native")
except MemoryError:
    print("MemoryError")
"""


@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on the memory of a process")
def test_rows_too_many_for_the_memory_are_an_error():
    process = subprocess.run([sys.executable, "-c", _PAIRS_WITHOUT_END], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (0, "MemoryError\n"), process.stderr


def test_without_compiled_kernels_auto_takes_another_way_and_native_says_why(monkeypatch):
    points = torch.rand(50, 2)
    expected = knn(points, points, 3, impl="reference")
    monkeypatch.setattr(native, "_load", lambda: (None, "no compiler"))
    assert torch.equal(knn(points, points, 3).indices, expected.indices)
    with pytest.raises(UnsupportedError, match="no compiler"):
        knn(points, points, 3, impl="native")


@pytest.mark.parametrize("dim", GRID_DIMS)
def test_the_grid_follows_densities_and_queries_anywhere(dim):
    """Clusters a millionth as wide as the cloud, copies, an outlier, coordinates at the ends of float64."""
    generator = torch.Generator().manual_seed(dim)
    spread = torch.randn(500, dim, generator=generator, dtype=torch.float64)
    dense = 1 + 1e-6 * torch.randn(500, dim, generator=generator, dtype=torch.float64)
    points = torch.cat([spread, dense, spread[:90], dense[:1].expand(90, -1), torch.full((1, dim), 1e9)])
    queries = torch.cat([points[::7], 2 * spread[:40], torch.full((1, dim), -1e12)])
    for scale in (1.0, 1e-300, 1e295, 5e-324):
        for k in (1, 5, 60, 2000):
            found, expected = (knn(scale * points, scale * queries, k, impl=impl) for impl in ("grid", "reference"))
            assert torch.equal(found.offsets, expected.offsets), (scale, k)
            assert torch.equal(found.indices, expected.indices), (scale, k)


@pytest.mark.parametrize("dim", GRID_DIMS)
def test_the_grid_is_exact_where_cells_are_narrower_than_roundings(dim):
    """Points on a lattice of the last digits of float64: far from the origin, no border of a cell is a number."""
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        step, width = 2.0**-22, 5 + seed
        lattice = [torch.randint(0, width, (count, dim), generator=generator).double() for count in (60, 30)]
        points, queries = (2.0**30 + step * steps for steps in lattice)
        for k, radius in (None, step), (None, 2 * step), (3, None), (40, None), (4, 3 * step):
            found, expected = (
                within_radius(points, queries, radius, max_neighbors=k, impl=impl)
                if radius
                else knn(points, queries, k, impl=impl)
                for impl in ("grid", "reference")
            )
            assert torch.equal(found.offsets, expected.offsets), (seed, k, radius)
            assert torch.equal(found.indices, expected.indices), (seed, k, radius)


def test_clouds_of_all_sizes_in_one_grid():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(0, 40, (90,), generator=generator)
    clouds = torch.arange(90).repeat_interleave(sizes)
    points = torch.randn(len(clouds), 3, generator=generator) * (10.0 ** (clouds % 9 - 4))[:, None]
    for k in (1, 8, 50):
        found, expected = (knn(points, points, k, clouds, clouds, impl=impl) for impl in ("grid", "reference"))
        assert torch.equal(found.offsets, expected.offsets)
        assert torch.equal(found.indices, expected.indices)


def test_a_grid_cut_into_many_blocks_finds_the_same(monkeypatch):
    points = torch.rand(700, 3, generator=torch.Generator().manual_seed(0))
    expected = knn(points, points, 9, impl="grid"), within_radius(points, points, 0.2, impl="grid")
    for module, name, value in [
        (grid, "_QUERIES_PER_CHUNK", 100), (cells, "_ROWS_PER_BLOCK", 16), (cells, "_CANDIDATES_PER_BLOCK", 300)
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, value)
    found = knn(points, points, 9, impl="grid"), within_radius(points, points, 0.2, impl="grid")
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.offsets, other.offsets)


@pytest.mark.skipif(bool(gpu.why_unavailable()), reason=gpu.why_unavailable())
@pytest.mark.parametrize("dim", GRID_DIMS)
def test_the_kernel_finds_the_rows_of_the_reference(dim, monkeypatch):
    """Ties, copies, an outlier, queries outside, clouds without sources and with fewer than k, k beside powers of 2."""
    monkeypatch.setattr(grid, "scans_in_triton", lambda *_: True)
    generator = torch.Generator().manual_seed(dim)
    lattice = torch.randint(0, 3, (24, dim), generator=generator).double() / 8
    points = 6.2e6 + torch.cat([lattice, torch.full((1, dim), 1e3)])
    queries = torch.cat([points[:4], points[:2] + 0.06, points[:1] - 1e5])
    clouds, query_clouds = torch.arange(25) % 5 // 3 * 7, torch.tensor([0, 7, 7, 0, 3, 7, 0])
    cases = [(3, None, True), (9, 0.2, False), (9, None, False), (3, 0.2, True)]
    for k, radius, batched in cases[: 5 - dim]:  # the interpreter is slow
        batches = (clouds, query_clouds) if batched else (None, None)
        found, expected = (
            within_radius(points, queries, radius, k, *batches, impl=impl)
            if radius
            else knn(points, queries, k, *batches, impl=impl)
            for impl in ("grid", "reference")
        )
        assert torch.equal(found.offsets, expected.offsets), (k, radius)
        assert torch.equal(found.indices, expected.indices), (k, radius)


@pytest.mark.skipif(bool(gpu.why_unavailable()), reason=gpu.why_unavailable())
def test_lists_too_long_for_a_warp_are_shared_by_its_lanes(monkeypatch):
    monkeypatch.setattr(grid, "scans_in_triton", lambda *_: True)
    points = torch.randint(0, 20, (40, 1), generator=torch.Generator().manual_seed(0)).float()
    found, expected = (knn(points, points[::4], 33, impl=impl).indices for impl in ("grid", "reference"))
    assert torch.equal(found, expected)


def test_the_kernel_is_taken_on_a_gpu_for_rows_that_fit_into_it(monkeypatch):
    monkeypatch.setattr(gpu, "why_not_on", lambda device: "")
    device = torch.device("cuda")
    assert grid.scans_in_triton(device, 256, 1000)
    assert not grid.scans_in_triton(device, 257, 1000)
    assert not grid.scans_in_triton(torch.device("cpu"), 16, 1000)
    monkeypatch.setattr(gpu, "why_not_on", lambda device: "Triton is not installed")
    assert not grid.scans_in_triton(device, 16, 1000)


def test_the_grid_refuses_more_dimensions():
    with pytest.raises(UnsupportedError, match="impl='grid' takes at most 4 dimensions, got 5"):
        knn(torch.rand(3, 5), torch.rand(3, 5), 1, impl="grid")


@pytest.mark.parametrize(("dim", "expected"), [(3, "grid"), (5, "reference")])
def test_auto_stays_on_a_gpu(dim, expected, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    chosen = []
    choose = point_index.choose
    monkeypatch.setattr(point_index, "choose", lambda *arguments: chosen.append(choose(*arguments)) or chosen[-1])
    knn(torch.rand(9, dim), torch.rand(9, dim), 2)
    assert chosen == [expected]
