"""Alembic's entry: run the numbered migrations on the connection that `migrate.py` hands over."""

from __future__ import annotations

from alembic import context

from retrieval.catalog.schema import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
