"""A file that is written whole or not at all. Knows names and a rename; no content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guard.errors import ConfigError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name beside path; what was written there takes its place when the block ends well.

    Raises ConfigError if it cannot be written.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        yield new
        new.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror or exc}); name another file") from exc
    finally:
        new.unlink(missing_ok=True)
