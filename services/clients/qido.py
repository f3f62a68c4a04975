"""Answers of QIDO-RS (PS3.18 section 10.6, JSON of annex F) compared with what was asked, and made into an inventory."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from schemas.errors import PermanentFailure, TransientFailure
from schemas.imaging import SeriesInventory, StudyInventory, StudyListing

Row = dict[str, Any]

STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
SOP_CLASS_UID = "00080016"
PATIENT_ID, ISSUER, ACCESSION = "00100020", "00100021", "00080050"
STUDY_DATE, STUDY_TIME, STUDY_DESCRIPTION = "00080020", "00080030", "00081030"
MODALITY, SERIES_NUMBER, SERIES_DESCRIPTION = "00080060", "00200011", "0008103E"
STUDY_INSTANCES, MODALITIES_IN_STUDY = "00201208", "00080061"

LISTING_FIELDS = (PATIENT_ID, MODALITIES_IN_STUDY)
STUDY_FIELDS = (PATIENT_ID, ISSUER, STUDY_DESCRIPTION, STUDY_INSTANCES)
SERIES_FIELDS = (STUDY_UID, PATIENT_ID, SERIES_DESCRIPTION)
FRAMES = "00280008"
INSTANCE_FIELDS = (STUDY_UID, SERIES_UID, PATIENT_ID, FRAMES, SOP_CLASS_UID)


def checked_uid(uid: str) -> str:
    """A UID (PS3.5 section 9.1) that may stand in a path; an empty or broken one would match every study."""
    if len(uid) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid):
        raise PermanentFailure("uid-invalid", "a UID of the request is not one")
    return uid


def only_study(rows: list[Row], study: str) -> Row:
    """The one row of the study: zero or many is not found, never the first."""
    uids = {_text(row, STUDY_UID) for row in rows}
    if not rows:
        raise PermanentFailure("study-not-found", "the archive does not know the study")
    if len(rows) > 1:
        raise PermanentFailure(
            "study-ambiguous",
            "the archive answers with more studies than were asked for: check that it honours filters",
        )
    if uids != {study}:
        raise PermanentFailure("study-mismatch", "the archive answers with another study than was asked for")
    return rows[0]


def listing(rows: list[Row], first: str, last: str) -> list[StudyListing]:
    """Each study once whose StudyDate lies within `first`..`last` (`YYYYMMDD`): a server that ignores the filter answers with every date.

    A study without a UID or with a date of another form is left out: it cannot be asked for.
    """
    found: dict[str, StudyListing] = {}
    for row in rows:
        uid, day = _text(row, STUDY_UID), (_text(row, STUDY_DATE) or "").replace(".", "")
        if uid is None or not re.fullmatch(r"[0-9]{8}", day) or not first <= day <= last:
            continue
        element = row.get(MODALITIES_IN_STUDY)
        modalities = element.get("Value") if isinstance(element, dict) else None
        found[uid] = StudyListing(
            study_instance_uid=uid,
            patient_id=_text(row, PATIENT_ID),
            study_date=day,
            modalities=sorted({str(m) for m in modalities or [] if m}),
        )
    return [found[uid] for uid in sorted(found)]


def inventory(study_uid: str, study: Row, series: list[Row], instances: list[Row]) -> StudyInventory:
    """The study as its rows tell it, which must agree with each other about study, patient and number."""
    patient = _text(study, PATIENT_ID)
    if not patient:
        raise PermanentFailure("study-without-patient", "the archive names no PatientID for the study")
    for row in (*series, *instances):
        _check_row(row, study_uid, patient)
    sop_uids = [uid for uid in (_text(row, INSTANCE_UID) for row in instances) if uid]
    if len(set(sop_uids)) != len(instances) or len(sop_uids) < (_number(study, STUDY_INSTANCES) or 1):
        raise TransientFailure("archive-incomplete", "the archive lists fewer instances than it says the study has")
    counts, frames = Counter(_text(row, SERIES_UID) for row in instances), Counter[str | None]()
    for row in instances:
        frames[_text(row, SERIES_UID)] += max(_number(row, FRAMES) or 1, 1)
    listed = [_series(row, counts, frames) for row in series]
    if {entry.series_instance_uid for entry in listed} != set(counts) or len(listed) != len(counts):
        raise TransientFailure("archive-incomplete", "the archive's lists of series and of instances do not agree")
    return StudyInventory(
        study_instance_uid=study_uid,
        patient_id=patient,
        issuer_of_patient_id=_text(study, ISSUER),
        accession_number=_text(study, ACCESSION),
        study_date=_text(study, STUDY_DATE),
        study_time=_text(study, STUDY_TIME),
        description=_text(study, STUDY_DESCRIPTION),
        series=listed,
        sop_instance_uids=sop_uids,
    )


def instance_uids(rows: list[Row], study: str, series: str) -> set[str | None]:
    """The SOP Instance UIDs of rows that must all be of the series."""
    for row in rows:
        _check_row(row, study, None)
        if _text(row, SERIES_UID) != series:
            raise PermanentFailure(
                "study-mismatch", "the archive answers with instances of another series than was asked for"
            )
    return {_text(row, INSTANCE_UID) for row in rows}


def of_class(rows: list[Row], sop_class_uid: str) -> list[str]:
    """The SOP Instance UIDs of those rows that are of this SOP class."""
    return [uid for row in rows if _text(row, SOP_CLASS_UID) == sop_class_uid and (uid := _text(row, INSTANCE_UID))]


def only_instance(rows: list[Row], study: str, series: str, instance: str) -> Row:
    """The one row of an instance's metadata, which must be of what was asked for."""
    if len(rows) != 1:
        raise PermanentFailure("archive-answer", "the archive does not answer with the attributes of one instance")
    found = [_text(rows[0], tag) for tag in (STUDY_UID, SERIES_UID, INSTANCE_UID)]
    if found != [study, series, instance]:
        raise PermanentFailure("study-mismatch", "the archive answers with another instance than was asked for")
    return rows[0]


def _check_row(row: Row, study: str, patient: str | None) -> None:
    if _text(row, STUDY_UID) != study:
        raise PermanentFailure("study-mismatch", "the archive answers with another study's series or instances")
    if patient is not None and (_text(row, PATIENT_ID) or patient) != patient:
        raise PermanentFailure("study-mismatch", "the archive names different patients for one study")


def _series(row: Row, counts: Counter[str | None], frames: Counter[str | None]) -> SeriesInventory:
    uid = _text(row, SERIES_UID) or ""
    return SeriesInventory(
        series_instance_uid=uid,
        modality=_text(row, MODALITY) or "",
        series_number=_number(row, SERIES_NUMBER),
        description=_text(row, SERIES_DESCRIPTION),
        instance_count=counts[uid],
        frame_count=frames[uid],
    )


def _value(row: Row, tag: str) -> Any:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(row: Row, tag: str) -> str | None:
    value = _value(row, tag)
    return None if value is None else str(value).strip() or None


def _number(row: Row, tag: str) -> int | None:
    try:
        return int(_value(row, tag))
    except (TypeError, ValueError):
        return None
