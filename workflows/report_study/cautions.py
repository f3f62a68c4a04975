"""Everything around a study that is text and might try to instruct: the chart, DICOM tags, the pixels that the model saw."""

from __future__ import annotations

from schemas.caution import Caution, PixelTextSearch
from schemas.imaging import StoredVolume
from schemas.timeline import Timeline
from schemas.volume import Volume
from workflows.ports import TextInPixels
from workflows.reading.caution import chart_cautions
from workflows.reading.pixel_text import search_text


def find_cautions(
    timeline: Timeline, shown: list[tuple[str, StoredVolume, Volume]], reader: TextInPixels
) -> tuple[list[Caution], PixelTextSearch]:
    """Cautions of every route, and how the pixels were searched. `shown` holds what the model saw: (`""` or `"prior "`, volume, its slices)."""
    found = chart_cautions(timeline)
    searches = []
    for name, stored, slices in shown:
        prior = [c.model_copy(update={"where": f"{name}{c.where}"}) for c in stored.cautions]
        cautions, search = search_text(slices, stored.model_slices, reader.lines, name)
        found += [*prior, *cautions]
        searches.append(search)
    whole = PixelTextSearch(
        slices=sum(search.slices for search in searches),
        suspicious=sum(search.suspicious for search in searches),
        read=sum(search.read for search in searches),
    )
    return found, whole
