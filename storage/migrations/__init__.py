"""Migrations of treino's tables, with Alembic and a separate version table.

Optuna owns ``alembic_version`` in the same database. A change to `storage.tables` needs a new
file in ``versions/`` with the next number; a test compares the two. Whoever may only read does not
migrate, so a migration only adds, and `storage.tables.Records` does without what is not there yet.
"""

from enum import Enum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

VERSION_TABLE = "treino_alembic_version"
"""The version table of treino's migrations."""


class Standing(Enum):
    """How the tables in a database compare with those of this version."""

    ABSENT = "none there"
    BEHIND = "older"
    NEWEST = "the same"
    NEWER = "newer"


def standing(connection: Connection) -> Standing:
    """The state of treino's tables in the database of ``connection``; only reads."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    script = ScriptDirectory.from_config(_config())
    if revision is None:
        return Standing.ABSENT
    if revision == script.get_current_head():
        return Standing.NEWEST
    revisions = {revision.revision for revision in script.walk_revisions()}
    return Standing.BEHIND if revision in revisions else Standing.NEWER


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate treino's tables to ``revision`` in one transaction; rows are kept."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    # Alembic reads it through configparser, where a percent sign is special.
    here = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", here)
    return config
