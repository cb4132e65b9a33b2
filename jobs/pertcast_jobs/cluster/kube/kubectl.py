"""kubectl, called as a person would: with their context, their rights and their way to log in.

What it says when it fails becomes an error that tells the remedy.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

from pertcast_data.errors import ConfigError, PertcastError

from pertcast_jobs.cluster.job_client import AlreadyThere, JobFailed
from pertcast_jobs.cluster.retry import Unreachable

REQUEST_TIMEOUT_S: Final = 30
"""Longest wait for one answer of the API server."""

_FORWARD_TIMEOUT_S: Final = 30.0
_FORWARDING: Final = re.compile(r"^Forwarding from 127\.0\.0\.1:(\d+)", re.MULTILINE)


class NoSuchObject(LookupError):
    """The API server knows no object of this kind and name."""


class NoNamespace(ConfigError):
    """The namespace does not exist."""


_PROBLEMS: Final[Sequence[tuple[str, type[PertcastError], str]]] = (
    (
        r"localhost:8080|current-context|context was not found|context .* does not exist|no configuration",
        ConfigError,
        "kubectl knows no cluster: set KUBECONFIG, or choose one with `kubectl config use-context NAME`",
    ),
    (
        r"doesn't have a resource type|no matches for kind|could not find the requested resource",
        ConfigError,
        "the cluster has no Ray kinds: install the KubeRay operator 1.5.1 or newer (docs/kubernetes.md)",
    ),
    (
        r"strict decoding error|unknown field",
        ConfigError,
        "the cluster's KubeRay does not know a field: install 1.5.1 or newer (docs/kubernetes.md)",
    ),
    (
        r"exceeded quota",
        ConfigError,
        "the namespace's quota is used up: remove what has ended, or ask for more (`kubectl describe quota`)",
    ),
    (
        r"\(Forbidden\)|is forbidden",
        ConfigError,
        "your account has not the right: look with `kubectl auth can-i --list`, and ask for it",
    ),
    (
        r"Unauthorized|must be logged in|provide credentials|getting credentials",
        ConfigError,
        "the cluster does not accept your login: log in again, or set KUBECONFIG",
    ),
    (
        r"connection to the server|Unable to connect|refused|timeout|timed out|no such host|EOF|reset by peer"
        r"|\((ServiceUnavailable|TooManyRequests|InternalError|Timeout|ServerTimeout)\)|currently unable",
        Unreachable,
        "the API server gives no answer: look with `kubectl cluster-info`",
    ),
)


def _problem(said: str, what: str) -> Exception:
    """Return the error for what kubectl said while it did `what`."""
    lines = [line for line in said.splitlines() if line.strip() and "memcache.go" not in line]
    last = " ".join(lines)[-600:] or "it said nothing"
    if re.search(r'namespaces "[^"]*" not found', said):
        return NoNamespace(
            f"kubectl {what}: the namespace does not exist: name one with --namespace, or `kubectl create "
            f"namespace NAME`. It said: {last}"
        )
    if re.search(r'\(NotFound\): [^"]*"[^"]*" not found', said):
        return NoSuchObject(last)
    if "(AlreadyExists)" in said:
        return AlreadyThere(last)
    unquoted = re.sub(r'"[^"]*"', '""', said)  # people may name a job timeout-sweep
    for pattern, kind, remedy in _PROBLEMS:
        if re.search(pattern, unquoted):
            return kind(f"kubectl {what}: {remedy}. It said: {last}")
    return JobFailed(f"kubectl {what} failed: {last}")


def _missing() -> ConfigError:
    return ConfigError(
        "kubectl is not on the PATH: install it (https://kubernetes.io/docs/tasks/tools), or reach the Ray "
        "cluster itself with --address instead of --kube."
    )


class Kubectl:
    """Calls of kubectl in one namespace.

    Parameters
    ----------
    namespace
        The namespace; the current context's where None.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace
        self._options = [f"--namespace={namespace}"] if namespace else []

    def call(self, words: Sequence[str], text: str | None = None) -> str:
        """Return what kubectl prints.

        Parameters
        ----------
        words
            kubectl's words.
        text
            Its standard input.

        Raises
        ------
        ConfigError
            kubectl, context, namespace, Ray kinds or rights are missing.
        Unreachable
            The API server gives no answer at the moment.
        NoSuchObject, AlreadyThere
            The object is not there, or is there already.
        JobFailed
            Anything else.
        """
        options = [*self._options, f"--request-timeout={REQUEST_TIMEOUT_S}s"]
        try:
            done = subprocess.run(
                ["kubectl", *words, *options],
                input=text,
                capture_output=True,
                text=True,
                timeout=4 * REQUEST_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise _missing() from error
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"kubectl {words[0]}: no answer after {error.timeout:.0f} s.") from error
        if done.returncode:
            raise _problem(done.stderr, " ".join(words[:2]))
        return done.stdout

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object; raises NoSuchObject."""
        return dict(json.loads(self.call(["get", kind, name, "--output=json"])))

    def list(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """Return the objects of a kind whose labels fit."""
        return list(json.loads(self.call(["get", kind, f"--selector={selector}", "--output=json"]))["items"])

    def create(self, document: Mapping[str, Any]) -> None:
        """Create an object; raises AlreadyThere."""
        self.call(["create", "--filename=-"], json.dumps(document))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, and do not wait until it is gone."""
        self.call(["delete", kind, name, "--wait=false"])


class PortForward:
    """A port of this machine that leads to a service in the cluster, as long as it is open.

    Parameters
    ----------
    kubectl
        Says the namespace.
    service, port
        Where it leads to.

    Raises
    ------
    Unreachable
        The way cannot be opened: no pod behind the service yet, no service any more, no right to forward.
    """

    def __init__(self, kubectl: Kubectl, service: str, port: int) -> None:
        options = [f"--namespace={kubectl.namespace}"] if kubectl.namespace else []
        words = ["port-forward", f"service/{service}", f":{port}", "--address=127.0.0.1", *options]
        # A file and not a pipe: kubectl writes a line per connection, which nobody would read.
        self._said: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(["kubectl", *words], stdout=self._said, stderr=self._said)
        except FileNotFoundError as error:
            self._said.close()
            raise _missing() from error
        self.local_port = self._wait(service)

    def is_open(self) -> bool:
        """Return whether the way still stands."""
        return self._process.poll() is None and "lost connection" not in self._text()

    def close(self) -> None:
        """End the forwarding."""
        self._process.terminate()
        self._process.wait()
        self._said.close()

    def _text(self) -> str:
        self._said.seek(0)
        return self._said.read()

    def _wait(self, service: str) -> int:
        deadline = time.monotonic() + _FORWARD_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := _FORWARDING.search(self._text()):
                return int(found[1])
            time.sleep(0.05)
        said = self._text()
        self.close()
        problem = _problem(said, f"port-forward service/{service}")
        if isinstance(problem, PertcastError):
            raise problem
        raise NoSuchObject(str(problem))
