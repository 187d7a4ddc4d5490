"""The networks: size, structure, hard clouds, symmetries, gradients."""

import pytest
import torch

from gridless.models import MODELS, build_model
from gridless.neighbors import Neighborhoods
from gridless.nn import BatchNorm, ContinuousConv
from gridless.pyramid import Pyramid

NAMES = ["pccn", "pccn_unet", "classifier"]
SMALL_ENCODER = {"channels": (8, 16, 16), "blocks": (1, 1, 1), "spacing": 0.25, "hidden": (8, 8), "num_neighbors": 8}
SMALL = {
    "pccn": {"num_neighbors": 8, "scale": 0.5},
    "pccn_unet": SMALL_ENCODER,
    "classifier": SMALL_ENCODER,
}


def small(name, seed=0):
    """A small network whose batch normalizations do something in evaluation mode."""
    torch.manual_seed(seed)
    model = build_model(name, in_channels=2, num_classes=5, **SMALL[name])
    for module in model.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def voxel_cloud(generator, boxes=2):
    """Five points in each finest voxel: none holds two, which are equally far from their mean."""
    corners = torch.cartesian_prod(*[torch.arange(2 * boxes)] * 3).float()
    inside = torch.rand(len(corners), 5, 3, generator=generator) * 0.98 + 0.01
    return ((corners[:, None] + inside) * 0.5).flatten(0, 1)


def run(model, features, positions, batch=None):
    return model(features, Pyramid.build(positions, model.pyramid_settings, batch))


def test_pccn_is_the_network_of_the_paper():
    factorized = build_model("pccn", in_channels=6, num_classes=13)
    full = build_model("pccn", in_channels=6, num_classes=13, factorized=False)
    convolutions = [module for module in factorized.modules() if isinstance(module, ContinuousConv)]
    assert [conv.out_channels for conv in convolutions] == [32] * 7 + [128]
    assert all(conv.hidden == (16, 32) and conv.reduce == "mean" for conv in convolutions)
    assert factorized.pyramid_settings.num_neighbors == 50
    assert factorized.pyramid_settings.voxel_sizes == ()
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (factorized, full)]
    assert 92_000 <= counts[0] <= 102_000
    assert 400_000 <= counts[1] <= 440_000


def test_pccn_has_residual_connections():
    model = build_model("pccn", in_channels=4, num_classes=3, num_neighbors=4).eval()
    layer = model.layers[3]
    features, positions = torch.randn(20, 32), torch.rand(20, 3)
    supports = Pyramid.build(positions, model.pyramid_settings).levels[0].neighborhoods
    torch.nn.init.zeros_(layer.normalization.weight)
    assert torch.equal(layer(features, positions, positions, supports), features)
    assert model.layers[0].shortcut is None
    assert all(layer.shortcut is not None for layer in model.layers[1:7])
    assert model.layers[7].shortcut is None  # 32 to 128 channels


def test_pccn_layers_share_one_neighborhood():
    model, seen = small("pccn"), []
    for layer in model.layers:
        layer.convolution.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[3]))
    run(model, torch.randn(20, 2), torch.rand(20, 3))
    assert len(seen) == 8
    assert all(isinstance(rows, Neighborhoods) and rows is seen[0] for rows in seen)


@pytest.mark.parametrize("name", ["pccn", "classifier"])
def test_the_whole_cloud_is_seen_and_no_other_cloud(name):
    model = small(name)
    positions = torch.rand(60, 3)
    positions[29] += 50.0  # farther than all convolutions together reach
    batch = torch.arange(60) // 30
    features = torch.randn(60, 2)
    changed = features.clone()
    changed[29] *= 1000.0
    before, after = (run(model, values, positions, batch) for values in (features, changed))
    mine, others = (slice(0, 20), slice(30, 60)) if name == "pccn" else (slice(0, 1), slice(1, 2))
    assert (before[mine] != after[mine]).any(dim=1).all()
    assert torch.equal(before[others], after[others])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "positions",
    [torch.zeros(1, 3), torch.tensor([[0.0] * 3, [1.0] * 3]), torch.full((40, 3), 0.3), torch.rand(2, 3) * 1e-6],
    ids=["one point", "two points", "all equal", "two close points"],
)
@pytest.mark.parametrize("name", NAMES)
def test_small_clouds(name, positions, training):
    model = small(name).train(training)
    out = run(model, torch.randn(len(positions), 2), positions)
    assert out.shape == (1 if name == "classifier" else len(positions), 5)
    assert out.isfinite().all()
    out.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_each_cloud_alone(name):
    model, sizes = small(name), [40, 1, 75, 2]
    clouds = [torch.rand(size, 3) * 3 for size in sizes]
    features = [torch.randn(size, 2) for size in sizes]
    batch = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    together = run(model, torch.cat(features), torch.cat(clouds), batch)
    alone = torch.cat([run(model, *pair) for pair in zip(features, clouds, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_permuted_points_give_permuted_logits(name):
    generator = torch.Generator().manual_seed(4)
    model, positions = small(name), voxel_cloud(generator)
    features, order = torch.randn(len(positions), 2, generator=generator), torch.randperm(len(positions))
    out, permuted = run(model, features, positions), run(model, features[order], positions[order])
    if name != "classifier":
        assert out.std(dim=0).min() > 1e-4  # logits that differ, or any order would do
    torch.testing.assert_close(permuted, out if name == "classifier" else out[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_translation_changes_nothing(name):
    model = small(name)
    positions = torch.randint(0, 64, (150, 3)).float() / 16  # exact in binary, also after the shift
    features = torch.randn(150, 2)
    shift = torch.tensor([32.0, -16.0, 512.0])  # whole voxels at every level
    torch.testing.assert_close(
        run(model, features, positions + shift), run(model, features, positions), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = small(name).train()
    positions, batch = torch.rand(200, 3) * 2, torch.arange(200) // 100
    out = run(model, torch.randn(200, 2), positions, batch)
    torch.nn.functional.cross_entropy(out, torch.arange(len(out)) % 5).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert (parameter.grad != 0).any(), parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_same_bits_each_time(name):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    model, positions, features = small(name).train(), torch.rand(600, 3) * 5, torch.randn(600, 2)
    found = []
    for _ in range(8):
        torch.manual_seed(1)  # of dropout
        model.zero_grad()
        run(model, features, positions).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.set_num_threads(before)
    assert all(torch.equal(one, first) for again in found[1:] for one, first in zip(again, found[0], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_another_network_are_refused(name):
    model, positions = small(name), torch.rand(20, 3)
    with pytest.raises(ValueError, match=rf"{name}: features must be \[N = 20, C = 2\], got shape \(20, 3\)"):
        run(model, torch.ones(20, 3), positions)
    other = small("pccn_unet" if name == "pccn" else "pccn")
    with pytest.raises(ValueError, match=rf"{name}: the pyramid must have \d levels, got \d"):
        model(torch.ones(20, 2), Pyramid.build(positions, other.pyramid_settings))


@pytest.mark.parametrize("name", NAMES)
def test_configuration_rebuilds_exactly(name):
    model = small(name)
    rebuilt = build_model(name, **model.config)
    assert rebuilt.config == model.config
    assert {key: value.shape for key, value in rebuilt.state_dict().items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert rebuilt.pyramid_settings == model.pyramid_settings
    assert type(rebuilt) is MODELS[name]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"channels": (), "blocks": ()}, "channels"),
        ({"blocks": (1,)}, "blocks must have one number a level"),
        ({"spacing": 0.0}, "spacing must be positive, got 0.0"),
        ({"bottleneck": 0}, "bottleneck must be at least 1, got 0"),
        ({"num_neighbors": 0}, "num_neighbors must be at least 1, got 0"),
        ({"pooling": "sum"}, "pooling must be one of"),
    ],
)
def test_bad_encoders_are_refused_when_built(setting, message):
    with pytest.raises(ValueError, match=message):
        build_model("pccn_unet", in_channels=1, num_classes=2, **setting)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("pcnn", {}, r"name must be one of pccn_unet, pccn, classifier.*, got 'pcnn'; did you mean 'pccn'\?"),
        ("pccn", {"num_neighbours": 9}, r"pccn has no argument 'num_neighbours'; did you mean 'num_neighbors'\?"),
        ("pccn_unet", {"spacng": 1.0}, r"pccn_unet has no argument 'spacng'; did you mean 'spacing'\?"),
        ("classifier", {"drop_out": 0.1}, r"classifier has no argument 'drop_out'; did you mean 'dropout'\?"),
        ("pccn", {"in_channels": 3}, r"pccn needs num_classes"),
        ("pccn_unet", {}, r"pccn_unet needs num_classes, in_channels|pccn_unet needs in_channels, num_classes"),
    ],
)
def test_errors_name_the_nearest_argument(name, config, message):
    with pytest.raises(ValueError, match=f"build_model: ({message})"):
        build_model(name, **config)
