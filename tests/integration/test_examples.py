"""The programs in examples/ run, in small."""

import math

import numpy as np
import pytest
import torch

import gridless as gl
from examples import (
    holed_poisson,
    irregular_series,
    metal_forces,
    molecular_energies,
    physics_informed,
    radar_activity,
    sparse_digits,
    training_loop,
)
from tests.data.published import layouts


def test_training_loop(tmp_path):
    score = training_loop.main(steps=3, size=20.0, output=tmp_path / "model.safetensors")
    assert math.isfinite(score)
    assert gl.load_model(tmp_path / "model.safetensors").metadata["inputs"]["voxel_size"] == 0.5


def test_holed_poisson_beats_the_mean_field(real_data, tmp_path):
    error = holed_poisson.main(real_data, steps=120, picture=tmp_path / "fields.png")
    assert error < 0.45
    assert (tmp_path / "fields.png").stat().st_size > 10_000


def test_the_splits_of_holed_poisson(real_data):
    meshes = holed_poisson.Meshes.read(real_data)
    for name, size in (("random", 90), ("far", 88)):
        training, held_out = meshes.split(name)
        assert len(training) == size
        assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(121))
    assert (int(meshes.on_square.sum()), len(meshes.on_square)) == (135, 171)


def test_molecular_energies_beat_the_composition(real_data, tmp_path):
    error = molecular_energies.main(real_data, epochs=6, limit=300, picture=tmp_path / "energies.png")
    assert error < 15.0
    assert (tmp_path / "energies.png").stat().st_size > 5_000


def test_forces_stand_in_a_loss():
    """−∂E/∂R and the derivatives of a loss of it, against differences."""
    torch.manual_seed(0)
    network = molecular_energies.EnergyNetwork(channels=4, interactions=2, centers=5).double()
    elements, molecule = torch.tensor([0, 1, 3, 2, 0]), torch.tensor([0, 0, 0, 1, 1])
    positions = torch.randn(5, 3, dtype=torch.float64)

    def energy(positions):
        return network(elements, positions, molecule, 2).sum()

    def loss():
        return molecular_energies.forces(network, elements, positions, molecule, 2).square().sum()

    def difference(function, tensor, place, step=1e-5):
        with torch.no_grad():
            tensor[place] += step
        above = function().detach()
        with torch.no_grad():
            tensor[place] -= 2 * step
        below = function().detach()
        with torch.no_grad():
            tensor[place] += step
        return (above - below) / (2 * step)

    force = molecular_energies.forces(network, elements, positions, molecule, 2)
    torch.testing.assert_close(
        force[2, 1], -difference(lambda: energy(positions), positions, (2, 1)), rtol=1e-6, atol=1e-8
    )
    # No force on a molecule as a whole.
    torch.testing.assert_close(force[:3].sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)
    weight = network.convolutions[0].weight
    torch.testing.assert_close(
        torch.autograd.grad(loss(), weight)[0][1, 2], difference(loss, weight, (1, 2)), rtol=1e-5, atol=1e-8
    )


def test_metal_forces(tmp_path):
    """A twelfth of the training: 1 is the error of no forces at all."""
    assert metal_forces.main(steps=40, picture=tmp_path / "forces.png") < 0.85
    assert (tmp_path / "forces.png").stat().st_size > 10_000


def test_the_forces_of_the_metal_are_those_of_differences():
    known = metal_forces.Configurations.draw(1, seed=0)
    positions, step = known.positions[0], 1e-5
    for atom, axis in ((0, 0), (17, 2)):
        shift = torch.zeros_like(positions)
        shift[atom, axis] = step
        ends = [len(positions) * metal_forces.sutton_chen(positions + sign * shift) for sign in (1, -1)]
        torch.testing.assert_close(known.forces[0, atom, axis], (ends[1] - ends[0]) / (2 * step), rtol=1e-6, atol=1e-8)
    # Atoms that leave the box come in on the other side.
    moved = positions + torch.tensor(metal_forces.BOX) * torch.randint(-2, 3, positions.shape)
    network = metal_forces.EnergyNetwork(channels=4, interactions=1, centers=4).double()
    for energy in (metal_forces.sutton_chen, network):
        torch.testing.assert_close(energy(moved), energy(positions))


def test_sparse_digits(tmp_path):
    pytest.importorskip("sklearn")
    accuracy = sparse_digits.main(epochs=6, channels=16, picture=tmp_path / "digits.png")
    assert accuracy > 0.15  # guessing gives 0.1
    assert (tmp_path / "digits.png").stat().st_size > 5_000


def test_a_digit_does_not_depend_on_the_order_of_its_pixels():
    torch.manual_seed(0)
    network = sparse_digits.SparseImageNetwork(channels=4).eval()
    positions = sparse_digits.pixel_positions()
    known = sparse_digits.known_pixels(3, np.random.default_rng(0))
    images, turned = torch.randn(3, 64), known.flip(1)
    torch.testing.assert_close(
        network(positions[known], images.gather(1, known)),
        network(positions[turned], images.gather(1, turned)),
    )


def test_irregular_series(tmp_path):
    """Series in the format of the two files, whose speakers differ in how fast the first coefficient rises."""
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        lines = ["# comment", "@problemName made up", "@data"]
        for speaker in np.arange(60) % 3:
            times = np.arange(rng.integers(7, 30))
            values = [times * 0.1 * (speaker - 1) + rng.normal(0, 0.1, len(times)), rng.normal(0, 1, len(times))]
            lines.append(":".join([*(",".join(f"{value:.4f}" for value in row) for row in values), str(speaker + 1)]))
        (tmp_path / f"{name}.ts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    picture = tmp_path / "series.png"
    accuracy = irregular_series.main(tmp_path / "train.ts", tmp_path / "test.ts", epochs=12, picture=picture)
    assert accuracy > 0.6  # guessing gives 0.33
    assert picture.stat().st_size > 5_000


def test_radar_activity(tmp_path):
    """Two activities that differ in how fast the points move."""
    layouts.radhar(tmp_path / "radhar", recordings=24)
    accuracy = radar_activity.main(tmp_path, epochs=30, channels=(8, 16), picture=tmp_path / "radar.png")
    assert accuracy > 0.75  # guessing gives 0.5
    assert (tmp_path / "radar.png").stat().st_size > 10_000


def test_windows_of_a_recording_stay_together(tmp_path):
    samples, recordings, names = radar_activity.windows(layouts.radhar(tmp_path / "radhar").parent, "train")
    assert names == ("jump", "walk")
    assert recordings.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert samples.labels.tolist() == (recordings % 2).tolist()
    assert samples.positions[0].shape == (60, 4)
    assert samples.features[0].shape == (60, len(radar_activity.FEATURES))


def test_physics_informed(tmp_path):
    error = physics_informed.main(steps=12, picture=tmp_path / "field.png")
    assert error < 0.5
    assert (tmp_path / "field.png").stat().st_size > 10_000


def test_the_laplacian_is_that_of_differences():
    torch.manual_seed(0)
    field, places, step = physics_informed.Field(num_sources=9, channels=2), physics_informed.disk(5, 0.5), 1e-3
    shifts = step * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    with torch.no_grad():
        differences = (sum(field(places + shift) for shift in shifts) - 4 * field(places)) / step**2
    torch.testing.assert_close(physics_informed.laplacian(field, places), differences, rtol=1e-4, atol=1e-5)
