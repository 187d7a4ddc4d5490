"""From a trained model and a cloud to a labelled cloud."""

from gridless.prediction.clock import Clock
from gridless.prediction.cluster import Cluster
from gridless.prediction.density import ground_density
from gridless.prediction.files import neighbors_of, predict_file
from gridless.prediction.memory import bytes_of
from gridless.prediction.objects import object_probabilities
from gridless.prediction.predict import class_probabilities, input_settings, label_map, predict

__all__ = [
    "Clock",
    "Cluster",
    "bytes_of",
    "class_probabilities",
    "ground_density",
    "input_settings",
    "label_map",
    "neighbors_of",
    "object_probabilities",
    "predict",
    "predict_file",
]
