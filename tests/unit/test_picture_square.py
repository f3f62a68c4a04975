"""A box of the model is a box of the radiograph: the way back from the padded square is exact, and what is not on the picture is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.imaging import Square
from workflows.pictures.square import OutsideImage, from_square, square_of, to_square

sides = st.integers(16, 6000)
aspects = st.sampled_from([1.0, 1.0, 0.5, 0.8, 1.25, 2.0, 3.99])


@st.composite
def squares(draw: st.DrawFn) -> Square:
    return square_of(draw(sides), draw(sides), draw(aspects))


def forward(x: float, y: float, square: Square) -> tuple[float, float]:
    """A point of the source frame in thousandths of the square, as the picture is drawn into it."""
    drawn_x, drawn_y = x * square.width / square.columns, y * square.height / square.rows
    return (drawn_x + square.left) * 1000 / square.side, (drawn_y + square.top) * 1000 / square.side


@given(square=squares(), data=st.data())
def test_there_and_back_is_the_same_box_but_for_the_rounding_to_thousandths(
    square: Square, data: st.DataObject
) -> None:
    """The answer's grid is a thousandth of the side: the way back adds nothing to half of that."""
    x0, x1 = sorted(data.draw(st.tuples(*[st.floats(0, square.columns)] * 2)))
    y0, y1 = sorted(data.draw(st.tuples(*[st.floats(0, square.rows)] * 2)))
    (left, top), (right, bottom) = forward(x0, y0, square), forward(x1, y1, square)
    box = round(top), round(left), round(bottom), round(right)
    assume(box[0] < box[2] and box[1] < box[3])
    try:
        back = from_square(box, square)
    except OutsideImage:  # a sliver on the edge that was rounded off the picture
        assert min(x1, y1, square.columns - x0, square.rows - y0) < max(square.rows, square.columns) / 500
        return
    half_x, half_y = (0.5 * square.side / 1000 * source / drawn for source, drawn in _axes(square))
    for found, meant, half in zip(back, (x0, y0, x1, y1), (half_x, half_y, half_x, half_y), strict=True):
        assert abs(found - meant) <= half + 1e-6


@given(square=squares(), data=st.data())
def test_a_box_on_the_grid_comes_back_within_half_a_source_pixel(square: Square, data: st.DataObject) -> None:
    """Back and there again: the very thousandths that the model said."""
    xs = st.integers(-(-square.left * 1000 // square.side), (square.left + square.width) * 1000 // square.side)
    ys = st.integers(-(-square.top * 1000 // square.side), (square.top + square.height) * 1000 // square.side)
    x0, x1 = sorted(data.draw(st.tuples(xs, xs)))
    y0, y1 = sorted(data.draw(st.tuples(ys, ys)))
    assume(x0 < x1 and y0 < y1)
    left, top, right, bottom = from_square((y0, x0, y1, x1), square)
    assert 0 <= left < right <= square.columns
    assert 0 <= top < bottom <= square.rows
    for (x, y), meant in (((left, top), (x0, y0)), ((right, bottom), (x1, y1))):
        again = forward(x, y, square)
        for there, said, (source, drawn) in zip(again, meant, _axes(square), strict=True):
            assert abs(there - said) * square.side / 1000 * source / drawn <= 0.5 * 1e-6


def _axes(square: Square) -> tuple[tuple[int, int], tuple[int, int]]:
    return (square.columns, square.width), (square.rows, square.height)


@given(square=squares(), data=st.data())
def test_a_box_in_the_padding_is_refused(square: Square, data: st.DataObject) -> None:
    """Whatever lies more than a thousandth beyond the picture was not drawn on it."""
    box = data.draw(st.tuples(*[st.integers(0, 1000)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3]))
    y0, x0, y1, x1 = (value * square.side / 1000 for value in box)
    step = square.side / 1000 + 1e-9
    right, below = square.left + square.width, square.top + square.height
    inside = x0 >= square.left and x1 <= right and y0 >= square.top and y1 <= below
    beyond = x0 < square.left - step or x1 > right + step or y0 < square.top - step or y1 > below + step
    if inside:
        from_square(box, square)
    if beyond:
        with pytest.raises(OutsideImage):
            from_square(box, square)


@settings(max_examples=40)
@given(rows=st.integers(8, 90), columns=st.integers(8, 90), data=st.data())
def test_what_is_painted_on_the_picture_is_found_where_the_box_says(
    rows: int, columns: int, data: st.DataObject
) -> None:
    """By pixels, not by formula: a bright rectangle, its place in the padded picture, and the box back."""
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, columns)] * 2).filter(lambda pair: pair[0] != pair[1])))
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, rows)] * 2).filter(lambda pair: pair[0] != pair[1])))
    picture = np.full((rows, columns, 1), 60, np.uint8)
    picture[y0:y1, x0:x1] = 255
    square = square_of(rows, columns, 1.0)
    padded = to_square(picture, square)[..., 0]
    assert padded.shape == (square.side, square.side)
    down, across = (np.flatnonzero((padded == 255).any(axis=axis)) for axis in (1, 0))
    thousandths = 1000 / square.side
    box = (down[0] * thousandths, across[0] * thousandths, (down[-1] + 1) * thousandths, (across[-1] + 1) * thousandths)
    np.testing.assert_allclose(from_square(box, square), (x0, y0, x1, y1), atol=1e-6)  # type: ignore[arg-type]
    assert np.count_nonzero(padded == 0) == square.side**2 - rows * columns


def test_the_padding_is_the_published_one() -> None:
    """Black, half on each side, the odd pixel to the right or below."""
    tall = to_square(np.full((5, 2, 1), 9, np.uint8), square_of(5, 2, 1.0))[..., 0]
    np.testing.assert_array_equal(tall[0], [0, 9, 9, 0, 0])
    wide = to_square(np.full((2, 5, 1), 9, np.uint8), square_of(2, 5, 1.0))[..., 0]
    np.testing.assert_array_equal(wide[:, 0], [0, 9, 9, 0, 0])


def test_a_box_that_was_rounded_over_the_edge_is_held_there_and_one_further_out_is_not() -> None:
    """A film of 2000 x 1500 in a square of 2000: the picture begins at 125 thousandths and ends at 875."""
    square = square_of(2000, 1500, 1.0)
    assert from_square((100, 125, 900, 875), square) == (0, 200, 1500, 1800)
    assert from_square((100, 124, 900, 876), square) == (0, 200, 1500, 1800)
    for box in [
        (100, 123, 900, 875),
        (100, 125, 900, 877),
        (100, 0, 900, 120),
        (100, 124, 900, 125),
        (0, 880, 1000, 990),
    ]:
        with pytest.raises(OutsideImage):
            from_square(box, square)


def test_pixels_that_are_not_square_are_drawn_square() -> None:
    """Rows twice as far apart as columns: drawn twice as high, so a circle is a circle, and a box comes back to the rows it came from."""
    square = square_of(100, 200, 2.0)
    assert (square.height, square.width, square.side) == (200, 200, 200)
    picture = np.zeros((100, 200, 1), np.uint8)
    picture[40:60, 80:120] = 255
    drawn = to_square(picture, square)[..., 0]
    assert drawn.shape == (200, 200)
    assert np.count_nonzero(drawn > 127) == pytest.approx(40 * 40, rel=0.05)
    assert from_square((400, 400, 600, 600), square) == (80, 40, 120, 60)


@pytest.mark.parametrize("aspect", [0.2, 5.0])
def test_a_picture_stretched_beyond_reason_is_refused(aspect: float) -> None:
    with pytest.raises(PermanentFailure, match="picture-aspect"):
        square_of(100, 100, aspect)
