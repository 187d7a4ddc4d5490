"""Every argument that cannot be right is named, with what was expected and what was given."""

import re

import pytest
import torch

from gridless.errors import UnsupportedError
from gridless.ops.convolution import available_implementations, continuous_conv, register_basis
from gridless.ops.convolution.basis import BASES

N, M, E, D, C_IN, C_OUT, H = 5, 3, 4, 2, 6, 7, 8


def arguments(**changes):
    valid = {
        "features": torch.ones(N, C_IN),
        "source_positions": torch.ones(N, D),
        "query_positions": torch.ones(M, D),
        "indices": torch.zeros(E, dtype=torch.int64),
        "offsets": torch.tensor([0, 1, 1, 4]),
        "weight": torch.ones(H, C_IN, C_OUT),
        "basis": "given",
        "basis_parameters": [torch.ones(E, H)],
    }
    return valid | changes


def test_the_valid_arguments_that_the_others_differ_from():
    assert continuous_conv(**arguments()).shape == (M, C_OUT)


WRONG_VALUES = {
    "features of rank 1": ({"features": torch.ones(N)}, "features must have 2 dimensions, got shape (5,)"),
    "source_positions of rank 3": (
        {"source_positions": torch.ones(N, D, 1)},
        "source_positions must have 2 dimensions, got shape (5, 2, 1)",
    ),
    "query_positions of rank 1": (
        {"query_positions": torch.ones(M)},
        "query_positions must have 2 dimensions, got shape (3,)",
    ),
    "indices of rank 2": (
        {"indices": torch.zeros(E, 1, dtype=torch.int64)},
        "indices must have 1 dimensions, got shape (4, 1)",
    ),
    "offsets of rank 0": ({"offsets": torch.tensor(0)}, "offsets must have 1 dimensions, got shape ()"),
    "other N": ({"features": torch.ones(N + 1, C_IN)}, "must have the same N, got 6 and 5"),
    "other D": ({"query_positions": torch.ones(M, D + 1)}, "must have the same D, got 2 and 3"),
    "other M": ({"offsets": torch.tensor([0, 4])}, "offsets must be [M + 1 = 4], got 2 entries"),
    "weight of rank 1": ({"weight": torch.ones(H)}, "with C_in = 6 as in features, got shape (8,)"),
    "weight of rank 4": ({"weight": torch.ones(H, C_IN, C_OUT, 1)}, "got shape (8, 6, 7, 1)"),
    "weight of other C_in": ({"weight": torch.ones(H, C_OUT, C_IN)}, "got shape (8, 7, 6)"),
    "basis": ({"basis": "mlp"}, "basis must be one of given, mlp_relu, "),
    "no given values": ({"basis_parameters": []}, "'given' takes one tensor [E = 4, H = 8], got []"),
    "given values of other E": ({"basis_parameters": [torch.ones(E + 1, H)]}, "[E = 4, H = 8], got [(5, 8)]"),
    "given values of other H": ({"basis_parameters": [torch.ones(E, H + 1)]}, "[E = 4, H = 8], got [(4, 9)]"),
    "window": ({"window": "box"}, "window must be one of none, gaussian, polynomial, got 'box'"),
    "gaussian window without its width": ({"window": "gaussian"}, "'gaussian' takes 1 window_parameters, got 0"),
    "no channels": ({"weight": torch.ones(H, C_IN, 0)}, "at least one number, got shape (8, 6, 0)"),
    "reduce": ({"reduce": "max"}, "reduce must be one of mean, sum, density, got 'max'"),
    "density for a mean": ({"density": torch.ones(N)}, "only with it, got reduce='mean' and a density"),
    "no density": ({"reduce": "density"}, "only with it, got reduce='density' and no density"),
    "density of other N": ({"reduce": "density", "density": torch.ones(M)}, "density must be [N = 5], got shape (3,)"),
    "extents of other M": (
        {"window": "polynomial", "extents": torch.ones(N)},
        "extents must be a number or [M = 3], got shape (5,)",
    ),
    "extent of 0": ({"window": "polynomial", "extents": 0.0}, "extents must be positive, got 0.0"),
    "an extent that cannot be": (
        {"window": "polynomial", "extents": torch.tensor([0.0, float("nan"), -1.0])},
        "extents must not be negative or NaN, 2 of 3 are (first: row 1, nan)",
    ),
    "extent that is no number": ({"window": "polynomial", "extents": float("nan")}, "must be positive, got nan"),
}

WRONG_TYPES = {
    "indices": (torch.zeros(E, dtype=torch.int32), "indices must be int64, got torch.int32"),
    "offsets": (torch.tensor([0.0, 1.0, 1.0, 4.0]), "offsets must be int64, got torch.float32"),
    "features": (torch.ones(N, C_IN, dtype=torch.int64), "features must be floating point, got torch.int64"),
    "source_positions": (torch.ones(N, D, dtype=torch.int32), "source_positions must be floating point, got torch.int"),
    "query_positions": (torch.ones(M, D, dtype=torch.int32), "query_positions must be floating point, got torch.int"),
    "weight": (torch.ones(H, C_IN, C_OUT, dtype=torch.bool), "weight must be floating point, got torch.bool"),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_values(name):
    changes, message = WRONG_VALUES[name]
    with pytest.raises(ValueError, match=r"^continuous_conv: .*" + re.escape(message)):
        continuous_conv(**arguments(**changes))


@pytest.mark.parametrize(
    "rows",
    [
        {"offsets": torch.tensor([0, 2, 1, 4])},
        {"offsets": torch.tensor([1, 2, 3, 4])},
        {"offsets": torch.tensor([0, 1, 2, 3])},
        {"indices": torch.tensor([0, 1, -1, 2])},
        {"indices": torch.tensor([0, 1, N, 2])},
    ],
)
def test_broken_rows(rows, impl):
    if impl == "triton":
        pytest.skip("on a GPU nothing waits to check rows")
    with pytest.raises(ValueError, match=r"continuous_conv: (offsets must ascend|indices must lie in)"):
        continuous_conv(**arguments(**rows), impl=impl)


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_dtypes(name):
    value, message = WRONG_TYPES[name]
    with pytest.raises(TypeError, match="^continuous_conv: " + re.escape(message)):
        continuous_conv(**arguments(**{name: value}))


def test_unknown_implementation_says_what_there_is():
    with pytest.raises(UnsupportedError, match=r"impl must be one of auto, .*got 'cuda'; here: .*blocked: usable"):
        continuous_conv(**arguments(), impl="cuda")
    assert {"reference", "blocked", "native", "triton"} == available_implementations().keys()


@pytest.mark.parametrize("name", ["given", "fourier"])
def test_a_basis_is_registered_once(name):
    with pytest.raises(ValueError, match=f"register_basis: '{name}' is already a basis"):
        register_basis(name, lambda z, parameters: z)


@pytest.fixture
def linear_basis():
    # Transposed, as a basis may leave φ.
    register_basis("test_linear", lambda z, parameters: (parameters[0].T @ z.T).T)
    yield "test_linear"
    del BASES["test_linear"]


def test_a_registered_basis_is_used_by_every_implementation(linear_basis, impl, assert_same):
    generator = torch.Generator().manual_seed(0)
    matrix, queries = torch.randn(D, H, generator=generator), torch.rand(M, D, generator=generator)
    matrix.requires_grad_()
    changed = arguments(basis=linear_basis, basis_parameters=[matrix], query_positions=queries)
    out = continuous_conv(**changed, impl=impl, reduce="sum")
    # Every source is at 1, every feature and weight is 1, and the rows have 1, 0 and 3 pairs.
    expected = torch.tensor([1, 0, 3])[:, None] * ((queries - 1) @ matrix).sum(dim=1, keepdim=True) * C_IN
    expected = expected.expand(-1, C_OUT)
    probe = torch.randn(M, C_OUT, generator=generator)
    gradient, wanted = (torch.autograd.grad((values * probe).sum(), matrix)[0] for values in (out, expected))
    assert_same({"output": out, "matrix": gradient}, {"output": expected, "matrix": wanted}, 1e-5)
