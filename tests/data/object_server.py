"""A small S3 server for tests: buckets in memory, conditional puts, parts, ranges, and faults on demand.

It refuses every access key but `ACCESS_KEY`, and counts requests, which tells what was fetched or uploaded.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

ACCESS_KEY = "test-key"
PAGE = 100


class Stored:
    def __init__(self, content: bytes, metadata: dict[str, str], etag: str = "") -> None:
        self.content = content
        self.metadata = metadata
        self.etag = etag or f'"{hashlib.md5(content).hexdigest()}"'


class ObjectServer(ThreadingHTTPServer):
    """Start with `start()`; `requests` lists (method, bucket, key) of all that was accepted."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.lock = threading.Lock()
        self.cut_after: int | None = None
        """Answer this many bytes of the next whole object, then close the connection."""
        self.before: Callable[[str, str], None] = lambda method, key: None
        """Called before each request is answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> ObjectServer:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def make_bucket(self, name: str) -> None:
        self.buckets.setdefault(name, {})

    def count(self, method: str, part: str) -> int:
        return sum(1 for verb, _, key in self.requests if verb == method and part in key)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        bucket, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.before(self.command, self.key)
        if f"Credential={ACCESS_KEY}/" not in self.headers.get("Authorization", ""):
            return self._refuse(403, "InvalidAccessKeyId")
        if bucket not in self.server.buckets:
            return self._refuse(404, "NoSuchBucket")
        with self.server.lock:
            self.server.requests.append((self.command, bucket, self.key))
        self.objects = self.server.buckets[bucket]
        action = {"PUT": self._put, "POST": self._post, "DELETE": self._delete}.get(self.command, self._get)
        return action(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _put(self, body: bytes) -> None:
        if "uploadId" in self.query:
            self.server.uploads[self.query["uploadId"][0]][int(self.query["partNumber"][0])] = body
            return self._answer(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        with self.server.lock:
            if self.headers.get("If-None-Match") == "*" and self.key in self.objects:
                return self._refuse(412, "PreconditionFailed")
            stored = self.objects[self.key] = Stored(body, self._metadata())
        return self._answer(200, headers={"ETag": stored.etag})

    def _post(self, body: bytes) -> None:
        if "delete" in self.query:
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            for key in keys:
                self.objects.pop(unescape(key), None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return self._answer(200, _element("DeleteResult", deleted))
        if "uploads" in self.query:
            name = f"upload-{len(self.server.uploads)}"
            self.server.uploads[name] = {}
            _METADATA[name] = self._metadata()
            return self._answer(
                200, _element("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")
            )
        name = self.query["uploadId"][0]
        parts = self.server.uploads.pop(name)
        content = b"".join(parts[number] for number in sorted(parts))
        etag = f'"{hashlib.md5(content).hexdigest()}-{len(parts)}"'
        self.objects[self.key] = Stored(content, _METADATA.pop(name), etag)
        return self._answer(200, _element("CompleteMultipartUploadResult", f"<ETag>{escape(etag)}</ETag>"))

    def _delete(self, body: bytes) -> None:
        self.objects.pop(self.key, None)
        self._answer(204)

    def _get(self, body: bytes) -> None:
        if not self.key:
            return self._list()
        stored = self.objects.get(self.key)
        if stored is None:
            return self._refuse(404, "NoSuchKey")
        if self.headers.get("If-Match", stored.etag) != stored.etag:
            return self._refuse(412, "PreconditionFailed")
        headers = {"ETag": stored.etag, "Last-Modified": "Sat, 01 Nov 2025 00:00:00 GMT", **stored.metadata}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, stored.content, headers)
        start, end = int(asked[1]), int(asked[2] or len(stored.content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(stored.content)}"
        return self._answer(206, stored.content[start : end + 1], headers)

    def _list(self) -> None:
        prefix = self.query.get("prefix", [""])[0]
        after = self.query.get("continuation-token", [""])[0]
        names = sorted(name for name in list(self.objects) if name.startswith(prefix) and name > after)
        last = escape(names[PAGE - 1]) if names[PAGE:] else ""
        more = f"<NextContinuationToken>{last}</NextContinuationToken>" if last else ""
        entries = "".join(self._entry(name) for name in names[:PAGE])
        truncated = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
        self._answer(200, _element("ListBucketResult", truncated + more + entries))

    def _entry(self, name: str) -> str:
        stored = self.objects[name]
        return (
            f"<Contents><Key>{escape(name)}</Key><LastModified>2025-11-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.content)}</Size></Contents>"
        )

    def _metadata(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, is_object = self.server.cut_after, status in (200, 206) and self.command == "GET" and self.key
        if is_object and cut is not None and len(body) > cut:
            self.wfile.write(body[:cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)


_METADATA: dict[str, dict[str, str]] = {}
"""Metadata of uploads in parts, until they are complete."""


def _element(name: str, content: str) -> bytes:
    return f"<{name}>{content}</{name}>".encode()
