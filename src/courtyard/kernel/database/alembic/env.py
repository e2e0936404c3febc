# ruff: noqa: INP001 - Alembic loads it by path, from a folder that is no package
"""Run by Alembic for each of its commands; the migrator has prepared the connection and all options."""

from alembic import context

context.configure(**context.config.attributes["options"])
with context.begin_transaction():
    context.run_migrations()
