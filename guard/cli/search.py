"""`memguard search`: what the index holds of a picture, or of words. Knows options and a table; ranks nothing."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import err, errors_to_exit, number_of, out, print_json, print_rows

if TYPE_CHECKING:
    from guard.embedders.base import Thresholds
    from guard.search import Searcher, SearchHit, SearchPage, SearchQuery

__all__ = ["search"]

CAPTION = 80  # characters shown


class Views(StrEnum):
    """guard.embedders.views.ViewKind, for the command line."""

    ONE = "one"
    WINDOWS = "windows"
    TURNS = "turns"
    CROPS = "crops"
    BOTH = "turns+crops"
    LEVELS = "levels"
    CROPS_AND_LEVELS = "crops+levels"
    WINDOWS_AND_LEVELS = "windows+levels"


def search(
    index: Annotated[Path, typer.Option(metavar="X.index", help="Index directory made by `memguard index build`.")],
    picture: Annotated[Path | None, typer.Argument(metavar="PICTURE", help="A picture file to look for.")] = None,
    words: Annotated[
        str | None,
        typer.Option(help='Words that the caption must hold, all of them; "two words" side by side, begin*.'),
    ] = None,
    by_meaning: Annotated[
        bool, typer.Option("--by-meaning", help="Compare the words with the pictures instead, by a CLIP model.")
    ] = False,
    meaning: Annotated[
        Path | None,
        typer.Option(
            metavar="CLIP.index", help="Index of the same pictures that a CLIP built (default: the index itself)."
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(help="Its text tower: a name of `memguard models`, onnx:FILE or a folder (default: by name)."),
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="Look for this part of the picture, in shares: 0,0,0.5,1.")
    ] = None,
    views: Annotated[
        Views,
        typer.Option(
            help="Views of the picture: windows and crops find what is pictured within it, turns turned ones, levels "
            "those in other levels."
        ),
    ] = Views.ONE,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", help="Only references in it; repeat it for several.")
    ] = None,
    source: Annotated[str, typer.Option(help="Only references whose uri holds this: a folder, shard or domain.")] = "",
    min_cluster: Annotated[int, typer.Option(min=1, help="Only references with so many near-duplicates.")] = 1,
    max_cluster: Annotated[int | None, typer.Option(min=1, help="And at most so many.")] = None,
    min_similarity: Annotated[float | None, typer.Option(help="Only hits from this similarity on, inclusive.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Hits at most.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Hits to pass over: the next page.")] = 0,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the hits to this .jsonl, .csv or .parquet file.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder of the index, where it was a file: onnx:FILE or torchscript:FILE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Find pictures of an index by a picture, by words, or by both.

    [bold]Examples[/bold]

    memguard search mine.jpg --index training.index

    memguard search --words 'portrait "red chair"' --index training.index --collection training --out hits.csv

    memguard search sketch.png --words 'a fox' --by-meaning --meaning clip.index --index training.index
    """
    from guard.decode import decode
    from guard.indexes import open_index, open_overlaid
    from guard.search import MAX_LIMIT, Meaning, RecordFilter, Searcher, SearchQuery
    from guard.thresholds import advice_of

    with errors_to_exit(), ExitStack() as stack:
        where = RecordFilter(tuple(collection or ()), min_cluster, max_cluster, source)
        query = SearchQuery(
            picture=None if picture is None else decode(picture).rgb,
            part=_part(part),
            views=views.value,
            words=words or "",
            by="meaning" if by_meaning else "captions",
            where=where,
            min_similarity=min_similarity,
            offset=offset,
            limit=limit if out_file is None else min(limit, MAX_LIMIT),
        )
        opened = stack.enter_context(open_overlaid(index))
        tower = None
        if by_meaning:
            beside = opened.base if meaning is None else stack.enter_context(open_index(meaning))
            tower = Meaning(beside, text_model)
        model = None if picture is None else _embedder(opened, embedder)
        advice = None if model is None else advice_of(opened, model.spec, windows="windows" in views)
        _show(Searcher(opened, model, meaning=tower), query, limit, index, out_file, as_json, advice)


def _show(
    searcher: Searcher,
    query: SearchQuery,
    limit: int,
    index: Path,
    out_file: Path | None,
    as_json: bool,
    advice: Thresholds | None,
) -> None:
    from guard.search.export import all_hits, write_hits

    if out_file is not None:
        count = write_hits(all_hits(searcher, query, limit), out_file)
        if as_json:
            print_json({"index": str(index), "path": str(out_file), "hits": count})
        else:
            err.print(f"{number_of(count, 'hit')} in {out_file}", style="dim", soft_wrap=True)
        return
    page = searcher.search(query)
    if as_json:
        near = None if advice is None else {"flag": advice.flag, "block": advice.block, "source": advice.source}
        print_json({"index": str(index), "thresholds": near, **page.to_dict()})
        return
    table = Table("similarity", "uri", "cluster", "collections", "caption", box=None, pad_edge=False)
    for hit in page.hits:
        table.add_row(*_row(hit))
    if page.hits:
        print_rows(table)
    if query.picture is not None and not query.words and not page.offset:
        answer = _answer(page, advice, _hint(searcher, query))
        if answer:
            out.print(answer, soft_wrap=True)
    err.print(_count(page), style="dim", soft_wrap=True)


def _answer(page: SearchPage, advice: Thresholds | None, hint: str) -> str:
    """Whether the picture is in there, as far as hashes and similarities tell; "" where they say nothing.

    hint: what else could be tried.
    """
    identical = sum(hit.pdq_bits is not None for hit in page.hits)
    if identical:
        return f"it is in there: {number_of(identical, 'picture')} of the same PDQ hash, turned and mirrored included"
    nearest = max((hit.similarity for hit in page.hits if hit.similarity is not None), default=None)
    if nearest is None or advice is None:
        return ""
    said = f"the nearest has similarity {nearest:.3f}"
    if nearest >= advice.block:
        return f"most likely in there: {said}, and an output is blocked from {advice.block:.3f} on"
    if nearest >= advice.flag:
        return f"something is close to it: {said}, and an output is flagged from {advice.flag:.3f} on"
    return f"nothing is near enough to be flagged: {said}, and an output is flagged from {advice.flag:.3f} on{hint}"


def _hint(searcher: Searcher, query: SearchQuery) -> str:
    tips = []
    if searcher.index.manifest.regions == 1:
        tips.append("if yours is a part of one, search an index that was built with --regions")
    if query.views == "one":
        tips.append("if yours shows one within it, search with --views crops")
    return "".join(f"; {tip}" for tip in tips)


def _row(hit: SearchHit) -> tuple[Text, ...]:
    similarity = " ".join(f"{value:.3f}" for value in (hit.similarity, hit.meaning) if value is not None)
    if hit.pdq_bits is not None:
        similarity += f", PDQ {hit.pdq_bits} bits"
    caption = hit.record.caption
    shown = caption if len(caption) <= CAPTION else caption[: CAPTION - 1] + "…"
    collections = ", ".join(hit.record.collections)
    return tuple(Text(cell) for cell in (similarity, hit.record.uri, str(hit.record.cluster_size), collections, shown))


def _count(page: SearchPage) -> str:
    last = page.offset + len(page.hits)
    of = f" of {page.total}" if page.total is not None else ""
    more = f"; more with --offset {last}" if page.more else ""
    said = f"hits {page.offset + 1} to {last}{of}{more}" if page.hits else "no hits"
    return "; ".join(filter(None, [said, page.note]))


def _part(text: str | None) -> tuple[float, float, float, float] | None:
    from guard.errors import ConfigError

    if text is None:
        return None
    try:
        left, top, right, bottom = (float(value) for value in text.split(","))
    except ValueError as exc:
        raise ConfigError(f"--part {text}: give four shares, left,top,right,bottom, e.g. 0,0,0.5,1") from exc
    return left, top, right, bottom


def _embedder(index: Any, named: str | None) -> Any:
    from guard.embedders.registry import load_index_embedder

    return load_index_embedder(index.manifest.embedder.name, named)
