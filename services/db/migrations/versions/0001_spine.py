"""Runs, inbox, change feed, outbox and dead letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import Document, Sequence, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_run()
    _create_inbox()
    _create_outbox()
    _create_dead_letter()


def _create_run() -> None:
    op.create_table(
        "run",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("study_key", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("inventory_digest", sa.Text()),
        sa.Column("release_id", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.Column("retryable", sa.Boolean()),
        sa.Column("attempts", sa.Integer()),
        sa.Column("result_id", sa.Text()),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_run_read", "run", ["study_key", "inventory_digest", "release_id"])
    op.create_index("ix_run_result", "run", ["result_id"])
    op.create_index("ix_run_updated", "run", ["updated_at"])


def _create_inbox() -> None:
    op.create_table(
        "inbox_entry",
        sa.Column("result_id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), sa.ForeignKey("run.run_id"), nullable=False),
        sa.Column("study_key", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("priority_rank", sa.Integer(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("trained", sa.Boolean(), nullable=False),
        sa.Column("release_name", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Text()),
        sa.Column("sex", sa.Text()),
        sa.Column("record_number", sa.Text()),
        sa.Column("accession", sa.Text()),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("study_started", sa.Text()),
        sa.Column("prior_started", sa.Text()),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("finding_count", sa.Integer(), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("acknowledge_by", UtcDateTime()),
        sa.Column("document", Document, nullable=False),
        sa.Column("opened_at", UtcDateTime()),
        sa.Column("superseded_by", sa.Text()),
        sa.Column("act_id", sa.Text()),
        sa.Column("reviewer", sa.Text()),
        sa.Column("reviewed_at", UtcDateTime()),
        sa.Column("reason_code", sa.Text()),
        sa.Column("reason_text", sa.Text()),
        sa.Column("reviewed_report", sa.Text()),
        sa.Column("added_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_inbox_entry_order", "inbox_entry", ["status", "priority_rank", "issued_at"])
    op.create_index("ix_inbox_entry_thread", "inbox_entry", ["thread_id", "issued_at"])
    op.create_table(
        "inbox_change",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("result_id", sa.Text(), sa.ForeignKey("inbox_entry.result_id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text(), nullable=False, unique=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event", Document, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("published_at", UtcDateTime()),
        sa.UniqueConstraint("key", "sequence", name="uq_outbox_key_sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_waiting", "outbox", ["published_at", "seq"])


def _create_dead_letter() -> None:
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("headers", Document, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("replayed_at", UtcDateTime()),
        sa.UniqueConstraint("topic", "partition", "offset", "object_key", name="uq_dead_letter_place"),
    )
    op.create_index("ix_dead_letter_created", "dead_letter", ["created_at"])


def downgrade() -> None:
    for table in ("dead_letter", "outbox", "inbox_change", "inbox_entry", "run"):
        op.drop_table(table)
