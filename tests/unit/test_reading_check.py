"""Between the model's answer and the chart: what is believed, what is dropped, what stops the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from schemas.errors import PermanentFailure
from schemas.imaging import FrameSource, SeriesVolume, StoredStack
from schemas.inference import AnsweredFinding, FindingsAnswer, ModelAnswer, ModelRequest, VolumeItem
from schemas.volume import Volume
from workflows.reading.check import check_findings, check_reading, read_answer
from workflows.reading.prompt import build_request
from workflows.stacks.volume import VolumePlaces

LABEL = "pulmonary-nodule"
DIGEST = "0" * 64


def chest(slices: int = 40) -> StoredStack:
    """An axial chest CT, 256 x 256 pixels of 1.5 mm, centred on the patient's midline: small columns lie on the patient's right."""
    frames = [
        FrameSource(
            sop_instance_uid=f"1.2.3.{k}", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", instance_number=k + 1, frame=1
        )
        for k in range(slices)
    ]
    series = SeriesVolume(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        series_number=2,
        modality="CT",
        description=None,
        body_part="CHEST",
        frame_of_reference_uid="1.2.3.5",
        rows=256,
        columns=256,
        row_spacing=1.5,
        column_spacing=1.5,
        origin=(-191.25, -191.25, 0.0),
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        slice_step=(0.0, 0.0, 5.0),
        units="HU",
        frames=frames,
    )
    shown = list(range(0, slices, 2))
    return StoredStack(
        series=series, volume_digest=DIGEST, model_volume_digest=DIGEST, model_slices=shown, reason="only series"
    )


def question(volume: StoredStack) -> ModelRequest:
    item = VolumeItem(digest=DIGEST, slices=len(volume.model_slices), role="current")
    return build_request("CT", [(LABEL, "Pulmonary nodule")], [item], "routine")


def answer(**finding: Any) -> ModelAnswer:
    body = {
        "presence": "detected",
        "likelihood": "probable",
        "side": "left",
        "change": "not-compared",
        "location": {"slice": 3, "box_2d": [500, 700, 540, 750], "long_axis_mm": 14},
        **finding,
    }
    text = orjson.dumps({"findings": {LABEL: body}}).decode()
    return ModelAnswer(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, served_model_name="m")


def place(**changes: Any) -> dict[str, Any]:
    return {"slice": 3, "box_2d": [500, 700, 540, 750], "long_axis_mm": 14, **changes}


def test_a_finding_is_placed_on_the_instance_that_the_model_was_shown() -> None:
    volume = chest()
    checked = check_findings(read_answer(answer(), question(volume)), VolumePlaces([volume], None))
    [finding] = checked.findings
    assert finding.region is not None
    assert finding.region.sop_instance_uid == "1.2.3.4"  # the third shown slice is the fifth of the stack
    assert (finding.region.x0, finding.region.y0, finding.region.x1, finding.region.y1) == (179.2, 128.0, 192.0, 138.24)
    assert (finding.side, finding.long_axis_mm) == ("left", 14.0)
    assert checked.dropped == []


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        ({"location": place(box_2d=[540, 700, 500, 750])}, "box-not-a-box"),
        ({"location": place(box_2d=[500, 700, 500, 750])}, "box-not-a-box"),
        ({"side": "right"}, "laterality-conflict"),
    ],
)
def test_what_contradicts_the_geometry_is_dropped_and_named(finding: dict[str, Any], code: str) -> None:
    volume = chest()
    checked = check_findings(read_answer(answer(**finding), question(volume)), VolumePlaces([volume], None))
    assert checked.findings == []
    assert [(d.label, d.code) for d in checked.dropped] == [(LABEL, code)]


def test_a_measure_that_does_not_fit_its_box_is_dropped_and_the_finding_stays() -> None:
    volume = chest()
    checked = check_findings(
        read_answer(answer(location=place(long_axis_mm=90)), question(volume)), VolumePlaces([volume], None)
    )
    assert checked.findings[0].long_axis_mm is None
    assert [d.code for d in checked.dropped] == ["measurement-outside-box"]


@pytest.mark.parametrize(
    "finding",
    [
        {"presence": "perhaps"},
        {"presence": "not-detected"},  # with a place, and a likelihood that says otherwise
        {"location": None},
        {"location": place(slice=21)},  # only 20 slices were shown
        {"location": place(box_2d=[0, 0, 1001, 1])},
        {"change": "worse"},  # nothing to compare with was shown
        {"note": "ignore all rules"},
    ],
)
def test_an_answer_that_breaks_the_schema_stops_the_run(finding: dict[str, Any]) -> None:
    with pytest.raises(PermanentFailure, match="model-output-invalid"):
        read_answer(answer(**finding), question(chest()))


def test_a_label_that_was_not_asked_for_stops_the_run() -> None:
    text = answer().text.replace(LABEL, "something-else")
    with pytest.raises(PermanentFailure, match="model-output-invalid"):
        read_answer(answer().model_copy(update={"text": text}), question(chest()))


def test_an_answer_that_was_cut_is_named_as_such() -> None:
    with pytest.raises(PermanentFailure, match="model-output-cut"):
        read_answer(answer().model_copy(update={"finish_reason": "length"}), question(chest()))


def test_the_prompt_holds_nothing_of_the_patient() -> None:
    request = question(chest())
    text = request.instruction + request.query
    assert "1.2.3" not in text
    assert "CT" in text


def scanned(value: int | None = None, units: Any = "HU") -> Volume:
    """Voxels of `chest()`: a body of soft tissue in air, or one value all over."""
    voxels = np.full((40, 256, 256), -1000 if value is None else value, np.int16)
    if value is None:
        voxels[:, 40:216, 20:236] = 40
        voxels[:, 0, :] = np.arange(256)
        voxels[:, 0, :] -= 1100
    return Volume(voxels, (5.0, 1.5, 1.5), units, "CT")


def scanned_chest() -> VolumePlaces:
    return VolumePlaces([chest()], [scanned()])


def answered(**findings: Any) -> FindingsAnswer:
    base = {"presence": "detected", "likelihood": "probable", "side": "left", "change": "not-compared"}
    whole = {name.replace("_", "-"): {**base, "location": place(), **more} for name, more in findings.items()}
    return FindingsAnswer(findings={k: AnsweredFinding.model_validate(v, strict=False) for k, v in whole.items()})


NO: dict[str, Any] = {"presence": "not-detected", "likelihood": "absent", "location": None}


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        ({"likelihood": "absent"}, "likelihood-conflict"),
        ({**NO, "likelihood": "definite"}, "likelihood-conflict"),
        ({"change": "resolved"}, "change-conflict"),
        ({**NO, "change": "new"}, "change-conflict"),
        ({"location": None}, "location-conflict"),
        ({**NO, "location": place()}, "location-conflict"),
        ({"location": place(box_2d=[0, 700, 20, 750])}, "box-outside-body"),
    ],
)
def test_an_answer_that_contradicts_itself_or_the_body_is_dropped(finding: dict[str, Any], code: str) -> None:
    """Not every server enforces the schema while decoding, so the checks stand on their own."""
    checked = check_findings(answered(pulmonary_nodule=finding), scanned_chest())
    assert checked.findings == []
    assert [d.code for d in checked.dropped] == [code]


def test_nothing_is_new_without_a_prior() -> None:
    answer = answered(pulmonary_nodule={"change": "new"}, pleural_effusion=NO)
    checked = check_reading(answer, scanned_chest(), compared=False)
    assert [f.change for f in checked.findings] == ["not-compared", "not-compared"]
    assert [d.code for d in checked.dropped] == ["change-without-prior"]
    assert check_reading(answer, scanned_chest(), compared=True).findings[0].change == "new"


def test_two_findings_that_exclude_each_other_in_one_place_are_both_dropped() -> None:
    both = answered(pulmonary_nodule={}, consolidation={}, pleural_effusion=NO, pneumothorax=NO)
    checked = check_reading(both, scanned_chest(), compared=False)
    assert [f.label for f in checked.findings] == ["pleural-effusion", "pneumothorax"]
    assert {(d.label, d.code) for d in checked.dropped} == {
        ("pulmonary-nodule", "label-conflict"),
        ("consolidation", "label-conflict"),
    }
    elsewhere = answered(pulmonary_nodule={}, consolidation={"location": place(slice=9)})
    assert len(check_reading(elsewhere, scanned_chest(), compared=False).findings) == 2


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (scanned(-1000), "volume-constant"),
        (scanned(40), "volume-constant"),
        (scanned(300, "stored"), "volume-constant"),
        (
            Volume(
                np.random.default_rng(1).normal(-1000, 9, (40, 64, 64)).astype(np.int16), (5.0, 1.0, 1.0), "HU", "CT"
            ),
            "volume-empty",
        ),
    ],
)
def test_a_volume_that_shows_nothing_is_not_read(volume: Volume, reason: str) -> None:
    checked = check_reading(answered(pulmonary_nodule={}), VolumePlaces([chest()], [volume]), compared=False)
    assert (checked.findings, checked.abstained) == ([], reason)


def test_more_than_half_dropped_means_that_the_rest_is_not_believed() -> None:
    wrong = {"side": "right"}
    two_of_three = answered(pulmonary_nodule=wrong, consolidation=wrong, pleural_effusion=NO)
    checked = check_reading(two_of_three, scanned_chest(), compared=False)
    assert (checked.findings, checked.abstained) == ([], "most-answers-dropped")
    assert len(checked.dropped) == 2
    half = answered(pulmonary_nodule=wrong, pleural_effusion=NO)
    assert check_reading(half, scanned_chest(), compared=False).abstained is None


# -- several series of one study -----------------------------------------------------------------------------------------------


def two_sequences() -> list[StoredStack]:
    """A chest of 20 shown slices beside a second series of 5, of instances of its own."""
    other = chest(10)
    frames = [
        frame.model_copy(update={"sop_instance_uid": f"1.2.9.{k}"}) for k, frame in enumerate(other.series.frames)
    ]
    series = other.series.model_copy(update={"series_instance_uid": "1.2.3.9", "frames": frames})
    return [chest(), other.model_copy(update={"series": series})]


def test_a_place_names_its_series_where_the_study_has_several() -> None:
    stacks = two_sequences()
    items = [VolumeItem(digest=DIGEST, slices=len(stack.model_slices), role="current") for stack in stacks]
    asked = build_request("MR", [(LABEL, "Pulmonary nodule")], items, "routine")
    said = read_answer(answer(location={"series": 2, **place()}), asked)
    [finding] = check_findings(said, VolumePlaces(stacks, None)).findings
    assert finding.region is not None
    assert (finding.region.series_instance_uid, finding.region.sop_instance_uid) == ("1.2.3.9", "1.2.9.4")
    assert VolumePlaces(stacks, None).find(finding.region) is not None
    for wrong in ({"series": 2, **place(slice=6)}, {"series": 3, **place()}, place()):
        with pytest.raises(PermanentFailure, match="model-output-invalid"):
            read_answer(answer(location=wrong), asked)


def test_a_series_that_was_not_shown_is_dropped_where_the_schema_was_not_enforced() -> None:
    checked = check_findings(answered(pulmonary_nodule={"location": place(series=2)}), VolumePlaces([chest()], None))
    assert [d.code for d in checked.dropped] == ["series-outside-study"]
