"""`python -m guard.training.ship`: put the weights of a run into the package, with their card; or new figures alone.

Knows the card's fields and where its figures come from: the run's own record and the document of
`memguard eval descriptors`. Nothing on the card is typed by hand but the words around the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from guard.embedders.base import Thresholds
from guard.embedders.files import sha256_of
from guard.embedders.shipped import FOLDER, SHIPPED, ShippedCard
from guard.errors import ConfigError, GuardError
from guard.evaluation.entrants import OF_INDEX, WINDOWS
from guard.evaluation.protocol import POOLED
from guard.evaluation.transformed import RIVALS

__all__ = ["make_card", "measure_anew", "ship"]

FLAG_FPRS, BLOCK_FPR = ("0.01", "0.001"), "0.0001"  # look-alikes of one kind set the second: a flag alone may be wrong
RATES = ("0.01", "0.001")
WHITENED = "+whitened"
IN_INDEX = "windows, crops of the references and equalised copies"
WHITENED_FLAG_FPR = "0.001"  # whitened, copies that were blurred are still above it
WEAK = 0.9  # recall at FPR 1 % below which an edit is named as a weak spot
Document = Mapping[str, Any]


def make_card(run: Path, evaluation: Document, *, today: date, earlier: Sequence[Any] = ()) -> ShippedCard:
    """The card of the weights in a run's folder.

    evaluation: a document of `memguard eval descriptors` whose entrants include these weights under their name; its
    first group sets the thresholds. earlier: the training entries of the weights that the run began from.
    Raises ConfigError if the document is about other weights or lacks a field.
    """
    record = json.loads((run / f"{SHIPPED}.training.json").read_text("utf-8"))
    weights, graph = run / f"{SHIPPED}.safetensors", run / f"{SHIPPED}.onnx"
    sha256 = record["result"]["weights_sha256"]
    if sha256_of(weights) != sha256:
        raise ConfigError(f"{weights.name} is not what the run's record says; export the run again")
    config = record["run"]["config"]
    return ShippedCard(
        name=SHIPPED,
        dim=config["network"]["dim"],
        preprocessing=record["result"]["preprocessing"],
        network=config["network"],
        weights_sha256=sha256,
        onnx_sha256=sha256_of(graph),
        windows_preprocessing=record["result"]["windows_preprocessing"],
        windows_sha256=sha256_of(run / f"{SHIPPED}.windows.onnx"),
        training={"data": record["training_data"], "runs": [*earlier, _training(record)]},
        **_figures(evaluation, sha256, today),
    )


def ship(run: Path, evaluation: Document, folder: Path = FOLDER, *, today: date) -> ShippedCard:
    """Copy weights and write the card. The training of weights that are there already, and were the run's beginning,
    stays on the card."""
    earlier: Sequence[Any] = ()
    began_from = json.loads((run / f"{SHIPPED}.training.json").read_text("utf-8"))["run"]["init_sha256"]
    if began_from:
        before = ShippedCard.model_validate_json((folder / f"{SHIPPED}.json").read_text("utf-8"))
        if before.weights_sha256 != began_from:
            raise ConfigError("the run began from weights that are not the shipped ones; their training is unknown")
        earlier = before.training["runs"]
    card = make_card(run, evaluation, today=today, earlier=earlier)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("safetensors", "onnx", "windows.onnx"):
        shutil.copyfile(run / f"{SHIPPED}.{suffix}", folder / f"{SHIPPED}.{suffix}")
    _write(card, folder)
    return card


def measure_anew(evaluation: Document, folder: Path = FOLDER, *, today: date) -> ShippedCard:
    """Write thresholds, figures and weak spots of the weights that are there already, as make_card has them."""
    before = ShippedCard.model_validate_json((folder / f"{SHIPPED}.json").read_text("utf-8"))
    card = before.model_copy(update=_figures(evaluation, before.weights_sha256, today))
    _write(card, folder)
    return card


def _write(card: ShippedCard, folder: Path) -> None:
    (folder / f"{SHIPPED}.json").write_text(json.dumps(card.model_dump(mode="json"), indent=1) + "\n", "utf-8")


def _figures(evaluation: Document, sha256: str, today: date) -> dict[str, Any]:
    """The fields of the card that an evaluation decides."""
    try:
        entrant = _entrant(evaluation, sha256)
        measured = _measured(evaluation, entrant)
        return {
            "thresholds": _thresholds(evaluation, entrant, measured, today),
            "evaluation": {"date": today.isoformat(), **measured},
            "weak_spots": _weak_spots(evaluation, entrant),
        }
    except KeyError as exc:
        raise ConfigError(f"the evaluation lacks {exc}; run `memguard eval descriptors` on these weights") from exc


def _training(record: Document) -> dict[str, Any]:
    run, result = record["run"], record["result"]
    return {
        **{
            key: run[key]
            for key in ("seed", "device", "processes", "workers", "drawers", "programs_drawn", "init_sha256")
            if key in run
        },
        **{key: result[key] for key in ("step", "views")},
        "hours": round(result["elapsed_s"] / 3600, 2),
        "cpu_cores": record["compute"]["cpu_cores"],
        "commit": record["commit"],
        "written_at": record["written_at"],
        "settings": {key: value for key, value in run["config"].items() if key != "network"},
    }


def _entrant(evaluation: Document, sha256: str) -> str:
    """The name under which the weights took part: perhaps that of their file."""
    for name, found in evaluation["weights_sha256"].items():
        if found == sha256:
            return str(name)
    raise ConfigError(f"the evaluation is about other weights than these, {sha256}")


def _measured(evaluation: Document, entrant: str) -> dict[str, Any]:
    groups = {}
    for group, figures in evaluation["results"][entrant].items():
        groups[group] = {
            "counts": evaluation["protocol"]["groups"][group],
            "figures": {
                name: {
                    "recall_at_1": one["recall_at_1"],
                    **{f"recall_at_own_fpr_{rate}": one["recall_at_own_fpr"][rate] for rate in RATES},
                }
                for name, one in figures.items()
                if name == "all_edits" or name.startswith("family:")
            },
            "look_alikes_at_0.01": evaluation["look_alikes"][entrant].get(group, {}).get("0.01"),
        }
    return {"groups": groups}


def _thresholds(evaluation: Document, entrant: str, measured: Document, today: date) -> Thresholds:
    """Of the first group; with those of a whitened index, of windows of the query and of regions, of what took part."""
    limits, groups = evaluation["thresholds"], measured["groups"]
    group = next(iter(groups))
    counts, every = groups[group]["counts"], groups.get(POOLED, groups[group])["counts"]
    among = (
        f"{counts['negative_queries']:,} queries exceed that are no copies (of {counts['sources']} {group}), among "
        f"{every['pictures'] // 2} references"
    )
    made = f"memguard eval descriptors, {today.isoformat()}. Larger indexes and look-alikes (X-rays, faces, flags) need"

    def advice(name: str, fprs: Sequence[str], flag: str, looked: str = "") -> Thresholds:
        found = limits[name][group]
        return Thresholds(
            flag=_rounded_up(sum(found[fpr] for fpr in fprs) / len(fprs)),
            block=_rounded_up(found[BLOCK_FPR]),
            source=f"flag: {flag} of {among}; block: what 0.01 % exceed{looked}. {made} higher ones: calibrate",
        )

    def pair(way: str, fprs: Sequence[str], flag: str) -> Thresholds:
        windows, regions = f"{entrant}{WINDOWS}{way}", f"{entrant}{OF_INDEX}{way}"
        seen = advice(windows, fprs, flag, ", looked at with windows") if windows in limits else None
        known = advice(regions, fprs, flag, f", with {IN_INDEX}") if regions in limits else None
        return replace(advice(f"{entrant}{way}", fprs, flag), windows=seen, regions=known)

    plain = pair("", FLAG_FPRS, "halfway between what 1 % and 0.1 %")
    if f"{entrant}{WHITENED}" not in limits:
        return plain
    whitened = pair(WHITENED, [WHITENED_FLAG_FPR], "what 0.1 %")
    if f"{entrant}{WHITENED}{RIVALS}" in limits:
        whitened = replace(whitened, rivals=pair(WHITENED + RIVALS, [WHITENED_FLAG_FPR], "what 0.1 %"))
    return replace(plain, whitened=whitened)


def _rounded_up(similarity: float) -> float:
    """To two decimals: some hundred sources say nothing of a third."""
    return math.ceil(100 * similarity) / 100


def _weak_spots(evaluation: Document, entrant: str) -> tuple[str, ...]:
    """The edits that are found badly among the first group, and the groups whose strangers look like copies; where
    windows and regions took part, also what these find."""
    results = evaluation["results"]
    first = next(iter(results[entrant]))

    def found(name: str) -> dict[str, float]:
        by_edit = results[name][first]
        return {edit: one["recall_at_own_fpr"]["0.01"]["value"] for edit, one in by_edit.items() if _is_edit(edit)}

    with_more = (("windows", WINDOWS), (IN_INDEX, OF_INDEX))
    seen = [(said, found(f"{entrant}{way}")) for said, way in with_more if f"{entrant}{way}" in results]
    weak = [
        f"{edit}: {100 * value:.0f} % found at FPR 1 % ({first})"
        + "".join(f", {100 * more[edit]:.0f} % with {said}" for said, more in seen)
        for edit, value in sorted(found(entrant).items(), key=lambda item: item[1])
        if value < WEAK
    ]
    alike = [
        f"{group}: {100 * rates['0.01']['value']:.1f} % of pairs of different pictures reach FPR 1 % of {first}"
        for group, rates in evaluation["look_alikes"][entrant].items()
        if group not in (first, "pooled") and (rates["0.01"]["value"] or 0) > 0.01
    ]
    return (*weak, *alike)


def _is_edit(name: str) -> bool:
    return name != "all_edits" and not name.startswith("family:")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m guard.training.ship", description=__doc__)
    parser.add_argument(
        "run", type=Path, nargs="?", help="folder of a finished or exported run; without: the weights that are there"
    )
    parser.add_argument("--evaluation", type=Path, required=True, help="what memguard eval descriptors wrote")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the shipped weights")
    parsed = parser.parse_args(arguments)
    try:
        document = json.loads(parsed.evaluation.read_text("utf-8"))
        if parsed.run is None:
            card = measure_anew(document, parsed.out, today=date.today())
        else:
            card = ship(parsed.run, document, parsed.out, today=date.today())
    except (GuardError, OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    print(f"{card.name} {card.weights_sha256[:12]}: flag {card.thresholds.flag}, block {card.thresholds.block}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
