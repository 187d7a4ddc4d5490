"""The layer against its definition: a loop over pairs with ``kernel_at``, output and all gradients."""

import itertools

import pytest
import torch

import gridless as gl
from gridless.neighbors import Neighborhoods, knn
from gridless.nn import ContinuousConv

NUM_SOURCES, NUM_QUERIES, C_IN, C_OUT, DIM = 9, 5, 4, 6, 3
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def problem(dtype=torch.float64, seed=0):
    """Features, positions, a ragged neighborhood with an empty row, and densities."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(NUM_SOURCES, C_IN, generator=generator, dtype=torch.float64)
    sources = torch.randn(NUM_SOURCES, DIM, generator=generator, dtype=torch.float64)
    queries = torch.randn(NUM_QUERIES, DIM, generator=generator, dtype=torch.float64)
    density = torch.rand(NUM_SOURCES, generator=generator, dtype=torch.float64) + 0.5
    rows = Neighborhoods(torch.tensor([0, 3, 8, 8, 1, 2, 5, 7, 6]), torch.tensor([0, 3, 3, 4, 8, 9]))
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (features, sources, queries, density)]
    return (*leaves, rows)


def loop(conv, features, sources, queries, density, rows, extents=None):
    """out_i = b + s_i Σ_j g(x_i - y_j) f_j / p_j, one pair after the other."""
    out = []
    for query in range(rows.num_queries):
        members = rows.indices[rows.offsets[query] : rows.offsets[query + 1]]
        total = torch.zeros(conv.out_channels, dtype=features.dtype)
        if len(members) and extents is None:
            extent = (queries[query] - sources[members]).norm(dim=1).max()
        else:
            extent = extents if extents is None or isinstance(extents, float) else extents[query]
        for source in members:
            z = (queries[query] - sources[source])[None]
            kernel = conv.kernel_at(z, None if conv.window is None else extent)[0]
            value = kernel @ features[source]
            total = total + (value / density[source] if conv.reduce == "density" else value)
        if conv.reduce != "sum" and len(members):
            total = total / len(members)
        out.append(total if conv.bias is None else total + conv.bias)
    return torch.stack(out)


def assert_same(conv, arguments, extents=None, tolerance=1e-12):
    features, sources, queries, density, rows = arguments
    given = density if conv.reduce == "density" else None
    out = conv(features, sources, queries, rows, density=given, extents=extents)
    expected = loop(conv, *arguments, extents)
    named = {"features": features, "source_positions": sources, "query_positions": queries, "density": density}
    named |= dict(conv.named_parameters())
    if isinstance(extents, torch.Tensor):
        named["extents"] = extents
    probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    gradients = torch.autograd.grad((out * probe).sum(), list(named.values()), allow_unused=True)
    wanted = torch.autograd.grad((expected * probe).sum(), list(named.values()), allow_unused=True)
    compared = {"output": (out, expected)}
    for name, gradient, want in zip(named, gradients, wanted, strict=True):
        assert (gradient is None) == (want is None), name
        if want is not None:
            compared[f"gradient of {name}"] = (gradient, want)
    # A number that sums up terms of both signs, such as the window's gradient, is no more exact than its terms.
    largest = max(want.detach().abs().max().item() for _, want in compared.values())
    for name, (value, want) in compared.items():
        error = (value - want).abs().max() / want.abs().max().clamp_min(0.03 * largest)
        assert error <= tolerance, f"{name}: relative error {error:.2e}"
    assert len(compared) > 4


CASES = list(
    itertools.product(["mean", "sum", "density"], [None, "gaussian", "polynomial"], [False, True], [1.0, 0.25])
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("reduce", "window", "factorized", "scale"), CASES)
def test_output_and_all_gradients_equal_a_loop(reduce, window, factorized, scale, dtype):
    torch.manual_seed(1)
    conv = ContinuousConv(
        C_IN, C_OUT, DIM, (5, 7), window, reduce, activation="silu", factorized=factorized, scale=scale
    ).to(dtype)
    torch.nn.init.normal_(conv.bias)
    assert_same(conv, problem(dtype), tolerance=TOLERANCE[dtype])


@pytest.mark.parametrize("impl", ["reference", "blocked"])
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "sine"])
def test_every_activation_and_implementation(activation, impl):
    conv = ContinuousConv(C_IN, C_OUT, DIM, (8, 8), activation=activation, impl=impl, bias=False).double()
    assert_same(conv, problem())


@pytest.mark.parametrize("window", ["gaussian", "polynomial"])
@pytest.mark.parametrize("extents", ["number", "per query"])
def test_given_extents_are_in_the_unit_of_the_positions(window, extents):
    conv = ContinuousConv(C_IN, C_OUT, DIM, (8,), window, activation="sine", scale=3.0).double()
    size = 4.0 if extents == "number" else torch.linspace(3, 5, NUM_QUERIES, dtype=torch.float64).requires_grad_()
    assert_same(conv, problem(), size)


@pytest.mark.parametrize("hidden", [(), (3,), (4, 5, 6)])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_any_dimension_and_depth(dim, hidden):
    conv = ContinuousConv(2, 3, dim, hidden, activation="sine").double()
    generator = torch.Generator().manual_seed(0)
    sources, queries = (torch.randn(n, dim, generator=generator).double().requires_grad_() for n in (7, 4))
    features, density = torch.randn(7, 2, generator=generator).double().requires_grad_(), torch.ones(7).double()
    rows = knn(sources, queries, 3)
    assert_same(conv, (features, sources, queries, density.requires_grad_(), rows))


def test_empty_support_gives_the_bias_and_no_bias_gives_zeros():
    features, sources, queries, _, rows = problem(torch.float32)
    conv = ContinuousConv(C_IN, C_OUT)
    torch.nn.init.normal_(conv.bias)
    assert torch.equal(conv(features, sources, queries, rows)[1], conv.bias)
    unbiased = ContinuousConv(C_IN, C_OUT, bias=False)
    assert unbiased.bias is None
    assert (unbiased(features, sources, queries, rows)[1] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, r"in_channels must be at least 1, got 0"),
        ({"out_channels": -1}, r"out_channels must be at least 1, got -1"),
        ({"dim": 0}, r"dim must be at least 1"),
        ({"hidden": (16, 0)}, r"hidden\[1\] must be at least 1"),
        ({"window": "box"}, r"window must be one of .*'gaussian'.* got 'box'"),
        ({"reduce": "max"}, r"reduce must be one of .* got 'max'"),
        ({"activation": "tanh"}, r"activation must be one of .* got 'tanh'"),
        ({"scale": 0.0}, r"scale must be positive, got 0.0"),
        ({"scale": float("nan")}, r"scale must be a finite number or 3 of them, got nan"),
        ({"scale": float("inf")}, r"scale must be a finite number or 3 of them, got inf"),
        ({"scale": torch.ones(2)}, r"scale must be a finite number or 3 of them, got tensor"),
        ({"scale": "2"}, r"scale must be a finite number or 3 of them, got 2"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=f"ContinuousConv: {message}"):
        ContinuousConv(**{"in_channels": 2, "out_channels": 3} | arguments)


@pytest.mark.parametrize("factorized", [False, True])
def test_bad_inputs_are_named(factorized):
    features, sources, queries, density, rows = problem(torch.float32)
    conv = ContinuousConv(C_IN, C_OUT, factorized=factorized)
    for place, (name, bad) in enumerate(
        {"features": features[:, :3], "source_positions": sources[:, :2], "query_positions": queries[:, 0]}.items()
    ):
        arguments = [features, sources, queries, rows]
        arguments[place] = bad
        with pytest.raises(ValueError, match=rf"ContinuousConv: {name} must be \["):
            conv(*arguments)
    with pytest.raises(ValueError, match="density"):
        conv(features, sources, queries, rows, density=density)
    with pytest.raises(ValueError, match="got reduce='density' and no density"):
        ContinuousConv(C_IN, C_OUT, reduce="density")(features, sources, queries, rows)
    with pytest.raises(TypeError, match=r"neighborhoods must be Neighborhoods, got Tensor; .*from_edge_index"):
        conv(features, sources, queries, rows.to_edge_index())
    with pytest.raises(TypeError, match="features must be floating point"):
        conv(features.long(), sources, queries, rows)
    with pytest.raises(ValueError, match=r"kernel_at: relative_positions must be \[E, D = 3\], got shape \(2, 2\)"):
        conv.kernel_at(torch.zeros(2, 2))
    windowed = ContinuousConv(C_IN, C_OUT, window="gaussian")
    with pytest.raises(ValueError, match=r"kernel_at: .* needs the extents"):
        windowed.kernel_at(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"kernel_at: extents must be a number or \[E = 2\], got shape \(3,\)"):
        windowed.kernel_at(torch.zeros(2, 3), torch.ones(3))
    with pytest.raises(ValueError, match=r"must not be negative or NaN, 1 of 5 are \(first: row 3, -1\.0\)"):
        windowed(features, sources, queries, rows, extents=torch.tensor([1.0, 1.0, 0.0, -1.0, 1.0]))
    with pytest.raises(gl.errors.UnsupportedError, match="impl must be one of"):
        ContinuousConv(C_IN, C_OUT, impl="cuda")(features, sources, queries, rows)


@pytest.mark.parametrize("factorized", [False, True])
def test_state_dict_round_trip(factorized):
    settings = {"window": "gaussian", "factorized": factorized, "scale": 2.0}
    first, second = (ContinuousConv(C_IN, C_OUT, **settings) for _ in range(2))
    features, sources, queries, _, rows = problem(torch.float32)
    assert not torch.equal(first(features, sources, queries, rows), second(features, sources, queries, rows))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(features, sources, queries, rows), second(features, sources, queries, rows))


@pytest.mark.parametrize("factorized", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_features_may_have_another_dtype_than_the_parameters(dtype, factorized):
    features, sources, queries, _, rows = problem(torch.float32)
    conv = ContinuousConv(C_IN, C_OUT, factorized=factorized)
    out = conv(features.to(dtype), sources, queries, rows)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), conv(features, sources, queries, rows), rtol=1e-2, atol=1e-2)


def test_a_scale_may_be_a_tensor():
    assert ContinuousConv(2, 3, scale=torch.tensor(0.5, requires_grad=True)).scale == 0.5
    assert ContinuousConv(2, 3, scale=torch.tensor([1.0, 2.0, 4.0])).axis_scales == (1.0, 2.0, 4.0)


@pytest.mark.parametrize("settings", [{"window": "gaussian"}, {"window": "polynomial"}, {"pair_features": 2}])
def test_gradients_of_positions_have_the_same_bits_twenty_times(settings):
    num_points = 20_000
    sources, queries, weights = torch.rand(num_points, 3), torch.rand(num_points, 3), torch.rand(num_points, C_OUT)
    features, rows = torch.randn(num_points, C_IN), knn(sources, queries, 16)
    conv = ContinuousConv(C_IN, C_OUT, **settings)
    pairs = {"pair_features": torch.rand(rows.num_pairs, 2)} if "pair_features" in settings else {}

    def gradient():
        moved = sources.clone().requires_grad_()
        return torch.autograd.grad((conv(features, moved, queries, rows, **pairs) * weights).sum(), moved)[0]

    first = gradient()
    assert all(torch.equal(gradient(), first) for _ in range(20))


def test_the_lines_of_the_readme():
    positions, features, queries = torch.rand(200, 3), torch.randn(200, 8), torch.rand(50, 3)
    neighborhoods = gl.knn(positions, queries, k=16)
    conv = gl.nn.ContinuousConv(8, 32)
    assert conv(features, positions, queries, neighborhoods).shape == (50, 32)
    assert conv.kernel_at(torch.tensor([[0.1, 0.0, 0.0]])).shape == (1, 32, 8)


@pytest.mark.parametrize("factorized", [False, True])
@pytest.mark.parametrize("window", [None, "gaussian"])
@pytest.mark.parametrize("mode", ["module", "autocast"])
def test_bfloat16(mode, window, factorized):
    torch.manual_seed(0)
    conv = ContinuousConv(C_IN, C_OUT, window=window, factorized=factorized)
    features, sources, queries, _, rows = problem(torch.float32)
    exact = conv(features, sources, queries, rows)
    if mode == "module":
        out = conv.bfloat16()(features.bfloat16(), sources, queries, rows)
        assert conv.kernel_at(torch.zeros(2, 3), 1.0).dtype == torch.bfloat16
    else:
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(features, sources, queries, rows)
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() <= 0.03 * exact.abs().max()
    out.float().sum().backward()
    for name, parameter in conv.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == parameter.dtype, name
        assert parameter.grad.isfinite().all(), name
