from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from trenza.chassis.http.pages import (
    DEFAULT_LIMIT,
    InvalidCursor,
    Page,
    PageCursor,
    PageLimit,
    decode_cursor,
    encode_cursor,
    link_to_next,
    page_of,
)
from trenza.chassis.http.prefer import preferred_wait


class Item(BaseModel):
    """An item of a list."""

    id: int
    name: str


@pytest.fixture
def listing(app: FastAPI) -> None:
    """A list of a hundred items."""
    everything = [Item(id=n, name=f"n{n}") for n in range(100)]

    @app.get("/items")
    async def items(
        request: Request, response: Response, limit: PageLimit = DEFAULT_LIMIT, cursor: PageCursor = None
    ) -> Page[Item]:
        after = decode_cursor(cursor, tuple[int])
        found = [item for item in everything if after is None or item.id > after[0]][: limit + 1]
        page = page_of(found, limit=limit, sort_key=lambda item: (item.id,))
        response.headers.update(link_to_next(request, page))
        return page


@pytest.mark.usefixtures("listing")
async def test_following_the_pages_gives_everything_once(client: httpx.AsyncClient) -> None:
    seen: list[int] = []
    url: str | None = "/items?limit=30&colour=red%20ish"
    while url is not None:
        answer = await client.get(url)
        seen += [item["id"] for item in answer.json()["items"]]
        url = None
        if "next" in answer.links:
            url = answer.links["next"]["url"]
            assert url.startswith("/items?"), "relative: never made from the Host header"
            query = parse_qs(urlsplit(url).query)
            assert query["colour"] == ["red ish"]
            assert query["cursor"] == [answer.json()["next_cursor"]]
    assert answer.json()["next_cursor"] is None
    assert seen == list(range(100))


@pytest.mark.usefixtures("listing")
async def test_a_page_has_fifty_items_unless_another_number_is_asked_for(client: httpx.AsyncClient) -> None:
    assert len((await client.get("/items")).json()["items"]) == 50
    assert len((await client.get("/items?limit=100")).json()["items"]) == 100
    assert (await client.get("/items?limit=100")).json()["next_cursor"] is None
    for limit in (0, 201, "x"):
        answer = await client.get(f"/items?limit={limit}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize("cursor", ["x", "!!!", "W10", "WyJhIl0", "WzEsMl0", "e30", "W251bGxd", "%F0%9F%92%A9"])
async def test_a_cursor_that_is_none_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get(f"/items?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "INVALID_CURSOR", "cursor")


@given(
    moment=st.datetimes(timezones=st.just(UTC)),
    identifier=st.uuids(),
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50),
)
def test_a_cursor_brings_back_its_sort_key(moment: datetime, identifier: UUID, name: str) -> None:
    cursor = encode_cursor((moment, identifier, name))
    assert decode_cursor(cursor, tuple[datetime, UUID, str]) == (moment, identifier, name)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#")


@given(text=st.text(max_size=80))
def test_nothing_but_a_cursor_is_one(text: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(text, tuple[datetime, UUID])


def test_a_cursor_cannot_bring_what_a_database_would_choke_on() -> None:
    for bad in (encode_cursor(("a\0b",)), base64.urlsafe_b64encode(b'["' + b"x" * 1100 + b'"]').decode()):
        with pytest.raises(InvalidCursor):
            decode_cursor(bad, tuple[str])


def test_without_a_cursor_there_is_no_sort_key() -> None:
    assert decode_cursor(None, tuple[int]) is None
    assert page_of([], limit=1, sort_key=lambda item: item) == Page(items=())
    assert page_of([uuid4()], limit=1, sort_key=lambda item: item).next_cursor is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "WAIT = 10; foo=bar"], 10),
        (['wait="10"'], 10),
        (["wait=0"], 0),
        (["wait=61"], 60),
        (["wait=999999999"], 60),
        (["wait=10, wait=20"], 10),
        (["wait=-1"], None),
        (["wait=-5, wait=5"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["wait="], None),
        (["wait=ten"], None),
        (["wait=\u00b2"], None),
        (["wait=" + "9" * 5000], None),
        (["nowait=10"], None),
    ],
)
async def test_a_preference_to_wait_is_read_as_the_rfc_says(
    app: FastAPI, client: httpx.AsyncClient, headers: list[str], seconds: int | None
) -> None:
    @app.get("/wait")
    async def wait(request: Request, response: Response) -> Any:
        preference = preferred_wait(request, longest=60)
        response.headers.update(preference.headers)
        return preference.seconds

    answer = await client.get("/wait", headers=[(b"Prefer", header.encode("latin-1")) for header in headers])
    assert answer.json() == seconds
    assert answer.headers.get("preference-applied") == (None if seconds is None else f"wait={seconds}")
