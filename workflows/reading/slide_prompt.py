"""The words of the question about a whole slide: text first, then the patches, then what is asked (the order published for MedGemma 1.5)."""

from __future__ import annotations

SLIDE_INSTRUCTION = (
    "You are reading a whole slide of pathology{specimen}. It is shown as patches of 896 x 896 micrometres at 10x, row by row from the upper left "
    "corner of the slide; patch numbers count from 1 {within}. Judge from the images alone."
)
ONE_SLIDE, SEVERAL_SLIDES = "over all patches", "within each slide"
SLIDE = "SLIDE {number}{specimen}"
SLIDE_QUERY = (
    "For each of these findings say whether it is there, how likely and where: {labels}. {series}slice is the number of the patch that shows it "
    "best; box_2d is [y0, x0, y1, x1] in thousandths of the patch's height and width. side is not-applicable. Answer with the JSON object alone."
)
SERIES_OF_SLIDES = "series is the number of the slide. "
SLIDE_TEMPLATE = [
    "## Whole slides",
    SLIDE_INSTRUCTION,
    ONE_SLIDE,
    SEVERAL_SLIDES,
    SLIDE,
    SLIDE_QUERY,
    SERIES_OF_SLIDES,
]
"""What is published of it in the prompt's DocumentReference."""
