"""Geometry to field: the solution of a Poisson problem on squares with a hole, from where the boundary runs.

    GRIDLESS_DATA=folder python examples/holed_poisson.py --steps 4000 --picture holed_poisson.png

An integral along the boundary, whose kernel sees both ends of a pair (a graph neural operator), reaches
any point of the domain; an MLP there gives the field. Training looks at random points of each mesh only.
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

from gridless.neighbors import AllPairs, Neighborhoods, all_pairs
from gridless.nn import ContinuousConv

NUM_TRAINING = 90
NUM_VALIDATION = 15


@dataclass(frozen=True)
class Meshes:
    """S solutions on meshes with equal triangles and different nodes."""

    nodes: Tensor
    """[S, N, 2]"""
    fields: Tensor
    """[S, N]"""
    parameters: Tensor
    """[S, 2], lower left corner of the hole; only the split looks at it."""
    triangles: Tensor
    edges: Tensor
    """[B, 2] nodes at the ends of the edges of the boundary."""
    on_square: Tensor
    """[B] bool: edges of the outer boundary; the others are the hole's."""

    @staticmethod
    def read(folder: Path) -> Meshes:
        with np.load(folder / "holed_poisson" / "holed_poisson.npz") as arrays:
            x, y, u, mu, triangles = (torch.from_numpy(arrays[name]) for name in ("x", "y", "u", "mu", "triang"))
        nodes = torch.stack([x.T, y.T], dim=2).float()
        edges = torch.cat([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (0, 2))]).sort(dim=1)[0]
        distinct, counts = torch.unique(edges, dim=0, return_counts=True)
        boundary = distinct[counts == 1]
        at_a_side = (nodes[:, boundary] < 1e-6) | (nodes[:, boundary] > 1 - 1e-6)
        return Meshes(nodes, u.T.float(), mu, triangles, boundary, at_a_side.any(dim=3).all(dim=2).all(dim=0))

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Samples to learn from and samples to score."""
        if name == "random":
            shuffled = torch.from_numpy(np.random.default_rng(0).permutation(len(self.nodes)))
            return shuffled[:NUM_TRAINING], shuffled[NUM_TRAINING:]
        far = self.parameters[:, 0] >= 0.5 - 1e-6
        shuffled = torch.from_numpy(np.random.default_rng(0).permutation(int((~far).sum())))
        return (~far).nonzero().flatten()[shuffled], far.nonzero().flatten()


class BoundaryToField(nn.Module):
    """u(x) = MLP(∫ κ(x, y) ds over the boundary, x, distances), and 0 on the boundary itself."""

    def __init__(self, width: int = 64, hidden: tuple[int, ...] = (32, 32)) -> None:
        super().__init__()
        self.integral = ContinuousConv(
            2, width, dim=2, hidden=hidden, activation="silu", reduce="sum", scale=0.25, kernel_inputs="both"
        )
        self.head = nn.Sequential(
            nn.Linear(width + 4, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1)
        )

    def forward(self, points: Tensor, ends: Tensor, on_square: Tensor) -> Tensor:
        """points [S, P, 2], ends of the boundary's edges [S, B, 2, 2], on_square [B] → field [S, P]."""
        seen = self.integrate(points, ends.mean(dim=2), (ends[:, :, 1] - ends[:, :, 0]).norm(dim=2), on_square)
        to_edges = distances_to_edges(points, ends)
        distances = torch.stack([to_edges[:, :, side].amin(dim=2) for side in (on_square, ~on_square)], dim=2)
        values = self.head(torch.cat([seen, 4 * points, 8 * distances], dim=2))
        return torch.where(distances.amin(dim=2) > 1e-6, values[..., 0], 0.0)

    def integrate(self, points: Tensor, middles: Tensor, lengths: Tensor, on_square: Tensor) -> Tensor:
        """∫ κ(x, y) ds at points [S, P, 2] from edges' middles [S, B, 2] and lengths [S, B] → [S, P, width]."""
        clouds, num_points = points.shape[:2]
        num_edges = len(on_square)
        sides = torch.stack([on_square, ~on_square], dim=1).float().repeat(clouds, 1)
        support: Neighborhoods | AllPairs = AllPairs(num_edges, num_points)
        if clouds > 1:
            edge_cloud, point_cloud = (torch.arange(clouds).repeat_interleave(n) for n in (num_edges, num_points))
            support = all_pairs(edge_cloud, point_cloud)
        seen: Tensor = self.integral(
            sides, middles.flatten(0, 1), points.flatten(0, 1), support, source_weights=lengths.flatten()
        )
        return seen.unflatten(0, (clouds, num_points))


def distances_to_edges(points: Tensor, ends: Tensor) -> Tensor:
    """[S, P, B] from points [S, P, 2] to segments [S, B, 2, 2]."""
    start, along = ends[:, None, :, 0], (ends[:, :, 1] - ends[:, :, 0])[:, None]
    from_start = points[:, :, None] - start
    place = ((from_start * along).sum(dim=3) / along.square().sum(dim=3)).clamp(0.0, 1.0)
    return (from_start - place[..., None] * along).norm(dim=3)


def relative_l2(predicted: Tensor, fields: Tensor) -> float:
    """‖û − u‖ / ‖u‖ over all nodes of all samples."""
    return ((predicted - fields).norm() / fields.norm()).item()


def train(model: BoundaryToField, meshes: Meshes, samples: Tensor, steps: int, seed: int) -> None:
    """Adam with one cycle on random points of random meshes; loss relative to each sample's field."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps))
    energy = meshes.fields[samples].square().mean()
    for step in range(steps):
        chosen = samples[torch.randint(len(samples), (8,), generator=generator)]
        places = torch.randint(meshes.nodes.shape[1], (64,), generator=generator)
        nodes = meshes.nodes[chosen]
        predicted = model(nodes[:, places], nodes[:, meshes.edges], meshes.on_square)
        loss = (predicted - meshes.fields[chosen][:, places]).square().mean() / energy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5d}  relative error of the batch {loss.sqrt().item():.4f}", flush=True)


@torch.no_grad()
def predict(model: BoundaryToField, meshes: Meshes, samples: Tensor) -> Tensor:
    """Fields [S, N] at all nodes, one mesh after the other."""
    fields = []
    for nodes in meshes.nodes[samples]:
        fields.append(model(nodes[None], nodes[None, meshes.edges], meshes.on_square)[0])
    return torch.stack(fields)


def draw(path: Path, meshes: Meshes, sample: int, predicted: Tensor) -> None:
    """The true field, the predicted one and their difference on one mesh."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    truth = meshes.fields[sample]
    panels = {"solution": truth, "predicted": predicted, "difference": predicted - truth}
    for axes, (title, values) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        x, y = meshes.nodes[sample].T.numpy()
        drawn = axes.tripcolor(x, y, values.numpy(), triangles=meshes.triangles.numpy(), shading="gouraud")
        figure.colorbar(drawn, ax=axes)
        axes.set(title=title, aspect="equal")
    figure.savefig(path)


def main(
    data: Path, steps: int, split: str = "random", seed: int = 0, validate: bool = False, picture: Path | None = None
) -> float:
    """Train and score; returns the relative L2 error on the samples held out."""
    torch.manual_seed(seed)
    meshes = Meshes.read(data)
    training, held_out = meshes.split(split)
    if validate:
        training, held_out = training[NUM_VALIDATION:], training[:NUM_VALIDATION]
    model = BoundaryToField()
    start = time.perf_counter()
    train(model, meshes, training, steps, seed)
    predicted = predict(model, meshes, held_out)
    mean_field = meshes.fields[training].mean(dim=0).expand(len(held_out), -1)
    error = relative_l2(predicted, meshes.fields[held_out])
    print(
        f"relative L2 {error:.4f}, mean field {relative_l2(mean_field, meshes.fields[held_out]):.4f}, "
        f"{len(training)} meshes to learn from, {len(held_out)} held out, {time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, meshes, int(held_out[0]), predicted[0])
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("GRIDLESS_DATA", "../shared/data"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--split", choices=("random", "far"), default="random", help="far: holes on the right held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="score a part of the training meshes instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
