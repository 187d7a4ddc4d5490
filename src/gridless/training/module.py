"""The training step, the validation scores and the learning rate, as a LightningModule."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, Dataset, Subset

from gridless.data import IGNORED, Batch, CoveringCrops, Crop, StreamedCrops, TrainingCrops
from gridless.errors import GridlessError
from gridless.metrics import SegmentationScores, mean_class_accuracy
from gridless.models.base import Network
from gridless.training.calibration import fit_temperature
from gridless.training.layout import DIVERGED_FILE
from gridless.training.recipe import ScheduleSettings

# One number is fitted; more points would only cost memory.
_CALIBRATION_POINTS = 200_000
# Enough for means and variances; more would only cost forward passes.
_STATISTICS_STEPS = 10


class DivergedError(GridlessError, ArithmeticError):
    """The loss became NaN or infinite; the message gives the step and what to change.

    Args:
        message: what to show.
        step: the optimizer step that was not made.
        crops: of its batch: ``{"file": name, "center": [x, y]}`` each.
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
            self.averaged = AveragedModel(model, multi_avg_fn=average)
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(schedule.loss_weights(class_names)), persistent=False)
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self.temperature = 1.0
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

    def progress(self) -> float:
        """Part of the schedule that is done, by steps or by the time limit, whichever is further."""
        by_steps = self.trainer.global_step / self.schedule.steps
        limit = self.schedule.time_limit
        return by_steps if limit is None else max(by_steps, self.seconds / (60 * limit))

    def train_dataloader(self) -> DataLoader[Batch]:
        """The crops of the next epoch, which begins at the current step."""
        step = self.trainer.global_step
        # One step at least: Lightning asks for a loader, and warns if it is empty, when a finished training is resumed.
        return self._batches(step, max(step + 1, min(step + self.schedule.steps_per_epoch, self.schedule.steps)))

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation crops, always in the same order."""
        crops: Dataset[Any] = self.validation_crops
        return DataLoader(
            crops,
            self.schedule.crops_per_step,
            collate_fn=_batches_only,
            num_workers=self.schedule.workers,
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.model.parameters(), lr=self.schedule.learning_rate, weight_decay=self.schedule.weight_decay
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout too is a function of seed and step alone, so that a resumed training draws what a whole one does.
        drawn = np.random.SeedSequence((self.training_crops.seed, self.trainer.global_step)).generate_state(1)
        torch.manual_seed(int(drawn[0]))
        rate = self.schedule.learning_rate * one_cycle(self.progress(), self.schedule.warmup)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(self.model(batch.features, batch.pyramid), batch, self.schedule.label_smoothing)
        if not torch.isfinite(loss):
            step, crops = self.trainer.global_step, self._crops_of_step()
            names = sorted({crop["file"] for crop in crops})
            raise DivergedError(
                f"the loss is {loss.item()} at step {step} (crops from {', '.join(names)}; where they lie is in "
                f"{DIVERGED_FILE} of the run's folder); lower schedule.learning_rate or schedule.gradient_clip, or "
                "look at the features of these files",
                step,
                crops,
            )
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=True, batch_size=len(batch.labels))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
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
            loss = self._loss(logits, batch, 0.0)
            self.log("val_loss", loss, batch_size=int(known.sum()))
            truth, scores = batch.labels[known].cpu(), logits[known].float().cpu()
            self._outcomes.append((truth, scores.argmax(dim=1)))
            share = max(1, _CALIBRATION_POINTS // int(self.trainer.num_val_batches[0]))
            every = -(-len(truth) // share)
            self._calibration.append((scores[::every], truth[::every]))

    def on_validation_epoch_end(self) -> None:
        truth = torch.cat([labels for labels, _ in self._outcomes]).numpy()
        prediction = torch.cat([classes for _, classes in self._outcomes]).numpy()
        self._outcomes.clear()
        self.temperature = fit_temperature(
            torch.cat([logits for logits, _ in self._calibration]),
            torch.cat([labels for _, labels in self._calibration]),
        )
        self._calibration.clear()
        scores = SegmentationScores.from_labels(truth, prediction, self.class_names)
        self.log("val_accuracy", float(scores.overall_accuracy), prog_bar=self.model.task == "classification")
        if self.model.task == "classification":
            self.log("val_class_accuracy", mean_class_accuracy(scores.confusion))
        else:
            self.log("val_miou", float(scores.mean_iou), prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Steps before a checkpoint are not done again, so what they logged has to be on the disk by then.
        for logger in self.loggers:
            logger.save()
        checkpoint["gridless_seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds_before = checkpoint["gridless_seconds"]

    def _batches(self, step: int, stop: int) -> DataLoader[Batch]:
        """The training batches of steps ``step`` to ``stop``."""
        size = self.schedule.crops_per_step
        crops: Subset[Batch] = Subset(self.training_crops, range(step * size, stop * size))
        return DataLoader(crops, size, collate_fn=Batch.concatenate, num_workers=self.schedule.workers)

    def _crops_of_step(self) -> list[dict[str, Any]]:
        """Where each crop of the current step is cut from."""
        first = self.trainer.global_step * self.schedule.crops_per_step
        return [self.training_crops.origin(index) for index in range(first, first + self.schedule.crops_per_step)]

    def _loss(self, logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
        labels, known = batch.labels, batch.labels != IGNORED
        if not known.any():  # the mean over no points would be NaN
            return logits.sum() * 0.0
        entropy = partial(F.cross_entropy, weight=self.class_weights, ignore_index=IGNORED, label_smoothing=smoothing)
        if self.schedule.loss_average == "points" or len(labels) != len(batch.features):  # or a label a cloud
            return entropy(logits, labels)
        crops = batch.pyramid.levels[0].batch
        totals = torch.zeros(batch.pyramid.num_clouds, device=labels.device)
        totals.index_add_(0, crops[known], self.class_weights[labels[known]])
        return (entropy(logits, labels, reduction="none")[known] / totals[crops[known]]).sum() / (totals > 0).sum()


class _OnBatches(nn.Module):
    """A network that takes its two arguments as one."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.network(batch.features, batch.pyramid)
        return logits


def _batches_only(items: list[Batch] | list[tuple[Crop, Batch]]) -> Batch:
    return Batch.concatenate([item if isinstance(item, Batch) else item[1] for item in items])
