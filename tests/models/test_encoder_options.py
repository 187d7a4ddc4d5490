"""Every option of the encoder: what it changes, that it trains and that it survives a file."""

import pytest
import torch

from gridless.models import SIZES, build_model, load_model, save_model
from gridless.neighbors import knn
from gridless.nn import BottleneckBlock, ConvBlock, InvertedBlock, MultiScaleConvBlock, StochasticDepth
from gridless.pyramid import Pyramid

SMALL = {"in_channels": 2, "num_classes": 3, "channels": (8, 16), "blocks": (1, 2), "num_neighbors": 6, "spacing": 0.2}
OPTIONS = [
    {"block": "inverted", "expansion": 2},
    {"dilations": (1, 3)},
    {"block": "inverted", "dilations": (1, 2), "encoding": "fourier"},
    {"encoding": "fourier"},
    {"factorized": True},
    {"reduce": "density", "pooling": "convolution"},
    {"pooling": "convolution"},
    {"normalization": "layer"},
    {"stochastic_depth": 0.4},
    {"vertical_scale": 0.25, "activation": "silu", "scale_in_voxels": 1.5},
    {"stem": "pointwise", "blocks": (0, 1)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["pccn_unet", "classifier"])
def test_an_option_trains_and_survives_a_file(tmp_path, name, options):
    torch.manual_seed(0)
    model = build_model(name, **SMALL | options)
    positions, features = torch.rand(60, 3), torch.randn(60, 2)
    pyramid = Pyramid.build(positions, model.pyramid_settings)
    # Left-out branches get zeros, not nothing: processes of a distributed training wait for every gradient.
    model(features, pyramid).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    save_model(tmp_path / "model.safetensors", model)
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(features, pyramid), model.eval()(features, pyramid))
    assert {key: loaded.config[key] for key in options} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in options.items()
    }


def test_dilated_supports_reach_farther_with_as_many_neighbors():
    positions = torch.rand(200, 3)
    far = knn(positions, positions, 18)
    dilated = far.dilated(3, 6)
    assert torch.equal(dilated.counts(), torch.full((200,), 6))
    assert torch.equal(dilated.indices.view(200, 6), far.indices.view(200, 18)[:, ::3])
    with pytest.raises(ValueError, match="at least 1"):
        far.dilated(0, 6)


def test_each_support_fills_its_part_of_the_channels():
    positions, features = torch.rand(50, 3), torch.randn(50, 4)
    near, far = knn(positions, positions, 4), knn(positions, positions, 20)
    block = MultiScaleConvBlock(4, 6, 2).eval()
    parts = [part(features, positions, positions, rows) for part, rows in zip(block, (near, far), strict=True)]
    assert [part.shape[1] for part in parts] == [3, 3]
    assert torch.equal(block(features, positions, near, far), torch.cat(parts, dim=1))
    with pytest.raises(ValueError, match="1 to C_out = 2"):
        MultiScaleConvBlock(4, 2, 3)


@pytest.mark.parametrize("block", [BottleneckBlock(8, 4), InvertedBlock(8)])
def test_a_block_without_its_branch_is_the_identity(block):
    positions, features = torch.rand(20, 3), torch.rand(20, 8)  # positive: ReLU keeps them
    last = block.up if isinstance(block, BottleneckBlock) else block.narrow
    torch.nn.init.zeros_(last[1].weight)
    assert torch.equal(block(features, positions, knn(positions, positions, 4)), features)


def test_left_out_branches_are_made_up_for():
    torch.manual_seed(0)
    layer, branch = StochasticDepth(0.25), torch.ones(3)
    seen = torch.stack([layer(branch) for _ in range(2000)])
    assert seen.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert seen.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(branch), branch)
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        StochasticDepth(1)


def test_depth_is_left_out_more_often_towards_the_end():
    model = build_model("pccn_unet", **SMALL, stochastic_depth=0.3)
    depths = [module.probability for module in model.modules() if isinstance(module, StochasticDepth)]
    assert depths == pytest.approx([0.1, 0.2, 0.3])


def test_sizes_are_ordered_and_may_be_changed():
    models = [build_model("pccn_unet", size=size, in_channels=4, num_classes=3) for size in ("small", "base", "large")]
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert 3 * counts[0] < counts[1] < counts[2] / 3
    changed = build_model("classifier", size="small", in_channels=1, num_classes=2, blocks=(1, 1, 1, 3))
    assert changed.config["channels"] == list(SIZES["small"]["channels"])
    assert changed.config["blocks"] == [1, 1, 1, 3]
    for name, size in (("pccn", "small"), ("pccn_unet", "huge")):
        with pytest.raises(ValueError, match="small, base, large"):
            build_model(name, size=size, in_channels=1, num_classes=2)


def test_unknown_choices_are_refused():
    for option in ("block", "normalization", "encoding", "pooling", "stem", "reduce"):
        with pytest.raises(ValueError, match=f"{option} must be one of .*, got 'other'"):
            build_model("pccn_unet", **SMALL | {option: "other"})
    with pytest.raises(ValueError, match="dilations must be numbers from 1 on"):
        build_model("pccn_unet", **SMALL | {"dilations": ()})
    with pytest.raises(ValueError, match="normalization must be"):
        ConvBlock(2, 2, normalization="group")


def test_no_neighbors_are_sought_where_nothing_is_convolved():
    settings = build_model("pccn_unet", **SMALL | {"stem": "pointwise", "blocks": (0, 1)}).pyramid_settings
    levels = Pyramid.build(torch.rand(60, 3), settings).levels
    assert [level.neighborhoods.num_pairs // len(level.positions) for level in levels] == [1, 6]
