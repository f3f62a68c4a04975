"""Reads the series of one study in their order of preference, and gives account of each: read, left out, refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.caution import Caution
from schemas.errors import PermanentFailure
from schemas.imaging import SeriesVolume, StoredStack
from schemas.outcomes import SeriesOutcome, Unanswered
from schemas.volume import Volume, encode_volume, model_slices
from workflows.ports import ObjectStore
from workflows.reading.caution import tag_cautions
from workflows.series import SeriesChoice, SeriesHeader, free_texts, read_series, sequences_of, shares
from workflows.stacks.account import Fetched, NothingRead, left_out, read, refused
from workflows.stacks.cautions import calm
from workflows.stacks.kind import Sources

IN_ONE_SERIES = ("geometry-", "pixels-", "dicom-", "volume-")
"""Codes of failures that lie in one series: another series of the study may still be readable."""
SHOWN_BY = {
    "SWI": ["intracranial-haemorrhage"],
    "DWI": ["brain-lesion"],
    "FLAIR": ["brain-lesion"],
    "T1 with contrast": ["brain-lesion"],
}
"""What of a head is denied only where the MR's contrast that shows it best was read, if there is one."""


@dataclass(frozen=True)
class _Read:
    """A series that is a stack."""

    choice: SeriesChoice
    series: SeriesVolume
    volume: Volume
    cautions: list[Caution]


@dataclass
class SeriesReader:
    """One study: `choices` best first, as `choose_series` gives them; `headers` by Series Instance UID, as far as they are known."""

    sources: Sources
    study_instance_uid: str
    choices: Sequence[SeriesChoice]
    headers: Mapping[str, SeriesHeader]
    _refused: dict[str, PermanentFailure] = field(default_factory=dict)
    """By series, the first to be refused first."""

    def fetch(self, like: str | None, most: int) -> Fetched:
        """The stacks, of which the model is shown `most` slices together. `like`: the contrast that a prior is compared by."""
        usable = self._usable()
        found = [one for candidates in sequences_of(usable, like) if (one := self._first(candidates)) is not None]
        if not found:
            if (one := self._first(usable)) is None:
                raise self._nothing()
            found = [one]
        shown = shares([len(one.series.frames) for one in found], most)
        unanswered = self._unanswered(found)
        stacks = [_stored(self.sources.store, one, share, unanswered) for one, share in zip(found, shown, strict=True)]
        return Fetched(stacks, self._rows(found))

    def _usable(self) -> list[SeriesChoice]:
        return [choice for choice in self.choices if not choice.never]

    def _first(self, candidates: Sequence[SeriesChoice]) -> _Read | None:
        for choice in candidates:
            if choice.series.series_instance_uid in self._refused:
                continue
            try:
                return self._read(choice)
            except PermanentFailure as failure:
                if not failure.code.startswith(IN_ONE_SERIES):
                    raise
                self._refused[choice.series.series_instance_uid] = failure
        return None

    def _read(self, choice: SeriesChoice) -> _Read:
        uid = choice.series.series_instance_uid
        parts = list(self.sources.archive.retrieve_series(self.study_instance_uid, uid))
        series, volume = read_series(parts)
        if series.modality == "CT" and series.units != "HU":
            raise PermanentFailure("pixels-units", "the values of the series are no Hounsfield units: a computed map")
        cautions = tag_cautions(sorted(free_texts(parts)))
        return _Read(choice, calm(series, cautions), volume, cautions)

    def _nothing(self) -> NothingRead:
        """What the most wanted series was refused for."""
        nothing = PermanentFailure("no-volume-series", "the study has no series of slices that could be read")
        why = next(iter(self._refused.values()), nothing)
        return NothingRead(why.code, why.hint, self._rows([]))

    # -- the account -----------------------------------------------------------------------------------------------------

    def _rows(self, found: Sequence[_Read]) -> list[SeriesOutcome]:
        """One for each series of the choices."""
        read_of = {one.choice.series.series_instance_uid: one for one in found}
        return [self._row(choice, read_of) for choice in self.choices]

    def _row(self, choice: SeriesChoice, read_of: Mapping[str, _Read]) -> SeriesOutcome:
        uid = choice.series.series_instance_uid
        if uid in read_of:
            return read(choice.series, _how(read_of[uid]))
        if uid in self._refused:
            return refused(choice.series, self._refused[uid])
        if choice.never:
            return left_out(choice.series, choice.code, choice.says)
        if not read_of:
            return left_out(choice.series, "not-needed", choice.says)
        numbers = ", ".join(str(one.series.series_number) for one in read_of.values())
        code = "derived" if choice.code == "derived" else "another-preferred"
        return left_out(choice.series, code, f"{choice.says}; series {numbers} was read")

    def _unanswered(self, found: Sequence[_Read]) -> list[Unanswered]:
        """What is not denied: by a stand-in for a refused series that reaches further, a kernel that hides soft tissue, without the contrast that
        shows it."""
        doubts = []
        if any(not self._covered(uid, found) for uid in self._refused):
            doubts.append(Unanswered(code="stand-in"))
        if any(one.choice.sharp for one in found):
            doubts.append(Unanswered(code="kernel-sharp"))
        missing = self._contrasts() - {one.choice.contrast for one in found}
        labels = sorted({label for contrast in missing if contrast for label in SHOWN_BY.get(contrast, [])})
        return [*doubts, Unanswered(code="contrast-not-read", labels=labels)] if labels else doubts

    def _contrasts(self) -> set[str | None]:
        """Those that series of the study have."""
        return {choice.contrast for choice in self._usable()}

    def _covered(self, uid: str, found: Sequence[_Read]) -> bool:
        """Whether a series that was read reaches as far as the refused one; of an MR each contrast stands for itself."""
        wanted = self.headers.get(uid)
        if wanted is None or any(one.series.modality == "MR" for one in found):
            return False
        held = (self.headers.get(one.choice.series.series_instance_uid) for one in found)
        return any(header is not None and header.covers(wanted) for header in held)


def _how(one: _Read) -> str:
    """Why this series, and what of its geometry a reader must know."""
    series, parts = one.series, [one.choice.reason]
    if series.tilt >= 1:
        parts.append(f"slices tilted by {series.tilt:.0f} degrees, read one by one")
    if series.slice_positions:
        parts.append("slices not evenly spaced, each at its own place")
    if series.set_aside:
        parts.append(f"set aside: {', '.join(series.set_aside)}")
    return "; ".join(parts)


def _stored(store: ObjectStore, one: _Read, most: int, unanswered: list[Unanswered]) -> StoredStack:
    """Both containers of a stack of which the model is shown at most so many slices."""
    series, volume = one.series, one.volume
    shown = model_slices(len(series.frames), most)
    whole = store.put(encode_volume(volume))
    spacing = (volume.spacing[0] * (len(series.frames) - 1) / max(len(shown) - 1, 1), *volume.spacing[1:])
    for_model = whole
    if len(shown) < len(series.frames):
        for_model = store.put(encode_volume(Volume(volume.voxels[shown], spacing, volume.units, volume.modality)))
    return StoredStack(
        series=series,
        volume_digest=whole,
        model_volume_digest=for_model,
        model_slices=shown,
        reason=one.choice.reason,
        cautions=one.cautions,
        unanswered=unanswered,
        contrast=one.choice.contrast,
    )
