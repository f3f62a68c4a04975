"""A checked reading -> the transaction Bundle of contract 1: result and inbox item commit together or not at all.

Every entry is a conditional create with an identifier derived from content, so posting the same bytes twice makes nothing new.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.codes import (
    AIAST,
    AIT,
    DICOM_UID,
    LABEL_BY_CODE,
    LABORATORY_REPORT,
    LOINC,
    SCT,
    STATUS_REASON,
    SUPPORTING_INFO,
    THO,
    URI,
    Json,
    coding,
    concept,
    report_category,
    report_code,
)
from schemas.identifiers import ni_from_hex, without_version
from schemas.imaging import SeriesDocument, SeriesSource
from schemas.inference import NOT_COMPARED
from schemas.outcomes import SeriesOutcome
from schemas.terms import ABSTENTION_REASON, REVIEW_STATUS, TASK_CODE
from workflows.report.context import ResultContext, by_identifier, create, review_period, versioned_reference, who
from workflows.report.kept import HISTORY_WEIGHTS, MANIFEST, RENDERED_PROMPT, WEIGHTS
from workflows.report.observation import citations, finding_urn, media, media_urn, observation
from workflows.report.raised_task import policy_input, raised_inputs
from workflows.report.release import (
    ARTIFICIAL_INTELLIGENCE,
    attachment,
    card_urn,
    organization,
    prompt_urn,
    release_entries,
)
from workflows.report.series_text import NAMES, name_of_row
from workflows.report.text import conclusion, narrative, plain_text
from workflows.report.values import value_observation, value_urn


def build_result(context: ResultContext) -> Json:
    """Device, model card, prompt, key images, findings, report, provenance, task: in the contract's order."""
    context = _only_named_comparisons(context)
    entries = release_entries(context)
    for finding in context.reading.findings:
        if finding.region is not None:
            picture = media(context, finding, finding.region)
            entries.append(create(media_urn(context, finding), picture, by_identifier(picture)))
    for finding in context.reading.findings:
        resource = observation(context, finding)
        entries.append(create(finding_urn(context, finding), resource, by_identifier(resource)))
    for value in context.reading.values:
        resource = value_observation(context, value)
        entries.append(create(value_urn(context, value), resource, by_identifier(resource)))
    report, review = _report(context), _task(context)
    by_tag = f"_tag={context.tag['system']}|{context.tag['code']}"
    entries += [
        create(context.report_urn, report, by_identifier(report)),
        create(context.urn("provenance", context.result_id), _provenance(context), by_tag),
        create(context.urn("task", context.result_id), review, by_identifier(review)),
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _only_named_comparisons(context: ResultContext) -> ResultContext:
    """Without a named prior no finding says that something changed (contract 1.2)."""
    if context.prior is not None:
        return context
    findings = [finding.model_copy(update={"change": NOT_COMPARED}) for finding in context.reading.findings]
    return replace(context, reading=context.reading.model_copy(update={"findings": findings}))


def _conclusion_codes(context: ResultContext) -> list[Json]:
    """Codes of what was detected at `probable` or better, where the site wants them and the model was trained; never of negatives."""
    if not (context.conclusion_codes and context.model.trained):
        return []
    sure = [
        f for f in context.reading.findings if f.presence == "detected" and f.likelihood in ("probable", "definite")
    ]
    labels = [LABEL_BY_CODE[finding.label] for finding in sure]
    return [concept(coding(SCT, *label.snomed)) for label in labels if label.snomed]


def _report(context: ResultContext) -> Json:
    canonical, series = context.canonical, context.series
    order = context.timeline.order.codings if context.timeline.order else []
    code = _document_code(series) or report_code(series, order)
    media_links = [
        {"comment": f"Key image of {finding.label}", "link": {"reference": media_urn(context, finding)}}
        for finding in context.reading.findings
        if finding.region is not None
    ]
    prior = context.prior
    compared = {"reference": without_version(prior.resource), "display": "comparison study"} if prior else None
    text = plain_text(context)
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [AIAST], "tag": [context.tag]},
        "text": narrative(conclusion(context)),
        "extension": _report_extensions(context, compared),
        "identifier": [
            {"use": "official", "system": canonical.sid("ai-result"), "value": context.result_id},
            {"system": canonical.sid("ai-report-thread"), "value": context.thread_id},
        ],
        "basedOn": context.based_on,
        "status": "partial",
        "category": [concept(report_category(series.modality))],
        "code": concept(code, text=_title(context)),
        "subject": context.patient,
        **context.encounter,
        **context.effective,
        "issued": context.issued,
        "performer": [organization(context)],
        "result": [{"reference": urn} for urn in _result_urns(context)],
        "imagingStudy": [context.imaging_study],
        "media": media_links,
        "conclusion": conclusion(context),
        "conclusionCode": _conclusion_codes(context),
        "presentedForm": [
            attachment(text, "text/plain; charset=utf-8", _kind_of_result(context))
            | {"language": "en", "creation": context.issued}
        ],
    }
    return {name: value for name, value in resource.items() if value != []}


def _document_code(series: SeriesSource) -> Json | None:
    """Of a document: the code that its header names, else that of a laboratory's report (an order's code is that of another act)."""
    if not isinstance(series, SeriesDocument):
        return None
    return coding(LOINC, *(series.code or LABORATORY_REPORT))


def _kind_of_result(context: ResultContext) -> str:
    return "AI extraction (unverified)" if context.reading.kind == "values" else "AI findings (unverified)"


def _title(context: ResultContext) -> str:
    named = "Laboratory report" if context.reading.kind == "values" else context.series.modality
    return f"{named} - {_kind_of_result(context)}"


def _result_urns(context: ResultContext) -> list[str]:
    found = [finding_urn(context, finding) for finding in context.reading.findings]
    return [*found, *(value_urn(context, value) for value in context.reading.values)]


def _report_extensions(context: ResultContext, compared: Json | None) -> list[Json]:
    """The prior and every cited entry (contract 1.1); where the reading abstained, why it says nothing."""
    found: list[Json] = [{"url": SUPPORTING_INFO, "valueReference": compared}] if compared else []
    found += citations(context, context.reading.findings)
    reason = _abstention(context)
    return found + ([{"url": STATUS_REASON, "valueCodeableConcept": reason}] if reason else [])


def _abstention(context: ResultContext) -> Json | None:
    code = context.reading.abstained
    if code is None:
        return None
    return concept(ABSTENTION_REASON.coding(context.canonical, code))


def _provenance(context: ResultContext) -> Json:
    findings = context.reading.findings
    targets = [context.report_urn, *_result_urns(context)]
    targets += [media_urn(context, f) for f in findings if f.region is not None]
    author = {
        "type": _participant("author", "Author"),
        "role": [concept(ARTIFICIAL_INTELLIGENCE)],
        "who": {"reference": context.device_urn},
        "onBehalfOf": organization(context),
    }
    return {
        "resourceType": "Provenance",
        "meta": {
            "profile": [AIT + "/StructureDefinition/AI-Provenance"],
            "tag": [context.tag],
        },
        "target": [{"reference": target} for target in targets],
        "occurredPeriod": {"start": context.started, "end": context.ended},
        "recorded": context.issued,
        "reason": [concept(AIAST)],
        "activity": concept(coding(THO + "v3-DataOperation", "CREATE", "create")),
        "agent": [author, {"type": _participant("custodian", "Custodian"), "who": organization(context)}],
        "entity": _entities(context),
    }


def _participant(code: str, display: str) -> Json:
    return concept(coding(THO + "provenance-participant-type", code, display))


def _entities(context: ResultContext) -> list[Json]:
    """What the result rests on: model card, prompt, each resource that shaped it, and digests of everything else."""
    derived: list[Json] = [{"reference": card_urn(context)}, {"reference": prompt_urn(context)}]
    derived += [
        _digest(context.rendered_prompt_ni, RENDERED_PROMPT),
        _digest(ni_from_hex(context.model.weights_sha256), WEIGHTS),
        *(_digest(kept.ni, kept.display) for kept in context.kept if kept.role == "derivation"),
    ]
    history = context.reading.history
    if history is not None and history.request is not None:
        name = "rendered prompt of the second pass (kept in the evidence store, digest only)"
        derived.append(_digest(ni_from_hex(history.request), name))
        if history.weights is not None and history.weights != context.model.weights_sha256:
            derived.append(_digest(ni_from_hex(history.weights), HISTORY_WEIGHTS))
    timeline = context.timeline
    used = [("study read", timeline.study), ("named prior", context.prior), ("order", timeline.order)]
    used += [("earlier prior", study) for study in context.earlier]
    sources = [
        versioned_reference(context.canonical, item.resource) | {"display": name}
        for name, item in used
        if item is not None
    ]
    sources += _history_sources(context)
    sources += [_series(row) for row in context.reading.series]
    sources.append(_digest(context.manifest_ni, MANIFEST))
    sources += [_digest(kept.ni, kept.display) for kept in context.kept if kept.role == "source"]
    return [{"role": "derivation", "what": what} for what in derived] + [
        {"role": "source", "what": what} for what in sources
    ]


def _series(row: SeriesOutcome) -> Json:
    """A series or film that was considered, and what became of it."""
    identifier = {"system": DICOM_UID, "value": f"urn:oid:{row.series_instance_uid}"}
    return {"identifier": identifier, "display": f"{name_of_row(row)}: {NAMES[row.outcome]} ({row.code})"}


def _history_sources(context: ResultContext) -> list[Json]:
    """Every entry of the history that the model was given, by its version, and whether it was cited (contract 1.4)."""
    cited = {entry.resource for finding in context.reading.findings for entry in finding.cites}
    given = context.reading.history.given if context.reading.history else []
    return [
        versioned_reference(context.canonical, resource)
        | {"display": "history entry, cited" if resource in cited else "history entry, weighed"}
        for resource in dict.fromkeys([*given, *sorted(cited)])
    ]


def _digest(value: str, display: str) -> Json:
    return {"identifier": {"system": URI, "value": value}, "display": display}


def _task_description(context: ResultContext) -> str:
    what = "Review AI extraction" if context.reading.kind == "values" else "Review AI findings"
    what = "Read the study: the AI abstained" if context.reading.abstained else what
    return f"{what} ({context.series.modality})"


def _task(context: ResultContext) -> Json:
    canonical = context.canonical
    period = review_period(context.issued, context.acknowledge_by)
    resource: Json = {
        "resourceType": "Task",
        "meta": {"tag": [context.tag]},
        "identifier": [
            {
                "system": canonical.sid("ai-review-task"),
                "value": context.namespace.key("task", context.result_id),
            }
        ],
        "status": "requested",
        "businessStatus": concept(REVIEW_STATUS.coding(canonical, "unread")),
        "intent": "order",
        "priority": context.priority,
        "code": concept(TASK_CODE.coding(canonical, "review-ai-result")),
        "reasonCode": _abstention(context) or [],
        "description": _task_description(context),
        "focus": {"reference": context.report_urn},
        "for": context.patient,
        **context.encounter,
        "basedOn": [{"reference": reference["reference"]} for reference in context.based_on],
        "authoredOn": context.issued,
        "lastModified": context.issued,
        "requester": {"reference": context.device_urn},
        "owner": who(context.review_role),
        "restriction": {"period": period},
        "input": [
            policy_input(canonical, context.escalation_policy),
            *raised_inputs(canonical, context.order_priority, context.raised),
        ],
    }
    return {name: value for name, value in resource.items() if value != []}
