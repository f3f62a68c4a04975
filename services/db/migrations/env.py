"""Alembic's environment: it works on the connection it is given, and never opens one or reads a setting."""

from __future__ import annotations

from alembic import context

from services.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
