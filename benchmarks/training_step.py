"""Training steps of the default segmentation network, loader included, by what computes its convolutions."""

from __future__ import annotations

import copy
import functools
import importlib.resources
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

import gridless as gl
from benchmarks.contenders import OURS, contender_names
from benchmarks.gate import DisagreementError, check_agreement
from benchmarks.rivals import plain
from benchmarks.rows import Row
from benchmarks.suite import TrainingCase
from gridless.data import Batch, TrainingCrops
from gridless.data.simulation import simulate_airborne_lidar
from gridless.models.base import Network
from gridless.training import load_recipe, threads_beside_workers
from gridless.training.loss import loss_parts
from gridless.training.recipe import Recipe

_SEED = 0
_CPU = torch.device("cpu")
#: Batches that a loader prepares in advance: so many follow the last counted step, which is to have a busy loader too.
_AHEAD = 2
#: Rivals that can take a convolution's place in a network.
_REPLACEMENTS = {"plain": plain.forward}


def measure_training(name: str, case: TrainingCase, device: torch.device = _CPU) -> list[Row]:
    """A row for each contender: the same network, weights and crops."""
    recipe = _recipe(case)
    network = _network(recipe, case.size).to(device)
    crops = _crops(recipe, network, case)
    networks = {contender: convolved_by(network, contender) for contender in contender_names(case.against)}
    rows = {contender: Row(name, contender, "step", neighbors=16) for contender in networks}

    expected: dict[str, Tensor] | None = None
    batch = next(iter(_loader(crops, recipe, 0, 1)))
    for contender in list(networks):
        got = _one_step(networks[contender], batch, recipe)
        if expected is None:
            expected = got
            continue
        try:
            rows[contender] = replace(rows[contender], difference=check_agreement(got, expected, case.tolerance))
        except DisagreementError as error:
            rows[contender] = replace(rows[contender], note=str(error), failed=True)
            del networks[contender]

    rates: dict[str, list[float]] = {contender: [] for contender in networks}
    points: list[int] = []
    for part in range(case.rounds):
        for contender, trained in networks.items():
            # Every round trains on its own crops, the same for all, from the same weights.
            with threads_beside_workers(recipe.schedule.workers):
                counts, seconds = _train(copy.deepcopy(trained), crops, recipe, case, part)
            rates[contender].append(sum(counts) / seconds)
            points += counts
    medians = {contender: statistics.median(values) for contender, values in rates.items()}
    per_step = statistics.mean(points)
    for contender, rate in medians.items():
        rows[contender] = replace(
            rows[contender],
            points=round(per_step),
            points_per_second=rate,
            milliseconds=1e3 * per_step / rate,
            times_ours=medians[OURS] / rate,
        )
    return list(rows.values())


def convolved_by(network: Network, contender: str) -> Network:
    """A copy of the network, weights included, whose convolutions are computed by a contender."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, gl.nn.ContinuousConv):
            if contender in _REPLACEMENTS:
                module.forward = functools.partial(_REPLACEMENTS[contender], module)  # type: ignore[method-assign]
            else:
                module.impl = contender
    return network


def _recipe(case: TrainingCase) -> Recipe:
    """The demo's, with steps of the case's size."""
    with importlib.resources.as_file(importlib.resources.files("gridless.cli") / "demo.yaml") as path:
        return load_recipe(Path(path), {"schedule.crops_per_step": case.crops_per_step})


def _network(recipe: Recipe, size: str | None) -> Network:
    torch.manual_seed(_SEED)
    channels = len(recipe.inputs.features)
    return gl.build_model(
        recipe.network.name,
        size=size,
        in_channels=channels,
        num_classes=len(recipe.labels.names),
        **recipe.network.config,
    )


def _crops(recipe: Recipe, network: Network, case: TrainingCase) -> TrainingCrops:
    """Random crops of one simulated flight."""
    cloud = simulate_airborne_lidar(_SEED, size=(case.scene_size, case.scene_size))
    labels = recipe.labels.encode(cloud[recipe.labels.column])
    prepared = recipe.inputs.prepare(cloud, "simulated flight", labels)
    length = case.rounds * _steps_per_round(case) * case.crops_per_step
    return TrainingCrops(
        [prepared], recipe.labels.names, recipe.inputs, network.pyramid_settings, recipe.sampler,
        recipe.augmentation, _SEED, length,
    )  # fmt: skip


def _loader(crops: TrainingCrops, recipe: Recipe, first_step: int, steps: int) -> DataLoader[Batch]:
    """Like that of ``gridless train``."""
    size = recipe.schedule.crops_per_step
    part: Subset[Batch] = Subset(crops, range(first_step * size, (first_step + steps) * size))
    return DataLoader(part, size, collate_fn=Batch.concatenate, num_workers=recipe.schedule.workers)


def _train(
    network: Network, crops: TrainingCrops, recipe: Recipe, case: TrainingCase, part: int
) -> tuple[list[int], float]:
    """Points of each counted step of a round, and the seconds that these steps took."""
    schedule = recipe.schedule
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    counts: list[int] = []
    steps = _steps_per_round(case)
    started = time.perf_counter()
    for step, batch in enumerate(_loader(crops, recipe, part * steps, steps), start=1):
        optimizer.zero_grad()
        _loss(network, batch, recipe).backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.schedule.gradient_clip)
        optimizer.step()
        counts.append(len(batch.labels))
        if step in (case.warm_up, case.warm_up + case.steps) and torch.cuda.is_available():
            torch.cuda.synchronize()
        if step == case.warm_up:
            started = time.perf_counter()
        if step == case.warm_up + case.steps:
            break
    return counts[case.warm_up :], time.perf_counter() - started


def _steps_per_round(case: TrainingCase) -> int:
    return case.warm_up + case.steps + _AHEAD


def _loss(network: Network, batch: Batch, recipe: Recipe) -> Tensor:
    """That of ``gridless train``."""
    device, schedule = next(network.parameters()).device, recipe.schedule
    batch = batch.to(device)
    class_weights = torch.tensor(schedule.loss_weights(recipe.labels.names), device=device)
    total, weight = loss_parts(
        network(batch.features, batch.pyramid), batch, class_weights, schedule.loss_average, schedule.label_smoothing,
        schedule.lovasz,
    )  # fmt: skip
    return total / weight


def _one_step(network: Network, batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """Loss and gradients, all in one tensor since some are next to nothing; the network stays as it is."""
    trial = copy.deepcopy(network)
    loss = _loss(trial, batch, recipe)
    gradients = torch.autograd.grad(loss, list(trial.parameters()))
    return {"loss": loss.detach(), "gradient": torch.cat([gradient.flatten() for gradient in gradients])}
