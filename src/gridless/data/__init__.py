"""From files to network inputs: the one way that training, evaluation and prediction share."""

from gridless.data.augmentation import AugmentationSettings, angles_of
from gridless.data.cache import CloudCache
from gridless.data.crops import Crop, covering_centers, cut_crop, whole_crop
from gridless.data.datasets import Batch, CoveringCrops, SamplerSettings, TrainingCrops, weight_per_class
from gridless.data.features import COMPUTED_FEATURES, computed_feature
from gridless.data.files import find_files, with_variables
from gridless.data.held_out import hold_out_files, hold_out_strips
from gridless.data.inputs import FeatureSettings, InputSettings, PreparedCloud
from gridless.data.labels import IGNORED, LabelMap
from gridless.data.published import DATA_SETS, DataSet, Files, Task
from gridless.data.settings import plain_from_settings, settings_from_plain, unknown_name
from gridless.data.streamed import StreamedClouds, StreamedCrops, require_points, unless_skipped
from gridless.data.variants import CloudVariant, on_relief, thinned
from gridless.data.whole import WholeCloud

__all__ = [
    "COMPUTED_FEATURES",
    "DATA_SETS",
    "IGNORED",
    "AugmentationSettings",
    "Batch",
    "CloudCache",
    "CloudVariant",
    "CoveringCrops",
    "Crop",
    "DataSet",
    "FeatureSettings",
    "Files",
    "InputSettings",
    "LabelMap",
    "PreparedCloud",
    "SamplerSettings",
    "StreamedClouds",
    "StreamedCrops",
    "Task",
    "TrainingCrops",
    "WholeCloud",
    "angles_of",
    "computed_feature",
    "covering_centers",
    "cut_crop",
    "find_files",
    "hold_out_files",
    "hold_out_strips",
    "on_relief",
    "plain_from_settings",
    "require_points",
    "settings_from_plain",
    "thinned",
    "unknown_name",
    "unless_skipped",
    "weight_per_class",
    "whole_crop",
    "with_variables",
]
