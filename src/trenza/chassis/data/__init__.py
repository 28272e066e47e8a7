"""Engines, units of work and migrations: one database per service."""

from trenza.chassis.data.database import Database, DatabaseUnavailable
from trenza.chassis.data.work import CommitWatch, NestedUnitOfWork, UnitOfWork, forbid_open_work

__all__ = ["CommitWatch", "Database", "DatabaseUnavailable", "NestedUnitOfWork", "UnitOfWork", "forbid_open_work"]
