"""From a trained model and a cloud to a labelled cloud."""

from gridless.prediction.predict import class_probabilities, input_settings, label_map, predict

__all__ = ["class_probabilities", "input_settings", "label_map", "predict"]
