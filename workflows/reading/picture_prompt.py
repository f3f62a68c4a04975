"""The words around radiographs, as published: earlier picture, current picture, text, with nothing before or between them.

Several views are named, because a place must say which of them it is on.
"""

from __future__ import annotations

from schemas.inference import MAX_LONG_AXIS_MM, VolumeItem

PICTURE = "STUDY {study}, IMAGE {image}"
ONE_PICTURE = "This is a radiograph of a patient. "
PAIR = "The first image is an earlier radiograph of the patient, the second the current one. "
PICTURES = "These are the radiographs of one study of a patient. "
COMPARED = "Images of study 1 are earlier radiographs of the patient, those of study 2 the current ones. "
PICTURE_QUERY = (
    "{which}Judge from the images alone. Left and right are the patient's. For each of these findings say whether it is there, how likely, on which "
    "side, where and how it changed: {labels}. Boxes belong to the current {image}; slice is 1. {series}box_2d is [y0, x0, y1, x1] in thousandths of "
    f"the image's height and width; long_axis_mm is the longest diameter in millimetres, at most {MAX_LONG_AXIS_MM}. "
    "Answer with the JSON object alone."
)
SEVERAL_PICTURES = "series is the number of the image within the current study. "
PICTURE_WORDS = (ONE_PICTURE, PAIR, PICTURES, COMPARED, PICTURE_QUERY, SEVERAL_PICTURES)


def picture_headings(pictures: list[int]) -> list[list[str]]:
    """What stands before each radiograph, of studies of so many, the earlier first. A single one, or a pair, is not named: so it was published."""
    if max(pictures) == 1:
        return [[""] for _ in pictures]
    return [
        [PICTURE.format(study=study, image=image) for image in range(1, count + 1)]
        for study, count in enumerate(pictures, start=1)
    ]


def picture_query(labels: str, pictures: list[VolumeItem]) -> str:
    """What is asked after the last of `pictures`, the current ones last; `labels` as they are to be named."""
    current = sum(picture.role == "current" for picture in pictures)
    compared, named = len(pictures) > current, len(pictures) > 2 or current > 1
    which = (COMPARED if named else PAIR) if compared else (PICTURES if named else ONE_PICTURE)
    return PICTURE_QUERY.format(
        which=which,
        labels=labels,
        image="study" if current > 1 else "image",
        series=SEVERAL_PICTURES if current > 1 else "",
    )
