"""The demonstration: a phantom patient with a story (or the user's own files) on its way through the whole system.

`phantom`, `ct` and `history` make the patient, `story` tells it; `own_images` and `own_chart` read the user's files; `load` puts either into
the archive and the FHIR server; `command` publishes the event, follows the workflow and reads the result back.
"""
