"""The sidecar under load, beside the guard in process on the same encoded JPEGs; then a soak.

    python tests/benchmarks/server.py [--references 10000] [--seconds 20] [--soak 900] [--quick] [--json OUT]

One image a request, 512 x 512, keep-alive connections, everything on this machine: the load generator takes its share
of the same cores, and its CPU time is reported. Checks get a minute, so that none fails for want of time. In process,
the same pictures are decoded and checked one after the other, and in batches of 16; the faster of both is the peer.
Decoding is included on both sides; no pixels are compared: the references are random rows.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _report import finish, options_parser, row
from check_path import jpeg, write_index

from guard import Guard
from guard.decode import decode
from guard.embedders.registry import load_embedder

BAR = 0.8  # of the peer's throughput, at least
PICTURES = 32
BATCH = 16
CLIENTS = (1, 8, 64, 200)
GROWTH_MIB = 64.0  # in a soak, at most


@dataclass
class Load:
    """What a number of clients got in some seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    cpu_s: float = 0.0
    """Of the generator."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        return 1000 * float(np.quantile(self.latencies, q)) if self.latencies else float("nan")


def in_process(index: Path, pictures: Sequence[bytes], seconds: float, batch: int) -> float:
    """Images a second, decoded and checked by this process."""
    guard = Guard.open(index, deadline_s=60.0, verify=False)
    done, end = 0, 0.0
    for warming in (True, False):
        done, begun = 0, perf_counter()
        end = begun + (min(2.0, seconds / 4) if warming else seconds)
        while perf_counter() < end:
            some = [pictures[(done + i) % len(pictures)] for i in range(batch)]
            guard.check([decode(data).rgb for data in some])
            done += batch
        end = perf_counter() - begun
    return done / end


@contextmanager
def served(index: Path) -> Iterator[tuple[str, int, int]]:
    """A sidecar; its host, port and process."""
    command = [sys.executable, "-m", "guard", "serve", "--index", str(index), "--port", "0"]
    environ = {**os.environ, "MEMGUARD_DEADLINE_S": "60", "MEMGUARD_VERIFY": "false"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"on http://([\d.]+):(\d+)", line)
            if found:
                break
        else:
            raise RuntimeError("memguard serve did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[1], int(found[2]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def requests(host: str, pictures: Sequence[bytes]) -> list[bytes]:
    made = []
    for data in pictures:
        boundary = secrets.token_hex(8)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'.encode()
        body = head + data + f"\r\n--{boundary}--\r\n".encode()
        made.append(
            f"POST /v1/check HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    return made


async def one_client(host: str, port: int, sent: Sequence[bytes], first: int, end: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        number = first
        while perf_counter() < end:
            begun = perf_counter()
            writer.write(sent[number % len(sent)])
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
            body = await reader.readexactly(length)
            if status == 200 and b'"status":"success"' in body:
                load.latencies.append(perf_counter() - begun)
            elif status == 429:
                load.refused += 1
                await asyncio.sleep(0.2)
            else:
                load.failed += 1
            number += 1
    finally:
        writer.close()


def loaded(host: str, port: int, sent: Sequence[bytes], clients: int, seconds: float) -> Load:
    load = Load()

    async def run() -> None:
        end = perf_counter() + seconds
        await asyncio.gather(*(one_client(host, port, sent, i, end, load) for i in range(clients)))

    cpu, begun = time.process_time(), perf_counter()
    asyncio.run(run())
    load.seconds, load.cpu_s = perf_counter() - begun, time.process_time() - cpu
    return load


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(references: int, seconds: float, soak_s: float) -> list[dict[str, Any]]:
    pictures = [jpeg(seed) for seed in range(PICTURES)]
    embedder = load_embedder()
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((references, embedder.spec.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    hashes: list[bytes | None] = [h.tobytes() for h in rng.integers(0, 256, (references, 32), dtype=np.uint8)]
    out: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "bench.index"
        write_index(index, embedder, rows, hashes)
        single = in_process(index, pictures, seconds, 1)
        batched = in_process(index, pictures, seconds, BATCH)
        peer = max(single, batched)
        out += [
            row("in process: one after the other", single, "images/s"),
            row(f"in process: batches of {BATCH}", batched, "images/s"),
        ]
        with served(index) as (host, port, pid):
            sent = requests(host, pictures)
            loaded(host, port, sent, 8, min(3.0, seconds))
            best = 0.0
            for clients in CLIENTS:
                load = loaded(host, port, sent, clients, seconds)
                if load.failed:
                    raise RuntimeError(f"{load.failed} requests of {clients} clients failed")
                best = max(best, load.rate)
                name = f"sidecar, {clients} clients" if clients > 1 else "sidecar, 1 client"
                out += [
                    row(f"{name}: throughput", load.rate, "images/s"),
                    row(f"{name}: p50", load.quantile(0.5), "ms"),
                    row(f"{name}: p99", load.quantile(0.99), "ms"),
                    row(f"{name}: answered 429", load.refused, "requests"),
                    row(f"{name}: memory", resident_mib(pid), "MiB"),
                    row(f"{name}: CPU of the load generator", 100 * load.cpu_s / load.seconds, "% of a core"),
                ]
            out.append(row("sidecar / in process, best of both", best / peer, "x", at_least=BAR))
            if soak_s:
                out += soak(host, port, pid, sent, soak_s)
    return out


def soak(host: str, port: int, pid: int, sent: Sequence[bytes], seconds: float) -> list[dict[str, Any]]:
    """Eight clients; memory after a fifth of the time and at the end."""
    first = loaded(host, port, sent, 8, seconds / 5)
    before = resident_mib(pid)
    rest = loaded(host, port, sent, 8, seconds * 4 / 5)
    if first.failed or rest.failed:
        raise RuntimeError(f"{first.failed + rest.failed} requests of the soak failed")
    return [
        row(f"soak of {seconds:.0f} s, 8 clients: throughput", rest.rate, "images/s"),
        row("soak: memory grows after the first fifth by", resident_mib(pid) - before, "MiB", at_most=GROWTH_MIB),
    ]


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--soak", type=float, default=60.0, help="seconds; 0: none")
    options = parser.parse_args()
    if options.quick:
        options.references, options.seconds, options.soak = 2_000, 2.0, 5.0
    rows = run(options.references, options.seconds, options.soak)
    finish("server", rows, options.json, references=options.references, seconds=options.seconds, soak=options.soak)


if __name__ == "__main__":
    main()
