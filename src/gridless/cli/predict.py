"""gridless predict: label files with a trained model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from gridless.cli.model_argument import BY_DENSITY, model_file
from gridless.data import find_files
from gridless.io import SUFFIXES, remove_leftovers
from gridless.models import Network, load_model
from gridless.prediction import Clock, Cluster, bytes_of, neighbors_of, predict_file


def predict(
    inputs: list[str],
    output: Path,
    model: Path = Path(BY_DENSITY),
    probabilities: bool = False,
    confidence: bool = False,
    votes: int = 1,
    workers: int = 0,
    memory: str = "4GB",
    resume: bool = False,
    cluster: str | None = None,
) -> int:
    """Label every point of files: a classification is replaced (LAS and LAZ have one), else a column label is added.

    Files that are too large for the memory allowed are labelled tile by tile (LAS, LAZ and PLY). Files that lie side by
    side see one another's points at their borders.

    Args:
        inputs: files, folders or patterns.
        output: file to write, or folder for several inputs.
        model: model file, folder of a run, or a network of the package for ground, vegetation and building in airborne
            LiDAR: "airborne_dense", "airborne_sparse" (below a point per square metre), or "airborne", the one of these
            that suits the files.
        probabilities: also write the probability of every class.
        confidence: also write the probability of the chosen class, as an extra dimension ``confidence``.
        votes: average over as many turns of every crop; takes as many times as long.
        workers: processes that prepare crops; 0 prepares them in between.
        memory: amount to stay within, about (4GB, 800MB); on a cluster, each worker.
        resume: go on after an interruption; outputs newer than their input and the model are kept as they are.
        cluster: label on a Ray cluster: ``ray://host:port``, ``auto`` for the one this machine belongs to, or ``local``
            for a process on each core of this machine.

    Returns:
        The exit status, 0.
    """
    files = find_files(inputs, Path.cwd())
    targets = _targets(files, output)
    allowed = bytes_of(memory)
    model = model_file(model, inputs)
    network = load_model(model)
    if targets[0] != output:
        output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(targets[0].parent)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), _PointsPerSecond(), TimeRemainingColumn())
    jobs, failed = [], []
    for file, target, neighbors in zip(files, targets, neighbors_of(network, files), strict=True):
        if resume and _is_newer(target, [file, model]):
            console.print(f"kept: {target}", soft_wrap=True, markup=False, highlight=False)
        else:
            jobs.append(_Job(file, target, neighbors))
    with _cluster(network, cluster if jobs else None) as scoring, Progress(*columns, console=console) as bar:
        labelled = partial(
            predict_file,
            network,
            memory=allowed,
            probabilities=probabilities,
            confidence=confidence,
            votes=votes,
            workers=workers,
            scoring=scoring,
            resume=resume,
        )

        def label_or_note(job: _Job) -> None:
            try:
                _label(job, labelled, bar)
            except ValueError as error:
                if len(jobs) == 1:
                    raise
                failed.append(job.file)
                console.print(f"not labelled: {error}", soft_wrap=True, markup=False, highlight=False)

        if scoring is None:
            for job in jobs:
                label_or_note(job)
        else:
            # A small file is one tile: only several files together keep all workers busy.
            with ThreadPoolExecutor(scoring.num_workers + 1) as threads:
                for _ in threads.map(label_or_note, jobs):
                    pass
    if failed:
        raise ValueError(
            f"predict: {len(failed)} of {len(jobs)} files were not labelled: {', '.join(map(str, failed))}"
        )
    return 0


def _targets(files: Sequence[Path], output: Path) -> list[Path]:
    """Where each file's labels go."""
    is_folder = output.is_dir() or output.suffix.lower() not in SUFFIXES
    if len(files) == 1 and is_folder and output.suffix and not output.is_dir():
        raise ValueError(f"predict: {output}: unknown suffix {output.suffix}; known are {', '.join(sorted(SUFFIXES))}")
    if len(files) > 1 and not is_folder:
        raise ValueError(f"predict: {len(files)} inputs need a folder as --output, got the file {output}")
    targets = [output / file.name if is_folder else output for file in files]
    for file, target in zip(files, targets, strict=True):
        if target.resolve() == file.resolve():
            raise ValueError(f"predict: {target} would replace its own input; choose another --output")
    if len({target.name for target in targets}) < len(targets):
        raise ValueError("predict: two inputs have the same file name, and would become one output")
    return targets


@dataclass(frozen=True)
class _Job:
    """A file to label, where to, and the files beside it."""

    file: Path
    target: Path
    neighbors: Sequence[Path]


def _label(job: _Job, labelled: Callable[..., None], bar: Progress) -> None:
    """Do a job by ``predict_file``, whose other arguments are given, and tell how fast it went."""
    clock, start = Clock(), time.perf_counter()
    with _Stages(bar, job.file.name) as shown:
        labelled(job.file, job.target, neighbors=job.neighbors, progress=shown.update, clock=clock)
    speed = shown.points / (time.perf_counter() - start)
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in clock.seconds.items())
    bar.console.print(
        f"written: {job.target}\n  {shown.points:,} points, {speed:,.0f} points/s: {stages}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


@contextlib.contextmanager
def _cluster(network: Network, address: str | None) -> Iterator[Cluster | None]:
    if address is None:
        yield None
    else:
        with Cluster(network, address) as cluster:
            yield cluster


class _Stages:
    """A bar for each stage of one file, gone when the file is done."""

    def __init__(self, bar: Progress, name: str) -> None:
        self.bar, self.name, self.points = bar, name, 0
        self._tasks: dict[str, TaskID] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that a stage has come so far."""
        if stage not in self._tasks:
            self._tasks[stage] = self.bar.add_task(f"{self.name}: {stage}", total=max(1, total))
        self.bar.update(self._tasks[stage], completed=done)
        self.points = total

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._tasks.values():
            self.bar.remove_task(task)


def _is_newer(target: Path, sources: list[Path]) -> bool:
    return target.exists() and all(target.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)


class _PointsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.finished_speed or task.speed or 0):,} points/s")
