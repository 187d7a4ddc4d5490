"""knn and within_radius against plain loops, on ordinary and hard clouds."""

import pytest
import torch

from gridless.native import why_unavailable
from gridless.neighbors import knn, local_density, within_radius

IMPLS = [
    "reference",
    "kdtree",
    pytest.param("native", marks=pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable())),
]


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


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dim", [1, 2, 3, 6])
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


def test_density_of_a_line_and_of_copies():
    line = torch.arange(50.0)[:, None]
    assert torch.allclose(local_density(line, 4)[2:-2], torch.tensor(1.0))
    assert torch.isfinite(local_density(torch.ones(30, 3), 4)).all()
