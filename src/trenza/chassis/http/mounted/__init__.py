"""Existing FastAPI applications that join a deployment as they are: served below a path, guarded route by route, documented."""

from trenza.chassis.http.mounted.access import MountedApp
from trenza.chassis.http.mounted.documentation import install_mounted_documents
from trenza.chassis.http.mounted.serving import Mounted

__all__ = ["Mounted", "MountedApp", "install_mounted_documents"]
