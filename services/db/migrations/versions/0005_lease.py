"""What one of several processes does at a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.db.models import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("holder", sa.Text()),
        sa.Column("held_until", UtcDateTime()),
    )


def downgrade() -> None:
    op.drop_table("lease")
