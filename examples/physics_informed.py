"""A field from its differential equation alone: −Δu = 1 in a disk, u = 0 on its rim, no values to learn from.

    python examples/physics_informed.py --picture physics_informed.png

u(x) is a continuous convolution from scattered sources, whose features are learned, to any query point x. Its Laplacian
with respect to the query positions stands in the loss, so that a step takes derivatives of third order; everything is
float64. The exact solution, (1 − |x|²) / 4, is used for the score only.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from gridless.neighbors import all_pairs
from gridless.nn import ContinuousConv


class Field(nn.Module):
    """u(x) = Σ_j g(x − y_j) f_j / N over all sources y_j, with learned features f_j and a smooth kernel."""

    def __init__(self, num_sources: int = 64, channels: int = 8) -> None:
        super().__init__()
        self.sources = disk(num_sources)
        self.features = nn.Parameter(torch.randn(num_sources, channels, dtype=torch.float64))
        self.convolution = ContinuousConv(channels, 1, dim=2, hidden=(24, 24), activation="silu").double()

    def forward(self, queries: Tensor) -> Tensor:
        """queries [M, 2] → u [M]"""
        one_cloud = torch.zeros(max(len(self.sources), len(queries)), dtype=torch.int64)
        rows = all_pairs(one_cloud[: len(self.sources)], one_cloud[: len(queries)])
        values: Tensor = self.convolution(self.features, self.sources, queries, rows)[:, 0]
        return values


def disk(num_points: int, radius: float = 1.0) -> Tensor:
    """[num_points, 2] places evenly spread over a disk (a sunflower's)."""
    index = torch.arange(num_points, dtype=torch.float64) + 0.5
    distance, angle = radius * (index / num_points).sqrt(), index * math.pi * (3 - math.sqrt(5))
    return torch.stack([distance * angle.cos(), distance * angle.sin()], dim=1)


def laplacian(field: nn.Module, queries: Tensor) -> Tensor:
    """Δu [M] at queries [M, 2], itself differentiable."""
    queries = queries.detach().requires_grad_()
    gradient = torch.autograd.grad(field(queries).sum(), queries, create_graph=True)[0]
    second = [
        torch.autograd.grad(gradient[:, axis].sum(), queries, create_graph=True)[0][:, axis]
        for axis in range(queries.shape[1])
    ]
    return torch.stack(second).sum(dim=0)


def train(field: Field, steps: int, seed: int) -> None:
    """Adam on the squared residuals of the equation, inside and on the rim, at other points in each step."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(2, steps))
    for step in range(steps):
        angles, squares = torch.rand(2, 96, generator=generator, dtype=torch.float64)
        directions = torch.stack([(2 * math.pi * angles).cos(), (2 * math.pi * angles).sin()], dim=1)
        inside = (laplacian(field, squares.sqrt()[:, None] * directions) + 1.0).square().mean()
        rim = field(directions).square().mean()
        loss = inside + 20.0 * rim
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:5d}  residual inside {inside.item():.2e}, on the rim {rim.item():.2e}", flush=True)


def draw(path: Path, field: Field) -> None:
    """The field and its error, and learned kernels over the offset from a source."""
    from matplotlib.figure import Figure

    axis = torch.linspace(-1, 1, 61, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    outside = places.norm(dim=1) > 1
    with torch.no_grad():
        values, kernels = field(places), field.convolution.kernel_at(places)
    exact = (1 - places.square().sum(dim=1)) / 4
    panels = {"u": values, "u − exact": values - exact}
    panels = {name: panel.masked_fill(outside, math.nan) for name, panel in panels.items()}
    panels |= {f"kernel of feature {channel}": kernels[:, 0, channel] for channel in range(4)}
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (name, panel) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        image = axes.imshow(panel.view(61, 61).T.numpy(), origin="lower", extent=(-1, 1, -1, 1))
        figure.colorbar(image, ax=axes, shrink=0.7)
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(path)


def main(steps: int = 600, seed: int = 0, picture: Path | None = None) -> float:
    """Solve the equation; returns the relative L2 error of u on points spread over the disk."""
    torch.manual_seed(seed)
    field = Field()
    start = time.perf_counter()
    train(field, steps, seed)
    places = disk(2000)
    exact = (1 - places.square().sum(dim=1)) / 4
    with torch.no_grad():
        error = float((field(places) - exact).norm() / exact.norm())
    print(f"relative L2 error {error:.4f}, {time.perf_counter() - start:.0f} s")
    if picture is not None:
        draw(picture, field)
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
