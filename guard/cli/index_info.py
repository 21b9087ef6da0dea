"""`memguard index info`: say what an index holds. Knows a table; no format."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from guard.cli.calibrate import calibration_lines, calibration_summary
from guard.cli.console import errors_to_exit, number_of, print_json, print_rows
from guard.cli.index_options import IndexArgument, JsonOption
from guard.cli.index_report import counts, in_use, regions_line

__all__ = ["info"]


def info(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Say what an index holds: how much, from where, by which embedder, and what it lacks.

    [bold]Example[/bold]

    memguard index info training.index
    """
    from guard.calibration.record import read_calibration
    from guard.comparing import by_default
    from guard.indexes.clusters import describe_clusters
    from guard.indexes.overlaid import count_now, state_of
    from guard.indexes.records import KEYPOINTS
    from guard.indexes.transforming import describe
    from guard.indexes.usual import advised
    from guard.small.record import read_small

    with errors_to_exit():
        name, manifest = in_use(index)
        calibration = read_calibration(index / "versions" / name, manifest)
        state = state_of(index, manifest)
        overlay, references = state.counts(), count_now(index, name, manifest, state)
        small = read_small(index / "versions" / name, manifest)
        compared = (
            "of a small set every candidate is compared" if small else by_default(manifest, index / "versions" / name)
        )
        if as_json:
            known = calibration_summary(calibration, manifest, references) if calibration else None
            set_known = small.model_dump(mode="json") | {"warnings": small.warnings} if small else None
            shown = {"path": str(index), "version": name, **manifest.model_dump(mode="json"), "calibration": known,
                     "overlay": overlay, "small": set_known, "pixels": compared}  # fmt: skip
            print_json(shown)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_row("index", f"{index}, version {name}")
        table.add_row("references", f"{manifest.count}")
        table.add_row("embedder", f"{manifest.embedder.name} ({manifest.embedder.dim} values, {manifest.vectors})")
        table.add_row("built", f"{manifest.built_at:%Y-%m-%d %H:%M:%S} UTC by version {manifest.tool_version}")
        table.add_row("regions", regions_line(manifest) or "none")
        if manifest.sealed:
            table.add_row("thumbnails", f"sealed ({manifest.sealed.cipher}, key {manifest.sealed.key_id})")
        if small:
            own = f"flag {small.flag:.4f}, block {small.block:.4f}, of {number_of(small.count, 'reference')}"
            lines = [own] * (small.count > 0) + small.warnings
            table.add_row("small set", "\n".join(lines))
        table.add_row("hashes", f"PDQ, of {manifest.hashes.usable} references" if manifest.hashes else "none")
        table.add_row("keypoints", "stored" if KEYPOINTS in manifest.files else "none")
        table.add_row("pixels", compared)
        found = describe_clusters(manifest.clusters, manifest.count) if manifest.clusters else ["not looked for"]
        table.add_row("clusters", "\n".join(found))
        changed = describe(manifest.transform, manifest.embedder.dim) if manifest.transform else ["none"]
        table.add_row("transform", "\n".join(changed))
        table.add_row("sources", "\n".join(manifest.sources))
        table.add_row("originals", "\n".join(map(_folder, manifest.folders)) or "none known")
        table.add_row("collections", counts(manifest.collections))
        table.add_row("overlay", counts({kind.replace("_", " "): n for kind, n in overlay.items() if n}))
        table.add_row("skipped", counts(manifest.skipped))
        table.add_row("notes", counts(manifest.notes))
        if manifest.thresholds and not small:  # a small set has its own
            held = advised(manifest.spec, manifest.transform, regions=manifest.regions > 1)
            advice, hold = held or manifest.thresholds, "" if held else "; they do not hold after the transform"
            table.add_row("thresholds", f"flag {advice.flag:.4f}, block {advice.block:.4f} ({advice.source}){hold}")
            if held and held.windows:
                seen = held.windows
                table.add_row("with windows", f"flag {seen.flag:.4f}, block {seen.block:.4f} ({seen.source})")
        if calibration:
            stale = calibration.stale(manifest, datetime.now(UTC), count=references)
            rates = [
                f"{one.rate:g}: threshold {one.similarity:.4f} (interval {one.low:.4f} to {one.similarity:.4f})"
                for one in calibration.thresholds
            ]
            rates += [f"{rate}: not supported, {why}" for rate, why in calibration.unsupported.items()]
            said = [f"stale: {reason}" for reason in stale]
            table.add_row("calibration", "\n".join([*calibration_lines(calibration), *rates, *said]))
        else:
            table.add_row("calibration", "none")
        table.add_row("files", counts({n: f"{f.bytes} bytes" for n, f in manifest.files.items()}))
        print_rows(table)


def _folder(name: str) -> str:
    return name if Path(name).is_dir() else f"{name} (not there)"
