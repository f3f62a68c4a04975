"""The audit trail, which only grows; how far it was delivered; logins of the inbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import Sequence, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text(), nullable=False, unique=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("patient", sa.Text()),
        sa.Column("result_id", sa.Text()),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_events_patient", "audit_events", ["patient"])
    op.create_index("ix_audit_events_result", "audit_events", ["result_id"])
    op.create_index("ix_audit_events_at", "audit_events", ["at"])
    op.create_table(
        "audit_delivery",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("delivered_seq", Sequence, nullable=False),
        sa.Column("delivered_hash", sa.Text()),
        sa.Column("delivered_at", UtcDateTime()),
        sa.Column("holder", sa.Text()),
        sa.Column("held_until", UtcDateTime()),
    )
    op.create_table(
        "inbox_session",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_inbox_session_ends", "inbox_session", ["ends_at"])
    for statement in _refusals(op.get_bind().dialect.name):
        op.execute(statement)


def _refusals(dialect: str) -> list[str]:
    """What makes the trail append-only for everyone who does not change the schema itself."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER audit_events_no_{verb.lower()} BEFORE {verb} ON audit_events "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$",
        "CREATE TRIGGER audit_events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()",
    ]


def downgrade() -> None:
    for table in ("inbox_session", "audit_delivery", "audit_events"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_events_append_only()")
