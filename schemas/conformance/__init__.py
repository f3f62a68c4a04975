"""Our own definitions as FHIR R4 conformance resources, generated from the constants that the code writes with. Pure: no I/O, no clock."""

from schemas.conformance.catalog import Definition, definition_files, definitions

__all__ = ["Definition", "definition_files", "definitions"]
