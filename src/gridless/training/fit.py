"""fit: from a recipe to a run folder with checkpoints, curves and the best model."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from gridless.data import (
    CoveringCrops,
    PreparedCloud,
    TrainingCrops,
    hold_out_strips,
    load_labelled,
    plain_from_settings,
)
from gridless.errors import ReadError
from gridless.io import is_full_disk, replaced_when_complete
from gridless.models import build_model, save_model
from gridless.training.checkpoints import WholeCheckpoints
from gridless.training.layout import CURVES_FOLDER, DIVERGED_FILE, MODEL_FILE, RECIPE_FILE
from gridless.training.module import DivergedError, SegmentationTraining
from gridless.training.recipe import Recipe, TrainingFiles, write_recipe
from gridless.training.threads import threads_beside_workers

# Named beforehand: for a column that it does not know, the logger empties the table and writes it anew, and a kill in
# between would lose what is not done again.
_CURVE_COLUMNS = ["epoch", "step", "learning_rate", "train_loss", "val_loss", "val_miou", "val_accuracy"]


@dataclass(frozen=True)
class TrainedRun:
    """What :func:`fit` leaves behind.

    Args:
        folder: holds ``model.safetensors``, ``recipe.yaml``, ``checkpoints/``, ``curves/`` and ``tensorboard/``.
        val_miou: the best on the validation crops, that of the exported model.
        steps: optimizer steps done.
        minutes: time trained, earlier parts of a resumed training included.
    """

    folder: Path
    val_miou: float
    steps: int
    minutes: float


def fit(recipe: Recipe, resume: bool = False, progress_bar: bool = True, skip_bad: bool = False) -> TrainedRun:
    """Train as the recipe says.

    Args:
        recipe: with absolute paths, as ``load_recipe`` gives it.
        resume: continue from the last checkpoint in the output folder; begin anew if there is none.
        progress_bar: show one.
        skip_bad: leave files out that cannot be read, with a warning; the run's recipe names the others.

    Raises:
        FileExistsError: the output folder has a training already, and ``resume`` is false.
        ReadError, ValueError: data that cannot be used; names the file.
        DivergedError: the loss became NaN; ``diverged.json`` in the run's folder says on which crops.
        OSError: the disk is full; the last checkpoint is whole.
    """
    run = Path(recipe.output)
    last = run / "checkpoints" / "last.ckpt"
    if last.exists() and not resume:
        raise FileExistsError(f"{run} already holds a training; continue it with --resume, or give another --output")
    recipe, training, validation = _load(recipe, skip_bad)
    _quiet_lightning()
    L.seed_everything(recipe.seed, workers=True, verbose=False)
    names = recipe.labels.names
    model = build_model(
        recipe.network.name,
        **{"in_channels": training[0].features.shape[1], "num_classes": len(names), **recipe.network.config},
    )
    model.metadata = {
        "inputs": plain_from_settings(recipe.inputs),
        "labels": plain_from_settings(recipe.labels),
        "recipe": plain_from_settings(recipe),
    }
    schedule = recipe.schedule
    module = SegmentationTraining(
        model,
        names,
        schedule,
        TrainingCrops(
            training,
            names,
            recipe.inputs,
            model.pyramid_settings,
            recipe.sampler,
            recipe.augmentation,
            recipe.seed,
            length=schedule.steps * schedule.crops_per_step,
            shares=recipe.data.shares,
        ),
        CoveringCrops(validation, recipe.inputs, model.pyramid_settings, recipe.inputs.crop_radius, labelled_only=True),
    )
    run.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(run / RECIPE_FILE) as temporary:
        write_recipe(temporary, recipe)
    export = _ExportBest(run / MODEL_FILE)
    trainer = _trainer(recipe, run, export, progress_bar)
    try:
        with threads_beside_workers(schedule.workers):
            trainer.fit(module, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    except DivergedError as error:
        with replaced_when_complete(run / DIVERGED_FILE) as temporary:
            temporary.write_text(json.dumps({"step": error.step, "crops": error.crops}, indent=2), encoding="utf-8")
        raise
    except OSError as error:
        if not is_full_disk(error):
            raise
        rest = f"the last checkpoint, {last}, is whole" if last.exists() else "no checkpoint was written yet"
        raise OSError(
            f"the disk is full (writing {error.filename or run}); {rest}: make room, then continue with --resume"
        ) from error
    return TrainedRun(run, export.best, trainer.global_step, module.seconds / 60)


def _load(recipe: Recipe, skip_bad: bool) -> tuple[Recipe, list[PreparedCloud], list[PreparedCloud]]:
    """The recipe with the files that could be read, their clouds, and those to validate with."""
    data = recipe.data
    if not data.train:
        raise ValueError("data.train names no file")
    training = _load_files("data.train", data.train, recipe, skip_bad)
    validation = _load_files("data.validation", [TrainingFiles(file) for file in data.validation], recipe, skip_bad)
    used = dataclasses.replace(
        data, train=[entry for entry, _ in training], validation=[entry.files for entry, _ in validation]
    )
    recipe, clouds = dataclasses.replace(recipe, data=used), [cloud for _, cloud in training]
    if validation:
        return recipe, clouds, [cloud for _, cloud in validation]
    return recipe, *hold_out_strips(clouds, data.validation_fraction)


def _load_files(
    place: str, entries: list[TrainingFiles], recipe: Recipe, skip_bad: bool
) -> list[tuple[TrainingFiles, PreparedCloud]]:
    loaded = []
    for entry in entries:
        try:
            loaded.append((entry, load_labelled(Path(entry.files), recipe.inputs, recipe.labels, entry.density)))
        except (ReadError, OSError) as error:
            if not skip_bad:
                problem, where = (error.problem, error.where) if isinstance(error, ReadError) else (str(error), None)
                raise ReadError(entry.files, f"{problem}; --skip-bad leaves such files out", where) from error
            warnings.warn(f"{place}: left out, as it cannot be read: {error}", stacklevel=4)
    if entries and not loaded:
        raise ValueError(f"{place}: none of its {len(entries)} files can be read")
    return loaded


def _trainer(recipe: Recipe, run: Path, export: Callback, progress_bar: bool) -> L.Trainer:
    schedule = recipe.schedule
    curves, checkpoints = run / CURVES_FOLDER, run / "checkpoints"
    # Every part of a resumed training writes its own version_k; read_curves puts them together.
    version = len(list(curves.glob("version_*")))
    table = CSVLogger(run, name=CURVES_FOLDER, version=version, flush_logs_every_n_steps=20)
    table.experiment.metrics_keys = list(_CURVE_COLUMNS)
    loggers: list[Logger] = [table, TensorBoardLogger(run, name="tensorboard", version="")]
    callbacks: list[Callback] = [
        export,
        ModelCheckpoint(checkpoints, "best", monitor="val_miou", mode="max", enable_version_counter=False),
        # A callback of its own: save_last of the one above writes only when the score improves.
        ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if progress_bar:
        callbacks.append(RichProgressBar())
    return L.Trainer(
        accelerator="auto",
        devices=1,
        # Not max_steps: with it Lightning ends the last finished epoch once more when it resumes.
        max_epochs=math.ceil(schedule.steps / schedule.steps_per_epoch),
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        inference_mode=False,  # tensors made in inference mode, such as an operator's workspace, could not train later
        gradient_clip_val=schedule.gradient_clip or None,
        log_every_n_steps=min(10, schedule.steps_per_epoch, schedule.steps),
        enable_model_summary=False,
        enable_progress_bar=progress_bar,
        logger=loggers,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
    )


class _ExportBest(Callback):
    """Writes the model file whenever the validation score improves, so that a killed training leaves its best."""

    def __init__(self, path: Path) -> None:
        self.path, self.best = path, float("-inf")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = float(trainer.callback_metrics["val_miou"])
        if score > self.best or not self.path.exists():
            assert isinstance(pl_module, SegmentationTraining)
            self.best = score
            model = pl_module.exported_model
            model.metadata = {
                **pl_module.model.metadata,
                "temperature": pl_module.temperature,
                "training": {"val_miou": score, "steps": trainer.global_step, "minutes": pl_module.seconds / 60},
            }
            save_model(self.path, model)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


def _quiet_lightning() -> None:
    """Keep Lightning's hints off the screen; what they advise is decided here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The recipe says how many workers there are; crops are few and large.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # The last epoch may be short; steps are logged by their number in the whole training.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # A resumed training writes where it did before.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Of Lightning's own code, with torch 2.13.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.. is deprecated.*")
