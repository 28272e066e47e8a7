"""Where a process stands in its deployment: what it does, and where the services are that it does not host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from trenza.chassis.runtime.deployment import Deployment
from trenza.chassis.settings import PlatformSettings

__all__ = ["BRAIDED", "Placement"]

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True)
class Placement:
    """One process among the others of its deployment."""

    process: str = "all"
    """Its name in the deployment file."""
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The addresses of every service that only other processes host, by its name."""
    workers: bool = True
    """Whether it handles messages."""
    called: bool = False
    """Whether other processes call its services, so that the internal route is open to them."""
    gateway: bool = False
    """Whether clients come here."""
    behind_gateway: bool = False
    """Whether they come to another process, which passes them on."""

    @classmethod
    def of(cls, deployment: Deployment, name: str) -> Placement:
        """The placement of a process of a deployment. Raises `DeploymentError` for one that it does not have."""
        process = deployment.process(name)
        elsewhere = {service: deployment.urls_of(service) for service in deployment.services if service not in process.services}
        return cls(
            process=name,
            elsewhere=elsewhere,
            workers=process.workers,
            called=len(deployment.processes) > 1 and process.url is not None and bool(process.services) and not process.gateway,
            gateway=process.gateway or len(deployment.processes) == 1,
            behind_gateway=not process.gateway and any(other.gateway for other in deployment.processes.values()),
        )

    def limited(self, settings: PlatformSettings) -> PlatformSettings:
        """The settings by which requests are counted: behind a gateway on this machine the address is what that one says."""
        if not self.behind_gateway:
            return settings
        return settings.model_copy(update={"trusted_proxies": (*settings.trusted_proxies, *_LOOPBACK)})


BRAIDED = Placement()
"""Of a process that is all there is."""
