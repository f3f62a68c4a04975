"""The digest-only entities of a result's Provenance (contract 1.4): what they are called, where they are written and where they are read again."""

from __future__ import annotations

from typing import Literal

from schemas.identifiers import ni_from_hex
from schemas.model import Record
from schemas.runs import BuildResult, Digest

RENDERED_PROMPT = "rendered prompt (kept in the evidence store, digest only)"
WEIGHTS = "model weights"
MANIFEST = "input manifest: every SOP Instance UID and resource version read"
TIMELINE = "timeline (kept in the evidence store, digest only)"
VOLUME = "volume of the study (kept in the evidence store, digest only)"
PRIOR_VOLUME = "volume of the prior (kept in the evidence store, digest only)"
FURTHER_VOLUME = "further stack that the model was shown (kept in the evidence store, digest only)"
ANSWER = "model answer (kept in the evidence store, digest only)"
READING = "checked reading (kept in the evidence store, digest only)"


class Kept(Record):
    """One object of the evidence store that a result rests on."""

    role: Literal["source", "derivation"]
    display: str
    digest: Digest

    @property
    def ni(self) -> str:
        return ni_from_hex(self.digest)


def kept_objects(args: BuildResult) -> tuple[Kept, ...]:
    """What reproducing the result needs besides its manifest and its rendered prompt."""
    prior = args.prior.fetched
    return (
        Kept(role="source", display=TIMELINE, digest=args.timeline),
        Kept(role="source", display=VOLUME, digest=args.current.volume),
        *((Kept(role="source", display=PRIOR_VOLUME, digest=prior.volume),) if prior else ()),
        *(Kept(role="source", display=FURTHER_VOLUME, digest=digest) for digest in _further(args)),
        Kept(role="derivation", display=ANSWER, digest=args.answered.answer),
        Kept(role="derivation", display=READING, digest=args.checked.reading),
    )


def _further(args: BuildResult) -> list[Digest]:
    """Every stack beside the first of the study and the first of the named prior."""
    prior = args.prior.fetched
    earlier = [digest for other in args.prior.earlier for digest in other.fetched.stacks]
    return [*args.current.more, *(prior.more if prior else []), *earlier]
