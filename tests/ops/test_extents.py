"""Support extents: the farthest pair of each row and its derivative."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gridless.ops import extents, rows
from gridless.ops.extents import support_extents


def cloud(counts, num_sources=8, dim=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    indices = torch.randint(max(num_sources, 1), (int(offsets[-1]),), generator=generator)
    sources, queries = (
        torch.randn(num, dim, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for num in (num_sources, len(counts))
    )
    return sources, queries, indices, offsets


def loop(sources, queries, indices, offsets):
    out = []
    for row, query in enumerate(queries):
        members = indices[offsets[row] : offsets[row + 1]]
        out.append((query - sources[members]).norm(dim=1).max() if len(members) else query.new_zeros(()))
    return torch.stack(out)


@pytest.mark.parametrize("max_slots", [1, 6, 2**20])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("counts", [[3, 0, 1, 6, 2], [4, 4, 4]], ids=["ragged", "uniform"])
def test_distance_to_the_farthest_source_and_its_gradients(counts, dim, max_slots, monkeypatch):
    monkeypatch.setattr(extents, "_MAX_SLOTS", max_slots)
    sources, queries, indices, offsets = cloud(counts, dim=dim)
    out, expected = support_extents(sources, queries, indices, offsets), loop(sources, queries, indices, offsets)
    probe = torch.arange(1.0, len(counts) + 1)
    gradients = torch.autograd.grad((out * probe).sum(), [sources, queries])
    wanted = torch.autograd.grad((expected * probe).sum(), [sources, queries])
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=0)
    for name, value, want in zip(("sources", "queries"), gradients, wanted, strict=True):
        assert (value - want).abs().max() <= 1e-12 * want.abs().max(), name


def test_derivatives_of_first_and_second_order():
    sources, queries, indices, offsets = cloud([3, 0, 1, 6])

    def function(sources, queries):
        return support_extents(sources, queries, indices, offsets)

    assert gradcheck(function, (sources, queries))
    assert gradgradcheck(function, (sources, queries))


def test_no_pairs_no_points_and_one_point_are_zero_with_zero_gradient():
    for counts, num_sources in (([0, 0], 3), ([0, 0], 0), ([], 3), ([], 0)):
        sources, queries, indices, offsets = cloud(counts, num_sources)
        out = support_extents(sources, queries, indices, offsets)
        assert out.shape == (len(counts),)
        assert (out == 0).all()
    position = torch.ones(1, 3, requires_grad=True)
    out = support_extents(position, position, torch.tensor([0]), torch.tensor([0, 1]))
    assert out.item() == 0
    assert (torch.autograd.grad(out.sum(), position)[0] == 0).all()


def test_float32_keeps_its_dtype():
    sources, queries, indices, offsets = cloud([3, 0, 2], dtype=torch.float32)
    out = support_extents(sources, queries, indices, offsets)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, loop(sources, queries, indices, offsets), rtol=1e-6, atol=0)


@pytest.mark.parametrize("max_rows", [1, 3, 100])
@pytest.mark.parametrize("max_pairs", [1, 7, 100])
@pytest.mark.parametrize("counts", [[5, 0, 2, 9, 1, 2, 0], [3] * 7, [0, 0], [], [1]])
def test_blocks_hold_every_pair_once_in_its_row(counts, max_pairs, max_rows):
    offsets = torch.tensor([0, *counts]).cumsum(0)
    found = {}
    for block in rows.row_blocks(offsets, max_pairs, max_rows):
        members = torch.arange(len(counts))[block.rows]
        assert 1 <= len(members) <= max_rows
        assert block.pairs.numel() <= max_pairs or len(members) == 1
        for place, row in enumerate(members.tolist()):
            pairs = block.pairs[place]
            real = pairs if block.padding is None else pairs[~block.padding[place]]
            assert row not in found
            found[row] = real.tolist()
            assert set(pairs.tolist()) == set(found[row]), "a slot past the end must belong to the row itself"
    starts = offsets.tolist()
    assert found == {row: list(range(starts[row], starts[row] + count)) for row, count in enumerate(counts) if count}


def test_transposed_rows_and_rows_of_pairs():
    indices, offsets = torch.tensor([2, 0, 2, 4]), torch.tensor([0, 1, 1, 4])
    assert rows.pair_rows(offsets, 4).tolist() == [0, 2, 2, 2]
    order, starts = rows.transposed_rows(indices, 5)
    assert order.tolist() == [1, 0, 2, 3]
    assert starts.tolist() == [0, 1, 1, 3, 3, 4]


@pytest.mark.parametrize("counts", [[3, 0, 1, 6, 2], [], [0, 0]])
@pytest.mark.parametrize("bad", [None, float("nan")])
def test_all_pairs_at_once_have_the_same_farthest(counts, bad):
    sources, queries, indices, offsets = cloud(counts)
    positions = sources.detach().round(), queries.detach().round()  # with ties
    if bad is not None:
        positions[0][3] = bad
    found, expected = (
        function(*positions, indices, offsets)
        for function in (extents._farthest_without_blocks, extents._farthest_pair)
    )
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_float16_positions_whose_squares_do_not_fit():
    positions = torch.tensor([[0.0], [300.0]], dtype=torch.float16)
    out = support_extents(positions, positions, torch.tensor([0, 1]), torch.tensor([0, 2, 2]))
    assert out.dtype == torch.float16
    assert out.tolist() == [300.0, 0.0]
