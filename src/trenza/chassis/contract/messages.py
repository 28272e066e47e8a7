"""What travels through the outbox and the inbox: the events that a service announces and the tasks that it gives itself."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from trenza.chassis.contract.values import Value

__all__ = ["Event", "Message", "Task"]

_MESSAGE_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")


class Message(Value):
    """What travels through the outbox and the inbox. Subclass `Event` or `Task`, not this."""

    message_type: ClassVar[str] = ""
    ordering_field: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # pydantic hands class keywords to __pydantic_init_subclass__ as well; only that one reads them.
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, type: str = "", key: str | None = None, **kwargs: Any) -> None:  # noqa: A002 - CloudEvents' word
        super().__pydantic_init_subclass__(**kwargs)
        if not type:
            if cls.__module__ == __name__:
                return
            message = f'{cls.__name__} needs a type: class {cls.__name__}({cls.__bases__[0].__name__}, type="service.Name")'
            raise TypeError(message)
        if not _MESSAGE_TYPE.fullmatch(type):
            raise TypeError(f"{cls.__name__} has the type {type!r}; write it as service.Name ('photos.PhotoCompleted')")
        if key is not None and key not in cls.model_fields:
            raise TypeError(f"{cls.__name__} is ordered by {key!r}, which is not one of its fields")
        cls.message_type = type
        cls.ordering_field = key

    @property
    def ordering_key(self) -> str | None:
        """Messages of one type family with the same key are handled in the order in which they were committed.

        None, which is also what an empty field gives, means that no order is kept.
        """
        value = None if self.ordering_field is None else getattr(self, self.ordering_field)
        return None if value is None else str(value)


class Event(Message):
    """A fact that a service announces: ``class PhotoCompleted(Event, type="photos.PhotoCompleted", key="photo_id")``."""


class Task(Message):
    """Work that a service gives itself: ``class RenderPhoto(Task, type="photos.RenderPhoto", key="photo_id")``."""
