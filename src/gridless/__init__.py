"""Deep continuous convolutions on data that does not live on a grid."""

__version__ = "0.1.0"
