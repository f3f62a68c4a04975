"""The resources that all results of one release share: Device, model card, prompt (contract 1.4)."""

from __future__ import annotations

import base64
import hashlib

from schemas.codes import AIT, URI, Json, coding, concept
from schemas.identifiers import ni_digest
from workflows.reading.release import READING_CODE_VERSION
from workflows.report.context import ResultContext, by_identifier, create, who

_DEVICE_TYPES = AIT + "/CodeSystem/AIdeviceTypeCS"
_INPUTS = AIT + "/CodeSystem/AIinputsCS"
ARTIFICIAL_INTELLIGENCE = coding(_DEVICE_TYPES, "Artificial-Intelligence")
_KINDS = (
    coding(_DEVICE_TYPES, "Vision-Language-Models", "Vision-Language Models"),
    coding(_DEVICE_TYPES, "Medical-Image-Analysis", "Medical Image Analysis"),
)


def release_entries(context: ResultContext) -> list[Json]:
    card, prompt = model_card(context), prompt_template(context)
    device = _device(context)
    return [
        create(context.device_urn, device, by_identifier(device)),
        create(card_urn(context), card, by_identifier(card)),
        create(prompt_urn(context), prompt, by_identifier(prompt)),
    ]


def card_urn(context: ResultContext) -> str:
    return context.urn("document", ni_digest(context.model.model_card.encode()))


def prompt_urn(context: ResultContext) -> str:
    return context.urn("document", ni_digest(context.prompt_template))


def _device(context: ResultContext) -> Json:
    """One immutable system release."""
    model = context.model
    kinds = [
        {"url": AIT + "/StructureDefinition/aitransparency.AIKind", "valueCodeableConcept": concept(kind)}
        for kind in _KINDS
    ]
    card = {
        "url": AIT + "/StructureDefinition/aitransparency.modelCardDescription",
        "valueReference": {"reference": card_urn(context)},
    }
    versions = {
        "system-release": model.name,
        "weights-digest": f"sha256:{model.weights_sha256}",
        "prompt-digest": ni_digest(context.prompt_template),
        "serving-runtime": model.runtime,
        "reading-code": READING_CODE_VERSION,
    }
    note = "Not cleared for autonomous use; output requires clinician verification."
    return {
        "resourceType": "Device",
        "meta": {"profile": [AIT + "/StructureDefinition/AI-Device"]},
        "extension": [*kinds, card],
        "identifier": [{"system": context.canonical.sid("ai-release"), "value": context.release}],
        "status": "active",
        "manufacturer": model.manufacturer,
        "deviceName": [{"name": f"Longview imaging findings ({model.name})", "type": "model-name"}],
        "modelNumber": model.model_number,
        "type": concept(ARTIFICIAL_INTELLIGENCE),
        "version": [{"type": {"text": name}, "value": value} for name, value in versions.items()],
        "note": [{"text": note if model.trained else f"{note} The model is untrained: its output is meaningless."}],
    }


def model_card(context: ResultContext) -> Json:
    data = context.model.model_card.encode()
    category = concept(coding(_INPUTS, "AIModelCardMarkdownFormat", "Markdown Format"))
    return _document(data, "AIModelCard", "AI-ModelCard", "Model card") | {"category": [category]}


def prompt_template(context: ResultContext) -> Json:
    return _document(context.prompt_template, "AIInputPrompt", "AI-InputPrompt", "Prompt template")


def _document(data: bytes, code: str, profile: str, title: str) -> Json:
    """A content-addressed DocumentReference (RFC 6920 identifier)."""
    identifier = {"system": URI, "value": ni_digest(data)}
    return {
        "resourceType": "DocumentReference",
        "meta": {"profile": [f"{AIT}/StructureDefinition/{profile}"]},
        "masterIdentifier": identifier,
        "identifier": [identifier],
        "status": "current",
        "type": concept(coding(_INPUTS, code)),
        "content": [{"attachment": attachment(data, "text/markdown", title)}],
    }


def attachment(data: bytes, content_type: str, title: str) -> Json:
    """An Attachment; `hash` is SHA-1, as R4 says."""
    return {
        "contentType": content_type,
        "data": base64.b64encode(data).decode(),
        "title": title,
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),
    }


def organization(context: ResultContext) -> Json:
    return who(context.organization)
