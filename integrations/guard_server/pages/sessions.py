"""Who looks at a page: a token, exchanged for a signed cookie, and what a form must carry. Knows HMAC; no request.

A cookie names a token and not a secret. It is signed with the server's key and the token's own hash, so that it ends
when the token is taken away or replaced; what it opens is looked up anew at every request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from guard_server.tokens import ANYONE, Scope, Session, TokenBook

__all__ = ["LASTS_S", "Sessions", "Visit"]

LASTS_S = 12 * 3600
"""Seconds after which a visitor signs in again."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor who is known, for one request."""

    session: Session
    cookie: str
    csrf: str
    """What every form of a page carries: nobody else can make it for this cookie."""
    fresh: bool = False
    """The browser does not have the cookie yet."""

    def may(self, *scopes: Scope) -> bool:
        return not self.session.scopes.isdisjoint(scopes)


class Sessions:
    """Makes and reads cookies. key: 32 bytes or more, the same in all processes of a server."""

    def __init__(self, book: TokenBook, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._book, self._key, self._clock = book, key, clock

    @property
    def needed(self) -> bool:
        """False: there are no tokens, and everybody who reaches the server may do everything."""
        return len(self._book) > 0

    def sign_in(self, secret: str) -> Visit | None:
        """A visit by the token's secret; None if no token has it."""
        session = self._book.session(secret)
        return None if session is None else self._begin(session)

    def anyone(self) -> Visit:
        """A visit without a token. Raises ValueError where tokens are needed."""
        if self.needed:
            raise ValueError("tokens are needed")
        return self._begin(ANYONE)

    def read(self, cookie: str) -> Visit | None:
        """The visit of a cookie; None if we did not make it, it is over, or its token is gone."""
        payload, _, signature = cookie.partition(".")
        try:
            name, ends, _ = json.loads(base64.urlsafe_b64decode(payload))
        except (binascii.Error, ValueError, TypeError, RecursionError):
            return None
        if not isinstance(name, str) or not isinstance(ends, int):
            return None
        session, digest = self._known(name)
        expected = self._sign("session", payload, digest)
        genuine = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        if session is None or not genuine or self._clock() >= ends:
            return None
        return Visit(session, cookie, self._sign("form", cookie))

    def is_of(self, visit: Visit, csrf: str) -> bool:
        """Whether a form was made for this visit."""
        return hmac.compare_digest(visit.csrf.encode(), csrf.encode("utf-8", "replace"))

    def seal(self, visit: Visit, text: str) -> str:
        """What shows later that this visitor's page held the text, and that it is unchanged."""
        return self._sign("seal", f"{visit.cookie} {text}")

    def has_sealed(self, visit: Visit, text: str, seal: str) -> bool:
        return hmac.compare_digest(self.seal(visit, text).encode(), seal.encode("utf-8", "replace"))

    def ask(self) -> tuple[str, str]:
        """For a form before there is a visit: what its cookie holds, and what it carries."""
        nonce = secrets.token_urlsafe(16)
        return nonce, self._sign("ask", nonce)

    def asked(self, nonce: str, csrf: str) -> bool:
        """Whether `ask` made the two together."""
        return bool(nonce) and hmac.compare_digest(self._sign("ask", nonce).encode(), csrf.encode("utf-8", "replace"))

    def _begin(self, session: Session) -> Visit:
        fields = [session.name, int(self._clock()) + LASTS_S, secrets.token_urlsafe(16)]
        payload = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
        cookie = f"{payload}.{self._sign('session', payload, self._known(session.name)[1])}"
        return Visit(session, cookie, self._sign("form", cookie), fresh=True)

    def _known(self, name: str) -> tuple[Session | None, bytes]:
        if not self.needed:
            return (ANYONE, b"") if name == ANYONE.name else (None, b"")
        found = self._book.named(name)
        return (None, b"") if found is None else found

    def _sign(self, purpose: str, text: str, digest: bytes = b"") -> str:
        signed = b"\0".join((purpose.encode(), text.encode("utf-8", "replace"), digest))
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()
