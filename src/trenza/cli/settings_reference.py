"""``trenza settings``: every variable that the deployment's services read, with its default and its meaning."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from trenza.chassis.gateway import GatewaySettings
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.settings import PlatformSettings
from trenza.cli.tables import print_table

__all__ = ["print_settings"]

_HEAD = """\
# Settings

Every variable that Trenza reads, printed by `trenza settings --markdown` from the code. Secrets may also come from files: name
their folder in `TRENZA_SECRETS_DIR`, one file per variable, named after it. `trenza doctor` checks what is set.
"""


@dataclass(frozen=True)
class _Setting:
    """One variable; ``names`` are all that are read, the preferred one first."""

    names: tuple[str, ...]
    default: str
    meaning: str


def print_settings(*, deployment: str, markdown: bool) -> None:
    """Print the reference of a deployment, as a table or as a Markdown page."""
    services = load_services(read_deployment(deployment).services)
    kinds: dict[str, type[BaseSettings]] = {
        "the platform": PlatformSettings,
        "the gateway": GatewaySettings,
        **{service.name: service.settings for service in services},
    }
    if not markdown:
        lines = [(s.names[0], s.default, s.meaning) for kind in kinds.values() for s in _settings_of(kind)]
        print_table(("VARIABLE", "DEFAULT", "MEANING"), lines, empty="no settings")
        return
    print(_HEAD)
    for name, kind in kinds.items():
        print(f"## Of {name}\n\n| variable | default | meaning |\n|---|---|---|")
        for setting in _settings_of(kind):
            names = " or ".join(f"`{each}`" for each in setting.names)
            print(f"| {names} | {setting.default and f'`{setting.default}`'} | {setting.meaning.replace('|', '&#124;')} |")
        print()


def _settings_of(kind: type[BaseSettings]) -> Iterator[_Setting]:
    meanings = _docstrings_of(kind)
    for name, field in kind.model_fields.items():
        yield _Setting(_names_of(kind, name, field), _default_of(field), _meaning_of(field, meanings.get(name, "")))


def _names_of(kind: type[BaseSettings], name: str, field: FieldInfo) -> tuple[str, ...]:
    if isinstance(field.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in field.validation_alias.choices)
    return (f"{kind.model_config.get('env_prefix', '')}{name}".upper(),)


def _default_of(field: FieldInfo) -> str:
    """The default as it would be written in the environment; empty when there is none or it depends on the machine."""
    default = field.default
    if field.default_factory is not None or default is None or field.is_required():
        return ""
    if isinstance(default, tuple):
        return ", ".join(part.name if isinstance(part, BaseModel) and hasattr(part, "name") else str(part) for part in default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def _meaning_of(field: FieldInfo, documented: str) -> str:
    words = " ".join(documented.replace("``", "`").split())
    if typing.get_origin(field.annotation) is typing.Literal:
        words = f"One of {', '.join(f'`{value}`' for value in typing.get_args(field.annotation))}. {words}"
    return words.strip()


def _docstrings_of(kind: type[BaseSettings]) -> dict[str, str]:
    """The strings under the fields of a class, which Python itself does not keep."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = words
    return found
