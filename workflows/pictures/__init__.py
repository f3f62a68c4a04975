"""Projection radiographs and other single pictures -> what the model is shown of them, and back from its boxes. Pure: no I/O."""

from workflows.pictures.choose import PictureChoice, choose_pictures, like_first
from workflows.pictures.picture import Exposure, read_exposure, render
from workflows.pictures.place import side_of
from workflows.pictures.square import OutsideImage, from_square, to_square

__all__ = [
    "Exposure",
    "OutsideImage",
    "PictureChoice",
    "choose_pictures",
    "from_square",
    "like_first",
    "read_exposure",
    "render",
    "side_of",
    "to_square",
]
