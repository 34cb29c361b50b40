"""Alembic's migration script; the connection comes from `storage.migrations.upgrade`."""

from alembic import context

from storage.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
