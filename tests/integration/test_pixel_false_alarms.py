"""An alarm on clean images teaches people to ignore alarms: at most one of a hundred studies without text raises one, real CT and MR included."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from schemas.pictures import Pictures
from schemas.report import Reading
from schemas.volume import Volume, model_slices
from services.clients.pixel_text import OcrTextInPixels
from services.demo.story import phantom_story
from tests.integration.films import projections
from workflows.report.text import caution_sentences
from workflows.series import read_series
from workflows.stacks.cautions import grey, search_pixels

pytestmark = pytest.mark.integration
READER = OcrTextInPixels()
SEED = 8
"""Of the phantom whose slices were once said to have letters, and marks that nobody had read."""
MOST_ALARMS = 0.01
TURNS = (((0, 1, 2), 1), ((0, 2, 1), 1), ((2, 0, 1), 2))
"""Real stacks cut the other ways, turned and halved: what is along a row, and how sharp it is, is what the search looks at."""


def alarms(pixels: Volume, most: int = 85) -> list[str]:
    """What a reader would be told of the study's pixels, of which the model was shown so many slices."""
    shown = model_slices(len(pixels.voxels), most)
    part = Volume(np.ascontiguousarray(pixels.voxels[shown]), pixels.spacing, pixels.units, pixels.modality)
    cautions, search = search_pixels(part, shown, READER, "")
    reading = Reading(
        findings=[], dropped=[], prior_study_instance_uid=None, not_compared_reason=None, evidence=[], abstained=None,
        cautions=cautions, text_search=search,
    )  # fmt: skip
    return caution_sentences(reading)


def test_the_demonstrations_chest_has_no_letters() -> None:
    story = phantom_story(SEED, "https://ai.example.org/fhir", "urn:accession")
    assert [alarms(read_series(study.files)[1]) for study in story.studies] == [[], []]


def test_films_have_no_letters() -> None:
    films = [Pictures((film >> 4).astype(np.uint8)[None, ..., None], "DX") for film in projections(14.0)]
    assert [alarms(grey(film)) for film in films] == [[], []]


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 3])
def test_the_phantoms_that_once_raised_alarms_raise_none(seed: int) -> None:
    story = phantom_story(seed, "https://ai.example.org/fhir", "urn:accession")
    assert [alarms(read_series(study.files)[1]) for study in story.studies] == [[], []]


@pytest.mark.long
def test_at_most_one_real_study_in_a_hundred_raises_an_alarm(test_data: Path) -> None:
    told = [alarms(study, 30) for study in real_studies(test_data)]
    print(f"alarms on real CT and MR: {sum(map(bool, told))} of {len(told)}")
    assert sum(map(bool, told)) <= MOST_ALARMS * len(told)


def real_studies(folder: Path) -> Iterator[Volume]:
    for study in sorted([*(folder / "ct").iterdir(), *(folder / "mr").iterdir()]):
        whole = stack_of(study)
        for axes, step in TURNS:
            turned = whole.voxels.transpose(axes)[:, ::step, ::step]
            if min(turned.shape[1:]) >= 100:
                yield Volume(turned, whole.spacing, whole.units, whole.modality)


@cache
def stack_of(folder: Path) -> Volume:
    """Every image as it lies there, by its number: a tilted gantry makes no plain grid, and is looked at all the same."""
    images = sorted((dcmread(file) for file in folder.rglob("*") if file.is_file()), key=lambda one: one.InstanceNumber)
    values = [
        one.pixel_array * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        for one in images
        if (one.Rows, one.Columns) == (images[0].Rows, images[0].Columns)
    ]
    modality = str(images[0].Modality)
    return Volume(np.stack(values).astype(np.int16), (1.0, 1.0, 1.0), "HU" if modality == "CT" else "stored", modality)
