import math

import pytest
import torch

from gridless.neighbors import (
    AllPairs,
    Neighborhoods,
    all_pairs,
    periodic_images,
    preceding,
    within_hops,
    within_radius,
    wrap_into_box,
)


def rows_of(neighborhoods):
    return [row.tolist() for row in neighborhoods.indices.split(neighborhoods.counts().tolist())]


def test_lists_there_and_back():
    lists = [[2, 0], [], [1, 1, 1]]
    assert rows_of(Neighborhoods.from_lists(lists)) == lists
    assert Neighborhoods.from_lists([]).num_queries == 0


def test_selected_pairs_stay_in_their_rows():
    rows = Neighborhoods.from_lists([[0, 1], [], [2, 3, 4]])
    assert rows_of(rows.select_pairs(rows.indices % 2 == 1)) == [[1], [], [3]]
    with pytest.raises(ValueError, match="kept must be bool"):
        rows.select_pairs(rows.indices)


def test_all_pairs_of_each_cloud():
    source, query = torch.tensor([1, 0, 1]), torch.tensor([1, 2, 0])
    assert rows_of(all_pairs(source, query)) == [[0, 2], [], [1]]
    assert rows_of(all_pairs(source, source, include_self=False)) == [[2], [], [0]]
    with pytest.raises(TypeError, match="all_pairs: source_batch must be a torch tensor, got list"):
        all_pairs([0], query)
    with pytest.raises(ValueError, match="batches differ"):
        all_pairs(source, query, include_self=False)


def test_blocks_of_all_pairs_cover_every_row_once():
    support = AllPairs(num_sources=3, num_queries=7)
    blocks = list(support.blocks(pairs_per_block=7))
    assert blocks == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert rows_of(support.rows(4, 6)) == [[0, 1, 2]] * 2
    with pytest.raises(ValueError, match="negative"):
        AllPairs(-1, 2)


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("duration", [None, 0.0, 1.5])
@pytest.mark.parametrize("batched", [False, True])
def test_preceding_equals_a_plain_loop(k, duration, batched):
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(8, (30,), generator=generator) / 2.0
    query = torch.randint(-1, 9, (20,), generator=generator) / 2.0
    source_batch, query_batch = (torch.randint(3, (n,), generator=generator) for n in (30, 20))
    batches = (source_batch, query_batch) if batched else (None, None)
    rows = rows_of(preceding(source, query, k, duration, *batches))
    for i in range(20):
        allowed = [
            j
            for j in range(30)
            if query[i] - (math.inf if duration is None else duration) <= source[j] <= query[i]
            and (not batched or source_batch[j] == query_batch[i])
        ]
        assert rows[i] == sorted(allowed, key=lambda j: (source[j].item(), j), reverse=True)[:k]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"duration": -1.0}, "duration must not be negative"),
        ({"source_batch": torch.zeros(2, dtype=torch.int64)}, "both source_batch and query_batch"),
        ({"query_times": torch.zeros(2, 1)}, r"query_times \[M\]"),
        ({"source_times": torch.tensor([0.0, math.nan])}, "NaN"),
    ],
)
def test_preceding_says_what_is_wrong(changed, message):
    with pytest.raises(ValueError, match=message):
        preceding(**({"source_times": torch.zeros(2), "query_times": torch.zeros(2)} | changed))


def test_hops_are_powers_of_the_adjacency():
    generator = torch.Generator().manual_seed(1)
    edges = torch.randint(25, (2, 40), generator=generator)
    rows = Neighborhoods.from_edge_index(edges, 25)
    adjacency = torch.eye(25)
    adjacency[edges[1], edges[0]] = 1
    for hops in (1, 2, 4):
        reached = torch.linalg.matrix_power(adjacency, hops) > 0
        assert rows_of(within_hops(rows, hops)) == [row.nonzero().flatten().tolist() for row in reached]
    with pytest.raises(ValueError, match="at least 1"):
        within_hops(rows, 0)


def test_two_ring_of_a_fan():
    fan = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
    two_ring = within_hops(Neighborhoods.from_triangles(fan, 6), 2)
    assert rows_of(two_ring) == [[0, 1, 2, 3, 4]] * 5 + [[5]]


@pytest.mark.parametrize("radius", [0.3, 0.9, 2.5])
def test_periodic_distances_equal_a_plain_loop(radius):
    generator = torch.Generator().manual_seed(2)
    box = [1.0, 2.0, math.inf]
    source, query = (4 * torch.rand(n, 3, generator=generator, dtype=torch.float64) - 2 for n in (12, 9))
    indices, images = periodic_images(source, box, radius)
    rows = within_radius(images, wrap_into_box(query, box), radius)
    found = [sorted(indices[row].tolist()) for row in rows.indices.split(rows.counts().tolist())]
    for i in range(9):
        expected = []
        for j in range(12):
            for a in range(-9, 10):
                for b in range(-6, 7):
                    image = source[j] + torch.tensor([a * 1.0, b * 2.0, 0.0], dtype=torch.float64)
                    if (query[i] - image).norm() <= radius:
                        expected.append(j)
        assert found[i] == expected


def test_gradients_of_images_reach_the_sources():
    source = torch.tensor([[0.1], [5.3]], requires_grad=True)
    indices, images = periodic_images(source, [1.0], 0.2)
    assert indices.bincount().tolist() == [2, 1]
    images.sum().backward()
    assert source.grad.tolist() == [[2.0], [1.0]]


def test_box_of_the_wrong_form():
    with pytest.raises(ValueError, match="2 positive lengths"):
        wrap_into_box(torch.zeros(3, 2), [1.0])
    with pytest.raises(ValueError, match="reach"):
        periodic_images(torch.zeros(3, 2), [1.0, 1.0], -1.0)


def test_series_of_any_number_stay_apart():
    times, series = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 2**62, 0])
    assert rows_of(preceding(times, times, source_batch=series, query_batch=series)) == [[0], [1], [2, 0]]


def test_images_of_double_positions_are_a_double_box_away():
    positions = torch.tensor([[0.05], [9.9]], dtype=torch.float64)
    images = periodic_images(positions, [10.1], 1.0)[1]
    expected = torch.tensor([[9.9 - 10.1], [0.05], [9.9], [0.05 + 10.1]], dtype=torch.float64)
    torch.testing.assert_close(images.sort(dim=0).values, expected, rtol=1e-15, atol=0)


def test_wrapped_positions_lie_in_the_box():
    generator = torch.Generator().manual_seed(0)
    wrapped = wrap_into_box(torch.rand(100_000, 2, generator=generator) * 2000 - 1000, [0.3, math.inf])
    assert wrapped[:, 0].min() >= 0
    assert wrapped[:, 0].max() < torch.tensor(0.3)
    assert wrapped[:, 1].min() < -900


@pytest.mark.parametrize("reach", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("source", [0.0, -1e-9])
@pytest.mark.parametrize("query", [0.0, -1e-9])
def test_just_below_0_is_0_and_not_the_other_side_of_the_box(query, source, reach):
    images = periodic_images(torch.tensor([[source]]), [1.0], reach)[1]
    distances = images - wrap_into_box(torch.tensor([[query]]), [1.0])
    assert (distances.abs() <= reach).sum() == 2 * math.floor(reach) + 1
