"""Projection radiographs and other single pictures -> what the model is shown of them, and back from its boxes. Pure: no I/O."""

from workflows.pictures.choose import (
    MOST_PICTURES,
    PictureChoice,
    Sorted,
    Unshown,
    choose_pictures,
    like_first,
    sort_pictures,
)
from workflows.pictures.picture import Exposure, read_exposure, render
from workflows.pictures.place import side_of
from workflows.pictures.square import OutsideImage, from_square, to_square

__all__ = [
    "MOST_PICTURES",
    "Exposure",
    "OutsideImage",
    "PictureChoice",
    "Sorted",
    "Unshown",
    "choose_pictures",
    "from_square",
    "like_first",
    "read_exposure",
    "render",
    "side_of",
    "sort_pictures",
    "to_square",
]
