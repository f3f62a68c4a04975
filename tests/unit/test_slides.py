"""Whole slides: the scale, where tissue is, which patches are read, and where on the slide they lie."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import PermanentFailure
from schemas.imaging import SlidePatch
from tests.unit.slide_samples import DAB, EOSIN, GLASS, HAEMATOXYLIN, ArraySlide, array_slide, paint, stain
from workflows.slides import (
    SIDE,
    choose_patches,
    from_matrix,
    grid,
    outlined_png,
    patch_size,
    picture_png,
    read_overview,
    read_patch,
    require_scale,
    tissue_mask,
    tissue_shares,
    to_matrix,
)
from workflows.slides.slide import coarsest_within, downsample

sizes = st.tuples(st.integers(1, 200_000), st.integers(1, 200_000))
scales = st.tuples(st.floats(0.06, 1.09), st.floats(0.06, 1.09))
seeds = st.text("0123456789abcdef", min_size=1, max_size=16)


# -- the grid


@given(sizes, scales)
@settings(max_examples=60)
def test_patches_cover_the_slide_without_overlap(size: tuple[int, int], micrometres: tuple[float, float]) -> None:
    size = (min(size[0], 40 * patch_size(micrometres)[0]), min(size[1], 40 * patch_size(micrometres)[1]))
    patches = grid(size, patch_size(micrometres))
    assert sum(patch.width * patch.height for patch in patches) == size[0] * size[1]
    assert all(p.x >= 0 and p.x + p.width <= size[0] for p in patches)
    assert all(p.y >= 0 and p.y + p.height <= size[1] for p in patches)
    columns = {(p.x, p.x + p.width) for p in patches}
    rows = {(p.y, p.y + p.height) for p in patches}
    for spans in (sorted(columns), sorted(rows)):
        assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert len(patches) == len(columns) * len(rows)


@given(scales)
def test_a_patch_is_896_micrometres_to_a_thousandth(micrometres: tuple[float, float]) -> None:
    for side, size in zip(patch_size(micrometres), micrometres, strict=True):
        assert side * size == pytest.approx(SIDE, rel=0.001)


@given(sizes, scales, st.integers(0, 1000), st.integers(0, 1000))
def test_a_place_on_a_patch_is_a_place_on_the_slide_and_back(
    size: tuple[int, int], micrometres: tuple[float, float], u: int, v: int
) -> None:
    whole = patch_size(micrometres)
    patch = SlidePatch(x=size[0], y=size[1], width=whole[0], height=whole[1])
    column, row = to_matrix(patch, whole, u / 1000, v / 1000)
    assert from_matrix(patch, whole, column, row) == pytest.approx((u / 1000, v / 1000), abs=1e-6)
    assert Fraction(column).limit_denominator(1000) == size[0] + Fraction(u * whole[0], 1000)
    assert Fraction(row).limit_denominator(1000) == size[1] + Fraction(v * whole[1], 1000)


# -- the choice


@given(seeds, st.integers(1, 60), st.lists(st.floats(0, 1), min_size=1, max_size=80))
def test_the_choice_is_the_seeds_alone_and_stands_row_by_row(seed: str, most: int, shares: list[float]) -> None:
    patches = grid((len(shares) * 100, 100), (100, 100))
    enough = [patch for patch, share in zip(patches, shares, strict=True) if share >= 0.15]
    if not enough:
        with pytest.raises(PermanentFailure, match="slide-no-tissue"):
            choose_patches(patches, shares, most, seed)
        return
    count, chosen = choose_patches(patches, shares, most, seed)
    assert (count, chosen) == choose_patches(patches, shares, most, seed)
    assert count == len(enough)
    assert len(chosen) == min(most, len(enough))
    assert [(p.y, p.x) for p in chosen] == sorted({(p.y, p.x) for p in chosen})
    assert {(p.y, p.x) for p in chosen} <= {(p.y, p.x) for p in enough}


def test_another_seed_draws_other_patches_and_each_is_drawn_about_as_often() -> None:
    patches = grid((4000, 1000), (100, 100))
    drawn = [choose_patches(patches, [1.0] * 400, 125, str(seed))[1] for seed in range(64)]
    assert len({tuple((p.x, p.y) for p in each) for each in drawn}) == 64
    often = [sum((p.x, p.y) in {(q.x, q.y) for q in each} for each in drawn) for p in patches]
    assert min(often) > 3
    assert max(often) < 38  # 20 in the mean, with a deviation of 3.7


# -- the scale


@pytest.mark.parametrize("micrometres", [None, (0.0, 0.5), (352.8, 352.8), (float("nan"), 0.5), (0.5, float("inf"))])
def test_a_slide_without_a_scale_is_refused_by_name(micrometres: tuple[float, float] | None) -> None:
    with pytest.raises(PermanentFailure, match="slide-scale-missing"):
        require_scale(micrometres)


def test_a_slide_that_was_scanned_coarser_than_10x_is_refused_by_name() -> None:
    assert require_scale((1.02, 1.02)) == (1.02, 1.02)
    with pytest.raises(PermanentFailure, match="slide-too-coarse"):
        require_scale((2.0, 2.0))


def test_levels_that_were_halved_and_cut_keep_the_whole_ratio() -> None:
    blank = np.full((4, 4, 3), 255, np.uint8)
    slide = ArraySlide(
        [np.broadcast_to(blank[:1, :1], (h, w, 3)) for w, h in [(6001, 5001), (3000, 2501), (751, 625), (300, 250)]],
        (0.25, 0.25),
    )
    assert [downsample(slide, n) for n in range(3)] == [(1.0, 1.0), (2.0, 2.0), (8.0, 8.0)]
    assert coarsest_within(slide, 1.0) == 1
    assert coarsest_within(slide, 0.1) == 0


# -- the tissue


@pytest.mark.parametrize(
    "colour",
    [
        stain((EOSIN, 0.3)),
        stain((HAEMATOXYLIN, 0.5), (EOSIN, 0.2)),
        stain((HAEMATOXYLIN, 1.1)),
        stain((DAB, 0.8), (HAEMATOXYLIN, 0.3)),
        stain((HAEMATOXYLIN, 0.25)),
    ],
)
def test_stained_tissue_is_found_on_glass(colour: tuple[int, int, int]) -> None:
    picture = np.full((60, 80, 3), GLASS, np.uint8)
    picture[20:40, 30:60] = colour
    mask = tissue_mask(picture)
    assert mask[21:39, 31:59].all()
    assert mask.sum() <= 20 * 30


@pytest.mark.parametrize(
    ("what", "colour"),
    [
        ("blue pen", (40, 60, 190)),
        ("green pen", (20, 140, 70)),
        ("red pen", (225, 30, 50)),
        ("black pen", (25, 25, 28)),
        ("grey pen", (90, 92, 95)),
        ("black edge", (0, 0, 0)),
        ("dust", (225, 226, 228)),
    ],
)
def test_pens_edges_and_bare_glass_are_no_tissue(what: str, colour: tuple[int, int, int]) -> None:
    picture = np.full((60, 80, 3), GLASS, np.uint8)
    picture[20:40, 30:60] = colour
    assert not tissue_mask(picture).any(), what


def test_glass_with_noise_and_seams_holds_no_tissue() -> None:
    rng = np.random.default_rng(1)
    picture = (np.full((200, 300, 3), GLASS, np.int16) + rng.integers(-5, 6, (200, 300, 3))).astype(np.uint8)
    picture[:, 100] = picture[50] = (200, 170, 190)  # the seams of a scanner's fields
    assert tissue_mask(picture).sum() <= 9  # where they cross


def test_a_slide_full_of_tissue_is_tissue_everywhere() -> None:
    assert tissue_mask(np.full((50, 50, 3), stain((EOSIN, 0.4), (HAEMATOXYLIN, 0.2)), np.uint8))[1:-1, 1:-1].all()


def test_shares_tell_how_much_of_each_patch_is_tissue() -> None:
    mask = np.zeros((100, 200), np.bool_)
    mask[:, :150] = True
    patches = grid((2000, 1000), (1000, 1000))
    assert tissue_shares(mask, (10.0, 10.0), patches, (1000, 1000)) == [1.0, 0.5]
    edge = grid((1500, 1000), (1000, 1000))
    assert tissue_shares(mask, (10.0, 10.0), edge, (1000, 1000)) == [1.0, 0.5]  # half of the second is beyond the slide


# -- the pixels


def test_a_patch_of_the_10x_level_is_that_level_untouched() -> None:
    slide = array_slide(paint(4000, 3600, [(0, 0, 4000, 3600)]))
    patch = grid((4000, 3600), patch_size(slide.micrometres))[1]
    pixels = read_patch(slide, patch, patch_size(slide.micrometres))
    assert (patch.x, patch.y) == (1792, 0)
    assert (pixels == slide.arrays[1][0:896, 896:1792]).all()


def test_beyond_the_edge_a_patch_is_white_and_never_black() -> None:
    slide = array_slide(paint(2000, 1000, [(0, 0, 2000, 1000)]), levels=1)
    size = patch_size(slide.micrometres)
    right = grid((2000, 1000), size)[1]
    pixels = read_patch(slide, right, size)
    assert (right.width, right.height) == (208, 1000)
    assert (pixels[:, 104:] == 255).all()
    assert (pixels[500:] == 255).all()
    assert pixels[:500, :104].mean() < 230


@pytest.mark.parametrize("micrometres", [0.25, 0.2527, 0.46, 0.5, 0.999, 1.05])
def test_whatever_the_scale_a_patch_shows_896_micrometres(micrometres: float) -> None:
    """A step of grey in the middle of the patch stands in its middle."""
    side = patch_size((micrometres, micrometres))[0]
    base = np.full((side + 7, side + 7, 3), 250, np.uint8)
    base[:, : side // 2] = 60
    slide = array_slide(base, micrometres, levels=3 if micrometres < 0.5 else 1)
    pixels = read_patch(slide, grid((side + 7, side + 7), (side, side))[0], (side, side))
    assert pixels.shape == (SIDE, SIDE, 3)
    edge = int(np.argmax(pixels[400, :, 0] > 155))
    assert abs(edge - SIDE / 2) <= 1
    assert (pixels[:, : SIDE // 2 - 2] == 60).all()
    assert (pixels[:, SIDE // 2 + 2 :] == 250).all()


def test_a_pixel_is_the_mean_of_those_it_covers() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 256, (1792, 1792, 3), np.uint8)
    pixels = read_patch(ArraySlide([base], (0.5, 0.5)), SlidePatch(x=0, y=0, width=1792, height=1792), (1792, 1792))
    mean = base.reshape(896, 2, 896, 2, 3).mean(axis=(1, 3))
    assert np.abs(pixels - mean).max() <= 1  # rounded once across and once down


def test_reading_takes_one_patch_at_a_time_of_the_level_next_to_10x() -> None:
    slide = array_slide(paint(7200, 3600, [(0, 0, 7200, 3600)]), 0.25, levels=4)
    size = patch_size(slide.micrometres)
    patches = grid(slide.sizes[0], size)
    for patch in patches:
        read_patch(slide, patch, size)
    assert slide.most <= 896 * 896
    assert slide.read == slide.sizes[2][0] * slide.sizes[2][1]


# -- the overview


def test_the_overview_is_small_and_its_scale_leads_back_to_the_slide() -> None:
    slide = array_slide(paint(6000, 5000, [(1000, 800, 3000, 2600)]))
    pixels, scale = read_overview(slide)
    assert scale == (8.0, 8.0)  # 4 micrometres
    assert pixels.shape == (625, 750, 3)
    found = np.argwhere(tissue_mask(pixels))
    assert found.min(axis=0) * 8 == pytest.approx((800, 1000), abs=16)
    assert found.max(axis=0) * 8 == pytest.approx((2600, 3000), abs=16)


def test_a_slide_without_small_levels_is_read_in_bands_or_refused() -> None:
    base = paint(9000, 2000, [(0, 0, 4000, 2000)])
    one, scale = read_overview(array_slide(base, levels=1))
    assert scale == (8.0, 8.0)
    assert one.shape == (250, 1125, 3)
    huge = np.broadcast_to(np.full((1, 1, 3), 255, np.uint8), (40_000, 40_000, 3))
    with pytest.raises(PermanentFailure, match="slide-without-overview"):
        read_overview(ArraySlide([huge], (0.25, 0.25)))


def test_patches_are_outlined_on_a_copy_of_the_overview() -> None:
    white = np.full((100, 200, 3), 255, np.uint8)
    patches = grid((2000, 1000), (1000, 1000))
    with Image.open(BytesIO(outlined_png(picture_png(white), patches, (10.0, 10.0), patches[1]))) as picture:
        drawn = np.asarray(picture)
    blue = (drawn != 255).any(axis=-1)
    assert blue[0, :100].all()
    assert not blue[2:98, 2:98].any()
    assert blue[2, 100:].all(), "the chosen patch has a thicker outline"


def test_every_step_together_finds_the_two_pieces_of_tissue() -> None:
    slide = array_slide(paint(9000, 6000, [(200, 200, 3500, 3000), (6000, 4000, 8000, 5500)]))
    pixels, scale = read_overview(slide)
    size = patch_size(slide.micrometres)
    patches = grid(slide.sizes[0], size)
    _, chosen = choose_patches(patches, tissue_shares(tissue_mask(pixels), scale, patches, size), 125, "1.2.3")
    places = {(p.x // size[0], p.y // size[1]) for p in chosen}
    assert places == {(0, 0), (1, 0), (0, 1), (1, 1), (3, 2), (4, 2)} | places & {(3, 3), (4, 3)}
    assert all(p.tissue is not None and p.tissue >= 0.15 for p in chosen)
    assert all(read_patch(slide, patch, size).mean() < 238 for patch in chosen)
