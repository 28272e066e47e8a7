"""Where a process stands in its deployment: what it does, and where the services are that it does not host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trenza.chassis.runtime.deployment import Deployment

__all__ = ["BRAIDED", "Placement"]


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

    @classmethod
    def of(cls, deployment: Deployment, name: str) -> Placement:
        """The placement of a process of a deployment. Raises `DeploymentError` for one that it does not have."""
        process = deployment.process(name)
        elsewhere = {service: deployment.urls_of(service) for service in deployment.services if service not in process.services}
        return cls(
            process=name,
            elsewhere=elsewhere,
            workers=process.workers,
            called=len(deployment.processes) > 1 and process.url is not None and bool(process.services),
            gateway=process.gateway or len(deployment.processes) == 1,
        )


BRAIDED = Placement()
"""Of a process that is all there is."""
