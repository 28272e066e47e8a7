"""``trenza status``: how every process of a deployment is, and how its calls to the others stand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.peers import client_tls
from trenza.chassis.runtime.deployment import Deployment, read_deployment
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.cli.options import read_settings
from trenza.cli.tables import print_json, print_table

__all__ = ["show_status"]

_SECONDS = 5.0
"""How long one process may take; its own checks end after two."""
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_TOKEN_TTL = timedelta(minutes=5)


def show_status(*, deployment: str, url: str | None, token: str | None, data_dir: Path | None, as_json: bool) -> bool:
    """Print what each process says at ``/health/status``; returns whether all of them answer and are healthy.

    ``url`` is where a deployment of one process is.
    """
    settings = read_settings(data_dir)
    bearer = token or issue_token(signing_key(settings), "operator", ("platform:viewer",), _TOKEN_TTL, kind="operator")
    found = asyncio.run(_ask_all(_places(read_deployment(deployment), url), bearer, settings))
    if as_json:
        print_json(found)
    else:
        print_table(("PROCESS", "ADDRESS", "STATUS", "WHAT IS WRONG"), [_line(each) for each in found], empty="no processes")
        if calls := [line for each in found for line in _calls(each)]:
            print()
            print_table(("FROM", "TO", "BREAKER", "IN FLIGHT", "REPLICAS"), calls, empty="")
    return all(each["status"] == "healthy" for each in found)


def _places(deployment: Deployment, url: str | None) -> list[tuple[str, str]]:
    """The address of each process that has one. Replicas of a gateway share theirs: one of them is asked."""
    if deployment.alone:
        return [(deployment.only_process(), url or "http://127.0.0.1:8000")]
    return [(name, each) for name, process in deployment.processes.items() for each in process.urls]


async def _ask_all(places: list[tuple[str, str]], token: str, settings: PlatformSettings) -> list[dict[str, Any]]:
    tls = client_tls(settings)
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {token}"}, timeout=_SECONDS, trust_env=False, verify=tls if tls is not None else True
    ) as client:
        return list(await asyncio.gather(*(_ask(client, name, url) for name, url in places)))


async def _ask(client: httpx.AsyncClient, name: str, url: str) -> dict[str, Any]:
    """What a process says of itself, or that it does not."""
    known = {"process": name, "url": url}
    try:
        answer = await client.get(f"{url}/health/status")
        report = answer.json() if answer.is_success else {}
    except (httpx.TransportError, ValueError) as error:
        reason = "no connection" if isinstance(error, httpx.ConnectError) else type(error).__name__
        return {**known, "status": "no answer", "reason": reason}
    if answer.status_code in (_UNAUTHORIZED, _FORBIDDEN):
        lacking = "is not valid there" if answer.status_code == _UNAUTHORIZED else "lacks platform:viewer"
        remedy = "unset it for one of the key in --data-dir, or name another"
        return {**known, "status": "refused", "reason": f"the token of --token or TRENZA_TOKEN {lacking}: {remedy}"}
    if not report:
        return {**known, "status": "no answer", "reason": f"HTTP {answer.status_code}"}
    return {**known, **report}


def _line(found: dict[str, Any]) -> tuple[str, str, str, str]:
    wrong = [f"{check['name']}: {check['reason']}" for check in found.get("checks", ()) if check["status"] != "healthy"]
    return found["process"], found["url"], found["status"], found.get("reason") or "; ".join(wrong)


def _calls(found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """A line for each service that a process asks."""
    lines = []
    for callee, state in found.get("calls", {}).items():
        breaker = state["breaker"]
        if retry_in := state.get("retry_in"):
            breaker += f", again in {retry_in:g} s"
        replicas = ", ".join(f"{replica['url']} {replica['state']}" for replica in state["replicas"])
        lines.append((found["process"], callee, breaker, str(state["in_flight"]), replicas))
    return lines
