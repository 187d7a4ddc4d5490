"""What a training learns from and what it holds aside: files in memory, or a data set that is read as it is needed."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

from gridless.data import (
    CoveringCrops,
    DataSet,
    PreparedCloud,
    StreamedClouds,
    StreamedCrops,
    TrainingCrops,
    hold_out_files,
    hold_out_strips,
)
from gridless.errors import ReadError
from gridless.models.base import Network
from gridless.training.recipe import Recipe, TrainingFiles


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
    if recipe.data.data_set == "files":
        return _files(recipe, data_set, skip_bad)
    if skip_bad:
        raise ValueError("skip_bad is for files: the clouds of a data set are read while the training runs")
    return recipe, _streamed(recipe, data_set)


@dataclass(frozen=True)
class LoadedClouds:
    """Clouds in memory: crops around any of their points, validated on every labelled point."""

    training: list[PreparedCloud]
    validation: list[PreparedCloud]

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
        return training, CoveringCrops(self.validation, inputs, pyramid, inputs.crop_radius, labelled_only=True)


@dataclass(frozen=True)
class StreamedSplit:
    """Clouds that are read when they are needed, validated on fixed random crops or on every object."""

    training: StreamedClouds
    validation: StreamedClouds

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
        )
        number = len(self.validation) if whole else recipe.data.validation_crops
        sampler = dataclasses.replace(recipe.sampler, crops_per_cloud=1)
        validation = StreamedCrops(self.validation, classes, inputs, pyramid, sampler, None, recipe.seed, number)
        return training, validation


def _files(recipe: Recipe, data_set: DataSet, skip_bad: bool) -> tuple[Recipe, LoadedClouds]:
    """The recipe with the files that could be read, and their clouds."""
    data = recipe.data
    training = _load("data.train", data.train, recipe, data_set, skip_bad)
    validation = _load("data.validation", [TrainingFiles(file) for file in data.validation], recipe, data_set, skip_bad)
    used = dataclasses.replace(
        data, train=[entry for entry, _ in training], validation=[entry.files for entry, _ in validation]
    )
    recipe, clouds = dataclasses.replace(recipe, data=used), [cloud for _, cloud in training]
    if validation:
        return recipe, LoadedClouds(clouds, [cloud for _, cloud in validation])
    return recipe, LoadedClouds(*hold_out_strips(clouds, data.validation_fraction))


def _load(
    place: str, entries: list[TrainingFiles], recipe: Recipe, data_set: DataSet, skip_bad: bool
) -> list[tuple[TrainingFiles, PreparedCloud]]:
    loaded = []
    for entry in entries:
        try:
            cloud = data_set.prepare(Path(entry.files), recipe.inputs, recipe.labels, entry.density)
        except (ReadError, OSError) as error:
            if not skip_bad:
                problem, where = (error.problem, error.where) if isinstance(error, ReadError) else (str(error), None)
                raise ReadError(entry.files, f"{problem}; --skip-bad leaves such files out", where) from error
            warnings.warn(f"{place}: left out, as it cannot be read: {error}", stacklevel=4)
        else:
            loaded.append((entry, cloud))
    if entries and not loaded:
        raise ValueError(f"{place}: none of its {len(entries)} files can be read")
    return loaded


def _streamed(recipe: Recipe, data_set: DataSet) -> StreamedSplit:
    data = recipe.data

    def files(parts: list[str]) -> list[Path]:
        return [file for part in parts for file in data_set.files(part)]

    def clouds(paths: list[Path]) -> StreamedClouds:
        cache = None if data.cache is None else Path(data.cache)
        return StreamedClouds(data_set, paths, recipe.inputs, recipe.labels, cache)

    training, validation = files([entry.files for entry in data.train]), files(data.validation)
    if not validation:
        strata = [data_set.stratum(file) for file in training]
        groups = [data_set.group(file) for file in training]
        training, validation = hold_out_files(training, strata, groups, data.validation_fraction, recipe.seed)
    return StreamedSplit(clouds(training), clouds(validation))
