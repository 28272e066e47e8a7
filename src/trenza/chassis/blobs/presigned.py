"""What obstore cannot sign into presigned S3 URLs, a download name and a length: AWS Signature Version 4 once more."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

__all__ = ["StaticCredentials", "content_disposition", "with_download_name", "with_length"]


@dataclass(frozen=True)
class StaticCredentials:
    """Credentials that stand in the environment, as opposed to those that an instance fetches and renews."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """The credentials of ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, or None without them."""
        key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
        return cls(key_id, secret) if key_id and secret else None


def with_download_name(url: str, name: str, credentials: StaticCredentials) -> str:
    """The presigned GET ``url`` signed anew so that S3 answers with the name in ``Content-Disposition``."""
    return _signed_anew(url, "GET", credentials, query={"response-content-disposition": content_disposition(name)}, headers={})


def with_length(url: str, length: int, credentials: StaticCredentials) -> str:
    """The presigned PUT ``url`` signed anew so that S3 takes a body of ``length`` bytes only, told in ``Content-Length``."""
    return _signed_anew(url, "PUT", credentials, query={}, headers={"content-length": str(length)})


def _signed_anew(
    url: str, method: str, credentials: StaticCredentials, *, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """A presigned URL with more parameters, and with headers that the request must have as they are here.

    Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
    """
    parts = urlsplit(url)
    signed = {**headers, "host": parts.netloc}
    names = ";".join(sorted(signed))
    asked = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **query, "X-Amz-SignedHeaders": names}
    del asked["X-Amz-Signature"]
    canonical_query = "&".join(f"{_encoded(key)}={_encoded(value)}" for key, value in sorted(asked.items()))
    lines = (f"{name}:{value}" for name, value in sorted(signed.items()))
    request = "\n".join((method, parts.path, canonical_query, *lines, "", names, "UNSIGNED-PAYLOAD"))
    scope = asked["X-Amz-Credential"].split("/", 1)[1]
    text = "\n".join(("AWS4-HMAC-SHA256", asked["X-Amz-Date"], scope, sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), sha256)
    signature = hmac.digest(key, text.encode(), sha256).hex()
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{canonical_query}&X-Amz-Signature={signature}"


def content_disposition(name: str) -> str:
    """``attachment`` with the name twice: in ASCII for old clients, and in full (RFC 6266 section 4.3, RFC 8187)."""
    plain = "".join(character if character.isascii() and character not in '"\\%' else "_" for character in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
