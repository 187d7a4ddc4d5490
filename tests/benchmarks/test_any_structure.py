"""What stands beside the examples: descriptors of molecules, the ridge, and neuraloperator's block."""

import numpy as np
import pytest
import torch

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
