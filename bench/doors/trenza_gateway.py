"""The gateway before one upstream, as the runtime serves it: ``python bench/doors/trenza_gateway.py PORT UPSTREAM FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
import uvloop

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.gateway import Gateway, GatewayRoute
from trenza.chassis.runtime.connections import BoundedHttpProtocol
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging


def main(port: int, upstream: str, folder: Path) -> None:
    """Serve until the end; its access log is that of production, and goes where standard error goes."""
    settings = PlatformSettings(environment="production", data_dir=folder)
    configure_logging(settings)
    verifier = TokenVerifier([SigningKey.load_or_create(folder / "signing.pem")])
    gateway = Gateway(None, (GatewayRoute("photos", ("/api/photos",), (upstream,)),), settings, verifier=verifier)
    config = uvicorn.Config(
        gateway,
        port=port,
        http=BoundedHttpProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
