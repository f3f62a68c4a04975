"""DICOM instances -> checked geometry -> an int16 volume, and what can be said of a place in it. Pure: no I/O."""

from workflows.series.choose import SeriesChoice, choose_series
from workflows.series.contrast import named_contrast
from workflows.series.header import JsonAttributes, SeriesHeader, header_of
from workflows.series.place import nearest_slice, side_of
from workflows.series.render import png_of, render_slice
from workflows.series.sequences import sequences_of, shares
from workflows.series.texts import free_texts
from workflows.series.volume import read_series

__all__ = [
    "JsonAttributes",
    "SeriesChoice",
    "SeriesHeader",
    "choose_series",
    "free_texts",
    "header_of",
    "named_contrast",
    "nearest_slice",
    "png_of",
    "read_series",
    "render_slice",
    "sequences_of",
    "shares",
    "side_of",
]
