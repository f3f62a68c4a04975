"""One finding as a question and its answer (contract 1.2), and its place on a frame (1.3)."""

from __future__ import annotations

from schemas.codes import (
    ABNORMAL,
    AIAST,
    ALTERNATE_REFERENCE,
    CHANGE_INTERPRETATION,
    CHANGE_SNOMED,
    DCM,
    DICOM_UID,
    LABEL_BY_CODE,
    LATERALITY,
    LIKELIHOOD_SNOMED,
    NORMAL,
    PRESENCE,
    SCT,
    SIDES,
    SUPPORTING_INFO,
    THO,
    UCUM,
    URI,
    Canonical,
    FindingLabel,
    Json,
    coding,
    concept,
)
from schemas.conformance.image_region import NAME as IMAGE_REGION
from schemas.conformance.image_region import PART_BY_NAME, POLYLINE
from schemas.identifiers import uid_from_uuid, without_version
from schemas.report import Finding, ImageRegion
from schemas.terms import CHANGE_FROM_PRIOR, CHART_RELATION, FINDING_COMPONENT, FINDING_LABEL, LIKELIHOOD_BAND
from workflows.report.context import ResultContext, versioned_reference
from workflows.report.series_text import series_sentences
from workflows.report.text import UNTRAINED, finding_sentence, narrative


def finding_urn(context: ResultContext, finding: Finding) -> str:
    return context.urn("finding", context.result_id, finding.label)


def media_urn(context: ResultContext, finding: Finding) -> str:
    return context.urn("media", context.result_id, finding.label)


def observation(context: ResultContext, finding: Finding) -> Json:
    """The Observation of one finding."""
    label, canonical = LABEL_BY_CODE[finding.label], context.canonical
    warning = "" if context.model.trained else f" {UNTRAINED}"
    key = context.namespace.key("finding", context.result_id, finding.label)
    resource: Json = {
        "resourceType": "Observation",
        "meta": {"security": [AIAST], "tag": [context.tag]},
        "text": narrative(f"AI-generated, not verified: {finding_sentence(finding)}{warning}"),
        "extension": _extensions(context, finding),
        "identifier": _identifiers(context, finding, key),
        "basedOn": context.based_on,
        "partOf": [context.imaging_study],
        "status": "preliminary",
        "category": [concept(coding(THO + "observation-category", "imaging", "Imaging"))],
        "code": _code(canonical, label),
        "subject": context.patient,
        **context.effective,
        "issued": context.issued,
        "performer": [performer(context)],
        "valueCodeableConcept": concept(PRESENCE[finding.presence]),
        "interpretation": _interpretation(finding),
        "bodySite": _body_site(label, finding),
        "method": {"text": f"Vision-language model reading (release {context.release})"},
        "device": {"reference": context.device_urn},
        "note": [{"text": sentence} for sentence in series_sentences(context.reading.series)],
        "derivedFrom": _derived_from(context, finding),
        "component": _components(canonical, finding),
    }
    return {name: value for name, value in resource.items() if value != []}


def _code(canonical: Canonical, label: FindingLabel) -> Json:
    local = FINDING_LABEL.coding(canonical, label.code)
    return concept(*([coding(SCT, *label.snomed)] if label.snomed else []), local, text=label.text)


def _extensions(context: ResultContext, finding: Finding) -> list[Json]:
    found = [image_region(context.canonical, finding.region)] if finding.region else []
    if context.prior is not None:
        found.append({"url": SUPPORTING_INFO, "valueReference": {"reference": without_version(context.prior.resource)}})
    return [*found, *citations(context, [finding])]


def citations(context: ResultContext, findings: list[Finding]) -> list[Json]:
    """`workflow-supportingInfo` for each entry of the history that is cited, by its version: `derivedFrom` does not allow them all (contract 1.2)."""
    cited = dict.fromkeys(entry.resource for finding in findings for entry in finding.cites)
    return [
        {"url": SUPPORTING_INFO, "valueReference": versioned_reference(context.canonical, resource)}
        for resource in cited
    ]


def _identifiers(context: ResultContext, finding: Finding, key: str) -> list[Json]:
    found: list[Json] = [{"system": context.canonical.sid("ai-finding"), "value": key}]
    if finding.region is not None:
        tracking = uid_from_uuid(context.namespace.key("lesion", context.result_id, finding.label))
        kind = concept(coding(DCM, "112040", "Tracking Unique Identifier"))
        found.append({"type": kind, "system": DICOM_UID, "value": f"urn:oid:{tracking}"})
    return found


def performer(context: ResultContext) -> Json:
    """R4 allows no Device as performer: it stands in an extension, its name in `display`."""
    device = {"url": ALTERNATE_REFERENCE, "valueReference": {"reference": context.device_urn}}
    return {"extension": [device], "display": f"AI system {context.release}"}


def _interpretation(finding: Finding) -> list[Json]:
    if finding.presence == "not-detected":
        return [concept(NORMAL)]
    found = [concept(ABNORMAL)] if finding.presence == "detected" else []
    if finding.presence == "detected" and finding.change in CHANGE_INTERPRETATION:
        found.append(concept(CHANGE_INTERPRETATION[finding.change]))
    return found


def _body_site(label: FindingLabel, finding: Finding) -> Json:
    site: Json = {"text": label.site}
    if finding.side in SIDES:
        site["extension"] = [{"url": LATERALITY, "valueCodeableConcept": concept(SIDES[finding.side])}]
    return site


def _derived_from(context: ResultContext, finding: Finding) -> list[Json]:
    key_image = [{"reference": media_urn(context, finding)}] if finding.region else []
    return [context.imaging_study, *key_image]


def _components(canonical: Canonical, finding: Finding) -> list[Json]:
    band = [LIKELIHOOD_BAND.coding(canonical, finding.likelihood)]
    band += [LIKELIHOOD_SNOMED[finding.likelihood]] if finding.likelihood in LIKELIHOOD_SNOMED else []
    change = [CHANGE_FROM_PRIOR.coding(canonical, finding.change)]
    change += [CHANGE_SNOMED[finding.change]] if finding.change in CHANGE_SNOMED else []
    found: list[Json] = [
        {"code": concept(FINDING_COMPONENT.coding(canonical, "likelihood")), "valueCodeableConcept": concept(*band)}
    ]
    if finding.long_axis_mm is not None:
        found.append(
            {"code": concept(coding(SCT, "103339001", "Long axis")), "valueQuantity": _mm(finding.long_axis_mm)}
        )
    found.append(
        {
            "code": concept(FINDING_COMPONENT.coding(canonical, "change-from-prior")),
            "valueCodeableConcept": concept(*change),
        }
    )
    if finding.chart is not None:
        relation = CHART_RELATION.coding(canonical, finding.chart)
        code = concept(FINDING_COMPONENT.coding(canonical, "chart-relation"))
        found.append({"code": code, "valueCodeableConcept": concept(relation)})
    return found


def _mm(value: float) -> Json:
    return {"value": value, "unit": "mm", "system": UCUM, "code": "mm"}


def image_region(canonical: Canonical, region: ImageRegion) -> Json:
    """The box as a closed polyline in pixels of the source frame; names as in R5 ImagingSelection (contract 1.3)."""
    corners = [(region.x0, region.y0), (region.x1, region.y0), (region.x1, region.y1), (region.x0, region.y1)]
    points = [value for corner in [*corners, corners[0]] for value in corner]
    parts: list[tuple[str, object]] = [
        ("studyUid", region.study_instance_uid),
        ("seriesUid", region.series_instance_uid),
        ("seriesNumber", region.series_number),
        ("instanceUid", region.sop_instance_uid),
        ("sopClass", coding(URI, f"urn:oid:{region.sop_class_uid}")),
        ("instanceNumber", region.instance_number),
        ("frame", region.frame),
        ("columns", region.columns),
        ("rows", region.rows),
        ("regionType", POLYLINE),
        *(("coordinate", value) for value in points),
    ]
    sub = [{"url": name, PART_BY_NAME[name].value: value} for name, value in parts if not _absent(value)]
    return {"url": canonical.structure(IMAGE_REGION), "extension": sub}


def _absent(value: object) -> bool:
    """Missing, or negative where FHIR wants an unsigned number."""
    return value is None or (isinstance(value, int) and value < 0)


def media(context: ResultContext, finding: Finding, region: ImageRegion) -> Json:
    """The key image for people: a rendered frame (of a whole slide the instance), no box burnt in."""
    frame = f"/frames/{region.frame}" if region.frame is not None else ""
    instance = (
        f"{context.dicomweb_public_url.rstrip('/')}/studies/{region.study_instance_uid}/series/{region.series_instance_uid}"
        f"/instances/{region.sop_instance_uid}{frame}/rendered?accept=image/png"
    )
    return {
        "resourceType": "Media",
        "meta": {"security": [AIAST], "tag": [context.tag]},
        "identifier": [
            {
                "system": context.canonical.sid("ai-key-image"),
                "value": context.namespace.key("media", context.result_id, finding.label),
            }
        ],
        "status": "completed",
        "type": concept(coding(THO + "media-type", "image", "Image")),
        "subject": context.patient,
        "createdDateTime": context.issued,
        "device": {"reference": context.device_urn},
        "height": region.rows,
        "width": region.columns,
        "content": {
            "contentType": "image/png",
            "url": instance,
            "title": "Key image (unannotated render; the box is in the Observation's image-region)",
        },
    }
