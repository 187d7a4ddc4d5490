"""Ensembles: the mean of their networks' probabilities, in files and behind the commands like any other network."""

import pytest
import torch

from gridless.cli.main import main
from gridless.models import Ensemble, build_model, load_model, save_model
from gridless.pyramid import Pyramid

CONFIG = {"in_channels": 2, "num_classes": 3, "channels": (4, 8), "blocks": (1, 1), "spacing": 0.2}


def networks(count, name="pccn_unet", **changes):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(build_model(name, **CONFIG | changes).eval())
        made[-1].metadata = {"labels": {"a": [1]}, "temperature": 1.0 + seed}
    return made


@pytest.mark.parametrize("name", ["pccn_unet", "classifier"])
def test_probabilities_are_the_mean_also_after_a_round_trip(tmp_path, name):
    members = networks(3, name)
    positions, features = torch.rand(80, 3), torch.randn(80, 2)
    pyramid = Pyramid.build(positions, members[0].pyramid_settings)
    expected = torch.stack([member(features, pyramid).softmax(dim=1) for member in members]).mean(dim=0)
    save_model(tmp_path / "all.safetensors", Ensemble(members))
    loaded = load_model(tmp_path / "all.safetensors")
    assert loaded.task == members[0].task
    assert loaded.metadata["labels"] == {"a": [1]}
    torch.testing.assert_close(loaded(features, pyramid).softmax(dim=1), expected)


def test_networks_that_do_not_belong_together():
    first, other = networks(1)[0], networks(1, spacing=0.3)[0]
    with pytest.raises(ValueError, match="same task, features, classes and pyramid"):
        Ensemble([first, other])
    other = networks(1)[0]
    other.metadata["labels"] = {"b": [1]}
    with pytest.raises(ValueError, match=r"'a'.* and .*'b'"):
        Ensemble([first, other])
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])


def test_the_command(tmp_path, capsys):
    files = []
    for number, network in enumerate(networks(2)):
        files.append(str(tmp_path / f"{number}.safetensors"))
        save_model(files[-1], network)
    assert main(["combine", *files, "-o", str(tmp_path / "both.safetensors")]) == 0
    assert "2 networks" in capsys.readouterr().out
    combined = load_model(tmp_path / "both.safetensors")
    assert len(combined.networks) == 2
    assert combined.metadata["temperature"] == pytest.approx(2**0.5)
    assert main(["combine", *files, "-o", str(tmp_path / "half.safetensors"), "--half"]) == 0
    assert torch.allclose(
        load_model(tmp_path / "half.safetensors").networks[1].classifier[1].weight,
        combined.networks[1].classifier[1].weight,
        rtol=2**-10,
    )
    assert main(["combine", files[0], str(tmp_path / "none"), "-o", str(tmp_path / "x.safetensors")]) == 2


def test_an_ensemble_knows_all_seeds_and_nothing_of_the_first_ones_scores():
    members = networks(3)
    for seed, member in enumerate(members):
        member.metadata |= {"recipe": {"seed": seed}, "training": {"val_miou": 0.5}}
    nested = Ensemble([Ensemble(members[:2]), members[2]])
    assert nested.metadata["seeds"] == [0, 1, 2]
    assert "training" not in nested.metadata
