"""Everything around a study that is text and might try to instruct: the chart, DICOM tags, the pixels that the model saw."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from schemas.caution import Caution, PixelTextSearch
from schemas.imaging import SeriesSource, StoredStack
from schemas.pictures import Pictures
from schemas.timeline import Timeline
from schemas.volume import Volume
from workflows.ports import TextInPixels
from workflows.reading.caution import BURNED_IN, chart_cautions
from workflows.reading.pixel_text import MARKS, TEXT, search_text

AnySeries = TypeVar("AnySeries", bound=SeriesSource)
MODEL_SIDE = 896
"""Pixels to which MedGemma makes every picture."""


def calm(series: AnySeries, cautions: list[Caution]) -> AnySeries:
    """Without descriptions that read like instructions: they choose neither what is asked nor how the report is coded."""
    flagged = {caution.where for caution in cautions if caution.code != BURNED_IN}
    used = {"SeriesDescription": "description", "BodyPartExamined": "body_part"}
    return series.model_copy(update={field: None for keyword, field in used.items() if keyword in flagged})


def find_cautions(
    timeline: Timeline, shown: list[tuple[str, StoredStack, Volume | Pictures]], reader: TextInPixels
) -> tuple[list[Caution], PixelTextSearch]:
    """Cautions of every route, and how the pixels were searched. `shown` holds what the model saw: (`""` or `"prior "`, stack, its pixels)."""
    found = chart_cautions(timeline)
    searches = []
    for name, stored, pixels in shown:
        prior = [c.model_copy(update={"where": f"{name}{c.where}"}) for c in stored.cautions]
        cautions, search = search_pixels(grey(pixels), stored.model_slices, reader, name)
        found += [*prior, *cautions]
        searches.append(search)
    whole = PixelTextSearch(
        slices=sum(search.slices for search in searches),
        suspicious=sum(search.suspicious for search in searches),
        read=sum(search.read for search in searches),
    )
    return found, whole


def search_pixels(
    pixels: Volume, numbers: list[int], reader: TextInPixels, name: str
) -> tuple[list[Caution], PixelTextSearch]:
    """As the pixels are, and where they are many also as small as a model sees them: a film's letters may be a hundred pixels high.

    At full size only what reads like an instruction counts there: a strip through tall letters is read as nonsense.
    """
    cautions, search = search_text(pixels, numbers, reader.lines, name)
    factor = max(pixels.voxels.shape[1:]) // MODEL_SIDE
    if factor < 2:
        return cautions, search
    seen, other = search_text(_reduced(pixels, factor), numbers, reader.lines, name)
    told = {caution.where: caution for caution in cautions if caution.code not in (TEXT, MARKS)}
    whole = PixelTextSearch(
        slices=search.slices,
        suspicious=max(search.suspicious, other.suspicious),
        read=max(search.read, other.read),
    )
    return [*told.values(), *(caution for caution in seen if caution.where not in told)], whole


def _reduced(pixels: Volume, factor: int) -> Volume:
    """Means over squares of `factor` pixels."""
    depth, rows, columns = (n // factor if axis else n for axis, n in enumerate(pixels.voxels.shape))
    cut = pixels.voxels[:, : rows * factor, : columns * factor]
    means = cut.reshape(depth, rows, factor, columns, factor).mean(axis=(2, 4))
    return Volume(np.rint(means).astype(np.int16), pixels.spacing, pixels.units, pixels.modality)


def grey(pixels: Volume | Pictures) -> Volume:
    """Pictures as slices of grey levels (the mean of their samples)."""
    if isinstance(pixels, Volume):
        return pixels
    levels = np.empty(pixels.pixels.shape[:3], np.int16)
    for k, picture in enumerate(
        pixels.pixels
    ):  # one at a time: the mean is taken in floating point, of eight times the size
        levels[k] = picture[..., 0] if picture.shape[-1] == 1 else picture.mean(axis=-1)
    return Volume(levels, (1.0, 1.0, 1.0), "stored", pixels.modality)
