"""What stands beside the examples: descriptors of molecules, the ridge, and neuraloperator's block."""

import numpy as np
import pytest
import torch

from benchmarks import any_structure
from benchmarks.rivals import kernel_ridge
from benchmarks.rivals.gno_block import GNOBlockToField
from examples.molecular_energies import Molecules

BOHR = 0.529177


def molecules(order, turn):
    """H₂ of one bohr, and a small molecule whose atoms come in this order, turned."""
    elements = torch.tensor([1, 0, 3, 0, 0])
    positions = torch.tensor(np.random.default_rng(0).normal(0, 2, (5, 3)))
    hydrogen = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, BOHR]], dtype=torch.float64)
    return Molecules(
        torch.cat([torch.tensor([0, 0]), elements[order]]),
        torch.cat([hydrogen, positions[order] @ turn]),
        torch.tensor([0, 2, 7]),
        torch.zeros(2, dtype=torch.float64),
    )


@pytest.mark.parametrize("descriptor", [kernel_ridge.sorted_coulomb_matrices, kernel_ridge.bags_of_bonds])
def test_descriptors_know_neither_the_order_of_atoms_nor_directions(descriptor):
    turn, _ = torch.linalg.qr(torch.tensor(np.random.default_rng(1).normal(size=(3, 3))))
    plain = descriptor(molecules(torch.arange(5), torch.eye(3, dtype=torch.float64)))
    np.testing.assert_allclose(descriptor(molecules(torch.tensor([3, 0, 4, 2, 1]), turn)), plain, rtol=1e-9)
    # 0.5 · 1^2.4 for each atom, and 1 · 1 / 1 bohr.
    np.testing.assert_allclose(sorted(plain[0][plain[0] > 0]), [0.5, 0.5, 1.0], rtol=1e-5)
    # Every atom and every pair is there once.
    assert (plain[1] > 0).sum() == 5 + 10


def test_the_ridge_learns_what_a_descriptor_says():
    rng = np.random.default_rng(0)
    descriptors = rng.random((800, 2))
    energies = 7 + descriptors[:, 0] + descriptors[:, 1] ** 2
    training, held_out = np.split(np.arange(800), [700])
    error = np.abs(kernel_ridge.predict(descriptors, energies, training, held_out) - energies[held_out]).mean()
    assert error < 0.2 * energies.std()


def test_the_block_integrates_over_the_whole_boundary():
    pytest.importorskip("neuralop")
    torch.manual_seed(0)
    network = GNOBlockToField(width=4, hidden=(8,))
    points, middles, lengths = torch.rand(2, 6, 2), torch.rand(2, 5, 2), torch.rand(2, 5)
    on_square = torch.tensor([True, True, False, False, False])
    together = network.integrate(points, middles, lengths, on_square)
    order = torch.tensor([4, 1, 2, 0, 3])
    again = network.integrate(points, middles[:, order], lengths[:, order], on_square[order])
    torch.testing.assert_close(again, together)
    # Twice the weights, twice the integral.
    torch.testing.assert_close(network.integrate(points, middles, 2 * lengths, on_square), 2 * together)


def test_a_row_is_one_command(capsys):
    pytest.importorskip("sklearn")
    assert any_structure.main(["digits", "--only", "neighbors_by_known"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("digits, accuracy, seed 0\nneighbors_by_known")
    assert 0.7 < float(said.split()[5]) < 0.9
    assert "neighbors_filled" not in said


def test_all_contenders_of_a_row_have_the_same_options(monkeypatch, capsys):
    """The layer and what stands beside it are given one split, budget and seed."""
    seen = []
    measure, contenders = any_structure._CONTENDERS["holed_poisson"]
    watched = {name: lambda options: seen.append(vars(options).copy()) or 0.5 for name in contenders}
    monkeypatch.setitem(any_structure._CONTENDERS, "holed_poisson", (measure, watched))
    assert any_structure.main(["holed_poisson", "--split", "far", "--seed", "3"]) == 0
    assert len(seen) == 3
    assert all(options == seen[0] for options in seen)
    assert (seen[0]["split"], seen[0]["steps"], seen[0]["seed"]) == ("far", 2000, 3)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "layer",
        "gno_block",
        "mean_field",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vowels"], "vowels needs --series"),
        (["digits", "--only", "rocket"], "digits has layer, neighbors_filled"),
        (["images"], "invalid choice"),
    ],
)
def test_what_a_command_lacks_is_told(words, message, capsys):
    with pytest.raises(SystemExit):
        any_structure.main(words)
    assert message in capsys.readouterr().err
