"""Named tokens, their scopes and hashes, and who a caller is. Knows TOML and SHA-256; no request.

A token is 256 random bits, so that its plain SHA-256 can be stored: nobody guesses what it is the hash of.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from guard.errors import ConfigError

__all__ = ["ANYONE", "Scope", "Session", "Token", "TokenBook", "as_toml", "bearer", "new_token", "read_tokens"]

PREFIX = "mg_"


class Scope(StrEnum):
    """What a token opens. None includes another."""

    CHECK = "check"
    """Have images checked."""
    SEARCH = "search"
    """Look pictures and words up, and see the training pictures that are found."""
    REVIEW = "review"
    """Read the decision log, see both pictures of a pair, and say what they are."""
    PROTECT = "protect"
    """Put references, and pictures of one's own, into the collection `opt-out`."""
    ADMIN = "admin"
    """Load a new version of the index."""
    METRICS = "metrics"
    """Read the metrics."""


class Token(BaseModel):
    """A token as it is stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    """Who acts with it: reviews are signed with it."""
    scopes: frozenset[Scope] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the token's ASCII characters."""

    @field_validator("sha256", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Session:
    """Who makes a request, and what it may."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


ANYONE = Session("local", frozenset(Scope))
"""Everyone, where there are no tokens: the server then listens on loopback alone."""


class TokenBook:
    """All tokens that are known."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._known = [(bytes.fromhex(token.sha256), Session(token.name, token.scopes)) for token in tokens]

    def __len__(self) -> int:
        return len(self._known)

    def session(self, secret: str) -> Session | None:
        """Whose token this is. Takes as long for a wrong one as for a right one: every hash is compared."""
        presented = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, session in self._known:
            if hmac.compare_digest(digest, presented):
                found = session
        return found

    def named(self, name: str) -> tuple[Session, bytes] | None:
        """What the token of a name opens, and its stored hash."""
        return next(((session, digest) for digest, session in self._known if session.name == name), None)


def new_token(name: str, scopes: Iterable[Scope]) -> tuple[str, Token]:
    """A fresh secret, to be shown once, and what is stored of it. Raises ConfigError for a name that does not fit."""
    secret = PREFIX + secrets.token_urlsafe(32)
    try:
        return secret, Token(name=name, scopes=frozenset(scopes), sha256=hashlib.sha256(secret.encode()).hexdigest())
    except ValidationError as exc:
        raise ConfigError(f"token: {exc.errors()[0]['loc'][0]}: {exc.errors()[0]['msg']}") from None


def as_toml(token: Token) -> str:
    """The entry of a tokens file."""
    scopes = ", ".join(f'"{scope.value}"' for scope in Scope if scope in token.scopes)
    return f'[[tokens]]\nname = "{token.name}"\nscopes = [{scopes}]\nsha256 = "{token.sha256}"\n'


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file of `[[tokens]]` tables. Raises ConfigError that names what does not fit."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"tokens_file: {path} cannot be read: {exc}") from exc
    if set(tables) - {"tokens"} or not isinstance(tables.get("tokens", []), list):
        raise ConfigError(f"tokens_file: {path} holds other things than [[tokens]] tables")
    try:
        tokens = tuple(Token.model_validate(table) for table in tables.get("tokens", []))
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise ConfigError(f"tokens_file: {path}: {where}: {error['msg']}") from None
    names = [token.name for token in tokens]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"tokens_file: {path}: two tokens are called {repeated[0]!r}")
    return tokens


def bearer(header: str) -> str | None:
    """The secret in an Authorization header; None if it holds none."""
    found = re.fullmatch(r"[Bb]earer +(\S+)", header.strip())
    return found[1] if found else None
