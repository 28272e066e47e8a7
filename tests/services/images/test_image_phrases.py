"""Refusals of images speak Spanish to those who prefer it, with the figures that they name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from trenza.chassis.contract import ContractError
from trenza.chassis.http.phrases import say
from trenza.chassis.testing.hostile_pictures import FAKES, jpeg_of_many_scans, png_of
from trenza.services.images.contract import Images, Rendition
from trenza.services.images.service import ImageEngine
from trenza.services.images.wiring import service

Put = Callable[[bytes], Awaitable[str]]

BAD = {
    "INVALID_IMAGE_FORMAT": (FAKES["text"], "formato admitido"),
    "IMAGE_TOO_LARGE": (jpeg_of_many_scans(9_999, 9_999, 30), r"20 \(scans\)"),
    "INVALID_DIMENSIONS": (png_of(0, 10, b""), "sin píxeles"),
}


@pytest.mark.parametrize("code", BAD)
async def test_refusals_in_spanish(engine: ImageEngine, put: Put, code: str) -> None:
    data, words = BAD[code]
    with pytest.raises(ContractError) as caught:
        await engine.render(source=await put(data), renditions=(Rendition(name="a", key="out/a", width=9, height=9),))
    assert caught.value.code == code
    phrase = say(code, "es", caught.value.fields, service.phrases)
    assert phrase is not None
    assert re.search(words, phrase.detail)


def test_every_refusal_has_spanish_words() -> None:
    declared = {error.code for operation in Images.operations.values() for error in operation.errors}
    assert declared == {code for code, words in service.phrases.items() if "es" in words}
