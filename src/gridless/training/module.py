"""The training step, the validation scores and the learning rate, as a LightningModule."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, Dataset, Subset

from gridless.data import IGNORED, Batch, CoveringCrops, StreamedCrops, TrainingCrops
from gridless.errors import GridlessError
from gridless.metrics import SegmentationScores, mean_class_accuracy
from gridless.models.base import Network
from gridless.nn import synchronize_normalization
from gridless.training.calibration import fit_temperature
from gridless.training.layout import DIVERGED_FILE
from gridless.training.loss import loss_parts
from gridless.training.processes import (
    concatenate_over_processes,
    num_processes,
    process_index,
    share_of,
    sum_over_processes,
)
from gridless.training.recipe import ScheduleSettings

# One number is fitted; more points would only cost memory.
_CALIBRATION_POINTS = 200_000
# Enough for means and variances; more would only cost forward passes.
_STATISTICS_STEPS = 10


class DivergedError(GridlessError, ArithmeticError):
    """The loss or the weights became NaN or infinite; the message gives the step and what to change.

    Args:
        message: what to show.
        step: the optimizer step.
        crops: of its batch: ``{"file": name, "center": [x, y]}`` each; whole objects have no center.
    """

    def __init__(self, message: str, step: int, crops: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.step, self.crops = step, crops


def one_cycle(progress: float, warmup: float) -> float:
    """Learning rate over its peak: from 1/10 up to 1 during ``warmup``, then down a cosine to 1/1000.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using
    large learning rates", 2019.

    Example:
        >>> [round(one_cycle(progress, 0.2), 3) for progress in (0.0, 0.2, 0.6, 1.0)]
        [0.1, 1.0, 0.501, 0.001]
    """
    if progress < warmup:
        return 0.1 + 0.9 * (1 - math.cos(math.pi * progress / warmup)) / 2
    part = min(1.0, (progress - warmup) / (1 - warmup))
    return 0.001 + 0.999 * (1 + math.cos(math.pi * part)) / 2


class NetworkTraining(L.LightningModule):
    """Trains a network on random crops or objects, and scores it on fixed ones.

    Several processes divide the crops of a step among them. Loss, statistics of batch normalization, gradients and
    scores are those of all crops together, as if one process had seen them.

    Args:
        model: maps (features, pyramid) to logits.
        class_names: of the logits.
        schedule: steps, rates, loss.
        training: the random crops; step s takes crops s · B ... (s + 1) · B - 1.
        validation: the same crops or objects each time.
    """

    def __init__(
        self,
        model: Network,
        class_names: tuple[str, ...],
        schedule: ScheduleSettings,
        training: TrainingCrops | StreamedCrops,
        validation: CoveringCrops | StreamedCrops,
    ) -> None:
        super().__init__()
        self.model, self.class_names, self.schedule = model, class_names, schedule
        self.training_crops, self.validation_crops = training, validation
        self.averaged: AveragedModel | None = None
        if schedule.average_decay:
            average = get_ema_multi_avg_fn(schedule.average_decay)
            self.averaged = AveragedModel(model, multi_avg_fn=average).requires_grad_(False)
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(schedule.loss_weights(class_names)), persistent=False)
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self.temperature = 1.0
        self._losses: list[Tensor] = []
        self._outcomes: list[tuple[Tensor, Tensor]] = []
        self._calibration: list[tuple[Tensor, Tensor]] = []

    @property
    def exported_model(self) -> Network:
        """The network to validate and to keep: the moving average if there is one."""
        if self.averaged is None:
            return self.model
        averaged = self.averaged.module
        assert isinstance(averaged, Network)
        return averaged

    @property
    def score_name(self) -> str:
        """The logged score that the best weights are chosen by."""
        return "val_accuracy" if self.model.task == "classification" else "val_miou"

    @property
    def seconds(self) -> float:
        """Time trained so far, earlier parts of a resumed training included."""
        return self.seconds_before + time.monotonic() - self._started

    def on_fit_start(self) -> None:
        self._started = time.monotonic()
        if num_processes() > 1:
            synchronize_normalization(self)

    def progress(self) -> float:
        """Part of the schedule that is done, by steps or by the time limit, whichever is further."""
        by_steps = self.trainer.global_step / self.schedule.steps
        limit = self.schedule.time_limit
        if limit is None:
            return by_steps
        seconds: float = self.trainer.strategy.broadcast(self.seconds)  # clocks differ; all have to stop together
        return max(by_steps, seconds / (60 * limit))

    def train_dataloader(self) -> DataLoader[Batch]:
        """The crops of the next epoch, which begins at the current step."""
        step = self.trainer.global_step
        # One step at least: Lightning asks for a loader, and warns if it is empty, when a finished training is resumed.
        return self._batches(step, max(step + 1, min(step + self.schedule.steps_per_epoch, self.schedule.steps)))

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation crops, always in the same order."""
        crops: Dataset[Any] = _OrFailure(self.validation_crops)
        mine = range(process_index(), len(self.validation_crops), num_processes())
        if not mine:
            raise ValueError(
                f"{num_processes()} processes are too many for {len(self.validation_crops)} crops to validate"
            )
        return DataLoader(
            Subset(crops, mine),
            share_of(self.schedule.crops_per_step),
            collate_fn=_collated,
            num_workers=self.schedule.workers,
        )

    def transfer_batch_to_device(self, batch: Batch | _Failure, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        schedule = self.schedule
        return torch.optim.AdamW(
            self.model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout too is a function of seed and step alone, so that a resumed training draws what a whole one does.
        # Processes after the first draw others.
        entropy = (self.training_crops.seed, self.trainer.global_step, *([process_index()] * (process_index() > 0)))
        drawn = np.random.SeedSequence(entropy).generate_state(1)
        torch.manual_seed(int(drawn[0]))
        rate = self.schedule.learning_rate * one_cycle(self.progress(), self.schedule.warmup)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
                group["weight_decay"] = self.schedule.weight_decay  # a checkpoint brings the one that it was made with

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.model(batch.features, batch.pyramid)
        total, weight = self._loss_parts(logits, batch, self.schedule.label_smoothing, self.schedule.lovasz)
        total_of_all, weight_of_all = sum_over_processes(torch.stack([total, weight]))
        loss = total_of_all / _or_one(weight_of_all)
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}", self.trainer.global_step)
        self.log("train_loss", loss, prog_bar=True, on_step=True, batch_size=len(batch.labels))
        return total * num_processes() / _or_one(weight_of_all)  # gradients are averaged over the processes

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        # A finite loss can have gradients that are not; what follows would be averaged, validated and saved.
        if not torch.isfinite(nn.utils.get_total_norm(self.model.parameters())):
            raise self._diverged("the weights are no longer finite", self.trainer.global_step - 1)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        if self.progress() >= 1.0:
            self.trainer.should_stop = True  # after the validation that follows
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self) -> None:
        if self.averaged is not None:
            # Averages of the running statistics are not the statistics of the averaged weights.
            step = self.trainer.global_step
            batches = self._batches(max(0, step - _STATISTICS_STEPS), step)
            update_bn(batches, _OnBatches(self.exported_model).eval(), self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.exported_model(batch.features, batch.pyramid)
        known = batch.labels != IGNORED
        if known.any():
            self._losses.append(torch.stack(self._loss_parts(logits, batch)))
            truth, scores = batch.labels[known].cpu(), logits[known].float().cpu()
            self._outcomes.append((truth, scores.argmax(dim=1)))
            share = max(1, _CALIBRATION_POINTS // int(self.trainer.num_val_batches[0]))
            every = -(-len(truth) // share)
            self._calibration.append((scores[::every], truth[::every]))

    def on_validation_epoch_end(self) -> None:
        total, weight = sum_over_processes(sum(self._losses, torch.zeros(2, device=self.device)))
        self._log_score("val_loss", total / _or_one(weight))
        if not self._outcomes:
            raise ValueError("none of the points that are held aside to validate with is labelled")
        truth, prediction = _columns_over_processes(self._outcomes)
        self.temperature = fit_temperature(*_columns_over_processes(self._calibration))
        for parts in (self._losses, self._outcomes, self._calibration):
            parts.clear()
        scores = SegmentationScores.from_labels(truth.numpy(), prediction.numpy(), self.class_names)
        self._log_score("val_accuracy", scores.overall_accuracy)
        if self.model.task == "classification":
            self._log_score("val_class_accuracy", mean_class_accuracy(scores.confusion))
        else:
            self._log_score("val_miou", scores.mean_iou)

    def _log_score(self, name: str, value: Any) -> None:
        # All processes know the same value; their mean is what Lightning wants to be told.
        self.log(name, float(value), prog_bar=name == self.score_name, sync_dist=num_processes() > 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Steps before a checkpoint are not done again, so what they logged has to be on the disk by then.
        for logger in self.loggers:
            logger.save()
        checkpoint["gridless_seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds_before = checkpoint["gridless_seconds"]

    def _batches(self, step: int, stop: int) -> DataLoader[Batch]:
        """This process's part of the training batches of steps ``step`` to ``stop``."""
        size = self.schedule.crops_per_step
        share = share_of(size)
        first = process_index() * share
        mine = [s * size + index for s in range(step, stop) for index in range(first, first + share)]
        crops: Subset[Any] = Subset(_OrFailure(self.training_crops), mine)
        return DataLoader(crops, share, collate_fn=_collated, num_workers=self.schedule.workers)

    def _diverged(self, what: str, step: int) -> DivergedError:
        """The error that says what happened at a step, and where each of its crops is cut from."""
        first = step * self.schedule.crops_per_step
        crops = [self.training_crops.origin(index) for index in range(first, first + self.schedule.crops_per_step)]
        names = sorted({crop["file"] for crop in crops})
        return DivergedError(
            f"{what} at step {step} (crops from {', '.join(names)}; where they lie is in {DIVERGED_FILE} of the run's "
            "folder); lower schedule.learning_rate or schedule.gradient_clip, or look at the features of these files",
            step,
            crops,
        )

    def _loss_parts(
        self, logits: Tensor, batch: Batch, smoothing: float = 0.0, lovasz: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        return loss_parts(logits, batch, self.class_weights, self.schedule.loss_average, smoothing, lovasz)


class _OnBatches(nn.Module):
    """A network that takes its two arguments as one."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.network(batch.features, batch.pyramid)
        return logits


@dataclass(frozen=True)
class _Failure:
    """A crop that could not be made, in place of its batch: a loader's process would hide the error in its own text."""

    error: Exception

    def to(self, device: torch.device | str) -> NoReturn:
        """Where a batch would go to the device, raise the error."""
        raise self.error


class _OrFailure(Dataset[Any]):
    """Crops, or what went wrong with them."""

    def __init__(self, crops: Dataset[Any]) -> None:
        self.crops = crops

    def __getitem__(self, index: int) -> Any:
        try:
            return self.crops[index]
        except (ValueError, OSError) as error:
            return _Failure(error)


def _collated(items: list[Any]) -> Batch | _Failure:
    """One batch of training crops, or of validation crops and what they were cut as, or the first failure."""
    for item in items:
        if isinstance(item, _Failure):
            return item
    return Batch.concatenate([item[1] if isinstance(item, tuple) else item for item in items])


def _or_one(weight: Tensor) -> Tensor:
    """What a total may be divided by: nothing labelled means a loss of 0, not NaN."""
    return torch.where(weight > 0, weight, 1.0)


def _columns_over_processes(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = (concatenate_over_processes(torch.cat(column)) for column in zip(*rows, strict=True))
    return first, second
