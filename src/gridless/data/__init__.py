"""From files to network inputs: the one way that training, evaluation and prediction share."""

from gridless.data.augmentation import AugmentationSettings
from gridless.data.crops import Crop, covering_centers, cut_crop
from gridless.data.datasets import Batch, CoveringCrops, SamplerSettings, TrainingCrops, weight_per_class
from gridless.data.features import COMPUTED_FEATURES, computed_feature
from gridless.data.files import find_files, hold_out_strips, load_labelled, thinned
from gridless.data.inputs import FeatureSettings, InputSettings, PreparedCloud
from gridless.data.labels import IGNORED, LabelMap
from gridless.data.settings import plain_from_settings, settings_from_plain
from gridless.data.whole import WholeCloud

__all__ = [
    "COMPUTED_FEATURES",
    "IGNORED",
    "AugmentationSettings",
    "Batch",
    "CoveringCrops",
    "Crop",
    "FeatureSettings",
    "InputSettings",
    "LabelMap",
    "PreparedCloud",
    "SamplerSettings",
    "TrainingCrops",
    "WholeCloud",
    "computed_feature",
    "covering_centers",
    "cut_crop",
    "find_files",
    "hold_out_strips",
    "load_labelled",
    "plain_from_settings",
    "settings_from_plain",
    "thinned",
    "weight_per_class",
]
