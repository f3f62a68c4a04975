"""The extension `document-line`: the lines of a document that a value was read from, as they are written.

Where the lines stand on the page says `image-region` beside it.
"""

from __future__ import annotations

from schemas.codes import Canonical, Json
from schemas.conformance.image_region import BY_URL, Part, part_elements
from schemas.conformance.structure import element, structure

NAME = "document-line"
MOST_LINES = 2
PARTS = (
    Part("page", "positiveInt", "Page of the study's documents, counted from 1."),
    Part("line", "string", "Id of a line; the last one is that of the value.", max=MOST_LINES),
    Part("text", "string", "The lines as they are written, cells between bars."),
    Part("source", "code", "Whether the text is the document's own (text-layer) or was read from a picture (ocr)."),
    Part(
        "secondReading",
        "code",
        "What a reader without a model says of the line, by its geometry alone: agrees, differs, or silent.",
    ),
)
PART_BY_NAME = {part.name: part for part in PARTS}


def document_line(canonical: Canonical) -> Json:
    text = "The lines of a document that a value was read from, as they are written: what a reader compares the value with."
    elements = [
        element("Extension", short="Lines of a document", definition=text),
        element("Extension.extension", slicing=BY_URL, min=sum(part.min for part in PARTS)),
        *(each for part in PARTS for each in part_elements(part)),
        element("Extension.url", fixedUri=canonical.structure(NAME)),
        element("Extension.value[x]", max="0"),
    ]
    resource = structure(canonical, NAME, "complex-type", "Extension", "Document line", text, elements)
    return resource | {"context": [{"type": "element", "expression": "Observation"}]}
