"""An MR study is its contrasts: which series are read together, each once, and how many slices of each the model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.imaging import StoredStack, StudyInventory
from schemas.volume import decode_volume
from services.store import FolderObjectStore
from tests.unit.archive_samples import RELEASE, Shelf, inventory
from tests.unit.series_samples import file_of, noise, stack
from workflows.series import choose_series, header_of, named_contrast, sequences_of, shares
from workflows.series.attributes import DatasetAttributes
from workflows.series.contrast import contrast_of, timing_of
from workflows.stacks.kind import Sources
from workflows.stacks.volume import VolumeKind


def study(*series: tuple[str | None, int], modality: str = "MR") -> StudyInventory:
    return inventory(*[(modality, text, count) for text, count in series])


def shown(found: StudyInventory, like: str | None = None) -> list[list[int | None]]:
    return [[choice.series.series_number for choice in slot] for slot in sequences_of(choose_series(found), like)]


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("AX T1 SE", "T1"),
        ("t1_mprage_sag_p2_iso", "T1"),
        ("SAG T1 FSE +C", "T1 with contrast"),
        ("ax_t1_post_gad", "T1 with contrast"),
        ("POST T1 AXIAL", "T1 with contrast"),
        ("T1 AX WITHOUT CONTRAST", "T1"),
        ("t2_tse_tra_320", "T2"),
        ("ax_t2", "T2"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("COR STIR", "STIR"),
        ("ep2d_diff_3scan_trace_TRACEW", "DWI"),
        ("ep2d_diff_3scan_ADC", None),
        ("SWI_Images", "SWI"),
        ("PD TSE FS SAG", "PD"),
        ("T1 tra sans injection", "T1"),
        ("T1 SE axial gadolinium", "T1 with contrast"),
        ("t1_se_tra_KM", "T1 with contrast"),
        ("3-plane loc", None),
        ("difficult patient", None),
        ("swimmer view", None),
        (None, None),
    ],
)
def test_the_contrast_by_its_words(description: str | None, contrast: str | None) -> None:
    assert named_contrast(description) == contrast


def headers(**tags: object) -> list[DatasetAttributes]:
    return [DatasetAttributes(each) for each in stack(noise(3), modality="MR", **tags)]


SPIN = {"ScanningSequence": ["SE"]}
INVERSION = {"ScanningSequence": ["SE", "IR"]}


@pytest.mark.parametrize(
    ("tags", "named", "contrast"),
    [
        ({**SPIN, "RepetitionTime": 500, "EchoTime": 12}, "HEAD 1", "T1"),
        (
            {**SPIN, "RepetitionTime": 500, "EchoTime": 12, "ContrastBolusAgent": "Gadovist"},
            "AX T1",
            "T1 with contrast",
        ),
        ({**SPIN, "RepetitionTime": 500, "EchoTime": 12}, "AX T1 +C", "T1 with contrast"),
        ({**SPIN, "RepetitionTime": 4500, "EchoTime": 98}, "AX T1", "T2"),
        ({**SPIN, "RepetitionTime": 4500, "EchoTime": 98}, None, "T2"),
        ({**INVERSION, "RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2500}, "AX T2", "FLAIR"),
        ({**INVERSION, "RepetitionTime": 4000, "EchoTime": 45, "InversionTime": 150}, "COR T2 FS", "STIR"),
        ({"ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 3, "InversionTime": 900}, "3D", "T1"),
        ({"ScanningSequence": ["EP", "SE"], "RepetitionTime": 5000, "EchoTime": 90}, "ep2d_diff", "DWI"),
        ({"DiffusionBValue": 1000.0}, "AX T2", "DWI"),
        ({"DiffusionBValue": 0.0, **SPIN, "RepetitionTime": 4500, "EchoTime": 98}, None, "T2"),
        ({"ScanningSequence": ["GR"], "RepetitionTime": 600, "EchoTime": 20}, "T2*", "SWI"),
        ({**SPIN, "RepetitionTime": 1500, "EchoTime": 45}, "PD FS", "PD"),
        ({**SPIN, "RepetitionTime": float("nan"), "EchoTime": 98}, "T2", "T2"),
        ({"DiffusionBValue": 1000.0}, "ep2d_ADC", None),
        ({}, "AX FLAIR", "FLAIR"),
    ],
)
def test_timing_tells_the_contrast_and_words_count_as_far_as_they_agree(
    tags: dict[str, object], named: str | None, contrast: str | None
) -> None:
    assert contrast_of(named, timing_of(headers(**tags))) == contrast


def test_a_study_whose_descriptions_say_nothing_is_told_apart_by_its_headers() -> None:
    found = study(("HEAD 1", 24), ("HEAD 2", 24))
    timed = [{"RepetitionTime": 4500, "EchoTime": 98}, {"RepetitionTime": 500, "EchoTime": 12}]
    known = {
        one.series_instance_uid: header_of(headers(**SPIN, **tags))
        for one, tags in zip(found.series, timed, strict=True)
    }
    stacks = sequences_of(choose_series(found, headers=known))
    assert [[choice.contrast for choice in slot] for slot in stacks] == [["T1"], ["T2"]]


def test_one_series_of_each_contrast_in_a_fixed_order() -> None:
    found = study(
        ("3-plane LOC", 9), ("AX T2 FLAIR", 24), ("AX T1", 24), ("ep2d_diff_trace", 24), ("AX T2", 24), ("AX T2 repeat", 30)
    )  # fmt: skip
    assert shown(found) == [[3], [6, 5], [2], [4]]


def test_of_many_contrasts_those_are_kept_in_which_lesions_stand_out() -> None:
    found = study(("T1", 20), ("T1 +C", 20), ("T2", 20), ("FLAIR", 20), ("DWI", 20), ("SWI", 20))
    assert shown(found) == [[2], [3], [4], [5]]


def test_a_study_whose_series_name_no_contrast_is_read_as_one() -> None:
    assert shown(study(("head", 20), (None, 30))) == [[2, 1]]
    assert shown(study(("T1 recon", 20), ("thorax", 300), modality="CT")) == [[2, 1]]


def test_the_contrast_that_a_prior_is_compared_by_comes_first() -> None:
    found = study(("T1", 20), ("T2", 20), ("FLAIR", 20))
    assert shown(found, "FLAIR") == [[3], [1], [2]]
    assert shown(found, "SWI") == [[1], [2], [3]]


@given(depths=st.lists(st.integers(1, 400), min_size=1, max_size=4), most=st.integers(4, 200))
def test_all_stacks_together_show_no_more_than_one_may(depths: list[int], most: int) -> None:
    parts = shares(depths, most)
    assert sum(parts) == min(most, sum(depths))
    assert all(1 <= part <= depth for part, depth in zip(parts, depths, strict=True))
    cut = [part for part, depth in zip(parts, depths, strict=True) if part < depth]
    assert not cut or max(cut) - min(cut) <= 1


# -- fetched ----------------------------------------------------------------------------------------------------------


def series(number: int, description: str, slices: int, *, top: int = 900, missing: int | None = None) -> list[bytes]:
    tags = {
        "modality": "MR",
        "SeriesInstanceUID": f"1.2.{number}",
        "SeriesDescription": description,
        "SeriesNumber": number,
    }
    files = [file_of(dataset) for dataset in stack(noise(slices, top=top), **tags)]
    return [data for k, data in enumerate(files) if k != missing]


def fetch(tmp_path: Path, shelf: Shelf, found: StudyInventory) -> tuple[FolderObjectStore, list[StoredStack]]:
    store = FolderObjectStore(tmp_path)
    sources = Sources(archive=shelf, store=store, text_in_pixels=None)  # type: ignore[arg-type]
    return store, VolumeKind().fetch(sources, found, RELEASE, None).stacks


def test_each_contrast_is_a_stack_of_its_own_with_its_share_of_the_slices(tmp_path: Path) -> None:
    shelf = Shelf(
        **{
            "1.2.1": series(1, "AX T1", 60),
            "1.2.2": series(2, "AX T2", 60, top=3000),
            "1.2.3": series(3, "AX FLAIR", 10),
        }
    )
    store, stacks = fetch(tmp_path, shelf, study(("AX T1", 60), ("AX T2", 60), ("AX FLAIR", 10)))
    assert [stack.series.description for stack in stacks] == ["AX T1", "AX T2", "AX FLAIR"]
    assert [len(stack.model_slices) for stack in stacks] == [37, 38, 10]
    assert stacks[0].reason.startswith("T1, MR, acquired")
    for each in stacks:
        seen = decode_volume(store.get(each.model_volume_digest)).voxels
        np.testing.assert_array_equal(seen, decode_volume(store.get(each.volume_digest)).voxels[each.model_slices])


def test_a_contrast_that_is_no_plain_grid_leaves_the_others(tmp_path: Path) -> None:
    shelf = Shelf(**{"1.2.1": series(1, "AX T1", 12), "1.2.2": series(2, "AX T2", 12, missing=5)})
    _, stacks = fetch(tmp_path, shelf, study(("AX T1", 12), ("AX T2", 11)))
    assert [stack.series.description for stack in stacks] == ["AX T1"]


def test_where_no_contrast_can_be_read_the_study_is_refused_by_name_and_nothing_is_asked_for_twice(
    tmp_path: Path,
) -> None:
    shelf = Shelf(**{"1.2.1": series(1, "AX T1", 12, missing=4), "1.2.2": series(2, "AX T2", 12, missing=5)})
    with pytest.raises(PermanentFailure, match="geometry-gap"):
        fetch(tmp_path, shelf, study(("AX T1", 11), ("AX T2", 11)))
    assert sorted(shelf.asked) == ["1.2.1", "1.2.2"]
