"""A whole slide of the archive (PS3.3 A.32.8), opened over DICOMweb: attributes of its instances once, then only the frames that a region needs.

wsidicom knows the levels, tiles and codecs; every request goes through our own client, which checks what comes back and tries nothing again. The
label and the overview of the glass are never read: they show the patient's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import JPEG2000, UID, JPEGBaseline8Bit, JPEGLSNearLossless, VLWholeSlideMicroscopyImageStorage
from wsidicom import Settings, WsiDicom, WsiDicomWebClient
from wsidicom.codec import determine_media_type
from wsidicom.errors import WsiDicomNoResolutionError
from wsidicom.group import Level

from schemas.errors import LongviewError, PermanentFailure, TransientFailure
from services.clients import qido
from workflows.reading.caution import tag_cautions
from workflows.series.attributes import DatasetAttributes
from workflows.series.plane import whole_number
from workflows.slides.levels import LevelTags, level_sizes
from workflows.slides.slide import ArchivedSlide, Rgb, SlideSource, require_scale
from workflows.slides.specimen import slide_texts, specimen_words

if TYPE_CHECKING:
    from services.clients.dicomweb import DicomWebArchive

READING = Settings(strict_tile_size_check=False, open_web_threads=2, encoded_frame_cache_size=0)
"""Levels of another tile size are read as well; frames are kept once, decoded."""
WHITE = 255
NOT_GIVEN = ("pixels-codec", "archive-refused")
"""How archives answer to a transfer syntax that they do not give: 406, some 400."""
LOSSY_METHODS = {"ISO_10918_1": JPEGBaseline8Bit, "ISO_15444_1": JPEG2000, "ISO_14495_1": JPEGLSNearLossless}
LOSSY = frozenset(LOSSY_METHODS.values())
NOT_READABLE = PermanentFailure(
    "slide-not-readable", "levels of the slide do not fit together, or are compressed in a way that cannot be decoded"
)


@contextmanager
def open_slide(archive: DicomWebArchive, study: str, series: str) -> Iterator[ArchivedSlide]:
    """The slide of a series. `PermanentFailure`: `slide-without-levels`, `slide-not-readable`, `slide-not-colour`, `slide-concatenated`, and
    those of `require_scale` and `level_sizes`."""
    client = _Client(archive, study, series)
    levels = client.levels()
    if any(dataset.get("ConcatenationUID") for dataset in levels):
        raise PermanentFailure("slide-concatenated", "a level of the slide is split into several instances")
    if any(dataset.get("SamplesPerPixel") != 3 for dataset in levels):
        raise PermanentFailure("slide-not-colour", "the slide is not in colour: fluorescence is not read")
    with _opened(client, study, series) as wsi:
        held = [dataset for pyramid in wsi.pyramids for level in pyramid for dataset in level.datasets]
        if len(held) != len(levels):
            raise client.failed or _unfit(levels)
        yield _Slide(wsi, client)


def _opened(client: _Client, study: str, series: str) -> WsiDicom:
    """wsidicom raises many classes on what it cannot read, with UIDs in their texts."""
    try:
        return WsiDicom.open_web(client, study, series, settings=READING)
    except LongviewError:
        raise
    except WsiDicomNoResolutionError:
        require_scale(None)
        raise
    except Exception:
        raise client.failed or _unfit(client.levels()) from None


def _unfit(levels: list[Dataset]) -> PermanentFailure:
    """Why levels are not of one pyramid: their scales contradict each other, or something else."""
    try:
        described = [_tags_of(level) for level in levels]
        level_sizes(sorted((one for one in described if one), key=lambda one: -one.matrix[0]))
    except PermanentFailure as failure:
        return failure
    except Exception:  # pydicom and arithmetic on whatever the tags hold
        return NOT_READABLE
    return NOT_READABLE


def _tags_of(dataset: Dataset) -> LevelTags | None:
    """None where the level does not tell its spacing."""
    groups = [
        *(dataset.get("SharedFunctionalGroupsSequence") or []),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or []),
    ]
    found = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    down, across = (found[0].get("PixelSpacing") or (None, None)) if found else (None, None)
    if not down or not across:
        return None
    wide, high = dataset.get("ImagedVolumeWidth"), dataset.get("ImagedVolumeHeight")
    return LevelTags(
        matrix=(dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows),
        tile=(dataset.Columns, dataset.Rows),
        micrometres=(float(across) * 1000, float(down) * 1000),
        imaged=(float(wide) * 1000, float(high) * 1000) if wide and high else None,
    )


class _Slide:
    """`workflows.slides.ArchivedSlide`; of several pyramids in one series the largest."""

    def __init__(self, wsi: WsiDicom, client: _Client) -> None:
        self._wsi = wsi
        self._pyramid = max(range(len(wsi.pyramids)), key=lambda n: wsi.pyramids[n].size.area)
        self._levels = sorted(wsi.pyramids[self._pyramid], key=lambda level: -level.size.width)
        size = self._levels[0].mpp
        self.micrometres = require_scale((float(size.width), float(size.height)))
        self.sizes = level_sizes([_described(level) for level in self._levels])
        self.source = _source(client, self._levels[0].default_instance.dataset.as_dataset())

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        stored = self._levels[level]
        across, down = min(width, stored.size.width - x), min(height, stored.size.height - y)
        whole = np.full((height, width, 3), WHITE, np.uint8)
        if across <= 0 or down <= 0:
            return whole
        try:
            found = self._wsi.read_region((x, y), stored.level, (across, down), pyramid=self._pyramid, as_array=True)
        except LongviewError:
            raise
        except Exception:  # of the codecs each has its own classes
            raise PermanentFailure("pixels-codec", "a tile of the slide cannot be decoded") from None
        whole[:down, :across] = found
        return whole


def _described(level: Level) -> LevelTags:
    imaged = level.default_instance.mm_size
    return LevelTags(
        matrix=(level.size.width, level.size.height),
        tile=(level.tile_size.width, level.tile_size.height),
        micrometres=(float(level.mpp.width), float(level.mpp.height)),
        imaged=(float(imaged.width) * 1000, float(imaged.height) * 1000) if imaged is not None else None,
    )


def _source(client: _Client, dataset: Dataset) -> SlideSource:
    tags = DatasetAttributes(dataset)
    return SlideSource(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        instance_number=whole_number(tags, "InstanceNumber"),
        series_number=whole_number(tags, "SeriesNumber"),
        description=str(dataset.get("SeriesDescription") or "") or None,
        specimen=specimen_words(dataset),
        cautions=tag_cautions(sorted(slide_texts(client.datasets.values()))),
    )


class _Client(WsiDicomWebClient):  # type: ignore[misc]
    """What wsidicom asks of a server, asked by our own client. `datasets` are the attributes of the instances, by SOP Instance UID."""

    def __init__(self, archive: DicomWebArchive, study: str, series: str) -> None:
        self._archive = archive
        self._study, self._series = study, series
        self.failed: TransientFailure | None = None
        """What the archive failed with when it was asked for a syntax."""
        found = archive.instances(study, series, VLWholeSlideMicroscopyImageStorage)
        self.datasets = {uid: self._attributes(uid) for uid in found}

    def levels(self) -> list[Dataset]:
        """The instances that are levels of the slide (value 3 of ImageType, PS3.3 C.8.12.4.1.1); `PermanentFailure` if there are none."""
        found = [dataset for dataset in self.datasets.values() if _flavour(dataset) == "VOLUME"]
        if not found:
            raise PermanentFailure("slide-without-levels", "the series holds no level of a whole slide")
        return found

    def get_wsi_instances(
        self, study_uid: UID, series_uids: Iterable[UID]
    ) -> Iterator[tuple[UID, UID, set[UID] | None]]:
        return ((UID(self._series), UID(dataset.SOPInstanceUID), None) for dataset in self.levels())

    def get_annotation_instances(
        self, study_uid: UID, series_uids: Iterable[UID]
    ) -> Iterator[tuple[UID, UID, set[UID] | None]]:
        """What others have drawn on the slide is not looked at."""
        return iter(())

    def get_instance(self, study_uid: UID, series_uid: UID, instance_uid: UID) -> Dataset:
        return self.datasets[str(instance_uid)]

    def get_frames(
        self, study_uid: UID, series_uid: UID, instance_uid: UID, frame_indices: list[int], transfer_syntax: UID
    ) -> Iterator[bytes]:
        kind = determine_media_type(transfer_syntax)
        return self._archive.frames(self._study, self._series, instance_uid, frame_indices, kind, transfer_syntax)

    def is_transfer_syntax_supported(
        self, study_uid: UID, series_uid: UID, instance_uid: UID, transfer_syntax: UID
    ) -> bool:
        """A lossy one counts only where the pixels have gone through it before: some archives make it anew for whoever asks."""
        if transfer_syntax in LOSSY and transfer_syntax not in _lossy(self.datasets[str(instance_uid)]):
            return False
        try:
            next(self.get_frames(study_uid, series_uid, instance_uid, [1], transfer_syntax))
        except TransientFailure as failure:  # of an archive that is away, or cannot transcode: another syntax tells
            self.failed = failure
            return False
        except PermanentFailure as failure:
            if failure.code not in NOT_GIVEN:
                raise
            return False
        return True

    def _attributes(self, uid: str) -> Dataset:
        row = without_broken_numbers(self._archive.metadata(self._study, self._series, uid))
        try:
            return Dataset.from_json(row, bulk_data_uri_handler=lambda tag, vr, uri: None)
        except Exception as error:  # pydicom raises nearly any class on broken input
            raise PermanentFailure("archive-answer", "the attributes of an instance cannot be read") from error


def without_broken_numbers(row: qido.Row) -> qido.Row:
    """The attributes without integer strings that are none (`1A`), which only describe: the reader raises on them."""
    return {tag: element for tag, element in row.items() if not _is_broken(element)}


def _is_broken(element: Any) -> bool:
    if not isinstance(element, dict) or element.get("vr") != "IS":
        return False
    try:
        for value in element.get("Value") or []:
            int(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def _lossy(dataset: Dataset) -> frozenset[UID]:
    """Lossy transfer syntaxes that the instance may be stored in (PS3.3 C.7.6.1.1.5)."""
    if dataset.get("LossyImageCompression", "01") != "01":
        return frozenset()
    methods = dataset.get("LossyImageCompressionMethod") or []
    known = [LOSSY_METHODS[m] for m in ([methods] if isinstance(methods, str) else methods) if m in LOSSY_METHODS]
    return frozenset(known) or LOSSY


def _flavour(dataset: Dataset) -> str:
    kind = dataset.get("ImageType")
    return str(kind[2]) if kind is not None and not isinstance(kind, str) and len(kind) > 2 else ""
