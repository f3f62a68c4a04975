"""The extension `image-region`: a box on one frame (contract 1.3). Names and meaning are those of R5 ImagingSelection.

Coordinates are pixels of the source frame, origin 0\\\\0 at the top left corner of the top left pixel, sub-pixel (DICOM PS3.3 C.18.6, SCOORD).
Of an encapsulated document the frame is the page as it is displayed, and its pixels are points (1/72 inch).
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.codes import Canonical, Json
from schemas.conformance.structure import element, rule, structure

NAME = "image-region"
POLYLINE = "polyline"
COORDINATES = 10
"""Five corners of a closed box, each as column and row."""


@dataclass(frozen=True)
class Part:
    """A sub-extension and its FHIR type."""

    name: str
    type: str
    definition: str
    min: int = 1
    max: int = 1

    @property
    def value(self) -> str:
        """`valueUnsignedInt` of the type `unsignedInt`."""
        return f"value{self.type[0].upper()}{self.type[1:]}"


PARTS = (
    Part("studyUid", "id", "Study Instance UID."),
    Part("seriesUid", "id", "Series Instance UID."),
    Part("seriesNumber", "unsignedInt", "Series Number, where the series has one.", min=0),
    Part("instanceUid", "id", "SOP Instance UID."),
    Part("sopClass", "Coding", "SOP Class UID, as urn:oid."),
    Part("instanceNumber", "unsignedInt", "Instance Number, where the instance has one.", min=0),
    Part("frame", "positiveInt", "Frame number, counted from 1; absent on a whole slide's total pixel matrix.", min=0),
    Part("columns", "positiveInt", "Columns of the frame, or of the total pixel matrix."),
    Part("rows", "positiveInt", "Rows of the frame, or of the total pixel matrix."),
    Part("regionType", "code", "Always a polyline, which is closed."),
    Part(
        "coordinate",
        "decimal",
        "Column and row of each corner in turn; the last corner is the first.",
        min=COORDINATES,
        max=COORDINATES,
    ),
)
PART_BY_NAME = {part.name: part for part in PARTS}
_POINTS = "extension.where(url = 'coordinate').value"


def _inside(start: int, side: str) -> str:
    """Every second number from `start` on lies between 0 and `side`. Each is named: `$index` stays 0 in some FHIRPath engines."""
    numbers = " | ".join(f"{_POINTS}[{number}]" for number in range(start, COORDINATES, 2))
    return f"({numbers}).all($this >= 0 and $this <= %context.extension.where(url = '{side}').value)"


_RULES = [
    rule(
        "image-region-closed",
        "The last corner is the first",
        f"{_POINTS}[8] = {_POINTS}[0] and {_POINTS}[9] = {_POINTS}[1]",
    ),
    rule("image-region-columns", "Every column lies inside the frame", _inside(0, "columns")),
    rule("image-region-rows", "Every row lies inside the frame", _inside(1, "rows")),
]


def image_region(canonical: Canonical) -> Json:
    text = (
        "A box on one frame of an image, as a closed polyline in pixels of the source frame; the origin is the top left corner of the top "
        "left pixel. Of an encapsulated document the frame is the page, and its pixels are points (1/72 inch). "
        "Sub-elements are named as in ImagingSelection of R5."
    )
    elements = [
        element("Extension", short="Box on one frame", definition=text, constraint=_RULES),
        element("Extension.extension", slicing=BY_URL, min=sum(part.min for part in PARTS)),
        *(each for part in PARTS for each in part_elements(part)),
        element("Extension.url", fixedUri=canonical.structure(NAME)),
        element("Extension.value[x]", max="0"),
    ]
    resource = structure(canonical, NAME, "complex-type", "Extension", "Image region", text, elements)
    return resource | {"context": [{"type": "element", "expression": "Observation"}]}


BY_URL = {"discriminator": [{"type": "value", "path": "url"}], "ordered": False, "rules": "closed"}


def part_elements(part: Part) -> list[Json]:
    """The elements of one sub-extension."""
    place = f"Extension.extension:{part.name}"
    fixed = {"fixedCode": POLYLINE} if part.name == "regionType" else {}
    return [
        element(place, definition=part.definition, min=part.min, max=str(part.max)),
        element(f"{place}.extension", max="0"),
        element(f"{place}.url", fixedUri=part.name),
        element(f"{place}.value[x]", min=1, type=[{"code": part.type}], **fixed),
    ]
