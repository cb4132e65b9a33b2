"""Objects, pods and containers as the rules see them, each with its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pertcast_jobs.cluster.kube.kinds.fields import Plain
from pertcast_jobs.cluster.kube.quantity import quantity


def without_nulls(value: Any) -> Any:
    """Return a value without the keys that are null, which to Kubernetes are not there."""
    if isinstance(value, Mapping):
        return {key: without_nulls(held) for key, held in value.items() if held is not None}
    return [without_nulls(held) for held in value] if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class Document:
    """One object; `spec` is its parsed spec where `kinds.SPECS` has its kind."""

    body: Plain
    spec: BaseModel | None = None

    @property
    def kind(self) -> str:
        """Its kind, empty where it says none."""
        found = self.body.get("kind")
        return found if isinstance(found, str) else ""

    @property
    def group(self) -> str:
        """The group of its apiVersion, empty for Kubernetes' first kinds."""
        return str(self.body.get("apiVersion") or "").rpartition("/")[0]

    @property
    def metadata(self) -> Plain:
        """Its metadata."""
        found = self.body.get("metadata")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        """Its name, empty where it has none."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """Its namespace, empty where it says none."""
        return str(self.metadata.get("namespace") or "")

    def at(self, path: str) -> Any:
        """Return what stands at a path of plain keys, or an empty mapping."""
        found: Any = self.body
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return {} if found is None else found


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod template and where it stands."""

    document: Document
    path: str
    template: Plain
    labels: Plain

    @property
    def spec(self) -> Plain:
        """The pod's spec."""
        return self.template.get("spec") or {}

    @property
    def spec_path(self) -> str:
        """Where the pod's spec stands."""
        return f"{self.path}.spec" if self.path else "spec"

    @property
    def volumes(self) -> dict[str, Plain]:
        """The pod's volumes by name."""
        return {volume["name"]: volume for volume in self.spec.get("volumes") or ()}

    @property
    def claims(self) -> dict[int, str]:
        """Numbers of the pod's volumes that are claims -> name of the claim."""
        claims = [volume.get("persistentVolumeClaim") for volume in self.spec.get("volumes") or ()]
        return {number: claim["claimName"] for number, claim in enumerate(claims) if claim}

    @property
    def token_volumes(self) -> set[str]:
        """Names of the pod's volumes that hold a key to the API server."""
        return {
            name
            for name, volume in self.volumes.items()
            for source in (volume.get("projected") or {}).get("sources") or ()
            if source.get("serviceAccountToken")
        }

    @property
    def first_containers(self) -> list[Container]:
        """The containers that come and go before the others."""
        return self._containers("initContainers")

    @property
    def containers(self) -> list[Container]:
        """The containers that stay."""
        return self._containers("containers")

    def _containers(self, key: str) -> list[Container]:
        return [
            Container(self, f"{self.spec_path}.{key}[{number}]", body)
            for number, body in enumerate(self.spec.get(key) or ())
        ]

    @property
    def ports(self) -> dict[str | int, int]:
        """Name and number of each port of the pod's containers -> number."""
        found: dict[str | int, int] = {}
        for container in self.spec.get("containers") or ():
            for port in container.get("ports") or ():
                found[port["containerPort"]] = port["containerPort"]
                if port.get("name"):
                    found[port["name"]] = port["containerPort"]
        return found


@dataclass(frozen=True, eq=False)
class Container:
    """A container and where it stands; `image` is the operator's own where it is None."""

    pod: Pod
    path: str
    body: Plain
    is_autoscaler: bool = False

    @property
    def security(self) -> dict[str, Any]:
        """Its security context over the pod's."""
        of_pod = self.pod.spec.get("securityContext") or {}
        return {**of_pod, **(self.body.get("securityContext") or {})}

    @property
    def mounts(self) -> list[Plain]:
        """Its mounts of the pod's volumes."""
        return list(self.body.get("volumeMounts") or ())

    def variable(self, name: str) -> str | None:
        """Return the value that a variable is given here, or None."""
        values = [entry.get("value") for entry in self.body.get("env") or () if entry["name"] == name]
        return values[-1] if values else None

    def amount(self, resource: str) -> float:
        """Return the limit of a resource, 0 where it has none."""
        return quantity(self._resources("limits").get(resource) or 0)

    def request(self, resource: str) -> float:
        """Return what is set aside of a resource: its limit where it says nothing else."""
        return quantity(self._resources("requests").get(resource) or self.amount(resource))

    def _resources(self, key: str) -> Plain:
        return (self.body.get("resources") or {}).get(key) or {}
