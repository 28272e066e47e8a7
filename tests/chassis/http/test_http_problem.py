from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import pytest
from fastapi import Body, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, Field, field_validator

from trenza.chassis import http as http_layer
from trenza.chassis.auth.permissions import InvalidToken, ScopeMissing, SeveralAuthorizations, Unauthenticated
from trenza.chassis.auth.tokens import InvalidToken as TokenError
from trenza.chassis.contract import CallFailed, ContractError
from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.http.phrases import PHRASES, Phrase, Phrases, Refusal, preferred_language
from trenza.chassis.http.problem import Problem, install_problem_handlers
from trenza.chassis.http.validation import SPANISH_MESSAGES

SPANISH = {"Accept-Language": "es-CO,es;q=0.9,en;q=0.5"}


class CardDeclined(ContractError):
    """A refusal of a service."""

    status = 402
    code = "CARD_DECLINED"


class Maintenance(ContractError):
    """A refusal that passes by itself."""

    status = 503


def raising(app: FastAPI, error: Exception) -> None:
    @app.get("/x")
    async def x() -> None:
        raise error


async def get(client: httpx.AsyncClient, path: str = "/x", **headers: str) -> tuple[httpx.Response, dict[str, Any]]:
    answer = await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code", "correlation_id"} <= document.keys()
    assert document["status"] == answer.status_code
    assert document["correlation_id"] == answer.headers["X-Correlation-ID"]
    return answer, document


async def test_an_unknown_address_is_a_problem(client: httpx.AsyncClient) -> None:
    answer, problem = await get(client, "/no/such?secret=1")
    assert answer.status_code == 404
    assert (problem["code"], problem["instance"]) == ("NOT_FOUND", "/no/such")


async def test_a_wrong_method_is_a_problem_that_lists_the_right_ones(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, RuntimeError())
    answer = await client.post("/x")
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "GET")


async def test_a_contract_error_becomes_a_problem_with_its_fields(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, CardDeclined("No funds on the card.", field="card", remedy="another card"))
    answer, problem = await get(client)
    assert answer.status_code == 402
    assert problem["type"] == "urn:trenza:problem:card-declined"
    assert (problem["title"], problem["detail"]) == ("Card declined", "No funds on the card.")
    assert (problem["field"], problem["remedy"]) == ("card", "another card")


async def test_a_field_that_says_when_to_retry_becomes_the_header(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, Maintenance("Back soon.", retry_after=120))
    answer, _ = await get(client)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "120")


async def test_what_nobody_expected_says_nothing_about_the_inside(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, RuntimeError("password=hunter2 at /srv/secret.py"))
    answer, problem = await get(client)
    assert answer.status_code == 500
    assert problem["code"] == "INTERNAL_ERROR"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (CallFailed("payments", "hold", "refused by 10.0.0.7", ran=False), 503, "SERVICE_UNAVAILABLE"),
        (CallFailed("payments", "hold", "refused by 10.0.0.7"), 502, "CALL_FAILED"),
        (DatabaseUnavailable("10.0.0.7 gone"), 503, "DATABASE_UNAVAILABLE"),
    ],
)
async def test_what_failed_elsewhere_is_told_without_addresses(
    app: FastAPI, client: httpx.AsyncClient, error: Exception, status: int, code: str
) -> None:
    raising(app, error)
    answer, problem = await get(client)
    assert (answer.status_code, problem["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "10.0.0.7" not in answer.text


async def test_http_exceptions_keep_their_words_and_headers(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, HTTPException(418, "Short and stout", headers={"X-Pot": "tea"}))
    answer, problem = await get(client)
    assert (answer.status_code, answer.headers["x-pot"]) == (418, "tea")
    assert (problem["type"], problem["code"], problem["detail"]) == ("about:blank", "HTTP_418", "Short and stout")


async def test_a_problem_can_be_raised_where_no_error_of_a_contract_fits(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, Problem(409, "EDITED_MEANWHILE", title="Edited", detail="Fetch it again.", headers={"ETag": '"2"'}, version=2))
    answer, problem = await get(client)
    assert (problem["code"], problem["version"], answer.headers["etag"]) == ("EDITED_MEANWHILE", 2, '"2"')


class Colour(StrEnum):
    RED = "red"


class Item(BaseModel):
    """Something with one field of each kind of mistake."""

    name: str = Field(min_length=2, max_length=5, pattern="^[a-z]+$")
    amount: int = Field(ge=1, lt=10)
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"

    @field_validator("name")
    @classmethod
    def not_bob(cls, name: str) -> str:
        if name == "bob":
            raise ValueError("bob is taken")
        return name


class Order(BaseModel):
    """A list of them."""

    items: list[Item]


@pytest.fixture
def orders(app: FastAPI) -> None:
    @app.post("/orders/{order_id}")
    async def order(
        order_id: UUID, order: Order, limit: Annotated[int, Query(le=9)], x_who: Annotated[str, Header()]
    ) -> None: ...


@pytest.mark.usefixtures("orders")
async def test_a_failed_validation_names_every_field_in_the_clients_language(client: httpx.AsyncClient) -> None:
    body = {"items": [{"name": "B", "amount": 10, "colour": "blue", "size": "xl"}, {"name": "bob", "amount": "x"}]}
    answer = await client.post("/orders/7?limit=10", json=body, headers=SPANISH)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "INVALID_REQUEST")
    messages = {(error["in"], error["field"]): error["message"] for error in problem["errors"]}
    assert messages == {
        ("path", "order_id"): "Debe ser un UUID",
        ("query", "limit"): "Debe ser menor o igual que 9",
        ("header", "x-who"): "Falta este campo",
        ("body", "items.0.name"): "Debe tener al menos 2 caracteres",
        ("body", "items.0.amount"): "Debe ser menor que 10",
        ("body", "items.0.colour"): "Debe ser uno de: 'red'",
        ("body", "items.0.size"): "Debe ser uno de: 's' o 'm'",
        ("body", "items.1.name"): "bob is taken",
        ("body", "items.1.amount"): "Debe ser un número entero",
    }
    assert problem["field"] == problem["errors"][0]["field"]
    assert problem["remedy"] == "corrija los campos que indica errors"
    limits = {error["field"]: error["limit"] for error in problem["errors"] if "limit" in error}
    assert limits == {
        "limit": "<= 9",
        "items.0.name": ">= 2",
        "items.0.amount": "< 10",
        "items.0.colour": "red",
        "items.0.size": "s, m",
    }
    english = await client.post("/orders/7?limit=10", json=body)
    assert "Field required" in english.text
    assert english.headers["content-language"] == "en"


@pytest.mark.usefixtures("orders")
async def test_a_failed_validation_does_not_repeat_what_was_sent(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders/7?limit=1", json={"items": [{"name": "my-secret-value", "amount": 1}]})
    assert answer.status_code == 422
    assert "my-secret-value" not in answer.text


@pytest.mark.usefixtures("orders")
async def test_broken_json_is_a_problem_of_the_body(client: httpx.AsyncClient) -> None:
    path = "/orders/00000000-0000-0000-0000-000000000000?limit=1"
    answer = await client.post(path, content=b'{"a":', headers={"Content-Type": "application/json", "X-Who": "a"})
    assert answer.json()["errors"] == [{"field": "body", "in": "body", "message": "JSON decode error"}]


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", None])
async def test_a_body_that_is_not_declared_as_json_is_told_what_to_declare(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    path = "/orders/00000000-0000-0000-0000-000000000000?limit=1"
    headers = {"X-Who": "a", **({} if content_type is None else {"Content-Type": content_type})}
    answer = await client.post(path, content=b'{"items": []}', headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (415, "JSON_EXPECTED")
    assert (problem["field"], problem["limit"]) == ("Content-Type", "application/json")
    assert "application/json" in problem["remedy"]
    assert "errors" not in problem


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/merge-patch+json"])
async def test_every_json_type_is_read(client: httpx.AsyncClient, content_type: str) -> None:
    path = "/orders/00000000-0000-0000-0000-000000000000?limit=1"
    answer = await client.post(path, content=b'{"items": []}', headers={"X-Who": "a", "Content-Type": content_type})
    assert answer.status_code == 200


async def test_a_route_that_takes_bytes_takes_any_type(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.post("/raw")
    async def raw(body: Annotated[bytes, Body(max_length=3)]) -> int:
        return len(body)

    assert (await client.post("/raw", content=b"abc", headers={"Content-Type": "text/plain"})).json() == 3
    assert (await client.post("/raw", content=b"abcd", headers={"Content-Type": "text/plain"})).status_code == 422


@pytest.mark.parametrize("accept", ["es", "es-CO", "ES;q=0.5", "fr, es;q=0.8, en;q=0.3", "de,es"])
async def test_spanish_is_spoken_to_those_who_prefer_it(client: httpx.AsyncClient, accept: str) -> None:
    answer, problem = await get(client, Accept_Language=accept)
    assert (problem["title"], problem["detail"]) == ("No encontrado", "No hay nada en esta dirección.")
    assert answer.headers["content-language"] == "es"
    assert "Accept-Language" in answer.headers["vary"]


@pytest.mark.parametrize("accept", ["", "en", "fr", "en,es;q=0.9", "es;q=0", "es;q=x", "*", ";;;,,,", "es;p=1", "x" * 5000])
def test_english_is_spoken_to_everybody_else(accept: str) -> None:
    assert preferred_language(accept) == "en"


async def test_words_that_a_route_chose_are_not_replaced(app: FastAPI, client: httpx.AsyncClient) -> None:
    raising(app, HTTPException(404, "No photo has this id."))
    _, problem = await get(client, Accept_Language="es")
    assert (problem["title"], problem["detail"]) == ("No encontrado", "No photo has this id.")


async def test_a_service_adds_its_own_words(app: FastAPI, client: httpx.AsyncClient) -> None:
    install_problem_handlers(app, {"CARD_DECLINED": {"es": Phrase("Tarjeta rechazada", "Pruebe con {remedy}.")}})
    raising(app, CardDeclined("Try another card.", remedy="otra tarjeta"))
    _, spanish = await get(client, Accept_Language="es")
    assert (spanish["title"], spanish["detail"]) == ("Tarjeta rechazada", "Pruebe con otra tarjeta.")
    _, english = await get(client)
    assert english["detail"] == "Try another card."


async def test_a_remedy_is_told_in_the_clients_language_and_by_its_field(app: FastAPI, client: httpx.AsyncClient) -> None:
    words: Phrases = {
        "CARD_DECLINED": {"es": Phrase("Tarjeta rechazada", "No se admite.", "use otra")},
        "CARD_DECLINED:number": {"es": Phrase("Tarjeta rechazada", "El número no es correcto.", "corrija el número")},
    }
    install_problem_handlers(app, words)
    raising(app, CardDeclined("Try another card.", field="number", remedy="correct the number"))
    _, spanish = await get(client, Accept_Language="es")
    assert (spanish["detail"], spanish["remedy"]) == ("El número no es correcto.", "corrija el número")
    _, english = await get(client)
    assert (english["detail"], english["remedy"]) == ("Try another card.", "correct the number")


def test_the_catalogue_says_the_same_in_both_languages() -> None:
    for code, phrases in PHRASES.items():
        assert phrases.keys() == {"en", "es"}, code
        assert phrases["es"].placeholders <= phrases["en"].placeholders, code
        assert phrases["es"] != phrases["en"], code
        for phrase in phrases.values():
            assert phrase.title
            assert phrase.detail.endswith((".", "…")), code
            assert phrase.remedy, code


def test_every_refusal_of_the_chassis_is_in_the_catalogue_under_its_own_title() -> None:
    for module in iter_modules(http_layer.__path__, f"{http_layer.__name__}."):
        import_module(module.name)
    refusals: list[type[ContractError]] = [
        *Refusal.__subclasses__(),
        Unauthenticated,
        InvalidToken,
        ScopeMissing,
        SeveralAuthorizations,
    ]
    assert len(refusals) > 10
    for refusal in refusals:
        assert PHRASES[refusal.code]["en"].title == refusal.title, refusal


def test_the_words_of_the_authorisation_layer_are_those_of_the_catalogue() -> None:
    missing, invalid, several = ScopeMissing("photos:editor"), TokenError("expired"), SeveralAuthorizations(2)
    assert missing.detail == PHRASES["SCOPE_MISSING"]["en"].detail.format_map(missing.fields)
    assert invalid.detail == PHRASES["INVALID_TOKEN"]["en"].detail.format_map(invalid.fields)
    assert several.detail == PHRASES["SEVERAL_AUTHORIZATIONS"]["en"].detail.format_map(several.fields)


def test_the_spanish_messages_use_what_pydantic_gives() -> None:
    assert all(message[0].isupper() and not message.endswith(".") for message in SPANISH_MESSAGES.values())
