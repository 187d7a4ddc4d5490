"""gridless train: from a recipe to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from gridless.models import MODEL_FILE
from gridless.training import fit, is_first_process, load_recipe

_SCORES = {"val_miou": "mIoU", "val_accuracy": "accuracy"}


def train(
    recipe: Path,
    resume: bool = False,
    skip_bad: bool = False,
    output: Path | None = None,
    seed: int | None = None,
    devices: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> int:
    """Train a network as a recipe says; any value of the recipe can be replaced: --schedule.steps 100.

    Args:
        recipe: YAML file; see the folder recipes/.
        resume: continue from the last checkpoint in the output folder.
        skip_bad: leave files out that cannot be read, with a warning; without, they stop the training before it begins
            or, where files are read as they are needed, when their turn comes.
        output: folder of the run, in place of the recipe's.
        seed: in place of the recipe's.
        devices: processes on this machine that share the work, one a GPU or else on the CPU; by default as many as
            torchrun or SLURM started, or one.
        overrides: values of the recipe by their dotted names.

    Returns:
        The exit status, 0.
    """
    values = dict(overrides or {})
    if output is not None:
        values["output"] = os.fspath(output)
    if seed is not None:
        values["seed"] = seed
    checked = load_recipe(recipe, values)
    console = Console(quiet=not is_first_process())
    parts = [entry.files for entry in checked.data.train] + checked.data.validation
    for sentence in checked.data.open(checked.labels).incomplete_parts(parts):
        console.print(f"note: {sentence}", soft_wrap=True, markup=False)
    run = fit(checked, resume=resume, skip_bad=skip_bad, devices=devices)
    console.print(
        f"{run.steps} steps in {run.minutes:.1f} minutes, best validation {_SCORES[run.score_name]} {run.score:.4f}\n"
        f"model: [bold]{escape(str(run.folder / MODEL_FILE))}[/]",
        soft_wrap=True,
    )
    return 0
