"""Alembic's entry point: runs the migrations on the connection that whoever migrates hands over, on SQLite or on Postgres."""

from alembic import context

from foundry.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
