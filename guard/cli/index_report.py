"""What `memguard index build | add` print of what they did, and the version that is in use. Does nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from guard.cli.console import Exit, err, number_of, out, print_json
from guard.cli.index_small import show_small, small_json

if TYPE_CHECKING:
    from guard.indexes.build_report import BuildReport
    from guard.indexes.manifest import ClustersEntry, Manifest
    from guard.small.build import SmallReport

__all__ = ["counts", "in_use", "regions_line", "show"]


def show(
    report: BuildReport, as_json: bool, small: SmallReport | None = None, clusters: ClustersEntry | None = None
) -> Exit:
    """Print, and return the exit code: INPUT for pictures that could not be read, or none at all."""
    from guard.comparing import slow_for
    from guard.indexes.records import THUMBNAILS
    from guard.verification.examiner import KEPT

    if small is not None or clusters is not None:
        report = replace(report, version=in_use(report.path)[0])
    nothing = not (report.added or report.skipped or report.unchanged or report.already_there)
    code = Exit.INPUT if report.skipped or nothing else Exit.FINE
    if nothing:
        beside = f", only {report.ignored} other files" if report.ignored else ""
        err.print(f"the source holds no picture{beside}: look at its path and kind", style="yellow", soft_wrap=True)
    manifest = in_use(report.path)[1]
    if as_json:
        said = clusters.model_dump(mode="json") if clusters else None
        transform = manifest.transform.model_dump(mode="json") if manifest.transform else None
        print_json({**report.to_dict(), "transform": transform, "small": small_json(small), "clusters": said})
        return code
    if report.unchanged:
        out.print(
            f"{report.path} is complete, and its source has not changed (--restart builds it anew)", soft_wrap=True
        )
    else:
        resumed = f", resumed at item {report.resumed_at}" if report.resumed_at else ""
        rate = f"{report.seconds:.1f} s, {report.images_per_second:.0f} images/s{resumed}"
        out.print(f"{number_of(report.added, 'reference')} added in {rate}", soft_wrap=True)
    if report.already_there:
        listed = f", listed in {_beside(report, 'already_there.jsonl')}" if report.added else ""
        out.print(
            f"{number_of(report.already_there, 'picture')} left out that the index holds already{listed} (--duplicates "
            "adds them too)",
            soft_wrap=True,
        )
    out.print(f"{report.path}, version {report.version}: {number_of(report.count, 'reference')}", soft_wrap=True)
    if manifest.regions > 1:
        out.print(f"regions: {regions_line(manifest)}", soft_wrap=True)
    if report.count > KEPT:
        slow = slow_for(manifest) if THUMBNAILS in manifest.files else ""
        if slow:
            out.print(f"checks compare pixels only of what counts anyway: {slow}", style="dim", soft_wrap=True)
    if report.notes:
        out.print(f"handled: {counts(report.notes, ', ')}", soft_wrap=True)
    if report.background_left_out:
        left = f"{report.background_left_out} background pictures are references now, and left the background"
        out.print(left, soft_wrap=True)
    if report.transform_lost:
        err.print("the version before had a transform, and this one has none: `memguard index transform` makes one",
                  style="yellow", soft_wrap=True)  # fmt: skip
    if report.ignored:
        out.print(f"ignored beside the pictures: {number_of(report.ignored, 'file')}", soft_wrap=True)
    if report.skipped:
        table = Table("skipped because", "pictures", box=None, pad_edge=False)
        for reason, count in report.skipped.items():
            table.add_row(reason, str(count))
        out.print(table)
        out.print(f"each one with its reason: {_beside(report, 'skipped.jsonl')}", soft_wrap=True)
    if small is not None:
        show_small(small)
    elif manifest.transform is not None:
        from guard.indexes.transforming import describe

        for line in describe(manifest.transform, manifest.embedder.dim):
            out.print(line, soft_wrap=True)
    if clusters is not None:
        from guard.indexes.clusters import describe_clusters

        out.print(f"clusters: {describe_clusters(clusters, report.count)[0]}", soft_wrap=True)
    return code


def _beside(report: BuildReport, name: str) -> Path:
    return report.path / "versions" / report.version / name


def regions_line(manifest: Manifest) -> str:
    """In words; empty for an index without crops of its references."""
    from guard.embedders.views import CROPS, REGION_KINDS

    if manifest.regions == 1:
        return ""
    less = f", which count {manifest.region_handicap:g} less" if manifest.region_handicap else ""
    kind = REGION_KINDS.get(manifest.regions)
    crops = manifest.regions - 1 if kind is None else len(CROPS)
    levels = " and an equalised copy" if kind and "levels" in kind else ""
    return f"{crops} crops{levels} of each picture{less}"


def counts(numbers: dict[str, Any], between: str = "\n") -> str:
    """One a line, "none" for none."""
    return between.join(f"{name}: {count}" for name, count in numbers.items()) or "none"


def in_use(index: Path) -> tuple[str, Manifest]:
    """Name and manifest of the version in use. Raises IndexLoadError if there is none."""
    from guard.indexes.layout import IndexFolder
    from guard.indexes.manifest import MANIFEST, Manifest

    folder = IndexFolder(index)
    name = folder.current()
    return name, Manifest.read(folder.version(name) / MANIFEST)
