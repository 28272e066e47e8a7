"""The files of TLS that a broker's URL names are read at the start, so that no transport trips over them later."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from trenza.chassis.messages import open_broker
from trenza.chassis.settings import InvalidSettings
from trenza.chassis.testing.certificates import Certificate

AMQP = ("amqps://u:p@h?", "cafile", "certfile", "keyfile")
KAFKA = ("kafka://h?security.protocol=ssl&", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
both = pytest.mark.parametrize("names", [AMQP, KAFKA], ids=["amqps", "kafka"])
Names = tuple[str, str, str, str]


def problems(url: str) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as refusal:
        open_broker(url)
    return refusal.value.problems


@both
async def test_files_that_belong_together_are_taken(names: Names, tmp_path: Path) -> None:
    own = Certificate.of("h", tmp_path)
    url, authorities, certificate, key = names
    await open_broker(f"{url}{authorities}={own.file}&{certificate}={own.file}&{key}={own.key_file}").close()


@both
def test_files_that_cannot_be_used_are_named_with_their_option(names: Names, tmp_path: Path) -> None:
    own, other, text = Certificate.of("h", tmp_path), Certificate.of("other", tmp_path), tmp_path / "some text.pem"
    text.write_text("no certificate")
    url, authorities, certificate, key = names
    [said] = problems(f"{url}{authorities}={quote(str(text))}")
    assert said.startswith(f"TRENZA_TRANSPORT_URL: {authorities} is '{text}', which holds no certificate; name a PEM file")
    [said] = problems(f"{url}{certificate}={own.file}&{key}={other.key_file}")
    assert f"{key} names another key than that of {certificate}; name two that belong together" in said
    [said] = problems(f"{url}{certificate}={own.file}")
    assert f"{certificate}, without {key}, does not name a certificate and its key" in said
    [said] = problems(f"{url}{certificate}={quote(str(text))}&{key}={own.key_file}")
    assert f"{certificate} and {key} do not name a certificate and its key" in said


def test_a_key_with_a_password_needs_the_right_one(tmp_path: Path) -> None:
    own = Certificate.of("h", tmp_path, password="hunter2")
    files = f"ssl.certificate.location={own.file}&ssl.key.location={own.key_file}"
    url = f"kafka://h?security.protocol=ssl&{files}"
    open_broker(f"{url}&ssl.key.password=hunter2")
    for wrong in ("", "&ssl.key.password=hunter3"):
        [said] = problems(url + wrong)
        assert "ssl.key.location names a key that its password does not open; correct ssl.key.password" in said
        assert "hunter" not in said
    [said] = problems(f"amqps://u:p@h?certfile={own.file}&keyfile={own.key_file}")
    assert "keyfile names a key that its password does not open; take the password off it" in said


def test_authorities_of_kafka_may_be_a_folder(tmp_path: Path) -> None:
    open_broker(f"kafka://h?security.protocol=ssl&ssl.ca.location={tmp_path}")
    [said] = problems(f"amqps://h?cafile={tmp_path}")
    assert "cafile is " in said
