"""Lists what the image service consists of."""

from __future__ import annotations

from trenza.chassis.service import Check, Service
from trenza.services.images.contract import Images
from trenza.services.images.phrases import PHRASES
from trenza.services.images.service import ImageEngine
from trenza.services.images.settings import ImagesSettings

__all__ = ["service"]

service = Service(
    contract=Images,
    implementation=ImageEngine,
    settings=ImagesSettings,
    # Not required: without workers, uploads are still accepted and wait for their renditions.
    checks=(Check("image workers", ImageEngine.check, required=False),),
    lifespan=ImageEngine.running,
    extra="images",
    phrases=PHRASES,
)
