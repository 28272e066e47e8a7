"""The background work of inspections: reports, and looking for those that are late."""

from __future__ import annotations

from typing import Final

from inspections.messages import FindOverdue, WriteReport
from inspections.service import InspectionsService
from trenza import Backoff, Delivery, Schedule, get_logger, handles

__all__ = ["SCHEDULES", "TASKS"]

_log = get_logger(__name__)


# Ten attempts within some three hours, should photos have a fault; then it is a dead letter, which can be redriven.
@handles(WriteReport, attempts=10, timeout=30, backoff=Backoff(base=2, factor=4, cap=3600))
async def write_report(inspections: InspectionsService, order: WriteReport, delivery: Delivery) -> None:
    """Write the report of a closed inspection. Until the delivery is finished all of it can be done again."""
    inspection = await inspections.get_inspection(inspection_id=order.inspection_id)
    key = await inspections.write_report(inspection)
    async with delivery.finish() as work:
        await inspections.keep_report(work, inspection, key)


@handles(FindOverdue)
async def find_overdue(inspections: InspectionsService, _order: FindOverdue, delivery: Delivery) -> None:
    """Announce the inspections whose day has passed."""
    async with delivery.finish() as work:
        late = await inspections.announce_overdue(work)
    _log.info("inspections overdue", inspections=late)


TASKS: Final = (write_report, find_overdue)
SCHEDULES: Final = (Schedule("find-overdue", cron="7 * * * *", task=FindOverdue()),)
