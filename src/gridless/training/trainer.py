"""fit: from a recipe to a run folder with checkpoints, curves and the best model."""

from __future__ import annotations

import json
import logging
import math
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gridless.data import plain_from_settings
from gridless.io import lack_of_room, remove_leftovers, replaced_when_complete
from gridless.models import MODEL_FILE, build_model, save_model
from gridless.training.checkpoints import WholeCheckpoints
from gridless.training.clouds import open_clouds
from gridless.training.layout import CURVES_FOLDER, DIVERGED_FILE, RECIPE_FILE, TENSORBOARD_FOLDER
from gridless.training.module import DivergedError, NetworkTraining
from gridless.training.processes import is_first_process, trainer_placement
from gridless.training.recipe import Recipe, write_recipe
from gridless.training.resuming import check_begin, check_resume, remove_traces
from gridless.training.threads import threads_beside_workers

# Named beforehand: for a column that it does not know, the logger empties the table and writes it anew, and a kill in
# between would lose what is not done again.
_SCORES = ["val_loss", "val_miou", "val_accuracy", "val_class_accuracy"]
_CURVE_COLUMNS = ["epoch", "step", "learning_rate", "train_loss", *_SCORES]


@dataclass(frozen=True)
class TrainedRun:
    """What :func:`fit` leaves behind.

    Args:
        folder: holds ``model.safetensors``, ``recipe.yaml``, ``checkpoints/``, ``curves/`` and ``tensorboard/``.
        score: the best on the validation crops, that of the exported model.
        score_name: which score that is: "val_miou" or, of a classification, "val_accuracy".
        steps: optimizer steps done.
        minutes: time trained, earlier parts of a resumed training included.
    """

    folder: Path
    score: float
    score_name: str
    steps: int
    minutes: float


def fit(
    recipe: Recipe,
    resume: bool = False,
    progress_bar: bool = True,
    skip_bad: bool = False,
    devices: int | None = None,
) -> TrainedRun:
    """Train as the recipe says.

    Args:
        recipe: with absolute paths, as ``load_recipe`` gives it.
        resume: continue from the last checkpoint in the output folder; begin anew if there is none.
        progress_bar: show one.
        skip_bad: leave files out that cannot be read, with a warning; the run's recipe names the others.
        devices: processes on this machine that divide the crops of each step among them, one a GPU or else on the CPU;
            by default as many as torchrun or SLURM started, or one.

    Raises:
        FileExistsError: the output folder has a training already, and ``resume`` is false.
        ReadError, ValueError: data that cannot be used (names the file), or a training to resume that was begun with
            other labels, inputs or network.
        DivergedError: the loss or a weight became NaN; ``diverged.json`` in the run's folder says on which crops.
        OSError: the disk is full, or a file too large for it; the last checkpoint is whole.
    """
    run = Path(recipe.output)
    last = run / "checkpoints" / "last.ckpt"
    if not resume:
        check_begin(run, last)
    resume = resume and last.exists()
    _refuse_what_follows_from_data(recipe)
    recipe, clouds = open_clouds(recipe, skip_bad)
    if resume:
        check_resume(run, last, recipe)
    _quiet_lightning()
    L.seed_everything(recipe.seed, workers=True, verbose=False)
    names, example = recipe.labels.names, clouds.example
    model = build_model(
        recipe.network.name,
        **{"in_channels": example.features.shape[1], "num_classes": len(names), **recipe.network.config},
    )
    data_set = recipe.data.open(recipe.labels)
    if model.task != data_set.task:
        raise ValueError(f"network {model.name} is for {model.task}, {data_set.title} is data for {data_set.task}")
    dim = example.positions.shape[1]
    if model.config.get("dim", dim) != dim:
        raise ValueError(f"network.config: the data has {dim} dimensions, dim is {model.config['dim']}")
    model.metadata = {
        "inputs": plain_from_settings(recipe.inputs),
        "labels": plain_from_settings(recipe.labels),
        "recipe": plain_from_settings(recipe),
    }
    schedule = recipe.schedule
    module = NetworkTraining(model, names, schedule, *clouds.crops(recipe, model))
    run.mkdir(parents=True, exist_ok=True)
    if is_first_process():
        for folder in (run, last.parent):
            remove_leftovers(folder)
        if not resume:
            remove_traces(run)
        (run / DIVERGED_FILE).unlink(missing_ok=True)
        with replaced_when_complete(run / RECIPE_FILE) as temporary:
            write_recipe(temporary, recipe)
    export = _ExportBest(run / MODEL_FILE)
    trainer = _trainer(recipe, run, export, module.score_name, progress_bar, trainer_placement(devices))
    try:
        with threads_beside_workers(schedule.workers):
            trainer.fit(module, ckpt_path=last if resume else None, weights_only=True)
    except SystemExit as stop:  # what lightning makes of signals, with statuses of its own
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        if isinstance(stop, SIGTERMException):
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    except DivergedError as error:
        if is_first_process():
            with replaced_when_complete(run / DIVERGED_FILE) as temporary:
                temporary.write_text(json.dumps({"step": error.step, "crops": error.crops}, indent=2), encoding="utf-8")
        raise
    except OSError as error:
        lack = lack_of_room(error)
        if lack is None:
            raise
        rest = f"the last checkpoint, {last}, is whole" if last.exists() else "no checkpoint was written yet"
        raise OSError(
            f"{lack.problem} (writing {error.filename or run}); {rest}: {lack.remedy}, then continue with --resume"
        ) from error
    return TrainedRun(run, export.best, module.score_name, trainer.global_step, module.seconds / 60)


def _refuse_what_follows_from_data(recipe: Recipe) -> None:
    for key, source in {"in_channels": "inputs.features", "num_classes": "labels.classes"}.items():
        if key in recipe.network.config:
            raise ValueError(f"network.config.{key} follows from {source}; leave it out")


def _trainer(
    recipe: Recipe, run: Path, export: Callback, score_name: str, progress_bar: bool, placement: dict[str, Any]
) -> L.Trainer:
    schedule = recipe.schedule
    curves, checkpoints = run / CURVES_FOLDER, run / "checkpoints"
    # Every part of a resumed training writes its own version_k; read_curves puts them together.
    version = len(list(curves.glob("version_*")))
    table = CSVLogger(run, name=CURVES_FOLDER, version=version, flush_logs_every_n_steps=20)
    table.experiment.metrics_keys = list(_CURVE_COLUMNS)
    loggers: list[Logger] = [table, TensorBoardLogger(run, name=TENSORBOARD_FOLDER, version="")]
    callbacks: list[Callback] = [
        export,
        ModelCheckpoint(checkpoints, "best", monitor=score_name, mode="max", enable_version_counter=False),
        # A callback of its own: save_last of the one above writes only when the score improves.
        ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if progress_bar:
        callbacks.append(RichProgressBar())
    return L.Trainer(
        accelerator="auto",
        **placement,
        use_distributed_sampler=False,  # the loaders know their process's part
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
    """Writes the model file whenever validation improves, so that a killed training leaves its best.

    Of equal scores, frequent where few objects are validated, the one with the lower loss counts as better.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.best, self.loss = path, -math.inf, math.inf

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NetworkTraining)
        score = float(trainer.callback_metrics[pl_module.score_name])
        loss = float(trainer.callback_metrics["val_loss"])
        missing = trainer.strategy.broadcast(not self.path.exists())
        if (score, -loss) > (self.best, -self.loss) or missing:
            self.best, self.loss = score, loss
            if not trainer.is_global_zero:
                return
            model = pl_module.exported_model
            model.metadata = {
                **pl_module.model.metadata,
                "temperature": pl_module.temperature,
                "training": {
                    pl_module.score_name: score,
                    "steps": trainer.global_step,
                    "minutes": pl_module.seconds / 60,
                },
            }
            save_model(self.path, model)

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "loss": self.loss}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best, self.loss = state_dict["best"], state_dict["loss"]


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
