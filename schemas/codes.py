"""Every system, code and canonical URL that we write, in one place: HL7's AI Transparency guide is a ballot, so its URLs may move.

SNOMED CT codes stand only where the contract has verified them; every label has a local code that stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.imaging import SeriesPictures, SeriesSource
from schemas.inference import Change, LikelihoodBand, Presence
from schemas.timeline import Coding

AIT = "http://hl7.org/fhir/uv/aitransparency"
SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
THO = "http://terminology.hl7.org/CodeSystem/"
V2_0203 = THO + "v2-0203"
DICOM_UID = "urn:dicom:uid"
URI = "urn:ietf:rfc:3986"
SUPPORTING_INFO = "http://hl7.org/fhir/StructureDefinition/workflow-supportingInfo"
ALTERNATE_REFERENCE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"
STATUS_REASON = "http://hl7.org/fhir/StructureDefinition/event-statusReason"
LATERALITY = "http://hl7.org/fhir/StructureDefinition/observation-structureLaterality"
OBSERVATION_REPLACES = "http://hl7.org/fhir/StructureDefinition/observation-replaces"
ADDENDUM_OF = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-addendumOf"
TASK_REPLACES = "http://hl7.org/fhir/StructureDefinition/task-replaces"

Json = dict[str, Any]


def coding(system: str, code: str, display: str | None = None) -> Json:
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(*codings: Json, text: str | None = None) -> Json:
    """A CodeableConcept; never an empty `coding` array, which FHIR does not allow."""
    return ({"coding": list(codings)} if codings else {}) | ({"text": text} if text else {})


AIAST = coding(THO + "v3-ObservationValue", "AIAST", "Artificial Intelligence asserted")
CLINAST = coding(THO + "v3-ObservationValue", "CLINAST", "clinician asserted")


@dataclass(frozen=True)
class Canonical:
    """URLs under the deployment-owned base `B` of the contract."""

    base: str

    def sid(self, name: str) -> str:
        return f"{self.base}/sid/{name}"

    def code_system(self, name: str) -> str:
        return f"{self.base}/CodeSystem/{name}"

    def value_set(self, name: str) -> str:
        return f"{self.base}/ValueSet/{name}"

    def structure(self, name: str) -> str:
        return f"{self.base}/StructureDefinition/{name}"


PRESENCE: dict[Presence, Json] = {
    "detected": coding(SCT, "260373001", "Detected"),
    "not-detected": coding(SCT, "260415000", "Not detected"),
    "indeterminate": coding(SCT, "82334004", "Indeterminate"),
}
LIKELIHOOD_TEXT: dict[LikelihoodBand, str] = {
    "absent": "Known absent",
    "improbable": "Probably not present",
    "possible": "Possible",
    "probable": "Probable",
    "definite": "Definite",
}
LIKELIHOOD_SNOMED: dict[LikelihoodBand, Json] = {
    "absent": coding(SCT, "410516002", "Known absent"),
    "improbable": coding(SCT, "410593006", "Probably not present"),
    "probable": coding(SCT, "410592001", "Probably present"),
}
"""The local code system `chart-relation`."""
"""The local code system `abstention-reason`."""
CHANGE_SNOMED: dict[Change, Json] = {
    "worse": coding(SCT, "230993007", "Worsening"),
    "better": coding(SCT, "385633008", "Improving"),
    "stable": coding(SCT, "260388006", "No status change"),
}
CHANGE_INTERPRETATION: dict[Change, Json] = {
    "worse": coding(THO + "v3-ObservationInterpretation", "W", "Worse"),
    "better": coding(THO + "v3-ObservationInterpretation", "B", "Better"),
}
ABNORMAL = coding(THO + "v3-ObservationInterpretation", "A", "Abnormal")
NORMAL = coding(THO + "v3-ObservationInterpretation", "N", "Normal")
LOW = coding(THO + "v3-ObservationInterpretation", "L", "Low")
HIGH = coding(THO + "v3-ObservationInterpretation", "H", "High")
SIDES: dict[str, Json] = {"left": coding(SCT, "7771000", "Left"), "right": coding(SCT, "24028007", "Right")}


@dataclass(frozen=True)
class FindingLabel:
    """A question that can be put to the model."""

    code: str
    text: str
    site: str
    regions: frozenset[str]
    snomed: tuple[str, str] | None = None
    modalities: frozenset[str] | None = None
    """Those it is asked of; None: of all."""


_FILM = frozenset({"CR", "DX"})
_CHEST, _HEAD, _ABDOMEN = frozenset({"chest"}), frozenset({"head"}), frozenset({"abdomen"})
_SLIDE = frozenset({"slide"})
LABELS = (
    FindingLabel("pulmonary-nodule", "Pulmonary nodule", "Lung", _CHEST, ("427359005", "Solitary nodule of lung")),
    FindingLabel("pleural-effusion", "Pleural effusion", "Pleural cavity", _CHEST, ("60046008", "Pleural effusion")),
    FindingLabel("consolidation", "Pulmonary consolidation", "Lung", _CHEST),
    FindingLabel("pneumothorax", "Pneumothorax", "Pleural cavity", _CHEST),
    FindingLabel("cardiomegaly", "Cardiomegaly", "Heart", _CHEST, modalities=_FILM),
    FindingLabel("pulmonary-oedema", "Pulmonary oedema", "Lung", _CHEST, modalities=_FILM),
    FindingLabel("atelectasis", "Atelectasis", "Lung", _CHEST, modalities=_FILM),
    FindingLabel("intracranial-haemorrhage", "Intracranial haemorrhage", "Intracranial space", _HEAD),
    FindingLabel("brain-lesion", "Focal brain lesion", "Brain", _HEAD),
    FindingLabel("mass-effect", "Intracranial mass effect", "Brain", _HEAD),
    FindingLabel("liver-lesion", "Focal liver lesion", "Liver", _ABDOMEN),
    FindingLabel("free-fluid", "Free abdominal fluid", "Abdominal cavity", _ABDOMEN),
    FindingLabel("focal-lesion", "Focal lesion", "Imaged region", frozenset({"other"})),
    FindingLabel("fracture", "Fracture", "Imaged region", frozenset({"other"}), modalities=_FILM),
    FindingLabel("tissue-tumour", "Tumour in the tissue", "Specimen", _SLIDE),
    FindingLabel("tissue-inflammation", "Inflammation of the tissue", "Specimen", _SLIDE),
    FindingLabel("tissue-necrosis", "Necrosis of the tissue", "Specimen", _SLIDE),
)
"""Those of whole slides are local: they say that something is there, not what a pathologist would call it."""
LABEL_BY_CODE = {label.code: label for label in LABELS}

_REGION_WORDS = {
    "chest": ("chest", "thorax", "lung", "thorac"),
    "head": ("head", "brain", "skull", "crani", "neuro", "cerebr"),
    "abdomen": ("abdomen", "abdom", "liver", "pelvis"),
}
_CHEST_FILMS = {1: ("36554-4", "XR Chest Single view"), 2: ("36643-5", "XR Chest 2 Views")}
_CHEST_PORTABLE = ("30746-2", "Portable XR Chest Views")
_REPORT_CODES = {
    ("CT", "chest"): ("24627-2", "CT Chest"),
    ("CT", "head"): ("24725-4", "CT Head"),
    ("MR", "head"): ("24590-2", "MR Brain"),
}
_REPORT_CODE_OF_MODALITY = {"SM": ("11526-1", "Pathology study")}
LABORATORY_REPORT = ("11502-2", "Laboratory report")
"""LOINC, from memory."""
_FALLBACK_REPORT_CODE = ("18748-4", "Diagnostic imaging study")
_REGION_OF_LOINC = {code: region for (_, region), (code, _) in _REPORT_CODES.items()} | {
    code: "chest" for code, _ in (*_CHEST_FILMS.values(), _CHEST_PORTABLE)
}
_CATEGORY = {
    "CT": ("CT", "CAT Scan"),
    "MR": ("NMR", "Nuclear Magnetic Resonance"),
    "DX": ("RX", "Radiograph"),
    "CR": ("RX", "Radiograph"),
    "US": ("RUS", "Radiology Ultrasound"),
    "PT": ("NMS", "Nuclear Medicine Scan"),
    "SM": ("PAT", "Pathology (gross & histopath, not surgical)"),
    "DOC": ("LAB", "Laboratory"),
}


def body_region(body_part: str | None, description: str | None, order: list[Coding]) -> str:
    """`chest`, `head`, `abdomen` or `other`, from the order's LOINC code first, then BodyPartExamined, then words of descriptions."""
    for code in order:
        if code.system == LOINC and code.code in _REGION_OF_LOINC:
            return _REGION_OF_LOINC[code.code]
    texts = [body_part or "", *(code.display or "" for code in order), description or ""]
    for text in texts:
        for region, words in _REGION_WORDS.items():
            if any(word in text.lower() for word in words):
                return region
    return "other"


def labels_for(
    modality: str, body_part: str | None, description: str | None, order: list[Coding]
) -> list[FindingLabel]:
    """The questions for a study of this modality and region, in a fixed order."""
    region = body_region(body_part, description, order)
    return [
        label
        for label in LABELS
        if region in label.regions and (label.modalities is None or modality in label.modalities)
    ]


def slide_labels() -> list[FindingLabel]:
    """The questions for a whole slide, of whatever tissue."""
    return [label for label in LABELS if label.regions == _SLIDE]


def report_code(series: SeriesSource, order: list[Coding]) -> Json:
    """The order's LOINC code if it has one, else by modality and region, of a chest film by its views (contract 1.1)."""
    for code in order:
        if code.system == LOINC:
            return coding(LOINC, code.code, code.display)
    region = body_region(series.body_part, series.description, order)
    found = _REPORT_CODES.get((series.modality, region))
    if isinstance(series, SeriesPictures) and region == "chest":
        found = _CHEST_PORTABLE if series.portable else _CHEST_FILMS.get(series.views or 0)
    found = found or _REPORT_CODE_OF_MODALITY.get(series.modality, _FALLBACK_REPORT_CODE)
    return coding(LOINC, *found)


def report_category(modality: str) -> Json:
    """Exactly one v2-0074 section."""
    code, display = _CATEGORY.get(modality, ("RAD", "Radiology"))
    return coding(THO + "v2-0074", code, display)
