"""The tables of oversight: passes of reconciliation, how results were built, shadow readings, drift. Keys, codes and numbers: no patient data."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.db.models import Base, Sequence


class ReconcilePass(Base):
    """One pass, as `longview reconcile` lists it; `ended_at` is None while it runs."""

    __tablename__ = "reconcile_pass"
    __table_args__ = (Index("ix_reconcile_pass_started", "started_at"),)

    pass_id: Mapped[str] = mapped_column(primary_key=True)
    trigger: Mapped[str]
    since: Mapped[str]
    grace_minutes: Mapped[int]
    cap: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    studies: Mapped[int | None]
    """How many studies of the archive it looked at."""
    results: Mapped[int | None]
    """How many results in FHIR and entries of the inbox."""
    left_over: Mapped[int | None]
    """What it found beyond its cap."""


class ReconcileItem(Base):
    """One thing that a pass found, and what became of it."""

    __tablename__ = "reconcile_item"
    __table_args__ = (
        UniqueConstraint("pass_id", "kind", "key", "fact", name="uq_reconcile_item_fact"),
        Index("ix_reconcile_item_key", "key", "fact"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    pass_id: Mapped[str] = mapped_column(ForeignKey("reconcile_pass.pass_id"))
    kind: Mapped[str]
    key: Mapped[str]
    fact: Mapped[str]
    state: Mapped[str]
    code: Mapped[str]
    at: Mapped[datetime]


class ResultBuild(Base):
    """How a result was built: the address of its `KeptBuild`, and what its reading counts."""

    __tablename__ = "result_build"
    __table_args__ = (Index("ix_result_build_release", "release_id", "built_at"),)

    result_id: Mapped[str] = mapped_column(primary_key=True)
    study_key: Mapped[str]
    thread_id: Mapped[str]
    release_id: Mapped[str]
    build: Mapped[str]
    """SHA-256 of a `schemas.oversight.KeptBuild`: its address in the object store."""
    finding_count: Mapped[int]
    dropped_count: Mapped[int]
    built_at: Mapped[datetime]


class ShownFinding(Base):
    """One question as a built result answers it; a dropped answer has the check's name and may have no presence."""

    __tablename__ = "shown_finding"

    result_id: Mapped[str] = mapped_column(ForeignKey("result_build.result_id"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    presence: Mapped[str | None]
    likelihood: Mapped[str | None]
    dropped: Mapped[str | None]


class AmendedFinding(Base):
    """A question that a human has answered in place of the AI."""

    __tablename__ = "amended_finding"

    result_id: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    presence: Mapped[str]


class ShadowRead(Base):
    """One study as a shadow release read it: the address of its `Reading`, or the code of the failure."""

    __tablename__ = "shadow_read"
    __table_args__ = (Index("ix_shadow_read_release", "release_id", "read_at"),)

    result_id: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(primary_key=True)
    study_key: Mapped[str]
    reading: Mapped[str | None]
    milliseconds: Mapped[int | None]
    code: Mapped[str | None]
    read_at: Mapped[datetime]


class ShadowReading(Base):
    """One question as the shadow release and the shown one answered it, and what an overlap of their boxes is computed from."""

    __tablename__ = "shadow_reading"

    result_id: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    shown_presence: Mapped[str | None]
    shown_likelihood: Mapped[str | None]
    shown_dropped: Mapped[str | None]
    shadow_presence: Mapped[str | None]
    shadow_likelihood: Mapped[str | None]
    shadow_dropped: Mapped[str | None]
    area_shown: Mapped[float | None]
    area_shadow: Mapped[float | None]
    intersection: Mapped[float | None]
    slices_apart: Mapped[int | None]


class DriftLook(Base):
    """One rate of one release on one day, in its two windows; `verdict` is `alarm`, `stable` or `few`."""

    __tablename__ = "drift_look"
    __table_args__ = (Index("ix_drift_look_verdict", "verdict", "day"),)

    day: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    recent_k: Mapped[int]
    recent_n: Mapped[int]
    reference_k: Mapped[int]
    reference_n: Mapped[int]
    p: Mapped[float | None]
    verdict: Mapped[str]
    looked_at: Mapped[datetime]
