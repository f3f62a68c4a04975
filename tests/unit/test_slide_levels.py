"""How large a level is: by its own spacing, whatever it was filled up to; and what contradicts itself is refused."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import PermanentFailure
from services.clients.dicomweb_slide import without_broken_numbers
from workflows.slides import LevelTags, level_sizes


def level(matrix: tuple[int, int], micrometres: float | tuple[float, float], **more: Any) -> LevelTags:
    size = micrometres if isinstance(micrometres, tuple) else (micrometres, micrometres)
    return LevelTags(matrix, more.pop("tile", (512, 512)), size, **more)


BASE = level((4096, 3072), 0.5)


def test_levels_that_are_filled_up_to_whole_tiles_lose_what_fills_them() -> None:
    filled = [BASE, level((2048, 1536), 1.0), level((1024, 1024), 2.0), level((512, 512), 4.0)]
    assert level_sizes(filled) == ((4096, 3072), (2048, 1536), (1024, 768), (512, 384))


def test_a_level_that_is_not_filled_beside_a_finest_one_that_is_counts_as_large_as_that() -> None:
    """4000 pixels of tissue filled up to 4096; of the half as large level nobody filled anything."""
    assert level_sizes([BASE, level((2000, 1500), 1.0)]) == ((4096, 3072), (2048, 1536))


@pytest.mark.parametrize("rounded", [(750, 625), (751, 626), (751, 625)])
def test_levels_that_are_cut_or_rounded_up_keep_their_size(rounded: tuple[int, int]) -> None:
    assert level_sizes([level((3001, 2503), 0.5), level(rounded, 2.0)])[1] == rounded
    own = (0.5 * 3001 / rounded[0], 0.5 * 2503 / rounded[1])
    assert level_sizes([level((3001, 2503), 0.5), level(rounded, own)])[1] == rounded


@pytest.mark.parametrize(
    "levels",
    [
        [BASE, level((1024, 768), 0.5)],
        [BASE, level((1024, 768), 1.0)],
        [BASE, level((4096, 3072), 4.0)],
        [BASE, level((2048, 1536), (1.0, 1.2))],
        [level((4096, 3072), 0.5, imaged=(1024.0, 768.0))],
        [level((4096, 3072), 0.5, imaged=(4096.0, 3072.0))],
    ],
    ids=["the finest's spacing", "half of it", "far too large", "oblong", "imaged half", "imaged double"],
)
def test_what_contradicts_itself_is_refused_by_name(levels: list[LevelTags]) -> None:
    with pytest.raises(PermanentFailure, match="slide-scale-contradiction"):
        level_sizes(levels)


def test_the_imaged_volume_may_be_that_of_the_tissue_or_of_the_filled_matrix() -> None:
    for imaged in [(2048.0, 1536.0), (1950.0, 1400.0), (2050.0, 1540.0)]:
        assert level_sizes([level((4096, 3072), 0.5, imaged=imaged)]) == ((4096, 3072),)


@pytest.mark.parametrize("value", ["1A", 1.5j, None, {}])
def test_a_number_that_is_none_is_as_if_it_were_absent(value: Any) -> None:
    row = {"00200013": {"vr": "IS", "Value": [value]}, "00280008": {"vr": "IS", "Value": ["4"]}}
    assert without_broken_numbers(row) == {"00280008": {"vr": "IS", "Value": ["4"]}}
