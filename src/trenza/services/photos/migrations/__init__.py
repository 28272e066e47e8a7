"""Alembic's versions of the photos database."""
