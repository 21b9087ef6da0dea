"""`memguard audit`: does a model repeat its training pictures? Knows options and tables; the audit is guard.audit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from guard.audit.confirm import Criterion
from guard.cli.console import errors_to_exit, goes_on, out, print_json
from guard.cli.index_small import KeyOption, sealing_key
from guard.errors import ConfigError

__all__ = ["audit_app"]

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class _Default(TyperGroup):
    """`memguard audit MODEL …` is `memguard audit run MODEL …`: what is no sub-command begins the arguments of run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


audit_app = typer.Typer(
    name="audit",
    cls=_Default,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Find out whether a model repeats its training pictures: the extraction attack of Carlini et al. 2023.

    `memguard audit MODEL …` is `memguard audit run MODEL …`.

    [bold]Examples[/bold]

    memguard audit my-model/ --index training.index --html audit.html

    memguard audit --demo --budget 15m --json audit.json

    memguard audit compare before.json after.json""",
)


@audit_app.command()
def run(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder of a diffusers pipeline, a name that diffusers can load, or MODULE:FUNCTION, which is given a "
            "device and returns a pipeline, or a callable (prompt, seeds) -> pictures.",
        ),
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Index of the training set, with thumbnails.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Audit the shipped memorising model and its control, against their truth.")
    ] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Prompts of a file, one a line, or a .csv or .jsonl with a column `prompt` or `caption`."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All captions of the index, duplicated or not.")] = False,
    duplicates: Annotated[
        int, typer.Option(min=1, help="Captions of clusters of at least so many pictures, the largest first.")
    ] = 2,
    most: Annotated[int | None, typer.Option(min=1, help="At most so many prompts.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Of a class-conditional model: 0-9, or 1,5,7. Confirms each generation.")
    ] = None,
    generations: Annotated[
        int | None, typer.Option("--generations", "-n", min=1, help="Of one prompt (500; with --demo 64).")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time of this run, as 90s, 20m or 2h; spent where something is likeliest to be found."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Tiled distance up to which two generations are joined, inclusive.")
    ] = 0.15,
    clique: Annotated[int, typer.Option(min=2, help="Members from which a prompt is likely memorised.")] = 10,
    criterion: Annotated[
        Criterion,
        typer.Option(help="What confirms a copy: distances and descriptors or pixels, both distances, or one of them."),
    ] = Criterion.AGREED,
    delta: Annotated[float, typer.Option(help="L2 distance up to which a generation is memorised, inclusive.")] = 0.15,
    alpha: Annotated[float, typer.Option(help="Of the adaptive ratio.")] = 0.5,
    neighbours: Annotated[int, typer.Option(min=2, help="Of the adaptive ratio.")] = 50,
    each: Annotated[
        bool, typer.Option("--each", help="Confirm every generation, not only cliques; always so without prompts.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps (default: the pipeline's).")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale (default: the pipeline's).")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="In px (default: the pipeline's).")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cuda:0, cuda:1, cpu, …; repeat it for several, each with a copy.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Pictures of one call.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the generations and of the choice among equals.")] = 0,
    embedder: Annotated[
        str | None, typer.Option(help="Needed where the index's embedder was a file: onnx:FILE or torchscript:FILE.")
    ] = None,
    key: KeyOption = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the index's collections those that the model was trained on (default: all but protected, opt-out, "
            "allow and canary); repeatable."
        ),
    ] = None,
    buried: Annotated[
        bool,
        typer.Option(
            "--buried", help="Count what the overlay's tombstones hide in the index: a model may have seen it."
        ),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the generations, to go on from (memguard-audit; with --demo …-demo).")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Drop what the state holds.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write the report as JSON.")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write the report as one HTML page, pictures inside.")
    ] = None,
    sheet_file: Annotated[
        Path | None, typer.Option("--sheet", metavar="OUT", help="Write a contact sheet of the pairs as a PNG.")
    ] = None,
) -> None:
    """Generate for the captions of the most duplicated pictures and say which of them the model memorised.

    Generations that crowd around one picture make a prompt likely memorised, before the training set is looked at; its
    nearest picture then confirms it or not. A killed audit goes on with the same command. Exit code 1 if something is
    memorised, or protected and repeated; with --demo, if the audit and the truth disagree.

    [bold]Examples[/bold]

    memguard audit run my-model/ --index training.index --html audit.html --json audit.json

    memguard audit run my-model/ --index training.index --budget 20m --device cuda:0 --device cuda:1

    memguard audit run cifar-ddpm/ --index cifar.index --generations 5000 --criterion adaptive

    memguard audit run --demo --budget 15m --json audit.json
    """
    from guard.audit.confirm import Rule
    from guard.audit.plan import GENERATIONS, Plan
    from guard_diffusers.audit.command import Choose, Outputs, run_audit, run_demo
    from guard_diffusers.audit.demo import GENERATIONS as OF_THE_DEMO

    with errors_to_exit(stopped=goes_on(restart=restart)):
        outputs = Outputs(json_file, html_file, sheet_file)
        plan = Plan(
            generations=generations or (OF_THE_DEMO if demo else GENERATIONS),
            threshold=threshold,
            least_clique=clique,
            rule=Rule(criterion, delta=delta, alpha=alpha, neighbours=neighbours),
            seed=seed,
            batch=batch,
            budget_s=_seconds(budget),
            each=each or classes is not None,
            collections=tuple(collection or ()),
            buried=buried,
        )
        if demo:
            if model is not None or index is not None or prompts is not None:
                raise ConfigError("--demo brings its own model, index and prompts; leave yours out")
            folder = state or Path("memguard-audit-demo")
            raise typer.Exit(run_demo(folder, plan, most=most, restart=restart, outputs=outputs))
        if model is None or index is None:
            raise ConfigError("name a model and the --index of its training set, or take --demo")
        call = {"num_inference_steps": steps, "guidance_scale": guidance, **_size(size)}
        raise typer.Exit(
            run_audit(
                model,
                index,
                plan,
                choose=Choose(prompts, everything, duplicates, most, _classes(classes)),
                call={name: value for name, value in call.items() if value is not None},
                devices=device or (),
                dtype=dtype,
                embedder=embedder,
                key=sealing_key(key),
                state=state or Path("memguard-audit"),
                restart=restart,
                outputs=outputs,
            )
        )


@audit_app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="Report of an audit.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Report of another, judged by the same rules.")],
    html_file: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write it as an HTML page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Compare two audits: two models, before and after deduplication, a small and a large one.

    Prompts that both looked at are compared one by one; the difference comes with its 95 % interval.

    [bold]Examples[/bold]

    memguard audit compare before.json after.json

    memguard audit compare small.json large.json --html comparison.html
    """
    from guard.audit.compare import compare as compared
    from guard.audit.page import write_comparison
    from guard.audit.report import read_report
    from guard_diffusers.audit.show import comparison_lines

    with errors_to_exit():
        comparison = compared(read_report(a), read_report(b))
        if html_file is not None:
            write_comparison(html_file, comparison, title=f"{a.name} against {b.name}")
        if as_json:
            print_json(comparison.model_dump(mode="json"))
            return
        for line in comparison_lines(comparison, a.name, b.name):
            out.print(line, soft_wrap=True)


def _seconds(text: str | None) -> float | None:
    """90s, 20m, 2h or a plain number of seconds. Raises ConfigError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise ConfigError(f"--budget {text}: give a time like 90s, 20m or 2h")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def _size(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if found is None:
        raise ConfigError(f"--size {text}: give width x height in px, like 512x512")
    return {"width": int(found[1]), "height": int(found[2])}


def _classes(text: str | None) -> tuple[int, ...]:
    """0-9 or 1,5,7 or both. Raises ConfigError."""
    classes: list[int] = []
    for part in (text or "").split(",") if text else []:
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if found is None:
            raise ConfigError(f"--classes {text}: give numbers and ranges, like 0-9 or 1,5,7")
        classes += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(dict.fromkeys(classes))
