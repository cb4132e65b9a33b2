"""Faults in the commands of jobs and in services: name -> the change, the rule that finds it, where."""

from __future__ import annotations

from planting import (
    SERVE,
    SERVE_ARGS,
    TRAIN,
    Planted,
    in_job,
    in_serve,
    job,
    object_,
    second_application,
    set_,
)

FAULTS: dict[str, Planted] = {
    "a misspelt option": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "--resume", "--resumee")
    ),
    "a place that does not exist": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "@cpus", "@cpuss")
    ),
    "a key that the configuration does not have": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "train.engine.name", "train.engin.name")
    ),
    "a misspelt program": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "pertcast train", "pertcats train")
    ),
    "a runtime environment that Ray does not know": Planted(
        "runtime-env", TRAIN, "spec.runtimeEnvYAML", set_(job, "runtimeEnvYAML", "env_var: {A: b}")
    ),
    "GPUs that no worker has": Planted(
        "gpu-without-gpu-workers", TRAIN, "spec.entrypoint", in_job("train", "@cpus", "@node_8gpu")
    ),
    "GPUs for a screen that no worker has": Planted(
        "gpu-without-gpu-workers",
        "RayJob/pertcast-screen",
        "spec.entrypoint",
        in_job("screen", "--executor ray-data", "--executor ray-data --gpus-per-worker 1"),
    ),
    "more workers than may be started": Planted(
        "workers-exceed-cluster",
        TRAIN,
        "spec.entrypoint",
        in_job(
            "train", "@cpus", "@cpus cluster.num_workers=32 cluster.cpus_per_worker=2 train.batch_size=1024"
        ),
    ),
    "a command's process beyond every node": Planted(
        "workers-exceed-cluster",
        "RayJob/pertcast-evaluate",
        "spec.entrypointNumCpus",
        set_(object_("RayJob", "pertcast-evaluate"), "spec", "entrypointNumCpus", 16),
    ),
    "results in a folder that goes": Planted(
        "results-not-kept", TRAIN, "spec.entrypoint", in_job("train", "/data/runs", "/tmp/runs")
    ),
    "a retry into a folder that is taken": Planted(
        "retry-starts-anew", TRAIN, "spec.entrypoint", in_job("train", "--resume", "")
    ),
    "a setting that the server does not know": Planted(
        "serve-config",
        SERVE,
        f"{SERVE_ARGS}.predictor.max_replica",
        in_serve(lambda application: application["args"]["predictor"].update(max_replica=3)),
    ),
    "a builder that does not exist": Planted(
        "serve-config",
        SERVE,
        "spec.serveConfigV2.applications[0].import_path",
        in_serve(lambda application: application.update(import_path="pertcast_serve.builder:built")),
    ),
    "an import path that Serve does not take": Planted(
        "serve-config",
        SERVE,
        "spec.serveConfigV2.applications.0.import_path",
        in_serve(lambda application: application.update(import_path="pertcast_serve")),
    ),
    "more replicas than workers": Planted(
        "replicas-exceed-workers",
        SERVE,
        "spec.serveConfigV2.applications",
        in_serve(lambda application: application["args"]["predictor"].update(max_replicas=60)),
    ),
    "an endpoint for everyone": Planted(
        "endpoint-open-to-all",
        SERVE,
        f"{SERVE_ARGS}.access",
        in_serve(lambda application: application["args"].pop("access")),
    ),
    "a slip in the second command of a line": Planted(
        "command-line",
        TRAIN,
        "spec.entrypoint",
        in_job("train", "--resume", "--resume && pertcast evalute /data/r"),
    ),
    "a configuration that is no base64": Planted(
        "command-line",
        TRAIN,
        "spec.entrypoint",
        in_job("train", "pertcast train", "echo abc | base64 -d > a.yaml && pertcast train"),
    ),
    "a quote that is not closed": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "--resume", "--resume '")
    ),
    "results of the second command in a folder that goes": Planted(
        "results-not-kept",
        TRAIN,
        "spec.entrypoint",
        in_job("train", "--resume", "--resume && pertcast train response_mlp --out /tmp/second --resume"),
    ),
    "results behind a way up": Planted(
        "results-not-kept", TRAIN, "spec.entrypoint", in_job("train", "/data/runs", "/data/../tmp/runs")
    ),
    "a replica larger than every worker": Planted(
        "replicas-exceed-workers",
        SERVE,
        f"{SERVE_ARGS}.predictor",
        in_serve(
            lambda application: application["args"]["predictor"].update(
                min_replicas=1, max_replicas=1, cpus_per_replica=6
            )
        ),
    ),
    "two applications where there is room for one": Planted(
        "replicas-exceed-workers", SERVE, "spec.serveConfigV2.applications", second_application
    ),
}
