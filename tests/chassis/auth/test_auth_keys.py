from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trenza.chassis.auth.keys import KeyRing, SigningKey, UnusableKey


def test_the_key_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first = SigningKey.load_or_create(path)
    again = SigningKey.load_or_create(path)
    assert first.kid == again.kid
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["signing.pem"]


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    program = (
        "import sys, pathlib; from trenza.chassis.auth.keys import SigningKey; "
        "sys.stdin.read(1); print(SigningKey.load_or_create(pathlib.Path(sys.argv[1])).kid)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("!")
        racer.stdin.flush()
    kids = {racer.communicate()[0].strip() for racer in racers}
    assert kids == {SigningKey.from_pem_file(path).kid}


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    SigningKey.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(UnusableKey, match="chmod 600"):
        SigningKey.load_or_create(path)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_a_key_is_refused_without_being_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(UnusableKey, match=r"key\.pem: holds no unencrypted PEM private key; make one with: openssl"):
        SigningKey.from_pem_file(path)


def test_a_missing_file_and_another_kind_of_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="cannot be read"):
        SigningKey.from_pem_file(tmp_path / "none.pem")
    path = tmp_path / "rsa.pem"
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UnusableKey, match="not an Ed25519 key"):
        SigningKey.from_pem_file(path)


def test_the_key_is_named_by_its_thumbprint_and_published_as_a_jwk() -> None:
    key = SigningKey.generate()
    (jwk,) = key.jwks()["keys"]
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"), sort_keys=True)
    expected = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
    assert jwk["kid"] == key.kid == expected
    assert jwk["alg"] == "EdDSA"
    assert "d" not in jwk
    # Anybody's JWT library can verify with it.
    token = key.sign({"sub": "ana"})
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["EdDSA"]) == {"sub": "ana"}


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    # RFC 8037, appendix A.3
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    (known,) = KeyRing.from_jwks({"keys": [jwk]}).jwks()["keys"]
    assert known["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_ring_takes_the_keys_of_a_published_set_and_believes_no_names() -> None:
    one, other = SigningKey.generate(), SigningKey.generate()
    published = KeyRing([one, other]).jwks()
    published["keys"][1]["kid"] = one.kid
    published["keys"].append({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"})
    ring = KeyRing.from_jwks(published)
    assert ring.find(one.kid) == one.verifying_key.public_key
    assert ring.find(other.kid) == other.verifying_key.public_key
    assert ring.find("rsa") is None
    assert ring.find(None) is None


def test_a_key_does_not_show_itself(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "k.pem")
    assert repr(key) == f"SigningKey(kid={key.kid!r})"
