"""Whether a build is complete already, whatever killed it later. Knows where its result may lie; builds nothing."""

from __future__ import annotations

from pathlib import Path

from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.staging import is_sealed, unseal

__all__ = ["finished_before"]


def finished_before(folder: IndexFolder, building: Path, settings_sha256: str, *, keep: int) -> Manifest | None:
    """The manifest of this very build if it is complete; published now if a kill came before that.

    building: where it is staged. settings_sha256: of what decides its outcome. keep: published versions to keep.
    """
    if is_sealed(building):
        manifest = Manifest.read(building / MANIFEST)
        if manifest.settings_sha256 == settings_sha256:
            unseal(building)
            folder.publish(building)
            folder.prune(keep)
            return manifest
    current = folder.current() if folder.exists else ""
    for name in folder.published():
        if name >= current and is_sealed(folder.version(name)):  # newer: renamed, but CURRENT was not written
            manifest = Manifest.read(folder.version(name) / MANIFEST)
            if manifest.settings_sha256 == settings_sha256:
                if name != current:
                    folder.switch(name)
                    folder.prune(keep)
                return manifest
    return None
