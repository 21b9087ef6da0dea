"""Searches of 100,000 references: by a 512 x 512 picture, by words over captions, by both, with a filter.

    python tests/benchmarks/search.py [--references 100000] [--repeats 100] [--json OUT]

Captions hold 12 words of 20,000, frequent and rare ones as in natural text; the searches ask for one to three of them.
The peers, timed in turn with ours in the same run: for pictures the same decode and embedder, then one product with
all descriptors in numpy and their top 20; for words the plain FTS5 query, ranked, with its 20 records. Ours also looks
up PDQ hashes in eight flips and turns, counts what matches, and fetches records. CPU time is of all threads, and says
what a busy machine's clock cannot.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt
from _report import finish, options_parser, row
from check_path import jpeg

from guard import Record
from guard.decode import decode
from guard.embedders.base import Embedder
from guard.embedders.pdq import packed_hash
from guard.embedders.registry import load_embedder
from guard.indexes.faissfile import FlatLayout
from guard.indexes.layout import IndexFolder
from guard.indexes.records import RECORDS
from guard.indexes.selection import RecordFilter, caption_match
from guard.indexes.staging import Staging, complete
from guard.indexes.store import open_index
from guard.pixels import to_batch
from guard.search import Searcher, SearchQuery

BAR_MS = 100.0  # p95
BAR_RATIO = 2.0  # times the peer, at most
VOCABULARY, WORDS, FOUND = 20_000, 12, 20
PLAIN = (
    "SELECT records.* FROM captions JOIN records ON records.id = captions.rowid "
    "WHERE captions MATCH ? ORDER BY captions.rank LIMIT 20"
)


def run(references: int, repeats: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    embedder = load_embedder()
    pictures = [jpeg(seed) for seed in range(8)]
    rows = rng.standard_normal((references, embedder.spec.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[:8] = embedder.embed(to_batch([decode(data).rgb for data in pictures]))
    words = _captions(rng, references)
    with tempfile.TemporaryDirectory() as folder:
        _write_index(Path(folder) / "bench.index", embedder, rows, pictures, words)
        with open_index(Path(folder) / "bench.index", embedder=embedder) as index:
            searcher = Searcher(index, embedder)
            plain = sqlite3.connect(index.folder / RECORDS)
            some = RecordFilter(source="00", collections=("training",))
            asked = [_words(rng, words) for _ in range(repeats)]

            def by_picture(i: int) -> None:
                query = SearchQuery(picture=decode(pictures[i % 8]).rgb, limit=FOUND)
                assert searcher.search(query).hits[0].record.id == i % 8

            def filtered(i: int) -> None:
                query = SearchQuery(picture=decode(pictures[i % 8]).rgb, limit=FOUND, where=some)
                assert searcher.search(query).hits

            def by_words(i: int) -> None:
                assert searcher.search(SearchQuery(words=asked[i], limit=FOUND)).total

            def by_both(i: int) -> None:
                query = SearchQuery(picture=decode(pictures[i % 8]).rgb, words=asked[i].split()[0], limit=FOUND)
                assert searcher.search(query).total

            def product(i: int) -> None:
                (one,) = embedder.embed(to_batch([decode(pictures[i % 8]).rgb]))
                cosine = rows @ one
                best = np.argpartition(-cosine, FOUND)[:FOUND]
                assert best[np.argmax(cosine[best])] == i % 8

            def plain_words(i: int) -> None:
                assert plain.execute(PLAIN, (caption_match(asked[i]),)).fetchall()

            ways = {
                "by picture": (by_picture, product),
                "by picture, two filters": (filtered, None),
                "by words over captions": (by_words, plain_words),
                "by picture and words": (by_both, None),
            }
            out = []
            for what, (ours, peer) in ways.items():
                out += _timed(f"search {what}", ours, peer, repeats)
            plain.close()
            return out


def _timed(
    what: str, ours: Callable[[int], None], peer: Callable[[int], None] | None, repeats: int
) -> list[dict[str, Any]]:
    mine, others, cores = [], [], []
    for i in range(-5, repeats):  # the first ones warm caches up
        seconds, busy = [], []
        for call in (ours, peer) if peer else (ours,):
            started, begun = perf_counter(), process_time()
            call(abs(i) % repeats)
            busy.append(process_time() - begun)
            seconds.append(perf_counter() - started)
        if i >= 0:
            cores.append(busy[0])
            mine.append(seconds[0])
            others.append(seconds[-1])
    rows = [
        row(f"{what}: median", 1000 * median(mine), "ms"),
        row(f"{what}: p95", 1000 * quantiles(mine, n=20)[-1], "ms", at_most=BAR_MS),
        row(f"{what}: CPU time, median", 1000 * median(cores), "ms"),
    ]
    if peer:
        ratio = median(a / b for a, b in zip(mine, others, strict=True))
        rows.append(row(f"{what} / peer", ratio, "x", at_most=BAR_RATIO))
    return rows


def _captions(rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
    """(n, WORDS) numbers of words; the k-th most frequent one stands about 1/k as often as the first."""
    weight = 1 / np.arange(1, VOCABULARY + 1)
    return rng.choice(VOCABULARY, (n, WORDS), p=weight / weight.sum())


def _words(rng: np.random.Generator, captions: npt.NDArray[np.int64]) -> str:
    """One to three words of one caption."""
    chosen = rng.choice(captions[rng.integers(len(captions))], rng.integers(1, 4), replace=False)
    return " ".join(f"w{word}" for word in chosen)


def _write_index(
    path: Path,
    embedder: Embedder,
    rows: npt.NDArray[np.float32],
    pictures: list[bytes],
    captions: npt.NDArray[np.int64],
) -> None:
    """As a build does, of descriptors that were made elsewhere and the hashes of a few pictures."""
    layout, folder = FlatLayout("float32", embedder.spec.dim), IndexFolder(path)
    noise = np.random.default_rng(2).integers(0, 256, (len(rows), 32), dtype=np.uint8)
    hashes: list[bytes | None] = [one.tobytes() for one in noise]
    hashes[: len(pictures)] = [packed_hash(decode(data).rgb) for data in pictures]
    path.mkdir()
    with folder.writer():
        staging = Staging(path / "building", layout, {}, thumbnails=False, hashes=True)
        records = [
            Record(i, f"shard-{i // 1000:05}.tar/{i:09}.jpg", "", " ".join(f"w{word}" for word in words))
            for i, words in enumerate(captions.tolist())
        ]
        nothing: list[bytes | None] = [None] * len(rows)
        staging.append(layout.encode(rows), records, nothing, (), {}, position=len(rows), hashes=hashes)
        staging.seal(complete(staging, embedder.spec, ["random rows"]))
        folder.publish(path / "building")


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    if options.quick:
        options.references, options.repeats = 5_000, 20
    rows = run(options.references, options.repeats)
    finish("search", rows, options.json, references=options.references, repeats=options.repeats)


if __name__ == "__main__":
    main()
