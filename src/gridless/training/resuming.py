"""What a run's folder may be used for: a new training, or the one that it holds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
import yaml

from gridless.data import plain_from_settings, settings_from_plain
from gridless.errors import ReadError
from gridless.models import MODEL_FILE
from gridless.training.layout import CURVES_FOLDER, RECIPE_FILE, TENSORBOARD_FOLDER
from gridless.training.recipe import Recipe

# What a network's weights mean. All else may change on the way: files, steps, rates, workers.
_FIXED = ("labels", "inputs", "network")
# Letters of a text, to either side of where it differs.
_SHOWN = 40


def check_begin(run: Path, last: Path) -> None:
    """FileExistsError where a training would replace another one."""
    if last.exists():
        raise FileExistsError(f"{run} already holds a training; continue it with --resume, or give another --output")
    if (run / MODEL_FILE).exists():
        raise FileExistsError(f"{run} already holds a trained model; give another --output, or delete the folder first")


def remove_traces(run: Path) -> None:
    """Remove the curves of a training that left no checkpoint, which those of the one that begins would mix with."""
    if not (run / RECIPE_FILE).exists():
        return  # no run: whatever lies there is not ours
    for log in (*run.glob(f"{CURVES_FOLDER}/version_*/metrics.csv"), *run.glob(f"{TENSORBOARD_FOLDER}/events.*")):
        log.unlink()


def check_resume(run: Path, last: Path, recipe: Recipe) -> None:
    """ValueError where a checkpoint is not of the recipe or has done more steps, ReadError for a damaged one."""
    if (run / RECIPE_FILE).exists():
        # Not load_recipe: files of the data may have moved since.
        begun = settings_from_plain(Recipe, yaml.safe_load((run / RECIPE_FILE).read_text(encoding="utf-8")))
        for part in _FIXED:
            # As text, since the order of classes and features counts.
            before, now = (json.dumps(plain_from_settings(getattr(which, part))) for which in (begun, recipe))
            if before != now:
                raise ValueError(
                    f"{run} was begun with other {part} and cannot be continued with these: "
                    f"{_difference(before, now)}; take {run / RECIPE_FILE}, or give another --output"
                )
        _refuse_other_schedule(run, begun, recipe)
    done = _steps_done(last)
    if done > recipe.schedule.steps:
        raise ValueError(f"{run} has done {done} steps, more than schedule.steps: {recipe.schedule.steps}")


def _refuse_other_schedule(run: Path, begun: Recipe, recipe: Recipe) -> None:
    """What checkpoints count in (epochs), and whether they hold an average."""
    before, now = begun.schedule, recipe.schedule
    if before.steps_per_epoch != now.steps_per_epoch:
        raise ValueError(
            f"{run} was begun with schedule.steps_per_epoch: {before.steps_per_epoch} and goes on with the same, "
            f"got {now.steps_per_epoch}"
        )
    if bool(before.average_decay) != bool(now.average_decay):
        raise ValueError(
            f"{run} was begun with schedule.average_decay: {before.average_decay}; an average of the weights "
            f"can neither begin nor end on the way, got {now.average_decay}"
        )


def _steps_done(checkpoint: Path) -> int:
    damaged = f"the checkpoint is damaged; without it ({checkpoint.name}) the training begins anew"
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if broken := archive.testzip():  # torch.load does not look at checksums
                raise ReadError(checkpoint, f"{damaged}: {broken}")
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except ReadError:
        raise
    except Exception as error:  # zipfile, zlib and torch raise many kinds on damaged archives
        raise ReadError(checkpoint, f"{damaged}: {error}") from error


def _difference(before: str, now: str) -> str:
    """The first place where two texts part."""
    place = next(
        (place for place, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]),
        min(len(before), len(now)),
    )
    start = max(0, place - _SHOWN)
    return f"…{before[start : place + _SHOWN]}… before, …{now[start : place + _SHOWN]}… now"
