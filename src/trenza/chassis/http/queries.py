"""Query strings that are taken at their word: what nobody reads, and what is said twice, is refused rather than ignored."""

from __future__ import annotations

from typing import Any

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

__all__ = ["SINGLE_VALUES", "StrictQuery"]


class StrictQuery(BaseModel):
    """The query of a list: ``query: Annotated[Subclass, Query()]``. A misspelt filter would otherwise show too much."""

    model_config = ConfigDict(extra="forbid")


async def _refuse_repeated(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise RequestValidationError(
            [{"type": "repeated", "loc": ("query", name), "msg": "Give this parameter once"} for name in repeated]
        )


SINGLE_VALUES: Any = Depends(_refuse_repeated)
"""``dependencies=[SINGLE_VALUES]``: 422 for a parameter that comes twice, of which one would be ignored."""
