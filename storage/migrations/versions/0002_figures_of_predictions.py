"""Figures that some studies watch: macro F1 and the area under the ROC curve."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column for each, to epochs and models."""
    for table in ("treino_epochs", "treino_models"):
        for name in ("val_macro_f1", "val_auc"):
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True))
