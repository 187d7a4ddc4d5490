"""Energies and forces of copper atoms in a periodic box: a network trained on both, its forces −∂E/∂R.

    python examples/metal_forces.py --picture metal_forces.png

The truth is the many-body potential of Sutton and Chen (Philosophical Magazine Letters 61, 1990), whose energies and
forces are exact, around the places of a crystal. Radial kernels see neighbors through the faces of the box; the forces
stand in the loss, so that a step takes derivatives of second order. With --energies-only they do not.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gridless.neighbors import Neighborhoods, periodic_images, within_radius, wrap_into_box
from gridless.nn import ContinuousConv, GaussianRadial

LATTICE = 3.61  # Å
CELLS = 2
BOX = (CELLS * LATTICE,) * 3
CUTOFF = 5.0  # Å
DISPLACEMENT = 0.1  # Å, standard deviation along each axis; about that of copper at 400 K
NUM_TRAINING, NUM_VALIDATION, NUM_HELD_OUT = 100, 20, 40


@dataclass(frozen=True)
class Configurations:
    """S displaced crystals of N atoms."""

    positions: Tensor
    """[S, N, 3] Å"""
    energies: Tensor
    """[S] eV for each atom."""
    forces: Tensor
    """[S, N, 3] eV/Å"""

    @staticmethod
    def draw(number: int, seed: int) -> Configurations:
        """Gaussian displacements from the face-centered cubic crystal."""
        generator = torch.Generator().manual_seed(seed)
        corners = torch.cartesian_prod(*[torch.arange(CELLS, dtype=torch.float64)] * 3)
        faces = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]], dtype=torch.float64)
        crystal = LATTICE * (corners[:, None] + faces).flatten(0, 1)
        shifts = DISPLACEMENT * torch.randn(number, len(crystal), 3, generator=generator, dtype=torch.float64)
        positions = crystal + shifts
        found = [energy_and_forces(sutton_chen, sample) for sample in positions]
        energies, forces = (torch.stack(parts).detach() for parts in zip(*found, strict=True))
        return Configurations(positions, energies, forces)


def neighbors(positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Neighborhoods]:
    """Atoms in the box [N, 3], atom and place of each image [N'] and [N', 3], and the images that each atom sees."""
    indices, images = periodic_images(positions, BOX, reach=CUTOFF)
    atoms = wrap_into_box(positions, BOX)
    seen = within_radius(images, atoms, CUTOFF)
    # The cutoff is less than a side, so that an atom never sees an image of itself.
    others = seen.select_pairs(indices[seen.indices] != seen.query_indices())
    return atoms, indices, images, others


def sutton_chen(positions: Tensor) -> Tensor:
    """ε Σ_i [½ Σ_j (a / r)⁹ − c √Σ_j (a / r)⁶] / N in eV, faded out smoothly at the cutoff."""
    atoms, _, images, seen = neighbors(positions)
    center = seen.query_indices()
    distances = (atoms[center] - images[seen.indices]).norm(dim=1)
    fading = 0.5 * (1 + (math.pi * distances / CUTOFF).cos())

    def around(power: int) -> Tensor:
        terms = fading * (LATTICE / distances).pow(power)
        return terms.new_zeros(len(atoms)).index_add(0, center, terms)

    return 0.012382 * (0.5 * around(9) - 39.432 * around(6).sqrt()).mean()


class EnergyNetwork(nn.Module):
    """Energy of an atom on average, in eV: Σ_atoms MLP(h) / N, h from residual radial convolutions."""

    def __init__(self, channels: int = 32, interactions: int = 2, centers: int = 16) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.ones(channels))
        self.convolutions = nn.ModuleList(
            ContinuousConv(
                channels,
                channels,
                reduce="sum",
                factorized=True,
                window="polynomial",  # energies have no jump where an atom comes in
                basis=GaussianRadial(centers, cutoff=CUTOFF),
            )
            for _ in range(interactions)
        )
        self.updates = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(channels, channels)) for _ in range(interactions)
        )
        last = nn.Linear(channels, 1, bias=False)
        nn.init.zeros_(last.weight)  # no energy of its own before it has seen any
        self.head = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last)

    def forward(self, positions: Tensor) -> Tensor:
        """positions [N, 3] Å → []"""
        atoms, indices, images, seen = neighbors(positions)
        hidden = self.start.expand(len(atoms), -1)
        for convolution, update in zip(self.convolutions, self.updates, strict=True):
            hidden = hidden + update(convolution(hidden[indices], images, atoms, seen, extents=CUTOFF))
        return self.head(hidden).mean()


def energy_and_forces(energy_of: Callable[[Tensor], Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of an atom on average and −∂E/∂R [N, 3], both differentiable."""
    positions = positions.detach().requires_grad_()
    energy = energy_of(positions)
    gradient = torch.autograd.grad(energy, positions, create_graph=True)[0]
    return energy, -len(positions) * gradient


def train(network: EnergyNetwork, known: Configurations, steps: int, seed: int, energies_only: bool) -> None:
    """Adam with one cycle on the squared errors of energies and forces, two crystals a step."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=max(2, steps))
    mean, energy_scale, force_scale = known.energies.mean(), known.energies.std(), known.forces.std()
    for step in range(steps):
        loss = torch.zeros((), dtype=torch.float64)
        for sample in torch.randint(len(known.positions), (2,), generator=generator):
            energy, forces = energy_and_forces(network, known.positions[sample])
            loss = loss + 0.1 * ((energy + mean - known.energies[sample]) / energy_scale).square()
            if not energies_only:
                loss = loss + ((forces - known.forces[sample]) / force_scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1:4d}  loss {loss.item() / 2:.4f}", flush=True)


def draw(path: Path, network: EnergyNetwork, predicted: Tensor, truth: Tensor) -> None:
    """Components of forces, predicted over true, and learned kernels over distances that atoms come to."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    scatter, curves = figure.subplots(1, 2)
    scatter.scatter(truth.flatten().numpy(), predicted.flatten().numpy(), s=3)
    scatter.axline((0, 0), slope=1, color="gray", linewidth=0.8)
    scatter.set(xlabel="force, eV/Å", ylabel="predicted", aspect="equal")
    distances = torch.linspace(1.5, CUTOFF, 200, dtype=torch.float64)
    offsets = torch.stack([distances, torch.zeros(200), torch.zeros(200)], dim=1)
    first: Any = network.convolutions[0]
    with torch.no_grad():
        kernels = first.kernel_at(offsets, extents=CUTOFF).sum(dim=2)
    curves.plot(distances.numpy(), kernels[:, :8].numpy(), linewidth=1)
    curves.set(xlabel="distance, Å", title="eight kernels of the first convolution")
    figure.savefig(path)


def main(
    steps: int = 400,
    seed: int = 0,
    energies_only: bool = False,
    validate: bool = False,
    picture: Path | None = None,
) -> float:
    """Train and score; returns the error of the forces relative to their size, both as root mean squares."""
    torch.manual_seed(seed)
    known = Configurations.draw(NUM_TRAINING, seed=1)
    held_out = Configurations.draw(NUM_VALIDATION, seed=2) if validate else Configurations.draw(NUM_HELD_OUT, seed=3)
    network = EnergyNetwork().double()
    start = time.perf_counter()
    train(network, known, steps, seed, energies_only)
    found = [energy_and_forces(network, positions) for positions in held_out.positions]
    energies, forces = (torch.stack(parts).detach() for parts in zip(*found, strict=True))
    error, size = (part.square().mean().sqrt().item() for part in (forces - held_out.forces, held_out.forces))
    energy_error = 1000 * (energies + known.energies.mean() - held_out.energies).abs().mean().item()
    print(
        f"forces: error {error:.4f} eV/Å, their size {size:.4f}; energies: "
        f"error {energy_error:.2f} meV an atom, of the mean "
        f"{1000 * (held_out.energies - known.energies.mean()).abs().mean().item():.2f}; "
        f"{time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, network, forces, held_out.forces)
    return error / size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--energies-only", action="store_true", help="no forces in the loss")
    parser.add_argument("--validate", action="store_true", help="score other crystals than those of the final score")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
