"""Accuracy on held-out data: train every contender of a task, score it once, keep the row; begun work is continued."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.report import line, rule, with_section
from benchmarks.rivals import pointnet
from benchmarks.rivals.trees import labelled_features, labelled_strips, some_rows, trees
from benchmarks.rows import RESULTS_FOLDER, read_rows, write_rows
from gridless.cli.combine import combine
from gridless.cli.evaluate import evaluate
from gridless.data import find_files, settings_from_plain
from gridless.metrics import SegmentationScores
from gridless.models import MODEL_FILE, load_model
from gridless.training import fit, load_recipe

_ROOT = Path(__file__).parents[1]
_TASKS = Path(__file__).with_suffix(".yaml")
_RECIPES = _ROOT / "recipes"


@dataclass(frozen=True)
class AccuracyContender:
    """Who is to learn a task.

    Args:
        recipe: name in recipes/; the task's own by default.
        changes: values of the recipe by their dotted names.
        trees: hand-made features and this kind of trees instead of a recipe.
        reach: factor on the widths of the trees' columns.
        strips: metres; the trees are fitted on every other strip of the test files themselves and scored on those
            between them, and the other way round: what they reach where they know the place.
        together: other contenders and the seeds of each whose networks answer together.
        seeds: one row each.
    """

    recipe: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    trees: Literal["boosted", "forest"] | None = None
    reach: float = 1.0
    strips: float | None = None
    together: dict[str, list[int]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])


@dataclass(frozen=True)
class Task:
    """Data to learn from and data to be scored on; see accuracy.yaml.

    Args:
        title: of the table.
        recipe: name in recipes/; its data and labels are learned.
        contenders: by the name that the table gives them.
        test: files scored; by default those that the recipe keeps for testing.
        validation: score what the training held aside, for data without a test part.
        train: files that trees learn from; the recipe's by default.
        changes: values of every contender's recipe by their dotted names; a contender's own go before them.
    """

    title: str
    recipe: str
    contenders: dict[str, AccuracyContender]
    test: list[str] | None = None
    validation: bool = False
    train: list[str] | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tasks:
    """A file of tasks: accuracy.yaml or another.

    Args:
        tasks: by name.
        results: file of the rows, in results/.
        document: whose section of the same name holds the tables.
    """

    tasks: dict[str, Task]
    results: str = "accuracy.csv"
    document: str = "BENCHMARKS.md"

    @property
    def section(self) -> str:
        """Of the document."""
        return Path(self.results).stem

    @property
    def rows_file(self) -> Path:
        """Where the rows are."""
        return RESULTS_FOLDER / self.results


@dataclass(frozen=True)
class AccuracyRow:
    """What one contender reached; classes as "name value" pairs, since tasks differ in them."""

    task: str
    contender: str
    seed: int
    mean_iou: float
    classes: str
    overall_accuracy: float
    parameters: int | None
    minutes: float
    date: str


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("tasks", nargs="*", help="names in the file of tasks; all if none is given")
    parser.add_argument("--file", type=Path, default=_TASKS, help="tasks and contenders; by default accuracy.yaml")
    parser.add_argument("--contenders", nargs="+", help="only these")
    parser.add_argument("--runs", type=Path, help="folder for the trainings; by default runs/ and the file's name")
    options = parser.parse_args()
    pointnet.register()
    file = settings_from_plain(Tasks, yaml.safe_load(options.file.read_text(encoding="utf-8")))
    tasks, runs = file.tasks, options.runs or Path("runs") / options.file.stem
    for name in options.tasks:
        if name not in tasks:
            parser.error(f"no task {name!r}; known: {', '.join(tasks)}")
    known = {(row.task, row.contender, row.seed) for row in _read_rows(file.rows_file)}
    for name in options.tasks or tasks:
        for label, contender in tasks[name].contenders.items():
            for seed in contender.seeds:
                wanted = not options.contenders or label in options.contenders
                if wanted and (name, label, seed) not in known:
                    print(f"{name}: {label}, seed {seed}", flush=True)
                    row = _measure(name, label, tasks[name], contender, seed, runs)
                    # Read anew: another contender may have been measured meanwhile.
                    write_rows(file.rows_file, [*_read_rows(file.rows_file), row], AccuracyRow)
    document, report = _ROOT / file.document, _report(tasks, _read_rows(file.rows_file))
    command = "python -m benchmarks.accuracy" + (f" --file {options.file}" if options.file != _TASKS else "")
    document.write_text(with_section(document.read_text("utf-8"), file.section, command, report), "utf-8")
    return 0


def _measure(name: str, label: str, task: Task, contender: AccuracyContender, seed: int, runs: Path) -> AccuracyRow:
    started = time.perf_counter()
    parameters = None
    if contender.trees:
        scores = _trees_scores(task, contender, seed)
        minutes = (time.perf_counter() - started) / 60
    else:
        if contender.together:
            run, minutes = _together(name, label, task, contender.together, runs)
        else:
            run = _trained(name, label, task, contender, seed, runs)
            minutes = json.loads((run / "trained.json").read_text())["minutes"]
        model = load_model(run / MODEL_FILE)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        files = None if task.test is None else [str(path) for path in find_files(task.test, _RECIPES)]
        evaluate(run, files, output=run / name, validation=task.validation)
        scores = json.loads((run / name / "scores.json").read_text())
    classes = ", ".join(f"{key} {value['iou']:.3f}" for key, value in scores["classes"].items())
    return AccuracyRow(
        name,
        label,
        seed,
        scores["mean_iou"],
        classes,
        scores["overall_accuracy"],
        parameters,
        minutes,
        date.today().isoformat(),
    )


def _trained(name: str, label: str, task: Task, contender: AccuracyContender, seed: int, runs: Path) -> Path:
    """The folder of a finished training; tasks that train the same recipe without changes share it."""
    recipe = contender.recipe or task.recipe
    changes = {**task.changes, **contender.changes}
    run = runs / (f"{name if task.changes else recipe}-{label}-{seed}" if changes else f"{recipe}-{seed}")
    if not (run / "trained.json").exists():
        changes |= {"output": str(run), "seed": seed}
        result = fit(load_recipe(_RECIPES / f"{recipe}.yaml", changes, _RECIPES), resume=True)
        (run / "trained.json").write_text(json.dumps({"minutes": result.minutes, "steps": result.steps}))
    return run


def _together(
    name: str, label: str, task: Task, seeds_of: Mapping[str, Sequence[int]], runs: Path
) -> tuple[Path, float]:
    """A folder with one model of other contenders' seeds, and the minutes of all their trainings."""
    members = [
        _trained(name, other, task, task.contenders[other], seed, runs)
        for other, seeds in seeds_of.items()
        for seed in seeds
    ]
    folder = runs / f"{name}-{label}"
    folder.mkdir(parents=True, exist_ok=True)
    combine(members, folder / MODEL_FILE)
    return folder, sum(json.loads((run / "trained.json").read_text())["minutes"] for run in members)


def _trees_scores(task: Task, contender: AccuracyContender, seed: int) -> dict[str, Any]:
    assert contender.trees is not None
    assert task.test is not None
    recipe = load_recipe(_RECIPES / f"{task.recipe}.yaml")
    labels, reach, unseen = recipe.labels, contender.reach, find_files(task.test, _RECIPES)
    if contender.strips is None:
        entries = task.train or [entry.files for entry in recipe.data.train]
        files = list(dict.fromkeys(find_files(entries, _RECIPES)))
        folds = [(labelled_features(files, labels, reach), labelled_features(unseen, labels, reach))]
    else:
        halves = labelled_strips(unseen, labels, reach, contender.strips)
        folds = [halves, halves[::-1]]
    parts = []
    for known, held_out in folds:
        fitted = trees(contender.trees, seed).fit(*some_rows(known, seed))
        parts += [
            SegmentationScores.from_labels(truth, fitted.predict(features), labels.names)
            for features, truth in held_out
        ]
    scores = parts[0]
    for part in parts[1:]:
        scores = scores + part
    return scores.to_dict()


def _report(tasks: Mapping[str, Task], rows: Sequence[AccuracyRow]) -> str:
    """A table a task."""
    parts = []
    for name, task in tasks.items():
        of_task = [row for row in rows if row.task == name]
        if not of_task:
            continue
        lines = [line("", "seed", "mIoU", "IoU of the classes", "OA", "parameters", "minutes"), rule(7)]
        for row in sorted(of_task, key=lambda row: (list(task.contenders).index(row.contender), row.seed)):
            parameters = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
            cells = [
                f"{row.mean_iou:.4f}",
                row.classes,
                f"{row.overall_accuracy:.4f}",
                parameters,
                f"{row.minutes:.1f}",
            ]
            lines.append(line(row.contender, str(row.seed), *cells))
        parts.append("\n".join([f"**{task.title}**", "", *lines]))
    return "\n\n".join(parts)


def _read_rows(path: Path) -> list[AccuracyRow]:
    return read_rows(path, AccuracyRow) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
