"""The options of a broker's URL: each checked for what it may be, and refused without showing what may be a secret."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

__all__ = ["InvalidOptions", "Options", "TlsNames"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,40}", re.ASCII)


class InvalidOptions(ValueError):
    """Options that cannot be meant; ``problems`` holds a line for each, which ends with its remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class TlsNames:
    """What a transport calls its options of TLS."""

    authorities: str
    certificate: str
    key: str
    authorities_folder: str | None = None
    """None where ``authorities`` may name a folder too."""
    key_password: str | None = None
    """None where a key cannot have one."""


class Options:
    """What stands behind the ``?`` of a URL.

    Each reading returns a value that can be used, and notes what is wrong with the one that was given; `refuse_invalid` raises
    all of it at once.
    """

    def __init__(self, url: str, *, known: Collection[str], secret: Collection[str] = ()) -> None:
        """``known`` are those that the transport reads itself; the values of ``secret`` ones are never shown."""
        given = parse_qsl(urlsplit(url).query, keep_blank_values=True)
        self._given = dict(given)
        names = [name for name, _ in given]
        self._problems = [f"{name} is given twice; leave one of them" for name in sorted(known) if names.count(name) > 1]
        unknown = [name for name in names if name not in known]
        # A bare & in a password ends it there, and what follows looks like an option: it is not repeated.
        hidden = any(
            name in unknown and (not value or before in secret or not _NAME.fullmatch(name))
            for before, (name, value) in zip(["", *names], given, strict=False)
        )
        if unknown:
            said = "something behind an & that is no option (within a value it is written %26)"
            said = said if hidden else f"options that are not known: {', '.join(unknown)}"
            self._problems.append(f"it has {said}; known are {', '.join(sorted({*known, 'prefix'}))}")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def refuse(self, problem: str) -> None:
        """Note what is wrong between several of them, with its remedy."""
        self._problems.append(problem)

    def refuse_invalid(self) -> None:
        """Raise `InvalidOptions` if anything was wrong."""
        if self._problems:
            raise InvalidOptions(tuple(self._problems))

    def given(self, *names: str) -> list[str]:
        """Those of these that the URL holds."""
        return [name for name in names if name in self._given]

    def text(self, name: str) -> str | None:
        """The value as it is; None when the option is missing or empty."""
        return self._given.get(name) or None

    def number(self, name: str, what: str = "a number", *, most: int, default: int, usual: str | None = None) -> int:
        """A whole number from 1 to ``most``; ``usual`` says in words what the default means."""
        text = self._given.get(name)
        if text is None:
            return default
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most:
            return int(text)
        self.refuse(f"{name} is {text!r}; write {what} from 1 to {most}, or leave it out for {usual or default}")
        return default

    def choice(self, name: str, admitted: Collection[str], *, default: str = "") -> str:
        """One of the values that are admitted, in whatever case; the empty text for none where there is no default."""
        text = self._given.get(name)
        if text is None:
            return default
        for value in admitted:
            if value.lower() == text.lower():
                return value
        usual = f", or leave it out for {default}" if default else ""
        self.refuse(f"{name} is {text!r}; write one of {', '.join(admitted)}{usual}")
        return default

    def check_tls_files(self, names: TlsNames) -> None:
        """Read what these options name as TLS will read it later: PEM files that may be missing, damaged, or no pair."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authorities = self._readable(names.authorities)
        if authorities is not None and (names.authorities_folder is not None or not authorities.is_dir()):
            try:
                context.load_verify_locations(cafile=authorities)
            except OSError:  # of which ssl.SSLError is one
                self.refuse(f"{names.authorities} is {str(authorities)!r}, which holds no certificate; name a PEM file that does")
        folder = self.text(names.authorities_folder) if names.authorities_folder else None
        if folder is not None and not Path(folder).is_dir():
            self.refuse(f"{names.authorities_folder} is {folder!r}, which is no folder; name one of PEM files")
        certificate, key = self._readable(names.certificate), self._readable(names.key)
        if names.key in self and names.certificate not in self:
            self.refuse(f"{names.key} is given without {names.certificate}; name the certificate of that key as well")
        elif certificate is not None and (key is not None or names.key not in self):
            self._check_pair(context, names, certificate, key)

    def _readable(self, name: str) -> Path | None:
        """The path that an option names, if it can be read."""
        if name not in self:
            return None
        path = Path(self._given[name])
        try:
            if not path.is_dir():
                path.open("rb").close()
        except OSError as error:
            self.refuse(f"{name} is {self._given[name]!r}, which cannot be read ({error.strerror}); name a PEM file that can")
            return None
        return path

    def _check_pair(self, context: ssl.SSLContext, names: TlsNames, certificate: Path, key: Path | None) -> None:
        asked = False

        def password() -> str:
            nonlocal asked
            asked = True
            return (self.text(names.key_password) if names.key_password else None) or ""

        try:
            context.load_cert_chain(certificate, key, password)
        except (OSError, ValueError) as error:
            if asked:
                remedy = f"correct {names.key_password}" if names.key_password else "take the password off it (openssl pkey)"
                self.refuse(f"{names.key if key else names.certificate} names a key that its password does not open; {remedy}")
            elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                self.refuse(f"{names.key} names another key than that of {names.certificate}; name two that belong together")
            else:
                said = f"{names.certificate} and {names.key} do" if key else f"{names.certificate}, without {names.key}, does"
                self.refuse(f"{said} not name a certificate and its key; name PEM files that hold them")
