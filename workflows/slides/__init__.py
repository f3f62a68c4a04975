"""Whole slides of pathology: where the tissue is, which patches the model is shown, and where on the slide they lie. Pure: no I/O."""

from workflows.slides.levels import LevelTags, level_sizes
from workflows.slides.overview import outlined_png, picture_png, read_overview
from workflows.slides.patches import (
    SIDE,
    choose_patches,
    from_matrix,
    grid,
    patch_size,
    read_patch,
    tissue_shares,
    to_matrix,
)
from workflows.slides.slide import ArchivedSlide, OpenedSlide, Rgb, SlideSource, require_scale
from workflows.slides.tissue import tissue_mask

__all__ = [
    "SIDE",
    "ArchivedSlide",
    "LevelTags",
    "OpenedSlide",
    "Rgb",
    "SlideSource",
    "choose_patches",
    "from_matrix",
    "grid",
    "level_sizes",
    "outlined_png",
    "patch_size",
    "picture_png",
    "read_overview",
    "read_patch",
    "require_scale",
    "tissue_mask",
    "tissue_shares",
    "to_matrix",
]
