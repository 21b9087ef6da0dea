"""Thumbnails, and their keypoints, that only a key opens. Knows AES-GCM and keys; no index and no picture.

A sealed thumbnail is a version byte, a nonce of 12 bytes and the ciphertext with its tag (AES-256-GCM). It is bound to
the SHA-256 of its picture, so that nobody can put one picture's thumbnail in another's place. Copying needs no key.
Keypoints show what a picture looks like almost as its thumbnail does: they are sealed in the same way.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guard.errors import ConfigError, IndexLoadError, MissingExtraError

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest

__all__ = ["CIPHER", "SealingKey", "fitting_key", "key_from", "keypoints_name", "read_key", "require_open"]

CIPHER = "aes-256-gcm"
_FORMAT, _NONCE, _BYTES = b"\x01", 12, 32
_HOW = "a key is 32 random bytes: as they are, in 64 hexadecimal digits (openssl rand -hex 32), or in base64"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """Seals and opens. Safe for threads."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """What an index says of its key: 16 hexadecimal digits of a hash, from which nothing follows."""
        return hashlib.sha256(b"memguard sealing key" + self.secret).hexdigest()[:16]

    def seal(self, data: bytes, name: str) -> bytes:
        """name: SHA-256 of the picture; needed again to open it. Raises MissingExtraError without `cryptography`."""
        nonce = os.urandom(_NONCE)
        sealed: bytes = _aead().AESGCM(self.secret).encrypt(nonce, data, name.lower().encode())
        return _FORMAT + nonce + sealed

    def open(self, sealed: bytes, name: str) -> bytes:
        """Raises IndexLoadError for what this key did not seal under this name."""
        nonce, rest = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            if sealed[:1] != _FORMAT:
                raise ValueError("an unknown format")
            opened: bytes = _aead().AESGCM(self.secret).decrypt(nonce, rest, name.lower().encode())
        except MissingExtraError:
            raise
        except Exception as exc:  # InvalidTag, whose class can only be named where it is installed
            raise IndexLoadError(f"a sealed thumbnail cannot be opened ({type(exc).__name__}): it is damaged") from exc
        return opened

    def pseudonym(self, text: str) -> str:
        """32 hexadecimal digits that stand for a name; the same for the same name and key."""
        return hmac.new(self.secret, b"name:" + text.encode("utf-8", "backslashreplace"), "sha256").hexdigest()[:32]


def keypoints_name(sha256: str) -> str:
    """What a picture's keypoints are sealed under, so that they are not taken for its thumbnail."""
    return f"keypoints of {sha256}"


def read_key(path: str | Path) -> SealingKey:
    """Raises ConfigError for a file that is none."""
    try:
        return key_from(Path(path).read_bytes())
    except OSError as exc:
        raise ConfigError(f"the key {path} cannot be read: {exc.strerror}") from exc
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from None


def key_from(data: bytes | str) -> SealingKey:
    """Of 32 bytes as they are, in hexadecimal or in base64. Raises ConfigError."""
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) == _BYTES:
        return SealingKey(raw)
    text = raw.strip()
    for decode in (binascii.unhexlify, lambda t: b64decode(t, validate=True)):
        try:
            found = decode(text)
        except ValueError:
            continue
        if len(found) == _BYTES:
            return SealingKey(found)
    raise ConfigError(f"this is no key: {_HOW}")


def fitting_key(manifest: Manifest, key: SealingKey | None, index: str) -> SealingKey | None:
    """The key of an index's thumbnails; None for plain ones. Raises ConfigError without it, or for another one."""
    if manifest.sealed is None:
        return None
    if key is None:
        raise ConfigError(f"the thumbnails of {index} are sealed: give the key (index_key_file, --key)")
    if key.id != manifest.sealed.key_id:
        raise ConfigError(f"the thumbnails of {index} are sealed with another key ({manifest.sealed.key_id}): {key.id}")
    return key


def require_open(index: Any, name: str) -> None:
    """Raises ConfigError for an open index whose thumbnails are sealed and stay so, where pixels shall be compared."""
    sealed = getattr(index.manifest, "sealed", None)
    if sealed is not None and not index.has_thumbnails:
        raise ConfigError(
            f"the thumbnails of {name} are sealed, and verification needs them: give the key (index_key_file, or "
            "MEMGUARD_INDEX_KEY_FILE in the environment), or set verify = false and let the similarity decide alone"
        )


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError as exc:
        raise MissingExtraError("sealing thumbnails", extra="private") from exc
    return aead
