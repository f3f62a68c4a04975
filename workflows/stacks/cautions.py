"""Everything around a study that is text and might try to instruct: the chart, DICOM tags, the pixels that the model saw."""

from __future__ import annotations

import numpy as np

from schemas.caution import Caution, PixelTextSearch
from schemas.imaging import StoredStack
from schemas.pictures import Pictures
from schemas.timeline import Timeline
from schemas.volume import Volume
from workflows.ports import TextInPixels
from workflows.reading.caution import chart_cautions
from workflows.reading.pixel_text import search_text


def find_cautions(
    timeline: Timeline, shown: list[tuple[str, StoredStack, Volume | Pictures]], reader: TextInPixels
) -> tuple[list[Caution], PixelTextSearch]:
    """Cautions of every route, and how the pixels were searched. `shown` holds what the model saw: (`""` or `"prior "`, stack, its pixels)."""
    found = chart_cautions(timeline)
    searches = []
    for name, stored, pixels in shown:
        prior = [c.model_copy(update={"where": f"{name}{c.where}"}) for c in stored.cautions]
        cautions, search = search_text(grey(pixels), stored.model_slices, reader.lines, name)
        found += [*prior, *cautions]
        searches.append(search)
    whole = PixelTextSearch(
        slices=sum(search.slices for search in searches),
        suspicious=sum(search.suspicious for search in searches),
        read=sum(search.read for search in searches),
    )
    return found, whole


def grey(pixels: Volume | Pictures) -> Volume:
    """Pictures as slices of grey levels (the mean of their samples)."""
    if isinstance(pixels, Volume):
        return pixels
    levels = pixels.pixels[..., 0] if pixels.pixels.shape[-1] == 1 else np.mean(pixels.pixels, axis=-1)
    return Volume(levels.astype(np.int16), (1.0, 1.0, 1.0), "stored", pixels.modality)
