"""Networks as programs: torch.export of everything behind the search."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from gridless.io.atomic import replaced_when_complete
from gridless.models.base import Network
from gridless.pyramid import Pyramid

NOTES_FILE = "gridless.json"


def export_model(model: Network, path: str | Path | None = None, num_clouds: int = 1) -> ExportedProgram:
    """A network as a program of torch: ``logits = program.module()(features, pyramid.tensors())``.

    The search stays outside, since it is what differs between applications: build the pyramid with
    ``Pyramid.build(positions, settings)``. Numbers of points and of pairs may be any. A process that runs the program
    needs the operators of gridless (``import gridless.nn``) and nothing of ``gridless.models``.

    Args:
        model: exported in evaluation mode, on the CPU.
        path: also write the program there, by custom ``*.pt2``; it appears only when it is complete. Its extra file
            ``gridless.json`` has the network's name, configuration, metadata and the settings of its pyramid.
        num_clouds: clouds in one call, fixed in the program; matters to networks that give a class to whole clouds.

    Returns:
        The program, with inputs features [N, C] and the tensors of a pyramid.

    Source: https://docs.pytorch.org/docs/stable/export.html

    Example:
        >>> from gridless.models import build_model
        >>> model = build_model("pccn_unet", in_channels=2, num_classes=3, channels=(8, 16), blocks=(1, 1)).eval()
        >>> program = export_model(model)
        >>> features, positions = torch.randn(400, 2), torch.rand(400, 3) * 5
        >>> pyramid = Pyramid.build(positions, model.pyramid_settings)
        >>> logits = program.module()(features, pyramid.tensors())
        >>> torch.allclose(logits, model(features, pyramid), atol=1e-5)
        True
    """
    training = model.training
    network = _OnTensors(model, num_clouds).eval()
    features, tensors = _example(model, num_clouds)
    try:
        program = torch.export.export(network, (features, tensors), dynamic_shapes=_any_numbers(len(tensors)))
    finally:
        model.train(training)
    if path is not None:
        settings = model.pyramid_settings
        notes = {
            "name": model.name,
            "config": model.config,
            "metadata": model.metadata,
            "pyramid": {name: getattr(settings, name) for name in settings.__dataclass_fields__},
        }
        with replaced_when_complete(Path(path)) as temporary:
            torch.export.save(program, temporary, extra_files={NOTES_FILE: json.dumps(notes)})
    return program


class _OnTensors(nn.Module):
    """A network whose pyramid comes as a list of tensors."""

    def __init__(self, network: Network, num_clouds: int) -> None:
        super().__init__()
        self.network, self.num_clouds = network, num_clouds

    def forward(self, features: Tensor, tensors: list[Tensor]) -> Tensor:
        logits: Tensor = self.network(features, Pyramid.from_tensors(tensors, self.num_clouds))
        return logits


def _example(model: Network, num_clouds: int) -> tuple[Tensor, list[Tensor]]:
    """Inputs to trace with: clouds that are wide enough for several points at the coarsest level."""
    settings = model.pyramid_settings
    generator = torch.Generator().manual_seed(0)
    dim = model.config.get("dim", 3)
    width = 4.0 * max((1.0, *settings.voxel_sizes))
    positions = torch.rand(200 * num_clouds, dim, generator=generator) * width
    batch = torch.arange(num_clouds).repeat_interleave(200)
    features = torch.randn(len(positions), model.config["in_channels"], generator=generator)
    return features, Pyramid.build(positions, settings, batch).tensors()


def _any_numbers(num_tensors: int) -> tuple[dict[int, Dim], list[dict[int, Dim]]]:
    """Which sizes may change: the points of each level, and the pairs of each search."""
    points = Dim("points_0", min=2)
    shapes: list[dict[int, Dim]] = []

    def rows(name: str, queries: Dim) -> list[dict[int, Dim]]:
        return [{0: Dim(name, min=2)}, {0: queries + 1}]

    for level in range(1 + (num_tensors - 4) // 8):
        finer = points
        points = Dim(f"points_{level}", min=2)
        shapes += [{0: points}, {0: points}, *rows(f"pairs_{level}", points)]
        if level:
            shapes += [*rows(f"pooling_{level}", points), *rows(f"upsampling_{level}", finer)]
    return {0: Dim("points_0", min=2)}, shapes
