"""A version that differs from the one in use by one small file. Knows names and manifests; not what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

from guard.indexes.layout import IndexFolder, file_entry, share, write_durably
from guard.indexes.manifest import MANIFEST, Manifest

__all__ = ["attach"]


def attach(folder: IndexFolder, at: Path, manifest: Manifest, name: str, data: bytes) -> str:
    """Publish the version at `at` with the file `name`, replaced if it is there; returns the new version's name.

    All other files are shared, not copied. Needs the writer's lock.
    """
    editing = folder.path / "editing"
    shutil.rmtree(editing, ignore_errors=True)
    editing.mkdir(parents=True)
    files = {known: entry for known, entry in manifest.files.items() if known != name}
    for known in files:
        share(at / known, editing / known)
    write_durably(editing / name, data)
    files[name] = file_entry(editing / name)
    fields = {**manifest.model_dump(), "files": files}
    write_durably(editing / MANIFEST, Manifest.model_validate(fields).to_json().encode())
    return folder.publish(editing)
