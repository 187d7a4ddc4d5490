"""Pooling over supports against loops: values, gradients, empty rows, independence of clouds."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gridless.nn import GlobalPool, Pool
from gridless.ops.pooling import pool

RAGGED = torch.tensor([4, 0, 1, 4, 4, 2, 3, 0]), torch.tensor([0, 3, 3, 5, 8])


def loop(features, indices, offsets, reduce):
    out = []
    for row in range(len(offsets) - 1):
        members = features[indices[offsets[row] : offsets[row + 1]]]
        if len(members) == 0:
            out.append(features.new_zeros(features.shape[1]))
        else:
            out.append(members.amax(dim=0) if reduce == "max" else members.mean(dim=0))
    return torch.stack(out)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_output_and_gradient_equal_a_loop(reduce, dtype):
    torch.manual_seed(0)  # without equal values among the neighbors, of which one alone gets the gradient
    features = torch.randn(5, 7, dtype=torch.float64).to(dtype).requires_grad_()
    weights = torch.randn(4, 7, dtype=torch.float64).to(dtype)
    exact = features.detach().double().requires_grad_()
    out, expected = pool(features, *RAGGED, reduce), loop(exact, *RAGGED, reduce)
    gradient = torch.autograd.grad((out * weights).sum(), features)[0]
    expected_gradient = torch.autograd.grad((expected * weights.double()).sum(), exact)[0]
    assert out.dtype == gradient.dtype == dtype
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=3 * tolerance)


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_derivatives_of_first_and_second_order(reduce):
    # Distinct by far more than the step of the finite differences, so that no maximum changes its place.
    features = (torch.randperm(15).double().view(5, 3) / 3).requires_grad_()
    assert gradcheck(lambda f: pool(f, *RAGGED, reduce), (features,))
    assert gradgradcheck(lambda f: pool(f, *RAGGED, reduce).square(), (features,))


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_empty_rows_and_no_sources_give_zeros(reduce):
    features = -torch.ones(5, 2)
    assert (pool(features, *RAGGED, reduce)[1] == 0).all()
    nothing = torch.empty(0, dtype=torch.int64)
    assert torch.equal(pool(features[:0], nothing, torch.tensor([0, 0, 0]), reduce), torch.zeros(2, 2))
    assert pool(features, nothing, torch.tensor([0]), reduce).shape == (0, 2)


def test_gradient_of_equal_values_goes_to_one_of_them():
    features = torch.ones(3, 1, requires_grad=True)
    pool(features, torch.tensor([0, 1, 2]), torch.tensor([0, 3]), "max").sum().backward()
    assert sorted(features.grad.flatten().tolist()) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_global_pool_keeps_clouds_apart_in_any_order(reduce):
    features, batch = torch.randn(9, 4), torch.tensor([2, 0, 2, 0, 4, 4, 0, 2, 0])
    out = GlobalPool(reduce)(features, batch, num_clouds=6)
    for cloud in range(6):
        members = features[batch == cloud]
        expected = torch.zeros(4) if len(members) == 0 else loop(
            members, torch.arange(len(members)), torch.tensor([0, len(members)]), reduce
        )[0]  # fmt: skip
        torch.testing.assert_close(out[cloud], expected)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.tensor([0, 1, 2]), ValueError, r"batch must lie in \[0, 2\), got 0 to 2"),
        (torch.tensor([0, -1, 1]), ValueError, r"batch must lie in \[0, 2\), got -1 to 1"),
        (torch.tensor([0, 1]), ValueError, r"batch must have shape \(3,\), got \(2,\)"),
        (torch.tensor([0, 1, 1, 1]), ValueError, r"batch must have shape \(3,\), got \(4,\)"),
        (torch.tensor([0.0, 1.0, 1.0]), TypeError, "batch must be int64, got torch.float32"),
        ([0, 1, 1], TypeError, "batch must be a torch tensor, got list"),
    ],
)
def test_clouds_that_do_not_fit_the_features_are_named(batch, error, message):
    with pytest.raises(error, match=f"^GlobalPool: {message}"):
        GlobalPool()(torch.ones(3, 1), batch, 2)


def test_unknown_reduction():
    with pytest.raises(ValueError, match=r"Pool: reduce must be 'max' or 'mean', got 'sum'"):
        Pool("sum")
    with pytest.raises(ValueError, match=r"pool: reduce must be"):
        pool(torch.ones(5, 1), *RAGGED, "median")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_empty_rows_stay_zero_beside_values_that_are_not_finite(value):
    features = torch.tensor([[value], [2.0]], requires_grad=True)
    out = pool(features, torch.tensor([1]), torch.tensor([0, 0, 1]), "max")
    assert out.tolist() == [[0.0], [2.0]]
    out.sum().backward()
    assert features.grad.tolist() == [[0.0], [1.0]]
