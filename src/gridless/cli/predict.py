"""gridless predict: label files with a trained model."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from gridless.cli.model_argument import load_model_or_run
from gridless.data import find_files
from gridless.io import SUFFIXES, read, write
from gridless.prediction import predict as predict_cloud


def predict(
    inputs: list[str],
    output: Path,
    model: Path,
    probabilities: bool = False,
    confidence: bool = False,
    workers: int = 0,
) -> int:
    """Label every point of files; LAS and LAZ get their classification replaced, other formats a column label.

    Args:
        inputs: files, folders or patterns.
        output: file to write, or folder for several inputs.
        model: model file or folder of a run.
        probabilities: also write the probability of every class.
        confidence: also write the probability of the chosen class, as an extra dimension ``confidence``.
        workers: processes that prepare crops; 0 prepares them in between.

    Returns:
        The exit status, 0.
    """
    files = find_files(inputs, Path.cwd())
    is_folder = output.is_dir() or output.suffix.lower() not in SUFFIXES
    if len(files) > 1 and not is_folder:
        raise ValueError(f"predict: {len(files)} inputs need a folder as --output, got the file {output}")
    targets = [output / file.name if is_folder else output for file in files]
    for file, target in zip(files, targets, strict=True):
        if target.resolve() == file.resolve():
            raise ValueError(f"predict: {target} would replace its own input; choose another --output")
    if len({target.name for target in targets}) < len(targets):
        raise ValueError("predict: two inputs have the same file name, and would become one output")
    network = load_model_or_run(model)
    if is_folder:
        output.mkdir(parents=True, exist_ok=True)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), _PointsPerSecond(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        for file, target in zip(files, targets, strict=True):
            task = bar.add_task(file.name, total=None)
            cloud = read(file)
            bar.update(task, total=max(1, len(cloud)))

            def show(done: int, total: int, task: int = task, points: int = len(cloud)) -> None:
                bar.update(task, completed=points * done / total)  # type: ignore[arg-type]

            labelled = predict_cloud(
                network,
                cloud,
                probabilities=probabilities,
                confidence=confidence,
                workers=workers,
                progress=show,
                context=str(file),
            )
            write(target, labelled)
            bar.update(task, completed=max(1, len(cloud)))
    for target in targets:
        console.print(f"written: {target}", soft_wrap=True, markup=False, highlight=False)
    return 0


class _PointsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.finished_speed or task.speed or 0):,} points/s")
