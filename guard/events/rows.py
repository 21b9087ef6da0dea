"""An event on its way -> a row of the file. Knows the columns and the key of the prompts; no queue."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from guard.events.config import EventsConfig
from guard.events.prompts import hash_prompt, load_key
from guard.events.record import MAX_PROMPT, Pending

__all__ = ["Rows"]

logger = logging.getLogger("guard.events")


class Rows:
    """Makes rows of guard.events.store.COLUMNS. The key is read, or made, when the first prompt comes."""

    def __init__(self, path: Path, config: EventsConfig) -> None:
        self._path, self._config = path, config
        self._key = config.prompt_key.get_secret_value().encode() if config.prompt_key else b""
        self._told = False

    def __call__(self, event: Pending) -> tuple[Any, ...]:
        verdict, report = event.verdict, event.report
        plain = event.prompt if self._config.prompts == "plain" else None
        return (
            event.id,
            event.time,
            _storable(report.pipeline),
            report.mode.value,
            verdict.status.value,
            verdict.decision.value if verdict.decision else None,
            verdict.action.value,
            None if plain is None else _storable(plain[:MAX_PROMPT]),
            None if event.prompt is None else self._hash(event.prompt),
            event.detail(),
            event.thumbnail,
            verdict.descriptor if self._config.descriptors else None,
        )

    def _hash(self, prompt: str) -> str | None:
        try:
            self._key = self._key or load_key(self._path)
        except OSError as exc:
            if not self._told:
                self._told = True
                logger.warning("%s: prompts are left out, their key cannot be read or made (%s)", self._path, exc)
            return None
        return hash_prompt(prompt, self._key)


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
