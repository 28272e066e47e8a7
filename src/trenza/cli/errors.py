"""How the CLI fails: a line on standard error, exit code 2 for wrong usage and 1 for anything else that was expected."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

__all__ = ["Failure", "OneLineErrors", "UsageFailure"]


class Failure(Exception):
    """Something expected went wrong; the message is for the person at the terminal and ends with a remedy."""

    exit_code = 1


class UsageFailure(Failure):
    """The command line itself makes no sense."""

    exit_code = 2


class OneLineErrors(TyperGroup):
    """The root command: turns expected errors into a line, and lets unexpected ones show where they happened."""

    def main(self, *arguments: Any, **extra: Any) -> NoReturn:
        """Run, and exit."""
        try:
            outcome = super().main(*arguments, **{**extra, "standalone_mode": False})
        except typer.Abort:
            _quit("interrupted", 130)
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # not public in typer; its message is the help itself
                sys.stdout.write(f"{error.format_message()}\n")
                sys.exit(2)
            _quit(error.format_message(), 2)
        except Exception as error:
            expected = _expected(error)
            if expected is None:
                raise
            _quit(*expected)
        sys.exit(outcome if isinstance(outcome, int) else 0)


def _quit(message: str, code: int) -> NoReturn:
    from trenza.chassis.telemetry.printable import printable  # noqa: PLC0415 - as below

    sys.stderr.write(f"trenza: {printable(message, keep=chr(10))}\n")  # it may quote a server, or a message
    sys.exit(code)


def _expected(error: Exception) -> tuple[str, int] | None:
    """The message and exit code of an error that has a remedy; None for a defect, which deserves its traceback.

    The chassis is imported here, once something has failed, because most commands that fail have loaded it anyway.
    """
    if isinstance(error, Failure):
        return str(error), error.exit_code
    from trenza.chassis.auth.keys import UnusableKey  # noqa: PLC0415
    from trenza.chassis.blobs import BlobsUnavailable  # noqa: PLC0415
    from trenza.chassis.data import DatabaseUnavailable  # noqa: PLC0415
    from trenza.chassis.messages import TransportUnavailable  # noqa: PLC0415
    from trenza.chassis.settings import CannotStart  # noqa: PLC0415

    remedied = (CannotStart, UnusableKey, DatabaseUnavailable, BlobsUnavailable, TransportUnavailable)
    return (str(error), 1) if isinstance(error, remedied) else None
