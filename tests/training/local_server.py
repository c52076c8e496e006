"""A web server on 127.0.0.1 that serves bytes from memory and misbehaves on request."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """files: content by path, "/x.tgz". breaks: after how many bytes each of the next answers breaks off. asked: the
    Range header of every request, "" for none. The rest is how it answers."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # sent instead of the next answers
    asked: list[str] = field(default_factory=list)
    etag: str = '"1"'
    last_modified: str = ""
    ranges: bool = True
    if_range: bool = True  # False: ignores the header, as some caches do
    shift: int = 0  # bytes by which a part begins too late
    unasked: int = 0  # where a part begins that is sent to those who asked for the whole
    length: bool = True
    kind: str = "application/octet-stream"


def _answer(server: Server, request: BaseHTTPRequestHandler) -> None:
    server.asked.append(request.headers.get("Range", ""))
    content = server.files.get(request.path)
    if server.statuses or content is None:
        request.send_error(server.statuses.pop(0) if server.statuses else 404)
        return
    start = server.unasked
    version = server.etag or server.last_modified
    same = not server.if_range or request.headers.get("If-Range") == version
    if server.ranges and same and (asked := request.headers.get("Range")):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start += server.shift
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    for name, value in (("ETag", server.etag), ("Last-Modified", server.last_modified), ("Content-Type", server.kind)):
        if value:
            request.send_header(name, value)
    if server.length:
        request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    end = start + server.breaks.pop(0) if server.breaks else len(content)
    request.wfile.write(content[start:end])


@contextlib.contextmanager
def running() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(server, self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()
