"""The history of our own tables, kept with Alembic in a version table of our own.

Optuna owns ``alembic_version`` in the same database. A change to `storage.tables` comes with a
new file in ``versions/``, numbered on; a test compares the two.
"""

from enum import Enum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

VERSION_TABLE = "treino_alembic_version"
"""Where the database remembers which of our migrations it has had."""


class Standing(Enum):
    """How the tables in a database stand to the ones this treino knows."""

    ABSENT = "none there"
    BEHIND = "older"
    NEWEST = "the same"
    NEWER = "newer"


def standing(connection: Connection) -> Standing:
    """How our tables in the database of ``connection`` stand; reads only."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_revision()
    script = ScriptDirectory.from_config(_config())
    if found is None:
        return Standing.ABSENT
    if found == script.get_current_head():
        return Standing.NEWEST
    known = {revision.revision for revision in script.walk_revisions()}
    return Standing.BEHIND if found in known else Standing.NEWER


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring our tables to ``revision``, in one transaction; rows are kept."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    # Alembic reads it through configparser, to which a percent sign means something.
    here = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", here)
    return config
