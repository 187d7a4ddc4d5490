"""What a training learns from and what it holds aside: files in memory, or a data set that is read as it is needed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gridless.data import (
    CloudCache,
    CloudVariant,
    CoveringCrops,
    DataSet,
    PreparedCloud,
    StreamedClouds,
    StreamedCrops,
    TrainingCrops,
    hold_out_files,
    hold_out_strips,
    require_points,
    unless_skipped,
)
from gridless.errors import ReadError
from gridless.io import open as open_file
from gridless.models.base import Network
from gridless.training.recipe import DataSettings, Recipe, TrainingFiles

_MANY_POINTS = 100_000_000  # to hold in memory
_Opened = TypeVar("_Opened")


def open_clouds(recipe: Recipe, skip_bad: bool = False) -> tuple[Recipe, LoadedClouds | StreamedSplit]:
    """The clouds that a recipe names, and the recipe with the files that could be read.

    Args:
        recipe: with absolute paths, as ``load_recipe`` gives it.
        skip_bad: leave files out that cannot be read, with a warning.

    Raises:
        ReadError, ValueError: data that cannot be used; names the file.
    """
    if not recipe.data.train:
        raise ValueError("data.train names nothing")
    data_set = recipe.data.open(recipe.labels)
    if recipe.data.in_memory:
        return _files(recipe, data_set, skip_bad)
    if recipe.data.data_set == "files":
        recipe = _openable(recipe, skip_bad)
    return recipe, _streamed(recipe, data_set, skip_bad)


@dataclass(frozen=True)
class LoadedClouds:
    """Clouds in memory: crops around any of their points, validated on every labelled point."""

    training: list[PreparedCloud]
    validation: list[PreparedCloud]

    @property
    def example(self) -> PreparedCloud:
        """A cloud to learn from."""
        return self.training[0]

    def crops(self, recipe: Recipe, model: Network) -> tuple[TrainingCrops, CoveringCrops]:
        inputs, pyramid = recipe.inputs, model.pyramid_settings
        training = TrainingCrops(
            self.training,
            recipe.labels.names,
            inputs,
            pyramid,
            recipe.sampler,
            recipe.augmentation,
            recipe.seed,
            length=recipe.schedule.steps * recipe.schedule.crops_per_step,
            shares=recipe.data.shares,
        )
        validation = CoveringCrops(self.validation, inputs, pyramid, inputs.crop_radius, labelled_only=True)
        if not len(validation):
            raise ValueError("no labelled point is held aside: look at data.validation or data.validation_fraction")
        if absent := [recipe.labels.names[number] for number in training.absent_classes]:
            warnings.warn(
                f"no training point is of class {', '.join(absent)}, which will not be learned: look at data.train and "
                "labels.classes",
                stacklevel=3,
            )
        return training, validation


@dataclass(frozen=True)
class StreamedSplit:
    """Clouds that are read when they are needed, validated on fixed random crops or on every object."""

    training: StreamedClouds
    validation: StreamedClouds
    shares: list[float] | None

    @property
    def example(self) -> PreparedCloud:
        """A cloud to learn from, the first that can be read."""
        return self.training[self.training.first_readable(range(len(self.training)))]

    def crops(self, recipe: Recipe, model: Network) -> tuple[StreamedCrops, StreamedCrops]:
        whole = self.training.data_set.task == "classification"
        schedule, classes = recipe.schedule, recipe.labels.names
        inputs, pyramid = recipe.inputs, model.pyramid_settings
        training = StreamedCrops(
            self.training,
            classes,
            inputs,
            pyramid,
            recipe.sampler,
            recipe.augmentation,
            recipe.seed,
            length=schedule.steps * schedule.crops_per_step,
            shares=self.shares,
        )
        # Every object counts once: none may take the place of one that cannot be read, as among random crops.
        clouds = self.validation.readable() if whole else self.validation
        number = len(clouds) if whole else recipe.data.validation_crops
        sampler = dataclasses.replace(recipe.sampler, crops_per_cloud=1)
        validation = StreamedCrops(clouds, classes, inputs, pyramid, sampler, None, recipe.seed, number)
        return training, validation


def _files(recipe: Recipe, data_set: DataSet, skip_bad: bool) -> tuple[Recipe, LoadedClouds]:
    """The recipe with the files that could be read, and their clouds."""

    def prepare(entry: TrainingFiles) -> PreparedCloud:
        cloud = data_set.prepare(Path(entry.files), recipe.inputs, recipe.labels, entry.variant)
        require_points(cloud, Path(entry.files))
        return cloud

    used, training, validation = _opened(recipe.data, skip_bad, prepare)
    first, *others = training + validation
    for other in others:
        if other.channels != first.channels:
            raise ValueError(
                f"{first.name} has the features {', '.join(first.channels)}, {other.name} {', '.join(other.channels)}: "
                "an optional feature may have one value a point only"
            )
    num_points = sum(len(cloud) for cloud in training + validation)
    if num_points > _MANY_POINTS:
        warnings.warn(
            f"{num_points:,} points are in memory; data.streamed: true reads files as they are needed", stacklevel=3
        )
    recipe = dataclasses.replace(recipe, data=used)
    if validation:
        return recipe, LoadedClouds(training, validation)
    return recipe, LoadedClouds(*hold_out_strips(training, used.validation_fraction))


def _openable(recipe: Recipe, skip_bad: bool) -> Recipe:
    """The recipe with the files whose headers are whole; what lies beyond them is read later."""

    def open_and_close(entry: TrainingFiles) -> None:
        with open_file(entry.files):
            pass

    used, *_ = _opened(recipe.data, skip_bad, open_and_close)
    return dataclasses.replace(recipe, data=used)


def _opened(
    data: DataSettings, skip_bad: bool, open_entry: Callable[[TrainingFiles], _Opened]
) -> tuple[DataSettings, list[_Opened], list[_Opened]]:
    """The settings with the files that could be opened, and what came of those to learn from and to validate with."""
    used: list[list[TrainingFiles]] = []
    results: list[list[_Opened]] = []
    entries_of = {"data.train": data.train, "data.validation": [TrainingFiles(file) for file in data.validation]}
    for place, entries in entries_of.items():
        good, opened = [], []
        for entry in entries:
            try:
                opened.append(open_entry(entry))
            except (ReadError, OSError) as error:
                if not skip_bad:
                    raise unless_skipped(Path(entry.files), error) from error
                warnings.warn(f"{place}: left out, as it cannot be read: {error}", stacklevel=5)
            else:
                good.append(entry)
        if entries and not good:
            raise ValueError(f"{place}: none of its {len(entries)} files can be read")
        used.append(good)
        results.append(opened)
    settings = dataclasses.replace(data, train=used[0], validation=[entry.files for entry in used[1]])
    return settings, results[0], results[1]


def _streamed(recipe: Recipe, data_set: DataSet, skip_bad: bool) -> StreamedSplit:
    data = recipe.data
    cache = None if data.cache is None else CloudCache(Path(data.cache), round(data.cache_gb * 1e9))

    def clouds(files: list[Path], variants: list[CloudVariant] | None = None) -> StreamedClouds:
        return StreamedClouds(
            data_set, files, recipe.inputs, recipe.labels, cache, variants=variants, skip_bad=skip_bad
        )

    entry_of = [(file, entry) for entry in data.train for file in data_set.files(entry.files)]
    validation = [file for part in data.validation for file in data_set.files(part)]
    if not validation:
        every = [file for file, _ in entry_of]
        strata, groups = [data_set.stratum(file) for file in every], [data_set.group(file) for file in every]
        training, validation = hold_out_files(every, strata, groups, data.validation_fraction, recipe.seed)
        learned_from = set(training)
        entry_of = [(file, entry) for file, entry in entry_of if file in learned_from]
    shares = [entry.share for _, entry in entry_of if entry.share is not None]
    training_clouds = clouds([file for file, _ in entry_of], [entry.variant for _, entry in entry_of])
    return StreamedSplit(training_clouds, clouds(list(dict.fromkeys(validation))), shares or None)
