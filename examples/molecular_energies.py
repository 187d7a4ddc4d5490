"""Energies of molecules from the positions of their atoms: heats of formation of QM7, and forces as their gradient.

    GRIDLESS_DATA=folder python examples/molecular_energies.py --epochs 60 --picture molecular_energies.png

Every atom sees all others of its molecule through radial kernels, one a channel, as in SchNet. What a fit of the
composition already explains is taken out first.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gridless.neighbors import all_pairs
from gridless.nn import ContinuousConv, GaussianRadial

ELEMENTS = (1, 6, 7, 8, 16)
NUM_TRAINING = 5000
NUM_VALIDATION = 500


@dataclass(frozen=True)
class Molecules:
    """Atoms of all molecules one after the other; molecule s is rows ``offsets[s]:offsets[s + 1]``."""

    elements: Tensor
    """[N] places in ELEMENTS."""
    positions: Tensor
    """[N, 3] Å"""
    offsets: Tensor
    energies: Tensor
    """[S] kcal/mol"""

    @staticmethod
    def read(folder: Path) -> Molecules:
        with np.load(folder / "qm7" / "qm7.npz") as arrays:
            numbers, positions = torch.from_numpy(arrays["Z"]), torch.from_numpy(arrays["R"])
            offsets, energies = torch.from_numpy(arrays["offsets"]).long(), torch.from_numpy(arrays["hof_pbe0_kcal"])
        return Molecules(torch.searchsorted(torch.tensor(ELEMENTS), numbers.long()), positions, offsets, energies)

    def take(self, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Elements, positions and molecule of the atoms of these molecules."""
        begins, counts = self.offsets[samples], self.offsets.diff()[samples]
        molecule = torch.arange(len(samples)).repeat_interleave(counts)
        atoms = torch.arange(len(molecule)) - (counts.cumsum(0) - counts)[molecule] + begins[molecule]
        return self.elements[atoms], self.positions[atoms], molecule

    def compositions(self) -> Tensor:
        """How many atoms of each element [S, elements], in float64."""
        molecule = torch.arange(len(self.energies)).repeat_interleave(self.offsets.diff())
        counts = torch.zeros(len(self.energies), len(ELEMENTS), dtype=torch.float64)
        return counts.index_put_((molecule, self.elements), torch.ones(1, dtype=torch.float64), accumulate=True)


class EnergyNetwork(nn.Module):
    """E = Σ_atoms MLP(h), h from an embedding of the element and a few residual radial convolutions."""

    def __init__(self, channels: int = 64, interactions: int = 3, centers: int = 32, cutoff: float = 6.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ELEMENTS), channels)
        self.convolutions = nn.ModuleList(
            ContinuousConv(
                channels, channels, reduce="sum", factorized=True, basis=GaussianRadial(centers, cutoff=cutoff)
            )
            for _ in range(interactions)
        )
        self.updates = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
            for _ in range(interactions)
        )
        self.head = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))

    def forward(self, elements: Tensor, positions: Tensor, molecule: Tensor, num_molecules: int) -> Tensor:
        """elements [N], positions [N, 3] Å, molecule of each atom [N] → [B], in tens of kcal/mol."""
        pairs = all_pairs(molecule, molecule, include_self=False)
        hidden = self.embedding(elements)
        for convolution, update in zip(self.convolutions, self.updates, strict=True):
            hidden = hidden + update(convolution(hidden, positions, positions, pairs))
        of_atoms = self.head(hidden)[:, 0]
        return of_atoms.new_zeros(num_molecules).index_add(0, molecule, of_atoms)


def forces(network: EnergyNetwork, elements: Tensor, positions: Tensor, molecule: Tensor, num_molecules: int) -> Tensor:
    """−∂E/∂R [N, 3], itself differentiable, so that it can stand in a loss."""
    if not positions.requires_grad:
        positions = positions.detach().requires_grad_()
    energy = network(elements, positions, molecule, num_molecules).sum()
    return -torch.autograd.grad(energy, positions, create_graph=True)[0]


def train(
    network: EnergyNetwork, molecules: Molecules, targets: Tensor, samples: Tensor, epochs: int, seed: int
) -> None:
    """AdamW with one cycle on batches of 32 molecules; absolute errors."""
    generator = torch.Generator().manual_seed(seed)
    batches = -(-len(samples) // 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(2, epochs * batches))
    for epoch in range(epochs):
        total = 0.0
        for chosen in samples[torch.randperm(len(samples), generator=generator)].split(32):
            predicted = network(*molecules.take(chosen), len(chosen))
            loss = (predicted - targets[chosen]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            total += 10 * loss.item() * len(chosen)
        print(f"epoch {epoch + 1:3d}  training MAE {total / len(samples):.2f} kcal/mol", flush=True)


@torch.no_grad()
def predict(network: EnergyNetwork, molecules: Molecules, samples: Tensor) -> Tensor:
    """[S] in tens of kcal/mol."""
    return torch.cat([network(*molecules.take(chosen), len(chosen)) for chosen in samples.split(256)])


def draw(path: Path, predicted: Tensor, energies: Tensor) -> None:
    """Predicted energies over the true ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(energies.numpy(), predicted.numpy(), s=3)
    axes.axline((float(energies.mean()),) * 2, slope=1, color="gray", linewidth=0.8)
    axes.set(xlabel="heat of formation, kcal/mol", ylabel="predicted", aspect="equal")
    figure.savefig(path)


def main(
    data: Path,
    epochs: int,
    seed: int = 0,
    limit: int | None = None,
    validate: bool = False,
    picture: Path | None = None,
) -> float:
    """Train and score; returns the mean absolute error in kcal/mol on the molecules held out."""
    torch.manual_seed(seed)
    molecules = Molecules.read(data)
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(len(molecules.energies)))
    training, held_out = shuffled[:NUM_TRAINING], shuffled[NUM_TRAINING:]
    if validate:
        training, held_out = training[NUM_VALIDATION:], training[:NUM_VALIDATION]
    training, held_out = training[:limit], held_out[:limit]

    compositions, energies = molecules.compositions(), molecules.energies
    fitted = compositions @ torch.linalg.lstsq(compositions[training], energies[training, None]).solution[:, 0]
    targets = ((energies - fitted) / 10).float()
    network = EnergyNetwork()
    start = time.perf_counter()
    train(network, molecules, targets, training, epochs, seed)
    predicted = fitted[held_out] + 10 * predict(network, molecules, held_out)
    error = (predicted - energies[held_out]).abs().mean().item()
    print(
        f"MAE {error:.2f} kcal/mol, composition alone {(fitted - energies)[held_out].abs().mean().item():.2f}, "
        f"{len(training)} molecules to learn from, {len(held_out)} held out, {time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, predicted, energies[held_out])
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("GRIDLESS_DATA", "../shared/data"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most so many molecules to learn from, and to score")
    parser.add_argument("--validate", action="store_true", help="score a part of the training molecules instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
