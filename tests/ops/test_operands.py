"""What operators beside the convolution, whose errors have a file of their own, say about tensors that do not fit."""

import re

import pytest
import torch

from gridless.neighbors import Neighborhoods
from gridless.nn import GlobalPool, Upsample
from gridless.ops.extents import support_extents
from gridless.ops.interpolation import interpolate
from gridless.ops.pooling import pool

N, M, D = 3, 2, 2
OPERATORS = {
    pool: ["features"],
    interpolate: ["features", "source_positions", "query_positions"],
    support_extents: ["source_positions", "query_positions"],
}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("features", torch.ones(N, 1).long(), TypeError, "features must be floating point, got torch.int64"),
        ("features", torch.ones(N, 1).bool(), TypeError, "features must be floating point, got torch.bool"),
        ("features", torch.ones(N), ValueError, "features must have 2 dimensions, got shape (3,)"),
        ("features", [[1.0]], TypeError, "features must be a torch tensor, got list"),
        ("source_positions", torch.ones(N, 1), ValueError, "must have the same D, got 1 and 2"),
        ("query_positions", torch.ones(M, D).int(), TypeError, "query_positions must be floating point, got torch.int"),
        ("query_positions", torch.ones(M + 3, D), ValueError, "offsets must be [M + 1 = 6], got 3 entries"),
        ("query_positions", torch.ones(1, D), ValueError, "offsets must be [M + 1 = 2], got 3 entries"),
        ("indices", torch.zeros(4).int(), TypeError, "indices must be int64, got torch.int32"),
    ],
)
def test_what_does_not_fit_is_named(name, value, error, message):
    valid = {"features": torch.ones(N, 1), "source_positions": torch.rand(N, D), "query_positions": torch.rand(M, D)}
    rows = {"indices": torch.tensor([0, 1, 2, 0]), "offsets": torch.tensor([0, 2, 4])}
    for function, names in OPERATORS.items():
        arguments = {taken: valid[taken] for taken in names} | rows
        if name in arguments:
            with pytest.raises(error, match=f"^{function.__name__}: .*" + re.escape(message)):
                function(**arguments | {name: value})


def test_features_of_other_points_are_refused():
    rows = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 2, 4])
    with pytest.raises(ValueError, match=r"interpolate: .* must have the same N, got 4 and 3"):
        interpolate(torch.ones(N + 1, 1), torch.rand(N, D), torch.rand(M, D), *rows)


def test_layers_refuse_numbers_that_would_be_cut_off():
    features, positions = torch.tensor([[1], [2], [4]]), torch.rand(N, D)
    with pytest.raises(TypeError, match=r"pool: features must be floating point, got torch\.int64"):
        GlobalPool("mean")(features, torch.tensor([0, 0, 1]), 2)
    with pytest.raises(TypeError, match=r"interpolate: features must be floating point, got torch\.int64"):
        Upsample()(features, positions, positions[:M], Neighborhoods.from_lists([[0, 1], [2]]))
