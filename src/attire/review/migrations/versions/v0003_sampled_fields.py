"""Create the table of sampled fields."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sampled",
        sa.Column("product", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
    )
