"""Calls between real processes: killed, frozen, restarted, with keys that change under load, and over mutual TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.chassis.calls.scales_process import Scales

from trenza.chassis.auth.key_files import LOOK_SECONDS, KeyFiles
from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.rotation import publish_next, revoke, sign_with_next
from trenza.chassis.blobs import Blobs, open_blobs
from trenza.chassis.calls.callees import Callees
from trenza.chassis.context import Context, Principal, use_context
from trenza.chassis.contract import CallFailed
from trenza.chassis.peers import UnusableTls, client_tls, server_tls
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.server_process import free_port

_SCRIPT = Path(__file__).with_name("scales_process.py")
_ROOT = Path(__file__).parents[3]


class ScalesProcess:
    """One process that serves the scales."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def serving(
    data: Path, *, port: int = 0, scheme: str = "http", settings: Mapping[str, str] | None = None
) -> AsyncIterator[ScalesProcess]:
    port = port or free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRENZA_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_SCRIPT), str(port)),
        stdout=asyncio.subprocess.PIPE,
        env={**kept, "PYTHONPATH": str(_ROOT), "TRENZA_DATA_DIR": str(data), **(settings or {})},
    )
    served = ScalesProcess(process, f"{scheme}://127.0.0.1:{port}")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield served
    finally:
        await served.end()


class Caller:
    """This process as a service that calls the scales."""

    def __init__(self, data: Path, blobs: Blobs | None = None, **settings: object) -> None:
        platform = PlatformSettings.model_validate({"data_dir": data, "call_retry_seconds": 0.05, **settings})
        self.places = KeyFiles.places(platform)
        SigningKey.load_or_create(self.places[0])
        self.keys = KeyFiles.of(platform)
        self.callees = Callees(platform, self.keys.signing_key, blobs=blobs)

    def bind(self, *urls: str) -> Scales:
        return self.callees.bind(Scales, urls, caller="stove")


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    made = Caller(tmp_path)
    yield made
    await made.callees.close()


async def test_a_call_arrives_in_another_process_with_the_callers_identity(tmp_path: Path, caller: Caller) -> None:
    async with serving(tmp_path) as served:
        scales = caller.bind(served.url)
        with use_context(Context(correlation_id="c", principal=Principal(subject="ana"))):
            reading = await scales.read(grams=3)
    assert (reading.grams, reading.process, reading.subject) == (3, served.process.pid, "ana")


async def test_bodies_beyond_a_request_travel_through_the_shared_store(tmp_path: Path) -> None:
    blobs = open_blobs(PlatformSettings(data_dir=tmp_path))
    caller = Caller(tmp_path, blobs)
    data = os.urandom(20_000_000)
    async with serving(tmp_path) as served:
        assert await caller.bind(served.url).echo(data=data) == data
        assert await caller.bind(served.url).echo(data=b"small") == b"small"
    assert [stat.key async for stat in blobs.list("calls")] == []
    await caller.callees.close()
    await blobs.close()


async def test_who_has_another_key_is_turned_away(tmp_path: Path, caller: Caller) -> None:
    stranger = Caller(tmp_path / "elsewhere")
    async with serving(tmp_path) as served:
        with pytest.raises(CallFailed, match="not trusted") as caught:
            await stranger.bind(served.url).read(grams=1)
        assert caught.value.ran is False
        assert (await caller.bind(served.url).read(grams=1)).grams == 1
    await stranger.callees.close()


async def test_a_process_that_is_killed_costs_idempotent_calls_nothing(tmp_path: Path, caller: Caller) -> None:
    async with serving(tmp_path) as one, serving(tmp_path) as two:
        scales = caller.bind(one.url, two.url)
        stop = asyncio.Event()

        async def load() -> set[int]:
            seen = set()
            while not stop.is_set():
                seen.add((await scales.read(grams=1)).process)
            return seen

        loading = [asyncio.ensure_future(load()) for _ in range(8)]
        await _until_both_were_asked(scales, one, two)
        await one.end()
        for _ in range(50):
            assert (await scales.read(grams=1)).process == two.process.pid
        stop.set()
        seen = await asyncio.gather(*loading)
    assert {process for each in seen for process in each} == {one.process.pid, two.process.pid}
    assert caller.callees.states()["scales"]["breaker"] == "closed"


async def _until_both_were_asked(scales: Scales, one: ScalesProcess, two: ScalesProcess) -> None:
    seen: set[int] = set()
    while seen != {one.process.pid, two.process.pid}:
        seen.add((await scales.read(grams=1)).process)


async def test_what_is_not_idempotent_is_never_run_twice_by_a_crash(tmp_path: Path, caller: Caller) -> None:
    async with serving(tmp_path) as one:
        scales = caller.bind(one.url)
        waiting = asyncio.ensure_future(scales.wait(seconds=30))
        async with asyncio.timeout(10):
            while await scales.count() < 100:
                pass  # the other call has not arrived yet
        await one.end()
        with pytest.raises(CallFailed) as caught:
            await waiting
    assert caught.value.ran is None


async def test_a_frozen_process_costs_one_deadline_and_is_then_avoided(tmp_path: Path, caller: Caller) -> None:
    async with serving(tmp_path) as frozen, serving(tmp_path) as well:
        scales = caller.bind(frozen.url, well.url)
        await _until_both_were_asked(scales, frozen, well)
        frozen.send(signal.SIGSTOP)
        try:
            lost = 0
            for _ in range(20):
                with use_context(Context(correlation_id="c").with_deadline_in(1.2)):
                    try:
                        assert (await scales.read(grams=1)).process == well.process.pid
                    except CallFailed as error:
                        assert error.ran is None  # noqa: PT017 - most calls succeed
                        lost += 1
            assert lost <= 2
            states = {each["url"]: each["state"] for each in caller.callees.states()["scales"]["replicas"]}
            assert states == {frozen.url: "aside", well.url: "ready"} or lost == 0
        finally:
            frozen.send(signal.SIGCONT)
        assert (await scales.read(grams=1)).grams == 1


async def test_a_single_process_that_is_restarted_is_found_again(tmp_path: Path, caller: Caller) -> None:
    port = free_port()
    async with serving(tmp_path, port=port) as first:
        scales = caller.bind(first.url)
        assert (await scales.read(grams=1)).process == first.process.pid
        first.send(signal.SIGTERM)
        await first.process.wait()
    async with serving(tmp_path, port=port) as second:
        assert (await scales.read(grams=1)).process == second.process.pid


async def test_keys_rotate_under_load_without_a_refused_call(tmp_path: Path, caller: Caller) -> None:
    async with serving(tmp_path) as one, serving(tmp_path) as two:
        scales = caller.bind(one.url, two.url)
        stop = asyncio.Event()
        old = caller.keys.signing_key().kid

        async def load(subject: str) -> int:
            calls = 0
            while not stop.is_set():
                with use_context(Context(correlation_id="c", principal=Principal(subject=f"{subject}{calls}"))):
                    await scales.read(grams=calls)  # a subject of its own: a passport of its own
                calls += 1
            return calls

        loading = [asyncio.ensure_future(load(name)) for name in ("ana", "eva", "luz", "mar")]
        new = publish_next(*caller.places).kid
        await _all_trust(new, one, two)
        sign_with_next(caller.places[0])
        await _signs_with(caller, new)
        revoke(old, *caller.places)
        await _none_trusts(old, one, two)
        stop.set()
        assert min(await asyncio.gather(*loading)) > 10
        assert caller.callees.states()["scales"]["breaker"] == "closed"


async def _all_trust(kid: str, *processes: ScalesProcess) -> None:
    await _keys_until(lambda kids: kid in kids, processes)


async def _none_trusts(kid: str, *processes: ScalesProcess) -> None:
    began = time.monotonic()
    await _keys_until(lambda kids: kid not in kids, processes)
    assert time.monotonic() - began < LOOK_SECONDS + 3


async def _keys_until(right: object, processes: tuple[ScalesProcess, ...]) -> None:
    assert callable(right)
    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False) as client:
        for served in processes:
            while True:
                keys = (await client.get(f"{served.url}/keys")).json()["keys"]
                if right({key["kid"] for key in keys}):
                    break
                await asyncio.sleep(0.05)  # files tell nobody that they have changed


async def _signs_with(caller: Caller, kid: str) -> None:
    async with asyncio.timeout(20):
        while caller.keys.signing_key().kid != kid:  # noqa: ASYNC110 - files tell nobody that they have changed
            await asyncio.sleep(0.05)


# Mutual TLS.


class Authority:
    """A certificate authority and what it has signed, as files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def settings(self, name: str, host: str = "127.0.0.1") -> dict[str, str]:
        """The three settings of a process whose certificate is for ``host``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        (self._folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._folder / f"{name}.key").write_bytes(pem)
        return {
            "TRENZA_TLS_CERT_FILE": str(self._folder / f"{name}.pem"),
            "TRENZA_TLS_KEY_FILE": str(self._folder / f"{name}.key"),
            "TRENZA_TLS_CA_FILE": str(self.file),
        }


def _fields(variables: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("TRENZA_").lower(): value for name, value in variables.items()}


async def test_processes_prove_to_each_other_who_they_are(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "tls"), Authority(tmp_path / "other", "stranger")
    ours = _fields(authority.settings("stove"))
    strange = {**_fields(other.settings("thief")), "tls_ca_file": str(authority.file)}
    async with AsyncExitStack() as stack:
        trusted, thief, plain = Caller(tmp_path, None, **ours), Caller(tmp_path, None, **strange), Caller(tmp_path)
        believes_another = Caller(tmp_path, None, **{**ours, "tls_ca_file": str(other.file)})
        for each in (trusted, thief, plain, believes_another):
            stack.push_async_callback(each.callees.close)
        served = await stack.enter_async_context(serving(tmp_path, scheme="https", settings=authority.settings("scales")))
        elsewhere = await stack.enter_async_context(
            serving(tmp_path, scheme="https", settings=authority.settings("mirror", host="127.0.0.9"))
        )
        assert (await trusted.bind(served.url).read(grams=5)).grams == 5
        for refused in (thief, believes_another):
            with pytest.raises(CallFailed):
                await refused.bind(served.url).count()
        with pytest.raises(CallFailed):
            await plain.bind(served.url.replace("https", "http")).count()
        misnamed = Caller(tmp_path, None, **ours)
        stack.push_async_callback(misnamed.callees.close)
        with pytest.raises(CallFailed, match="TLS") as caught:
            await misnamed.bind(elsewhere.url).count()
        assert caught.value.ran is False
        assert await trusted.bind(served.url).count() == 1, "none of the others came so far"


def test_without_tls_settings_there_is_none() -> None:
    assert client_tls(PlatformSettings()) is None
    assert server_tls(PlatformSettings()) == {}


def test_servers_demand_a_certificate(tmp_path: Path) -> None:
    settings = PlatformSettings.model_validate(_fields(Authority(tmp_path).settings("scales")))
    assert server_tls(settings)["ssl_cert_reqs"] is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tls_key_file": None}, r"^TRENZA_TLS_KEY_FILE is not set: mutual TLS needs .*; set all three, or none$"),
        ({"tls_cert_file": None, "tls_key_file": None}, "^TRENZA_TLS_CERT_FILE is not set"),
        ({"tls_ca_file": "/nowhere"}, "^TRENZA_TLS_CA_FILE names /nowhere: No such file or directory; name a readable PEM file$"),
        ({"tls_ca_file": __file__}, "^TRENZA_TLS_CA_FILE names .*: it holds no PEM certificate"),
        ({"tls_cert_file": __file__}, "they are not a PEM certificate and its unencrypted key"),
        ({"tls_key_file": "another"}, "they are not a PEM certificate and its unencrypted key"),
    ],
)
def test_tls_files_that_cannot_be_used_are_refused_in_a_line(tmp_path: Path, change: dict[str, str | None], words: str) -> None:
    authority = Authority(tmp_path)
    right, another = _fields(authority.settings("scales")), _fields(authority.settings("other"))
    wrong = {name: another["tls_key_file"] if value == "another" else value for name, value in change.items()}
    settings = PlatformSettings.model_validate({**right, **wrong})
    for use in (client_tls, server_tls):
        with pytest.raises(UnusableTls, match=words) as caught:
            use(settings)
        assert "\n" not in str(caught.value)
