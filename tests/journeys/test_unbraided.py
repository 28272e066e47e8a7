"""A deployment of several processes from outside: one door, closed to what is for services only, and the same API as in one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from trenza.chassis.auth.passports import issue_passport
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.context import Principal
from trenza.chassis.runtime.deployment import Deployment, read_deployment
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.testing.pictures import encoded, marked
from trenza.chassis.testing.server_process import ServerProcess, run_trenza, split_deployment

PHOTO = encoded(marked(640, 480), "JPEG")


class Town:
    """A running deployment, an operator who talks to it, and its file."""

    def __init__(self, server: ServerProcess, file: Path, http: httpx.AsyncClient) -> None:
        self.server, self.file, self.http = server, file, http
        self.settings = PlatformSettings(data_dir=server.data_dir)
        self.deployment: Deployment = read_deployment(str(file))

    def url(self, process: str) -> str:
        return self.deployment.process(process).urls[0]

    def passport(self, audience: str) -> dict[str, str]:
        key, ana = signing_key(self.settings), Principal(subject="ana")
        return {"Authorization": f"Passport {issue_passport(key, caller='photos', audience=audience, principal=ana)}"}


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """Photos and images in processes of their own behind a gateway, on the embedded defaults."""
    file = split_deployment(tmp_path)
    async with ServerProcess.running(tmp_path / "data", deployment=file) as server:
        key = signing_key(PlatformSettings(data_dir=server.data_dir))
        token = issue_token(key, "ana", ("photos:admin", "platform:viewer"), timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60, trust_env=False) as http:
            yield Town(server, file, http)


async def test_the_internal_route_is_for_services_alone(town: Town) -> None:
    body = {"key": "photos/none.jpg"}
    async with httpx.AsyncClient(trust_env=False) as anybody:
        for path in (
            "/_call/images/inspect",
            "/%5fcall/images/inspect",
            "//_call/images/inspect",
            "/api/../_call/images/inspect",
        ):
            through_the_door = await anybody.post(f"{town.server.url}{path}", json=body)
            assert through_the_door.status_code in (400, 404), path
        with_passport = await anybody.post(f"{town.server.url}/_call/images/inspect", json=body, headers=town.passport("images"))
        assert with_passport.status_code in (401, 404)  # no passport passes the door, whatever its path
        assert "trenza-outcome" not in with_passport.headers
        inside = f"{town.url('images')}/_call/images/inspect"
        assert (await anybody.post(inside, json=body)).status_code == 401
        assert (await anybody.post(inside, json=body, headers=dict(town.http.headers))).status_code == 401
        assert (await anybody.post(inside, json=body, headers=town.passport("photos"))).status_code == 403
        genuine = await anybody.post(inside, json=body, headers=town.passport("images"))
        assert genuine.headers["trenza-outcome"] in ("refused", "not-run")  # it is let in, and there is no such object
        assert genuine.status_code not in (401, 403)


async def test_its_api_is_that_of_one_process(town: Town, tmp_path: Path) -> None:
    unbraided = (await town.http.get("/openapi.json")).json()
    async with ServerProcess.running(tmp_path / "braided") as one, httpx.AsyncClient(base_url=one.url, trust_env=False) as http:
        braided = (await http.get("/openapi.json")).json()
    assert shape(unbraided) == shape(braided)


def shape(document: dict[str, Any]) -> str:
    """The paths and components, in one order."""
    return json.dumps({name: document[name] for name in ("paths", "components")}, sort_keys=True)


async def test_every_spelling_of_a_path_leads_to_its_service(town: Town) -> None:
    sent = await town.http.post("/api/v1/photos/upload", files={"file": ("a.jpg", PHOTO)}, data={"upid": "UNP-1"})
    assert sent.status_code == 202, sent.text
    for path in ("/api/photos", "/api/v1/photos", "/photos"):
        found = await town.http.get(path)
        assert [photo["id"] for photo in found.json()["items"]] == [sent.json()["id"]], path


async def test_a_link_that_was_completed_takes_nothing_more_through_the_door(town: Town) -> None:
    order = {"upid": "UNP-1", "bytes": len(PHOTO), "sha256": hashlib.sha256(PHOTO).hexdigest(), "filename": "a.jpg"}
    direct = (await town.http.post("/api/photos/uploads", json=order)).json()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as anybody:
        assert (await anybody.put(direct["url"], content=PHOTO, headers=direct["headers"])).status_code == 200
        assert (await town.http.post(f"/api/photos/uploads/{direct['id']}/complete")).status_code == 202
        again = await anybody.put(direct["url"], content=PHOTO, headers=direct["headers"])
    assert again.status_code == 409, again.text


async def test_who_asks_too_often_is_refused_at_the_door_and_by_no_process_behind_it(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    few = {"TRENZA_RATE_LIMIT_ANONYMOUS": "3/minute"}
    async with (
        ServerProcess.running(tmp_path / "data", deployment=file, environment=few) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as anybody,
    ):
        answers = [await anybody.get("/api/photos") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[0].headers["ratelimit-remaining"] == "2"
        assert answers[3].json()["code"] == "RATE_LIMITED"
        assert "x-correlation-id" in answers[3].headers
        assert (await anybody.get("/health/ready")).is_success
        photos = read_deployment(str(file)).process("photos").urls[0]
        assert {(await anybody.get(f"{photos}/api/photos")).status_code for _ in range(5)} == {401}


async def test_every_process_tells_how_it_is(town: Town) -> None:
    common = ("status", "--deployment", str(town.file), "--data-dir", str(town.server.data_dir))
    async with asyncio.timeout(60):
        while (told := await run_trenza(*common))[0]:  # noqa: ASYNC110 - a look from before all were up may still count
            await asyncio.sleep(0.2)
    out = told[1]
    lines = [line.split() for line in out.splitlines()]
    assert [line[:3] for line in lines[1:4]] == [[name, town.url(name), "healthy"] for name in ("gateway", "photos", "images")]
    assert ["photos", "images", "closed"] in [line[:3] for line in lines]
    images = town.server.members()["images"]
    await town.server.logs("Renew")
    await run_trenza("serve", "nobody")  # a name that does not exist changes nothing
    assert town.server.members()["images"] == images
    code, out, _ = await run_trenza(*common, environment={"TRENZA_TOKEN": "forged"})
    assert code == 1
    assert out.count("the token of --token or TRENZA_TOKEN is not valid there: unset it") == 3
    code, out, _ = await run_trenza(*common, "--json")
    found = json.loads(out)
    assert [each["status"] for each in found] == ["healthy"] * 3
    assert found[1]["calls"]["images"]["breaker"] == "closed"
