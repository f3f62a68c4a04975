"""Which series of a study is read, what is said of the others, and what is not denied since nobody looked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import PartUnavailable
from schemas.imaging import StudyInventory
from schemas.outcomes import SeriesOutcome, Unanswered
from schemas.report import Finding
from services.series_table import series_table
from services.settings import Settings
from services.store import FolderObjectStore
from tests.unit.archive_samples import RELEASE, Shelf, inventory
from tests.unit.series_samples import file_of, noise, stack
from workflows.reading.check import CheckedAnswer, without_denials
from workflows.report.series_text import series_sentences
from workflows.stacks.account import Fetched, NothingRead, whole_account
from workflows.stacks.kind import Sources
from workflows.stacks.volume import VolumeKind

ACQUIRED, MPR = ["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"]


def series(number: int, slices: int, missing: int | None = None, **tags: Any) -> list[bytes]:
    """One series as a scanner sends it; without slice `missing` it is refused."""
    tags = {
        "SeriesInstanceUID": f"1.2.{number}",
        "SeriesNumber": number,
        "SliceThickness": 5.0,
        "BodyPartExamined": "HEAD",
        **tags,
    }
    files = [file_of(dataset) for dataset in stack(noise(slices, 4, 4), **tags)]
    return [data for k, data in enumerate(files) if k != missing]


def fetch(
    folder: Path, *held: list[bytes], texts: tuple[str | None, ...] = (), region: str = "head", **more: Any
) -> Fetched:
    study = study_of(held, texts)
    shelf = Shelf(**{f"1.2.{number}": files for number, files in enumerate(held, start=1)})
    sources = Sources(archive=shelf, store=FolderObjectStore(folder), text_in_pixels=None, **more)  # type: ignore[arg-type]
    return VolumeKind().fetch(sources, study, RELEASE, None, region)


def study_of(held: tuple[list[bytes], ...], texts: tuple[str | None, ...], modality: str = "CT") -> StudyInventory:
    names = [*texts, *[None] * len(held)][: len(held)]
    return inventory(*[(modality, text, len(files)) for text, files in zip(names, held, strict=True)])


def told(rows: list[SeriesOutcome]) -> dict[int | None, tuple[str, str]]:
    return {row.number: (row.outcome, row.code) for row in rows}


def test_the_soft_kernel_is_read_for_a_head_though_the_bone_kernel_has_more_images(tmp_path: Path) -> None:
    brain, bone = series(1, 8, ConvolutionKernel="H30s"), series(2, 40, ConvolutionKernel="H60s")
    found = fetch(tmp_path, brain, bone)
    assert told(found.rows) == {1: ("read", "read"), 2: ("left-out", "another-preferred")}
    assert not found.stacks[0].unanswered


def test_a_bone_kernel_alone_denies_nothing_of_the_brain(tmp_path: Path) -> None:
    found = fetch(tmp_path, series(1, 12, ConvolutionKernel="BONEPLUS"))
    assert [each.code for each in found.stacks[0].unanswered] == ["kernel-sharp"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImageType": MPR}, "derived"),
        ({"ImageType": ["DERIVED", "PRIMARY", "RCBF"], "RescaleType": "US"}, "quantitative-map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen-capture"),
    ],
)
def test_what_is_no_acquired_stack_is_left_out_with_its_reason(tmp_path: Path, tags: dict[str, Any], code: str) -> None:
    """Each has more images than the acquired series, and a name that says nothing."""
    found = fetch(tmp_path, series(1, 10), series(2, 30, **tags))
    assert told(found.rows) == {1: ("read", "read"), 2: ("left-out", code)}


def test_the_attributes_count_more_than_words(tmp_path: Path) -> None:
    """ "Average" and "3D" stand in the names of acquired series, too."""
    found = fetch(
        tmp_path, series(1, 30, ImageType=ACQUIRED), series(2, 12, ImageType=ACQUIRED), texts=("Average HEAD 3D", "AX")
    )
    assert told(found.rows)[1] == ("read", "read")


def test_a_perfusion_map_alone_is_not_read_as_a_ct(tmp_path: Path) -> None:
    with pytest.raises(NothingRead) as refused:
        fetch(tmp_path, series(1, 12, RescaleType="US"))
    assert told(refused.value.rows) == {1: ("left-out", "quantitative-map")}


def test_a_stand_in_that_reaches_less_far_denies_nothing(tmp_path: Path) -> None:
    """The lung with a slice missing; eight slices of the upper abdomen are read in its place."""
    lung, abdomen = series(1, 60, missing=30), series(2, 8)
    found = fetch(tmp_path, lung, abdomen, region="chest")
    assert told(found.rows) == {1: ("refused", "geometry-gap"), 2: ("read", "read")}
    assert [each.code for each in found.stacks[0].unanswered] == ["stand-in"]


def test_a_stand_in_that_reaches_as_far_is_as_good(tmp_path: Path) -> None:
    thin, thick = series(1, 41, missing=30), series(2, 21)
    thick = [
        file_of(dataset) for dataset in stack(noise(21, 4, 4), gap=10.0, SeriesInstanceUID="1.2.2", SeriesNumber=2)
    ]
    assert not fetch(tmp_path, thin, thick).stacks[0].unanswered


def test_a_sequence_that_was_not_read_is_missed_where_it_shows_most(tmp_path: Path) -> None:
    tags = {"modality": "MR"}
    flair, dwi = (
        series(1, 12, SeriesDescription="AX FLAIR", **tags),
        series(2, 12, missing=5, SeriesDescription="DWI b1000", **tags),
    )
    shelf = Shelf(**{"1.2.1": flair, "1.2.2": dwi})
    sources = Sources(archive=shelf, store=FolderObjectStore(tmp_path), text_in_pixels=None)  # type: ignore[arg-type]
    study = study_of((flair, dwi), ("AX FLAIR", "DWI b1000"), "MR")
    found = VolumeKind().fetch(sources, study, RELEASE, None, "head")
    assert told(found.rows) == {1: ("read", "read"), 2: ("refused", "geometry-gap")}
    assert Unanswered(code="contrast-not-read", labels=["brain-lesion"]) in found.stacks[0].unanswered


@pytest.mark.parametrize("what", ["derived", "localizer", "refused"])
@settings(max_examples=12, deadline=None)
@given(first=st.integers(8, 20), second=st.integers(8, 20), more=st.integers(8, 30), seed=st.integers(0, 99))
def test_one_more_series_never_changes_what_is_read_of_the_rest(
    tmp_path_factory: pytest.TempPathFactory, what: str, first: int, second: int, more: int, seed: int
) -> None:
    """It is named, and that is all."""
    tags: dict[str, Any] = {
        "derived": {"ImageType": MPR}, "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "refused": {"missing": 4},
    }[what]  # fmt: skip
    folder = tmp_path_factory.mktemp("study")
    held = [series(1, first), series(2, second)]
    random.Random(seed).shuffle(held)
    alone = fetch(folder, *held)
    beside = fetch(folder, *held, series(3, more, **tags))
    assert [stack.volume_digest for stack in beside.stacks] == [stack.volume_digest for stack in alone.stacks]
    rows = told(beside.rows)
    assert rows.pop(3)[0] in ("left-out", "refused")
    assert {number: outcome for number, (outcome, _) in rows.items()} == {
        n: o for n, (o, _) in told(alone.rows).items()
    }


def test_every_series_of_the_study_is_in_its_account_once() -> None:
    study = inventory(("CT", "AX", 20), ("DX", None, 1), ("SR", None, 1), ("CT", "empty", 0))
    rows = whole_account(study, ("CT", "MR", "PT"), [])
    assert told(rows) == {
        1: ("left-out", "not-needed"), 2: ("left-out", "other-kind"), 3: ("left-out", "other-kind"), 4: ("left-out", "no-images"),
    }  # fmt: skip


def test_one_series_of_two_diffusion_weights_is_read_at_the_greater(tmp_path: Path) -> None:
    both = []
    for weight in (0, 1000):
        for k, dataset in enumerate(stack(noise(10, 4, 4) + weight, modality="MR", SeriesInstanceUID="1.2.1")):
            dataset.SOPInstanceUID, dataset.DiffusionBValue = f"1.2.9.{weight}.{k}", float(weight)
            both.append(file_of(dataset))
    found = fetch(tmp_path, both)  # as CT of the inventory: it is the images that say what they are
    assert "10 images of another diffusion weight (0 s/mm2; read: 1000 s/mm2)" in found.rows[0].reason


def denied(label: str) -> Finding:
    return Finding(
        label=label, presence="not-detected", likelihood="absent", side=None, region=None, long_axis_mm=None, change="not-compared"
    )  # fmt: skip


def test_nothing_is_denied_that_was_not_looked_at() -> None:
    seen = denied("mass-effect").model_copy(update={"presence": "detected", "likelihood": "probable"})
    answered = CheckedAnswer([denied("brain-lesion"), denied("intracranial-haemorrhage"), seen], [])
    some = without_denials(answered, [Unanswered(code="contrast-not-read", labels=["brain-lesion"])])
    assert [f.label for f in some.findings] == ["intracranial-haemorrhage", "mass-effect"]
    assert [(d.label, d.code) for d in some.dropped] == [("brain-lesion", "contrast-not-read")]
    assert some.abstained is None
    none = without_denials(CheckedAnswer([denied("brain-lesion")], []), [Unanswered(code="stand-in")])
    assert (none.findings, none.abstained) == ([], "not-looked-at")


def test_a_site_puts_its_own_table_in_place_of_ours(tmp_path: Path) -> None:
    """It reads the reformats of one scanner before its thin slices."""
    own = tmp_path / "table.json"
    site = Settings(series_table_file=str(own))
    own.write_text(
        '{"version": "site-1", "rules": [{"code": "wanted", "says": "what the site wants", "rank": 0, "image_type": ["MPR"]},'
        '{"code": "rest", "says": "the rest", "rank": 1}]}'
    )
    found = fetch(tmp_path, series(1, 30), series(2, 10, ImageType=MPR), series_table=series_table(site))
    assert told(found.rows)[2] == ("read", "read")
    own.write_text('{"version": "site-1", "rules": [{"code": "x", "says": "y", "rank": 0, "imagetype": ["MPR"]}]}')
    with pytest.raises(PartUnavailable, match="series-table"):
        series_table(site)


def test_a_sites_own_words_for_a_reformat_do_not_change_its_code(tmp_path: Path) -> None:
    """As in the example of docs/series.md."""
    own = tmp_path / "table.json"
    own.write_text(
        '{"version": "site-1", "rules": [{"code": "derived", "says": "a reformat", "rank": 2, "image_type": ["MPR"]},'
        '{"code": "acquired", "says": "acquired", "rank": 0}]}'
    )
    table = series_table(Settings(series_table_file=str(own)))
    found = fetch(tmp_path, series(1, 10), series(2, 30, ImageType=MPR), series_table=table)
    assert told(found.rows)[2] == ("left-out", "derived")


def test_the_account_is_told_in_sentences_that_quote_what_the_archive_wrote() -> None:
    def row(number: int, text: str | None, outcome: Any, reason: str) -> SeriesOutcome:
        return SeriesOutcome(
            series_instance_uid=f"1.{number}", number=number, description=text, modality="CT", instances=7, outcome=outcome, code="c", reason=reason
        )  # fmt: skip

    rows = [
        row(1, 'AX "5"\n' + "x" * 90, "read", "why"),
        row(2, None, "refused", "a slice is missing."),
        row(3, "LOC", "left-out", "a localizer"),
    ]
    read, refused, left_out = series_sentences(rows)
    assert read.startswith("Images read: series 1 \"AX '5' xx")
    assert read.endswith('…": 7 instances, why.')
    assert refused == "Could not be read: series 2: a slice is missing."
    assert left_out == 'Left out: series 3 "LOC": a localizer.'
    assert len(series_sentences([row(n, None, "left-out", "r") for n in range(40)])[0]) < 1200
