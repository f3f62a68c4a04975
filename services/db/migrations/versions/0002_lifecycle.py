"""What became of a result: closing, escalation, acknowledgement, addenda."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("adds_to", "closed_reason", "closed_act_id", "acknowledged_by"):
        op.add_column("inbox_entry", sa.Column(name, sa.Text()))
    for name in ("closed_at", "acknowledged_at"):
        op.add_column("inbox_entry", sa.Column(name, UtcDateTime()))
    op.add_column("inbox_entry", sa.Column("escalation_step", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "inbox_entry", sa.Column("escalation_exhausted", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_index("ix_inbox_entry_adds_to", "inbox_entry", ["adds_to"])


def downgrade() -> None:
    op.drop_index("ix_inbox_entry_adds_to", "inbox_entry")
    names = ("closed_reason", "closed_act_id", "closed_at", "acknowledged_by", "acknowledged_at", "adds_to")
    for name in (*names, "escalation_step", "escalation_exhausted"):
        op.drop_column("inbox_entry", name)
