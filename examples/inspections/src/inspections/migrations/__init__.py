"""Alembic's versions of the inspections database."""
