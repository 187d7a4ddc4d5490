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


def test_queries_are_selected_as_torch_indexes():
    rows = Neighborhoods.from_lists([[0, 1], [2], [3, 4, 5]])
    for queries in ([-1, -3], [2, 0]):
        selected = rows.select_queries(torch.tensor(queries))
        assert (selected.indices.tolist(), selected.counts().tolist()) == ([3, 4, 5, 0, 1], [3, 2])
    assert rows.select_queries(torch.tensor([True, False, True])).indices.tolist() == [0, 1, 3, 4, 5]
    for missing in ([3], [-4], [True, False]):
        with pytest.raises(IndexError):
            rows.select_queries(torch.tensor(missing))
    with pytest.raises(ValueError, match=r"queries must be one-dimensional, got shape \(\)"):
        rows.select_queries(torch.tensor(1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ROWS.transpose(2), ValueError, r"transpose: indices must lie in \[0, 2\), got 0 to 2"),
        (
            lambda: Neighborhoods.from_triangles(torch.tensor([[0, 1, 7]]), 5),
            ValueError,
            r"from_triangles: triangles must lie in \[0, 5\), got 0 to 7",
        ),
        (
            lambda: Neighborhoods.from_triangles(torch.zeros(1, 3), 5),
            TypeError,
            "from_triangles: triangles must be int64, got torch.float32",
        ),
        (
            lambda: Neighborhoods.from_edge_index(torch.zeros(2, 1), 5),
            TypeError,
            "from_edge_index: queries must be int64, got torch.float32",
        ),
    ],
)
def test_what_is_wrong_is_named(make, error, message):
    with pytest.raises(error, match=f"^Neighborhoods.{message}"):
        make()


@pytest.mark.parametrize(
    ("indices", "offsets", "problem"),
    [([0], [1, 1], "start at 0"), ([0], [0, 2, 1], "decrease"), ([0], [0, 0], "end at 1"), ([0, 7], [0, 2], "pair 1")],
)
def test_validate_says_what_is_wrong(indices, offsets, problem):
    with pytest.raises(ValueError, match=problem):
        Neighborhoods(torch.tensor(indices), torch.tensor(offsets)).validate(3)
