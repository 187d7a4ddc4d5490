"""gridless report: trained runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from gridless.cli.evaluate import SCORES_FILE
from gridless.errors import ReadError
from gridless.metrics import SegmentationScores
from gridless.training import RECIPE_FILE, read_curves
from gridless.viewer import ComparedRun, write_comparison


def report(runs: list[Path], output: Path = Path("report.html"), scores: Path = Path(SCORES_FILE)) -> int:
    """Compare runs in one page for the browser: scores, what their recipes differ in, training curves.

    Args:
        runs: folders that ``gridless train`` made; those that ``gridless evaluate`` scored show their scores.
        output: the HTML file to write.
        scores: file with the scores, in each run's folder.

    Returns:
        The exit status, 0.
    """
    compared = [_read(run, name, scores) for run, name in zip(runs, _names(runs), strict=True)]
    write_comparison(output, compared)
    Console().print(f"written: {output}", soft_wrap=True, markup=False)
    return 0


def _read(run: Path, name: str, scores: Path) -> ComparedRun:
    if not run.is_dir():
        raise FileNotFoundError(f"report: no such folder: {run}")
    if not (run / RECIPE_FILE).is_file():
        raise FileNotFoundError(f"report: {run} is no run of gridless train: it has no {RECIPE_FILE}")
    try:
        curves = read_curves(run)
    except FileNotFoundError:  # a run that was stopped before its first line
        curves = {}
    of_run, scored = _scores(run / scores)
    return ComparedRun(name, of_run, scored, _recipe(run / RECIPE_FILE), curves)


def _recipe(path: Path) -> dict[str, Any]:
    # Not load_recipe: what is compared may be of an older version, or its data may have moved.
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReadError(path, f"not a YAML file: {error}") from error
    if not isinstance(recipe, dict):
        raise ReadError(path, f"expected keys with values, got {type(recipe).__name__}")
    return recipe


def _scores(path: Path) -> tuple[SegmentationScores | None, str | None]:
    """The scores of a run and what they are of, as far as they are there."""
    if not path.is_file():
        return None, None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return SegmentationScores(tuple(plain["class_names"]), plain["confusion"]), plain.get("scored")
    except (ValueError, KeyError, TypeError) as error:
        raise ReadError(path, f"no scores of gridless evaluate: {error}") from error


def _names(runs: list[Path]) -> list[str]:
    """The folders' names, with as many of their parents as tell them apart."""
    parts = [run.resolve().parts for run in runs]
    if len(set(parts)) < len(parts):
        raise ValueError("report: a run is given twice")
    length = 1
    while len({of_run[-length:] for of_run in parts}) < len(parts):
        length += 1
    return [str(Path(*of_run[-length:])) for of_run in parts]
