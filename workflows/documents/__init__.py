"""Laboratory reports and other documents: pages -> lines with places -> one question to the model -> values that stand in the text. Pure.

    pdf, printed -> lines -> notation -> candidates -> rows (the second reader), prompt -> check

Nothing is reported that does not stand verbatim in a cited line; what fails a check is dropped by name (docs/adr/ADR-0025-documents.md).
"""
