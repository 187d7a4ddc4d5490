"""Conversions of compressed rows."""

import pytest
import torch

from gridless.neighbors import Neighborhoods

ROWS = Neighborhoods.from_dense(torch.tensor([[2, 0], [-1, -1], [2, -1]]))


def test_edge_index_there_and_back():
    assert ROWS.to_edge_index().tolist() == [[2, 0, 2], [0, 0, 2]]
    back = Neighborhoods.from_edge_index(ROWS.to_edge_index()[:, [2, 0, 1]], 3)
    assert (back.indices.tolist(), back.offsets.tolist()) == ([2, 0, 2], [0, 2, 2, 3])


def test_transpose_names_the_pairs():
    reverse, order = ROWS.transpose(4)
    assert (reverse.indices.tolist(), reverse.offsets.tolist()) == ([0, 0, 2], [0, 1, 1, 3, 3])
    assert order.tolist() == [1, 0, 2]


def test_triangles_concatenate_and_select():
    rings = Neighborhoods.from_triangles(torch.tensor([[0, 1, 2], [1, 2, 3]]), 5, include_self=False)
    assert (rings.indices.tolist(), rings.counts().tolist()) == ([1, 2, 0, 2, 3, 0, 1, 3, 1, 2], [2, 3, 3, 2, 0])
    assert Neighborhoods.concatenate([ROWS, ROWS], [3, 3]).indices.tolist() == [2, 0, 2, 5, 3, 5]
    assert ROWS.select_queries(torch.tensor([2, 1, 0])).indices.tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("indices", "offsets", "problem"),
    [([0], [1, 1], "start at 0"), ([0], [0, 2, 1], "decrease"), ([0], [0, 0], "end at 1"), ([0, 7], [0, 2], "pair 1")],
)
def test_validate_says_what_is_wrong(indices, offsets, problem):
    with pytest.raises(ValueError, match=problem):
        Neighborhoods(torch.tensor(indices), torch.tensor(offsets)).validate(3)
