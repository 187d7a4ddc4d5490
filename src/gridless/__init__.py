"""Deep continuous convolutions on data that does not live on a grid.

Names are imported when they are first used: ``import gridless`` alone loads neither torch nor any reader.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridless import nn as nn
    from gridless.cloud import PointCloud as PointCloud
    from gridless.io import open as open
    from gridless.io import read as read
    from gridless.io import write as write
    from gridless.models import build_model as build_model
    from gridless.models import export_model as export_model
    from gridless.models import load_model as load_model
    from gridless.models import save_model as save_model
    from gridless.neighbors import Neighborhoods as Neighborhoods
    from gridless.neighbors import knn as knn
    from gridless.neighbors import within_radius as within_radius
    from gridless.ops.convolution import continuous_conv as continuous_conv
    from gridless.prediction.predict import predict as predict
    from gridless.pyramid import Pyramid as Pyramid
    from gridless.pyramid import PyramidSettings as PyramidSettings

__version__ = "0.1.0"

_HOME_OF = {
    "PointCloud": "gridless.cloud",
    "open": "gridless.io",
    "read": "gridless.io",
    "write": "gridless.io",
    "build_model": "gridless.models",
    "export_model": "gridless.models",
    "load_model": "gridless.models",
    "save_model": "gridless.models",
    "Neighborhoods": "gridless.neighbors",
    "knn": "gridless.neighbors",
    "within_radius": "gridless.neighbors",
    "continuous_conv": "gridless.ops.convolution",
    "predict": "gridless.prediction",
    "Pyramid": "gridless.pyramid",
    "PyramidSettings": "gridless.pyramid",
}
_SUBMODULES = ("nn",)

__all__ = [*_HOME_OF, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"gridless.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gridless' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
