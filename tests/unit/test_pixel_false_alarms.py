"""An alarm on clean images teaches people to ignore alarms: studies without any text in their pixels raise none, and say nothing of letters."""

from __future__ import annotations

import numpy as np

from schemas.pictures import Pictures
from schemas.report import Reading
from schemas.volume import Volume, model_slices
from services.clients.pixel_text import OcrTextInPixels
from services.demo.story import phantom_story
from tests.integration.films import projections
from workflows.report.text import caution_sentences
from workflows.series import read_series
from workflows.stacks.cautions import grey, search_pixels

READER = OcrTextInPixels()
SEED = 8
"""Of the phantom whose slices were once said to have letters, and marks that nobody had read."""


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
