"""Alembic runs this with the connection that `attire.review.store.database.migrate` opened."""

from alembic import context

from attire.review.store.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
