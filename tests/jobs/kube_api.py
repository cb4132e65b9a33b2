"""A small Kubernetes API server for tests: real kubectl speaks to it; what an operator does, the test does.

It knows discovery, namespaces, secrets, services and the Ray kinds, and the faults of a real one: missing
rights or kinds, a login that is not accepted, an object that is there already, a field that no schema knows.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

CORE = {"namespaces": "Namespace", "secrets": "Secret", "services": "Service"}
RAY = {"rayjobs": "RayJob", "rayclusters": "RayCluster"}
RAYJOB_FIELDS = {
    "entrypoint", "submissionMode", "clusterSelector", "runtimeEnvYAML", "rayClusterSpec", "backoffLimit",
    "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "jobId", "suspend",
    "entrypointNumCpus",
}  # fmt: skip
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
TOKEN = "a-login"


class KubeApi:
    """The server's state.

    Attributes
    ----------
    objects
        (resource, namespace, name) -> object.
    forbidden
        (verb, resource) that the account may not do.
    asked
        (verb, resource) that were asked for, discovery left out.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.forbidden: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []
        self.has_operator = True
        self.accepts_login = True
        self.lock = threading.Lock()
        self._clock = 0
        self.add("namespaces", "", {"metadata": {"name": "lab"}})

    def add(self, resource: str, namespace: str, document: dict[str, Any]) -> dict[str, Any]:
        """Store an object as `create` does."""
        self._clock += 1
        stamp = f"2026-01-01T00:{self._clock // 60:02d}:{self._clock % 60:02d}Z"
        kinds = {**CORE, **RAY}
        made = {
            "apiVersion": "ray.io/v1" if resource in RAY else "v1",
            "kind": kinds[resource],
            **document,
        }
        made["metadata"] = {
            **document["metadata"],
            "namespace": namespace,
            "creationTimestamp": stamp,
            "uid": str(self._clock),
            "resourceVersion": str(self._clock),
        }
        self.objects[resource, namespace, document["metadata"]["name"]] = made
        return made

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return the RayJobs by name."""
        with self.lock:
            return {name: made for (kind, _, name), made in self.objects.items() if kind == "rayjobs"}

    def set_status(self, name: str, **status: Any) -> None:
        """Change a RayJob's status as the operator does."""
        with self.lock:
            self.objects["rayjobs", "lab", name].setdefault("status", {}).update(status)


def failure(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    """Return the answer of a server that refuses."""
    kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**kind, "message": message, "reason": reason, "code": code}


def resources(group_version: str, kinds: dict[str, str]) -> dict[str, Any]:
    """Return the discovery document of one group."""
    entries = [
        {
            "name": name,
            "singularName": kind.lower(),
            "namespaced": name != "namespaces",
            "kind": kind,
            "verbs": VERBS,
        }
        for name, kind in kinds.items()
    ]
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries,
    }  # fmt: skip


def discovery(api: KubeApi, path: str) -> dict[str, Any] | None:
    """Return the answer to a question about what the server knows."""
    group_version = {"groupVersion": "ray.io/v1", "version": "v1"}
    group = {"name": "ray.io", "versions": [group_version], "preferredVersion": group_version}
    kind = {"group": "ray.io", "version": "v1", "kind": "RayJob"}
    patch = {
        "parameters": [{"name": "fieldValidation", "in": "query"}],
        "x-kubernetes-group-version-kind": kind,
    }
    rayjob_path = "/apis/ray.io/v1/namespaces/{namespace}/rayjobs/{name}"
    answers: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.4"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] if api.has_operator else [],
        },
        "/api/v1": resources("v1", CORE),
        "/openapi/v3": {
            "paths": {"apis/ray.io/v1": {"serverRelativeURL": "/openapi/v3/apis/ray.io/v1"}}
        },
        "/openapi/v3/apis/ray.io/v1": {
            "openapi": "3.0.0",
            "info": {"title": "ray", "version": "v1"},
            "paths": {rayjob_path: {"patch": patch}},
        },
    }  # fmt: skip
    if api.has_operator:
        answers["/apis/ray.io/v1"] = resources("ray.io/v1", RAY)
    return answers.get(path)


def answer(
    api: KubeApi, method: str, path: str, query: dict[str, list[str]], body: Any
) -> tuple[int, dict[str, Any]]:
    """Return status and body of the answer to one request."""
    if not api.accepts_login:
        return failure(401, "Unauthorized", "Unauthorized")
    known = discovery(api, path)
    if known is not None:
        return 200, known
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if not parts:
        return failure(404, "NotFound", "the server could not find the requested resource")
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, resource, name = parts[1], parts[2], parts[3] if len(parts) > 3 else None
    else:
        namespace, resource, name = "", parts[0], parts[1] if len(parts) > 1 else None
    if resource not in {**CORE, **(RAY if api.has_operator else {})}:
        return failure(404, "NotFound", "the server could not find the requested resource")
    verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
    api.asked.append((verb, resource))
    group = ".ray.io" if resource in RAY else ""
    if (verb, resource) in api.forbidden:
        account = f'User "anna" cannot {verb} resource "{resource}" in the namespace "{namespace}"'
        said = f'{resource}{group} "{name or ""}" is forbidden: {account}'
        return failure(403, "Forbidden", said)
    with api.lock:
        if verb == "create":
            return create(api, resource, namespace, body)
        return read_or_delete(api, verb, resource, namespace, name, query)


def create(api: KubeApi, resource: str, namespace: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Create an object, checked as strictly as kubectl asks for."""
    name = body["metadata"]["name"]
    if ("namespaces", "", namespace) not in api.objects:
        return failure(404, "NotFound", f'namespaces "{namespace}" not found')
    if (resource, namespace, name) in api.objects:
        return failure(409, "AlreadyExists", f'{resource}.ray.io "{name}" already exists')
    unknown = set(body.get("spec", {})) - RAYJOB_FIELDS
    if resource == "rayjobs" and unknown:
        field = sorted(unknown)[0]
        said = (
            f'RayJob in version "v1" cannot be handled: strict decoding error: unknown field "spec.{field}"'
        )
        return failure(400, "BadRequest", said)
    return 201, api.add(resource, namespace, body)


def read_or_delete(
    api: KubeApi, verb: str, resource: str, namespace: str, name: str | None, query: dict[str, list[str]]
) -> tuple[int, dict[str, Any]]:
    """Answer get, list and delete."""
    if name is None:
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", [""])[0].split(",") if pair)
        items = [
            made
            for (kind, place, _), made in api.objects.items()
            if kind == resource
            and place == namespace
            and wanted.items() <= made["metadata"].get("labels", {}).items()
        ]
        version = "ray.io/v1" if resource in RAY else "v1"
        kind = {**CORE, **RAY}[resource]
        return 200, {"apiVersion": version, "kind": f"{kind}List", "metadata": {}, "items": items}
    key = (resource, namespace, name)
    if key not in api.objects:
        group = ".ray.io" if resource in RAY else ""
        return failure(404, "NotFound", f'{resource}{group} "{name}" not found')
    if verb == "delete":
        del api.objects[key]
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return 200, api.objects[key]


def _handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            url = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, content = answer(api, self.command, url.path, parse_qs(url.query), body)
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def kube_api(folder: Path) -> Iterator[tuple[KubeApi, Path]]:
    """Serve a new, empty cluster; yields it and the KUBECONFIG that leads to it, in namespace `lab`."""
    api = KubeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "u", "user": {"token": TOKEN}}],
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "lab"}}],
            }
        )
    )
    try:
        yield api, config
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
