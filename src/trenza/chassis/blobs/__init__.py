"""Objects (photos, renditions, documents) in a local folder or in S3, behind one surface."""

from trenza.chassis.blobs.objects import BlobMissing, Blobs, BlobStat, BlobsUnavailable, InvalidBlobKey
from trenza.chassis.blobs.opening import open_blobs
from trenza.chassis.blobs.spool import discard

__all__ = ["BlobMissing", "BlobStat", "Blobs", "BlobsUnavailable", "InvalidBlobKey", "discard", "open_blobs"]
