"""Passes of reconciliation, how results were built, shadow readings, drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import Sequence, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_reconcile()
    _create_builds()
    _create_shadow()
    _create_drift()


def _create_reconcile() -> None:
    op.create_table(
        "reconcile_pass",
        sa.Column("pass_id", sa.Text(), primary_key=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("grace_minutes", sa.Integer(), nullable=False),
        sa.Column("cap", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("studies", sa.Integer()),
        sa.Column("results", sa.Integer()),
        sa.Column("left_over", sa.Integer()),
    )
    op.create_index("ix_reconcile_pass_started", "reconcile_pass", ["started_at"])
    op.create_table(
        "reconcile_item",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("pass_id", sa.Text(), sa.ForeignKey("reconcile_pass.pass_id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.UniqueConstraint("pass_id", "kind", "key", "fact", name="uq_reconcile_item_fact"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reconcile_item_key", "reconcile_item", ["key", "fact"])


def _create_builds() -> None:
    op.create_table(
        "result_build",
        sa.Column("result_id", sa.Text(), primary_key=True),
        sa.Column("study_key", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("build", sa.Text(), nullable=False),
        sa.Column("finding_count", sa.Integer(), nullable=False),
        sa.Column("dropped_count", sa.Integer(), nullable=False),
        sa.Column("built_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_result_build_release", "result_build", ["release_id", "built_at"])
    op.create_table(
        "shown_finding",
        sa.Column("result_id", sa.Text(), sa.ForeignKey("result_build.result_id"), primary_key=True),
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("presence", sa.Text()),
        sa.Column("likelihood", sa.Text()),
        sa.Column("dropped", sa.Text()),
    )
    op.create_table(
        "amended_finding",
        sa.Column("result_id", sa.Text(), primary_key=True),
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("presence", sa.Text(), nullable=False),
    )


def _create_shadow() -> None:
    op.create_table(
        "shadow_read",
        sa.Column("result_id", sa.Text(), primary_key=True),
        sa.Column("release_id", sa.Text(), primary_key=True),
        sa.Column("study_key", sa.Text(), nullable=False),
        sa.Column("reading", sa.Text()),
        sa.Column("milliseconds", sa.Integer()),
        sa.Column("code", sa.Text()),
        sa.Column("read_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_shadow_read_release", "shadow_read", ["release_id", "read_at"])
    op.create_table(
        "shadow_reading",
        sa.Column("result_id", sa.Text(), primary_key=True),
        sa.Column("release_id", sa.Text(), primary_key=True),
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("shown_presence", sa.Text()),
        sa.Column("shown_likelihood", sa.Text()),
        sa.Column("shown_dropped", sa.Text()),
        sa.Column("shadow_presence", sa.Text()),
        sa.Column("shadow_likelihood", sa.Text()),
        sa.Column("shadow_dropped", sa.Text()),
        sa.Column("area_shown", sa.Double()),
        sa.Column("area_shadow", sa.Double()),
        sa.Column("intersection", sa.Double()),
        sa.Column("slices_apart", sa.Integer()),
    )


def _create_drift() -> None:
    op.create_table(
        "drift_look",
        sa.Column("day", sa.Text(), primary_key=True),
        sa.Column("release_id", sa.Text(), primary_key=True),
        sa.Column("metric", sa.Text(), primary_key=True),
        sa.Column("recent_k", sa.Integer(), nullable=False),
        sa.Column("recent_n", sa.Integer(), nullable=False),
        sa.Column("reference_k", sa.Integer(), nullable=False),
        sa.Column("reference_n", sa.Integer(), nullable=False),
        sa.Column("p", sa.Double()),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("looked_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_drift_look_verdict", "drift_look", ["verdict", "day"])


def downgrade() -> None:
    for table in (
        "drift_look",
        "shadow_reading",
        "shadow_read",
        "amended_finding",
        "shown_finding",
        "result_build",
        "reconcile_item",
        "reconcile_pass",
    ):
        op.drop_table(table)
