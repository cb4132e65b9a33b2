"""Faults in pods and containers: name -> the change, the rule that finds it, where."""

from __future__ import annotations

from planting import (
    CLUSTER,
    CONFIG_MAP,
    CPU,
    HEAD,
    SECRET,
    SECURITY,
    SERVE,
    TRAIN,
    Planted,
    cluster,
    container,
    drop,
    head,
    in_serve,
    job,
    set_,
    worker,
)

FAULTS: dict[str, Planted] = {
    "a container of root": Planted(
        "pod-runs-as-root",
        CLUSTER,
        f"{SECURITY}.runAsUser",
        set_(container, "securityContext", "runAsUser", 0),
    ),
    "a container of nobody in particular": Planted(
        "pod-runs-as-root",
        CLUSTER,
        f"{SECURITY}.runAsNonRoot",
        set_(container, "securityContext", "runAsNonRoot", False),
    ),
    "a root that can be written": Planted(
        "writable-root",
        CLUSTER,
        f"{SECURITY}.readOnlyRootFilesystem",
        drop(container, "securityContext", "readOnlyRootFilesystem"),
    ),
    "a writable autoscaler": Planted(
        "writable-root",
        CLUSTER,
        "spec.autoscalerOptions.securityContext.readOnlyRootFilesystem",
        drop(cluster, "autoscalerOptions", "securityContext", "readOnlyRootFilesystem"),
    ),
    "rights that may grow": Planted(
        "privilege-escalation",
        CLUSTER,
        f"{SECURITY}.allowPrivilegeEscalation",
        set_(container, "securityContext", "allowPrivilegeEscalation", True),
    ),
    "a privileged container": Planted(
        "privilege-escalation",
        CLUSTER,
        f"{SECURITY}.privileged",
        set_(container, "securityContext", "privileged", True),
    ),
    "capabilities that are not dropped": Planted(
        "capabilities-kept",
        CLUSTER,
        f"{SECURITY}.capabilities.drop",
        set_(container, "securityContext", "capabilities", {"drop": ["NET_RAW"]}),
    ),
    "a capability that is added": Planted(
        "capabilities-kept",
        CLUSTER,
        f"{SECURITY}.capabilities.add",
        set_(container, "securityContext", "capabilities", {"drop": ["ALL"], "add": ["SYS_PTRACE"]}),
    ),
    "any system call": Planted(
        "seccomp-missing",
        CLUSTER,
        f"{SECURITY}.seccompProfile.type",
        set_(container, "securityContext", "seccompProfile", "type", "Unconfined"),
    ),
    "the node's network": Planted(
        "host-access", CLUSTER, f"spec.{CPU}.hostNetwork", set_(worker, "hostNetwork", True)
    ),
    "a folder of the node": Planted(
        "host-access",
        CLUSTER,
        f"spec.{CPU}.volumes[0].hostPath",
        set_(worker, "volumes", 0, {"name": "tmp", "hostPath": {"path": "/tmp"}}),
    ),
    "a key to the API server for all": Planted(
        "service-account-token-mounted",
        CLUSTER,
        f"spec.{CPU}.automountServiceAccountToken",
        drop(worker, "automountServiceAccountToken"),
    ),
    "the autoscaler's key in the head": Planted(
        "service-account-token-mounted",
        CLUSTER,
        f"spec.{HEAD}.containers[0].volumeMounts[5]",
        lambda documents: head(documents)["containers"][0]["volumeMounts"].append(
            {"name": "api-server", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ),
    ),
    "no limit of memory": Planted(
        "no-limits",
        CLUSTER,
        f"spec.{CPU}.containers[0].resources.limits.memory",
        drop(container, "resources", "limits", "memory"),
    ),
    "less memory set aside than allowed": Planted(
        "memory-overcommitted",
        CLUSTER,
        f"spec.{CPU}.containers[0].resources.requests.memory",
        set_(container, "resources", "requests", "memory", "1Gi"),
    ),
    "the newest image": Planted(
        "floating-tag",
        CLUSTER,
        f"spec.{CPU}.containers[0].image",
        set_(container, "image", "registry.example:5000/pertcast:latest"),
    ),
    "an image without a tag": Planted(
        "floating-tag",
        CLUSTER,
        f"spec.{CPU}.containers[0].image",
        set_(container, "image", "registry.example:5000/pertcast"),
    ),
    "a token in the environment": Planted(
        "plain-secret",
        CLUSTER,
        f"spec.{CPU}.containers[0].env[0].value",
        lambda documents: container(documents)["env"].insert(0, {"name": "RAY_AUTH_TOKEN", "value": "abc"}),
    ),
    "a key in a runtime environment": Planted(
        "plain-secret",
        TRAIN,
        "spec.runtimeEnvYAML.env_vars.AWS_SECRET_ACCESS_KEY",
        set_(job, "runtimeEnvYAML", "env_vars: {AWS_SECRET_ACCESS_KEY: abc}"),
    ),
    "a secret in full": Planted(
        "plain-secret",
        "Secret/keys",
        "stringData",
        lambda documents: documents.append({**SECRET, "stringData": {"auth_token": "abc"}}),
    ),
    "a key in the environment of an application": Planted(
        "plain-secret",
        SERVE,
        "spec.serveConfigV2.applications[0].runtime_env.env_vars.AWS_SECRET_ACCESS_KEY",
        in_serve(
            lambda application: application["runtime_env"]["env_vars"].update(AWS_SECRET_ACCESS_KEY="abc")
        ),
    ),
    "a password in the environment of a deployment": Planted(
        "plain-secret",
        SERVE,
        "spec.serveConfigV2.applications[0].deployments[0].ray_actor_options.runtime_env.env_vars.PASSWORD",
        in_serve(
            lambda application: application.update(
                deployments=[
                    {
                        "name": "Predictor",
                        "ray_actor_options": {"runtime_env": {"env_vars": {"PASSWORD": "abc"}}},
                    }
                ]
            )
        ),
    ),
    "a token in a config map": Planted(
        "plain-secret",
        "ConfigMap/settings",
        "data.authToken",
        lambda documents: documents.append({**CONFIG_MAP, "data": {"authToken": "abc"}}),
    ),
}
