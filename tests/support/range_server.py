"""A real HTTP server on this machine that knows Range and If-Range, and can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Site", "serve"]


@dataclass
class Site:
    """What is served, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"one"'
    """"" for a server that sends no validator."""
    cut_after: int | None = None
    """Close the connection after so many bytes of a body."""
    cuts_left: int = 10**9
    status: int = 0
    """Answer everything with it."""
    redirects: dict[str, str] = field(default_factory=dict)
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each request, in order."""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.ranges.append(asked)
            if self.path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = site.files.get(self.path)
            if site.status or body is None:
                self.send_error(site.status or 404)
                return
            start = 0
            if asked and site.etag and self.headers.get("If-Range") == site.etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if site.etag:
                self.send_header("ETag", site.etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            body = body[start:]
            if site.cut_after is not None and site.cuts_left > 0 and len(body) > site.cut_after:
                site.cuts_left -= 1
                body = body[: site.cut_after]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
