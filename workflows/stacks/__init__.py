"""The kinds of studies that are read: one module each, and which of them a study is."""

from __future__ import annotations

from schemas.errors import PermanentFailure
from schemas.imaging import StackKind, StudyInventory
from workflows.stacks.document import DocumentKind
from workflows.stacks.kind import Kind
from workflows.stacks.pictures import PicturesKind
from workflows.stacks.slide import SlideKind
from workflows.stacks.volume import VolumeKind

KINDS: tuple[Kind, ...] = (VolumeKind(), PicturesKind(), SlideKind(), DocumentKind())
"""Most wanted first: a study that holds several kinds is read as the first."""


def kind_of(study: StudyInventory) -> Kind:
    """`PermanentFailure` (`no-readable-series`) if the study has no series of a modality that is read."""
    held = {series.modality for series in study.series if series.instance_count > 0}
    for kind in KINDS:
        if held & set(kind.modalities):
            return kind
    raise PermanentFailure("no-readable-series", "the study has no series of a modality that is read")


def kind_named(name: StackKind) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)
