"""Recipe: everything that a training is made of, read from a YAML file and checked key by key."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from gridless.data import (
    DATA_SETS,
    AugmentationSettings,
    CloudVariant,
    DataSet,
    Files,
    InputSettings,
    LabelMap,
    SamplerSettings,
    find_files,
    plain_from_settings,
    settings_from_plain,
    unknown_name,
    weight_per_class,
    with_variables,
)
from gridless.errors import RecipeError


@dataclass(frozen=True)
class TrainingFiles:
    """Files to learn from.

    Args:
        files: a file, folder or pattern.
        density: thin them out at random to so many points per square unit of the ground; None leaves them as they are.
        relief: number of a random relief that is added to their ground; None leaves it as it is. Entries with other
            numbers are the same files on other ground.
        share: of the training crops that come from them, equally from each; given for all entries or for none. Without,
            each point of a class is as likely as any other to be the center of a crop.

    Raises:
        ValueError: a density or share that is not positive, or a negative number of a relief.
    """

    files: str
    density: float | None = None
    relief: int | None = None
    share: float | None = None
    shorthand: ClassVar[str] = "files"

    def __post_init__(self) -> None:
        if self.share is not None and not self.share > 0:
            raise ValueError(f"share must be positive, got {self.share}")
        _ = self.variant  # checked there

    @property
    def variant(self) -> CloudVariant:
        """What each of the files becomes before it is learned from."""
        return CloudVariant(self.density, self.relief)

    def each(self, base: Path) -> list[TrainingFiles]:
        """One entry for each of the files, the share divided among them."""
        found = find_files([self.files], base)
        share = None if self.share is None else self.share / len(found)
        return [dataclasses.replace(self, files=str(path), share=share) for path in found]


@dataclass(frozen=True)
class DataSettings:
    """What is learned from, and what is scored; ``${VARIABLE:-default}`` stands for an environment variable.

    ``train``, ``validation`` and ``test`` name files, folders or patterns, or parts of a data set (see ``DATA_SETS``).
    Files stay in memory unless ``streamed`` is set; the clouds of a data set are read as they are needed.

    Args:
        train: what is learned from.
        validation: what the best weights are chosen by; if empty, a strip along one side of each training file, or a
            share of the training clouds (of each class, where clouds have one) where these are read as they are needed.
        test: what ``gridless evaluate`` scores by default; training never reads it.
        validation_fraction: of the labelled points of each file that the strip holds, or of the clouds.
        data_set: "files" or a name in ``DATA_SETS``.
        path: folder of the data set; not used for files.
        options: further arguments of the data set's class.
        streamed: read files when a crop needs them, for more of them than fit into memory; each is drawn as often as
            any other, and a class among the points of its file.
        cache: folder for clouds that are read as they are needed, in a form that is read fast; none by default.
        cache_gb: that the cache may take; those used longest ago go.
        validation_crops: random crops to validate on where clouds are read as they are needed (whole objects all are).

    Raises:
        ValueError: an unknown data set or one without its folder, or only some of the training entries have a share.
    """

    train: list[TrainingFiles]
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    validation_fraction: float = 0.15
    data_set: str = "files"
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    streamed: bool = False
    cache: str | None = None
    cache_gb: float = 100.0
    validation_crops: int = 200

    def __post_init__(self) -> None:
        if self.data_set not in ("files", *DATA_SETS):
            raise ValueError(f"data_set: {unknown_name(self.data_set, ['files', *DATA_SETS])}")
        if self.data_set != "files" and not self.path:
            raise ValueError(f"data_set {self.data_set} needs its folder: path, or --data.path on the command line")
        if len({entry.share is None for entry in self.train}) > 1:
            raise ValueError("train: give every entry a share or none")
        if self.data_set != "files" and any(entry.share or entry.variant != CloudVariant() for entry in self.train):
            raise ValueError(f"train: share, density and relief are for files, not for the data set {self.data_set}")

    @property
    def in_memory(self) -> bool:
        """Whether clouds stay in memory, instead of being read as they are needed."""
        return self.data_set == "files" and not self.streamed

    @property
    def draws_validation(self) -> bool:
        """Whether the seed decides which clouds are held aside; in memory it is a strip of each."""
        return not self.in_memory and not self.validation

    def with_absolute_folders(self, base_of: Callable[[str], Path]) -> DataSettings:
        """The same with the data set's folder and cache made absolute, each from ``base_of`` its name on."""

        def absolute(name: str, path: str) -> str:
            return str((base_of(name) / with_variables(path)).resolve())

        return dataclasses.replace(
            self,
            path=absolute("path", self.path) if self.path else "",
            cache=None if self.cache is None else absolute("cache", self.cache),
        )

    def open(self, labels: LabelMap | None = None) -> DataSet:
        """The data set; ``labels`` are needed for files.

        Raises:
            FileNotFoundError: it is not there; says how to get it.
            ValueError: options that the data set does not take.
        """
        if self.data_set == "files":
            if labels is None:
                raise RecipeError("top level: key 'labels' is missing")
            return Files(Path.cwd(), labels)
        kind = DATA_SETS[self.data_set]
        known = list(inspect.signature(kind).parameters)[1:]
        for name in self.options:
            if name not in known:
                raise ValueError(f"data.options: unknown option {unknown_name(name, known)}")
        return kind(Path(self.path), **self.options)

    @property
    def shares(self) -> list[float] | None:
        """The share of each training file, or None."""
        shares = [entry.share for entry in self.train if entry.share is not None]
        return shares or None


@dataclass(frozen=True)
class NetworkSettings:
    """A network by its name in ``build_model`` and its settings; the channels and classes follow from the data."""

    name: str = "pccn_unet"
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScheduleSettings:
    """How long and how fast.

    Args:
        steps: optimizer steps.
        crops_per_step: crops in a batch.
        learning_rate: the peak of one cycle: up during ``warmup``, down to a thousandth along a cosine.
        weight_decay: of AdamW.
        warmup: part of the steps during which the rate rises.
        label_smoothing: of the cross-entropy.
        lovasz: factor of the Lovász loss, which is added to the cross-entropy.
        loss_average: over all labelled points of a batch, or over those of each crop and then over the crops, so that
            crops of sparse clouds count as much as those of dense ones.
        class_weights: class name -> weight in the cross-entropy (1 where not named).
        gradient_clip: largest norm of the gradient; 0 for no limit.
        average_decay: of the moving average of the weights that is validated and exported; 0 for none.
        steps_per_epoch: after so many steps: validation and a checkpoint to resume from.
        time_limit: minutes; the cycle is shortened so that it ends by then.
        workers: processes that prepare crops; 0 prepares them between the steps.
    """

    steps: int = 900
    crops_per_step: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.2
    label_smoothing: float = 0.0
    lovasz: float = 0.0
    loss_average: Literal["points", "crops"] = "points"
    class_weights: dict[str, float] = field(default_factory=dict)
    gradient_clip: float = 5.0
    average_decay: float = 0.0
    steps_per_epoch: int = 100
    time_limit: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "crops_per_step", "steps_per_epoch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("lovasz", "weight_decay", "gradient_clip", "workers"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be positive, got {self.time_limit}")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be in [0, 1], got {self.label_smoothing}")
        if not 0 <= self.average_decay < 1 or not 0 <= self.warmup < 1:
            raise ValueError(f"average_decay and warmup must be in [0, 1), got {self.average_decay} and {self.warmup}")

    def loss_weights(self, class_names: Sequence[str]) -> list[float]:
        """Weight of each class in the cross-entropy; ValueError for a name that is no class, or where all are 0."""
        weights = weight_per_class(self.class_weights, class_names, "schedule.class_weights")
        if not any(weights):
            raise ValueError("schedule.class_weights: every class has weight 0, so that nothing would be learned")
        return weights


@dataclass(frozen=True)
class Recipe:
    """A whole training; see the fields' own classes, and ``recipes/`` for examples. A data set brings its labels."""

    data: DataSettings
    labels: LabelMap
    inputs: InputSettings
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    seed: int = 0
    output: str = "run"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 on and below 2^32, got {self.seed}")
        self.augmentation.check_names([feature.name for feature in self.inputs.features])
        self.sampler.weights(self.labels.names)
        self.schedule.loss_weights(self.labels.names)

    def with_absolute_paths(self, base_of: Callable[[str], Path]) -> Recipe:
        """The same with every data entry replaced by the files that it names, and all folders made absolute.

        Each of the data's settings is relative to ``base_of`` its name, the output to the current folder.
        """
        data = self.data.with_absolute_folders(base_of)
        if data.data_set == "files":
            data = dataclasses.replace(
                data,
                train=[file for entry in data.train for file in entry.each(base_of("train"))],
                validation=[str(path) for path in find_files(data.validation, base_of("validation"))],
                test=[str(path) for path in find_files(data.test, base_of("test"))],
            )
        return dataclasses.replace(self, data=data, output=str(Path(self.output).resolve()))


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None, base: Path = Path()) -> Recipe:
    """Read and check a recipe; its data entries become the files that they name.

    Args:
        path: a YAML file.
        overrides: ``{"schedule.steps": 100}``: values that take the place of the file's.
        base: folder that paths among the overrides are relative to, by default the current one; those that the recipe
            says are relative to the recipe's.

    Raises:
        FileNotFoundError: no such recipe, or a data entry matches nothing.
        RecipeError: not YAML, unknown or missing key, wrong type, a path's variable that is not set; names the place
            and the nearest known key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such recipe: {path}")
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(plain, dict):
        raise RecipeError(f"{path}: expected keys with values, got {type(plain).__name__}")
    overrides = overrides or {}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        branch = plain
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise RecipeError(f"--{key}: {parent!r} is a single value and has no {last!r}")
        branch[last] = value

    def base_of(name: str) -> Path:
        return (base if f"data.{name}" in overrides else path.parent).resolve()

    try:
        if "labels" not in plain and "data" in plain:
            data = settings_from_plain(DataSettings, plain["data"], "data").with_absolute_folders(base_of)
            plain["labels"] = plain_from_settings(data.open().labels)
        return settings_from_plain(Recipe, plain).with_absolute_paths(base_of)
    except ValueError as error:  # of the recipe, or of a variable in a path
        raise RecipeError(f"{path}: {error}") from error


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as YAML that :func:`load_recipe` reads back."""
    path.write_text(yaml.safe_dump(plain_from_settings(recipe), sort_keys=False), encoding="utf-8")
