"""What the gateway adds to a request and how many it carries on one core, beside nginx, Caddy and Traefik as plain proxies."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from statistics import median

from bench.peers import environment
from bench.tables import Figures

from trenza.chassis.testing.server_process import free_port

ROUNDS = 5
SECONDS = int(os.environ.get("BENCH_GATEWAY_SECONDS", "6"))
"""Of throughput in each round."""
PACE = 500
"""Requests a second at which latency is measured."""
PACED_SECONDS = 4
CONNECTIONS = 32
START_SECONDS = 15.0
_ASKED = "/api/photos/x"
_HERE = Path(__file__).parent
_LOAD_CORE, _DOOR_CORE = "0", "1"

_NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log {log}; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {upstream}
  server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}
"""
_CADDY = """{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  log {{
    output file {folder}/access.log
  }}
  reverse_proxy {upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
}}
"""
_TRAEFIK_ROUTES = """http: {{ routers: {{ all: {{ rule: "PathPrefix(`/`)", service: one, entryPoints: [web] }} }},
  services: {{ one: {{ loadBalancer: {{ servers: [ {{ url: "{upstream}" }} ] }} }} }} }}
"""

Door = Callable[[Path, int, str], list[str]]
"""Writes a door's configuration into a folder and gives its command, for a port and an upstream."""


def measure() -> Figures:
    """Run every door in turns, so that what else the machine does meets them all alike."""
    for tool in ("wrk", "nginx", "taskset"):
        if which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install wrk nginx-light util-linux")
    carried: dict[str, list[float]] = {name: [] for name in ("direct", *_DOORS)}
    added: dict[str, list[float]] = {name: [] for name in ("direct", *_DOORS)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(_running("upstream", folder, _upstream, "", core=_LOAD_CORE))
        for _ in range(ROUNDS):
            for name, door in (("direct", None), *_DOORS.items()):
                with ExitStack() as once:
                    url = upstream if door is None else once.enter_context(_running(name, folder, door, upstream))
                    carried[name].append(_throughput(url))
                    added[name].append(asyncio.run(_latency(url)))
    rows = []
    for name, rates in carried.items():
        delay = median(each - direct for each, direct in zip(added[name], added["direct"], strict=True))
        of_caddy = median(rates) / median(carried["Caddy"])
        rows.append((name, f"{median(rates):,.0f}", f"{of_caddy:.2f}", "" if name == "direct" else f"{delay * 1e3:.2f} ms"))
    how = (
        f"3-byte answers of an nginx; each door alone on one core with its access log on; wrk with {CONNECTIONS} connections; "
        f"medians of {ROUNDS} rounds in turns. Added: the difference of the medians of latency at {PACE} requests a second. The "
        "gateway checks paths and tokens, counts, traces, balances and breaks circuits, which the plain proxies do not."
    )
    return Figures("The gateway", how, ("door", "requests/s", "of Caddy", "added p50"), tuple(rows))


def _upstream(folder: Path, port: int, _: str) -> list[str]:
    return _nginx(folder, port, upstream="", location='return 200 "abc";', log="off")


def _nginx_door(folder: Path, port: int, upstream: str) -> list[str]:
    kept = f"upstream one {{ server {upstream.removeprefix('http://')}; keepalive 64; keepalive_requests 100000000; }}"
    location = 'proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection "";'
    return _nginx(folder, port, upstream=kept, location=location, log=str(folder / "access.log"))


def _nginx(folder: Path, port: int, *, upstream: str, location: str, log: str) -> list[str]:
    configuration = folder / f"nginx-{port}.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream, location=location, log=log))
    return [str(which("nginx")), "-c", str(configuration), "-p", str(folder)]


def _caddy(folder: Path, port: int, upstream: str) -> list[str]:
    configuration = folder / "Caddyfile"
    configuration.write_text(_CADDY.format(folder=folder, port=port, upstream=upstream))
    return [str(environment("proxies").with_name("caddy")), "run", "--adapter", "caddyfile", "--config", str(configuration)]


def _traefik(folder: Path, port: int, upstream: str) -> list[str]:
    routes = folder / "routes.yml"
    routes.write_text(_TRAEFIK_ROUTES.format(upstream=upstream))
    options = (f"--entryPoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={routes}", "--log.level=ERROR")
    log = ("--accesslog=true", f"--accesslog.filepath={folder / 'traefik.log'}", "--global.sendanonymoususage=false")
    return [str(environment("proxies").with_name("traefik")), *options, *log, "--global.checknewversion=false"]


def _gateway(folder: Path, port: int, upstream: str) -> list[str]:
    return [sys.executable, str(_HERE / "doors" / "trenza_gateway.py"), str(port), upstream, str(folder)]


_DOORS: dict[str, Door] = {"Trenza": _gateway, "nginx": _nginx_door, "Caddy": _caddy, "Traefik": _traefik}


@contextmanager
def _running(name: str, folder: Path, door: Door, upstream: str, *, core: str = _DOOR_CORE) -> Iterator[str]:
    """A server on a core of its own, once it answers; gives its URL."""
    port = free_port()
    own = folder / f"{name}-{port}"
    own.mkdir()
    command = ["taskset", "-c", core, *door(own, port, upstream)]
    variables = {**os.environ, "GOMAXPROCS": "1", "HOME": str(own)}
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, cwd=own)  # noqa: S603 - our own programs
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} does not serve:\n{(own / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    asked = subprocess.run(["curl", "-sf", url + _ASKED], capture_output=True, check=False)  # noqa: S603, S607 - a fixed program
    return asked.stdout == b"abc"


def _throughput(url: str) -> float:
    """Requests a second. Raises `RuntimeError` where any failed."""
    command = ("taskset", "-c", _LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url + _ASKED)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - a fixed program
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"requests failed:\n{said}")
    return float(rate[1])


async def _latency(url: str) -> float:
    """The median of seconds from sending a request to the whole answer, at a pace that no answer holds up."""
    port = int(url.rpartition(":")[2])
    request = f"GET {_ASKED} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    took: list[float] = []

    async def ask() -> None:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        took.append(time.perf_counter() - began)
        idle.append((reader, writer))

    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(_LOAD_CORE)})
    try:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(PACE * PACED_SECONDS):
                await asyncio.sleep(max(0.0, started + number / PACE - time.perf_counter()))
                group.create_task(ask())
    finally:
        os.sched_setaffinity(0, own)
    for _, writer in idle:
        writer.close()
    return median(took[PACE:])
