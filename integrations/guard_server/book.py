"""All tokens of the settings, and whether the address needs any. Knows settings and their file; no request."""

from __future__ import annotations

from guard.errors import ConfigError
from guard_server.config import ServerConfig, is_loopback
from guard_server.tokens import TokenBook, read_tokens

__all__ = ["token_book"]


def token_book(config: ServerConfig) -> TokenBook:
    """Raises ConfigError for a file that does not fit, or where other machines could call without a token."""
    tokens = [*config.tokens, *(read_tokens(config.tokens_file) if config.tokens_file else ())]
    names = [token.name for token in tokens]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"tokens: two are called {repeated[0]!r}")
    if not tokens and not is_loopback(config.host):
        raise ConfigError(
            f"server.host = {config.host!r} can be reached from other machines, and there are no tokens: make one with "
            "`memguard token NAME --scope check --file tokens.toml` and name that file in server.tokens_file"
        )
    return TokenBook(tokens)
