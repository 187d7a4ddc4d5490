"""Prediction of files larger than memory: points sorted into a store on disk, labelled tile by tile."""

from gridless.prediction.large.job import StageProgress, predict_in_tiles
from gridless.prediction.large.neighbors import Box, bounds_of, side_by_side
from gridless.prediction.large.scoring import Scoring

__all__ = ["Box", "Scoring", "StageProgress", "bounds_of", "predict_in_tiles", "side_by_side"]
