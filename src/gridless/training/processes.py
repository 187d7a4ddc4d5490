"""Trainings of several processes: how many there are, and what they have to agree on."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch import distributed as dist


def trainer_placement(devices: int | None) -> dict[str, Any]:
    """Arguments of Lightning's trainer: where the processes of a training run.

    torchrun and SLURM have started the processes and say in the environment how many there are; otherwise ``devices``
    are started here, by default one.

    Raises:
        ValueError: ``devices`` contradicts what torchrun or SLURM started.
    """
    started = _started_processes()
    if started is not None and devices not in (None, started[0]):
        raise ValueError(f"{devices} devices are asked for, but {started[0]} processes were started on this machine")
    here, nodes = started or (devices or 1, 1)
    placement: dict[str, Any] = {"devices": here, "num_nodes": nodes}
    if here * nodes > 1:
        placement["strategy"] = DDPStrategy(gradient_as_bucket_view=True)
    return placement


def _started_processes() -> tuple[int, int] | None:
    """Processes on this machine and machines, where something else has started them."""
    environment = os.environ
    if TorchElasticEnvironment.detect():
        here = int(environment["LOCAL_WORLD_SIZE"])
        return here, int(environment["WORLD_SIZE"]) // here
    if SLURMEnvironment.detect():
        nodes = int(environment.get("SLURM_NNODES", 1))
        return int(environment["SLURM_NTASKS"]) // nodes, nodes
    return None


def is_first_process() -> bool:
    """Whether this process speaks for all: it prints and writes. Known before the processes have met."""
    return not getattr(rank_zero_only, "rank", 0)


def num_processes() -> int:
    """Processes of this training, 1 outside of one."""
    return dist.get_world_size() if _several() else 1


def process_index() -> int:
    """Number of this process, 0 outside of a training of several."""
    return dist.get_rank() if _several() else 0


def share_of(count: int) -> int:
    """``count`` divided among the processes.

    Raises:
        ValueError: it cannot be divided evenly.
    """
    share, rest = divmod(count, num_processes())
    if rest:
        raise ValueError(
            f"schedule.crops_per_step = {count} cannot be divided evenly among {num_processes()} processes"
        )
    return share


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of every process's ``values``, without gradients."""
    total = values.detach().clone()
    if _several():
        dist.all_reduce(total)
    return total


def concatenate_over_processes(rows: Tensor) -> Tensor:
    """The rows of all processes, on the CPU, in the order of their numbers."""
    rows = rows.cpu()
    if not _several():
        return rows
    gathered: list[Any] = [None] * num_processes()
    dist.all_gather_object(gathered, rows.numpy())
    return torch.cat([torch.from_numpy(part) for part in gathered])


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
