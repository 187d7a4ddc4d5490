"""Data sets in the layouts of their publishers, by the names that recipes use."""

from __future__ import annotations

from gridless.data.published.base import DataSet, Task, prepared_cloud
from gridless.data.published.files import Files
from gridless.data.published.modelnet import ModelNet40
from gridless.data.published.radhar import RadHAR
from gridless.data.published.s3dis import S3DIS
from gridless.data.published.sampled_objects import SampledObjects
from gridless.data.published.semantic_kitti import SemanticKITTI
from gridless.data.published.shapenet_part import ShapeNetPart

DATA_SETS: dict[str, type[DataSet]] = {
    "s3dis": S3DIS,
    "semantic_kitti": SemanticKITTI,
    "modelnet40": ModelNet40,
    "shapenet_part": ShapeNetPart,
    "sampled_objects": SampledObjects,
    "radhar": RadHAR,
}

__all__ = [
    "DATA_SETS",
    "S3DIS",
    "DataSet",
    "Files",
    "ModelNet40",
    "RadHAR",
    "SampledObjects",
    "SemanticKITTI",
    "ShapeNetPart",
    "Task",
    "prepared_cloud",
]
