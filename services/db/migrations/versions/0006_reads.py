"""Who has opened which result."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox_read",
        sa.Column("reader", sa.Text(), primary_key=True),
        sa.Column("result_id", sa.Text(), sa.ForeignKey("inbox_entry.result_id"), primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("inbox_read")
