"""``trenza messages top``: the queues of all services in one table, looked at again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.messages import Messages, MessagesOverview, QueueState
from trenza.cli.message_stores import Scope
from trenza.cli.tables import cell, json_text, print_grid

__all__ = ["Scope", "watch"]

_FIRST_SECONDS = 10.0
"""What the rates of the first look are about."""
_LAG = timedelta(seconds=0.5)
"""What ended within this time may not be committed yet: rates stop short of it, so that nothing is missed or counted twice."""
_HEADINGS = ("WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", "DONE/S", "DEAD/S")
_WIDEST_NAME = 64
"""Columns of the name of a queue: a sender may have thought of a long one."""
_FRAME_LINES = 5
"""Lines of the screen that hold no queue: title, headings, what is hidden, the cursor."""

Overviews = Mapping[str, MessagesOverview]


def watch(scope: Scope, *, once: bool, seconds: float, as_json: bool) -> None:
    """Print one look, or one every ``seconds`` until Ctrl-C. Where standard output is no terminal, tables are printed once."""
    once = once or not (as_json or sys.stdout.isatty())
    with suppress(KeyboardInterrupt):  # the way to end it
        asyncio.run(_watch(scope, once=once, seconds=seconds, as_json=as_json))


async def _watch(scope: Scope, *, once: bool, seconds: float, as_json: bool) -> None:
    async with scope.open() as stores:
        if not stores and not as_json:
            sys.stdout.write("no service has messages\n")
        elif once or not stores:
            found = await _look(stores, datetime.now(UTC) - timedelta(seconds=_FIRST_SECONDS) - _LAG)
            _print_json(found) if as_json else print_grid(_table(found, _shown(found, None)))
        elif as_json:
            async for looked in _looks(stores, seconds):
                if not isinstance(looked, DatabaseUnavailable):
                    _print_json(looked)
        else:
            await _show(stores, seconds)


async def _show(stores: Mapping[str, Messages], seconds: float) -> None:
    """Keep one table on the screen. A database that goes away is told, and waited for."""
    console = Console(highlight=False)
    found: Overviews = {}
    with Live(console=console, auto_refresh=False, transient=False) as live:
        async for looked in _looks(stores, seconds):
            trouble = str(looked) if isinstance(looked, DatabaseUnavailable) else ""
            if not isinstance(looked, DatabaseUnavailable):
                found = looked
            live.update(_screen(found, trouble, seconds, console.height), refresh=True)


async def _looks(stores: Mapping[str, Messages], seconds: float) -> AsyncIterator[Overviews | DatabaseUnavailable]:
    """A look now, and one after each pause; the error where a database does not answer."""
    after = datetime.now(UTC) - timedelta(seconds=_FIRST_SECONDS) - _LAG
    while True:
        try:
            found = await _look(stores, after)
        except DatabaseUnavailable as error:
            yield error
        else:
            after = max(overview.at for overview in found.values())
            yield found
        await asyncio.sleep(seconds)


async def _look(stores: Mapping[str, Messages], after: datetime) -> dict[str, MessagesOverview]:
    until = datetime.now(UTC) - _LAG
    found = await asyncio.gather(*(messages.overview.look(after=after, until=until) for messages in stores.values()))
    return dict(zip(stores, found, strict=True))


def _screen(found: Overviews, trouble: str, seconds: float, height: int) -> Group:
    shown = _shown(found, height - _FRAME_LINES - len(found))
    hidden = sum(len(overview.queues) for overview in found.values()) - sum(map(len, shown.values()))
    title = Text(f"{datetime.now().astimezone():%H:%M:%S}   every {seconds:g} s   Ctrl-C ends", style="dim")
    lines: list[Text | Table] = [title, _table(found, shown)]
    if hidden:
        lines.append(Text(f"{hidden} idle queue{'s' * (hidden != 1)} not shown", style="dim"))
    if trouble:
        lines.append(Text(trouble, style="red"))
    return Group(*lines)


def _shown(found: Overviews, most: int | None) -> dict[str, list[QueueState]]:
    """The queues of each service: all of them, or only those where something is to see when there is no room for all."""
    everything = {service: list(overview.queues) for service, overview in found.items()}
    if most is None or sum(map(len, everything.values())) <= most:
        return everything
    return {service: [queue for queue in queues if not _is_idle(queue)] for service, queues in everything.items()}


def _is_idle(queue: QueueState) -> bool:
    return not (queue.waiting or queue.delayed or queue.running or queue.dead or queue.handled_per_second)


def _table(found: Overviews, shown: Mapping[str, list[QueueState]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("SERVICE / QUEUE", no_wrap=True, overflow="ellipsis", min_width=24, max_width=_WIDEST_NAME)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for service, overview in found.items():
        waiting, oldest = overview.outbox_waiting, overview.outbox_oldest_seconds
        cells = (_count(waiting), "", "", "", _age(oldest), _rate(overview.sent_per_second), "")
        table.add_row(f"[bold]{cell(service)}[/] [dim]outbox[/]", *cells)
        names = [queue.consumer for queue in overview.queues]
        for queue in shown[service]:
            name = _name(queue, alone=names.count(queue.consumer) == 1)
            table.add_row(f"  {cell(name)}", *_figures(queue), style="dim" if _is_idle(queue) else "")
    return table


def _name(queue: QueueState, *, alone: bool) -> str:
    """The consumer; with the type where it takes several. Types without the service that they begin with."""
    short = queue.type.partition(".")[2] or queue.type or "unreadable"
    if not queue.consumer:
        return f"(nobody) {short}"
    return queue.consumer if alone else f"{queue.consumer} {short}"


def _figures(queue: QueueState) -> tuple[str, ...]:
    delayed = _count(queue.delayed)
    return (
        _count(queue.waiting),
        f"[yellow]{delayed}[/]" if queue.retrying else delayed,
        _count(queue.running),
        f"[red]{_count(queue.dead)}[/]" if queue.dead else "-",
        _age(queue.oldest_seconds),
        _rate(queue.handled_per_second),
        f"[red]{_rate(queue.failed_per_second)}[/]" if queue.failed_per_second else _rate(0.0),
    )


def _count(number: int) -> str:
    if not number:
        return "-"
    return str(number) if number < 1_000_000 else f"{number / 1e6:.1f}M"  # noqa: PLR2004 - what fits into the column


def _rate(number: float) -> str:
    return f"{number:.1f}" if number else "-"


def _age(seconds: float | None) -> str:
    """In the largest unit that fits: 0.4s, 12s, 5m, 3h, 2d."""
    if seconds is None:
        return "-"
    if seconds < 10:  # noqa: PLR2004 - two digits say enough
        return f"{seconds:.1f}s"
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def _print_json(found: Overviews) -> None:
    lines = {service: overview.model_dump(mode="json") for service, overview in found.items()}
    sys.stdout.write(json_text(lines) + "\n")
    sys.stdout.flush()
