"""What one of two gloo ranks does while its file system or its machine fails; started twice by a test."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import training_toys as toys
from pertcast.training.fit import fit
from pertcast_data.errors import Preempted


def refuse_writing(limit: int) -> None:
    """Let this process's files grow to `limit` bytes only: the next larger write fails (EFBIG)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def train(rank: int, folder: Path, name: str, watch: Any) -> Any:
    model = toys.toy_model(dropout=0.0)
    data = toys.toy_data(8, rank=rank, world_size=2)
    config = toys.toy_train_config(log_every_steps=1)
    fit(model, data, config, folder / name, report=watch)
    return model


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )

    def one_cannot_write(report: Any) -> None:
        if rank == 1 and report.kind == "steps":
            refuse_writing(200 if 7 <= report.global_step < 17 else resource.RLIM_INFINITY)

    def one_is_preempted(report: Any) -> None:
        time.sleep(0.2)  # steps of a real training: ranks ask each other every other second
        if rank == 1 and report.kind == "steps" and report.global_step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    facts: dict[str, Any] = {}
    undisturbed = train(rank, folder, "undisturbed", lambda report: None)
    disturbed = train(rank, folder, "one_cannot_write", one_cannot_write)
    facts["equal_after_failed_writes"] = equal(undisturbed, disturbed)
    try:
        train(rank, folder, "preempted", one_is_preempted)
    except Preempted as stop:
        facts["stopped"] = str(stop)
    facts["equal_after_preemption"] = equal(
        undisturbed, train(rank, folder, "preempted", lambda report: None)
    )
    (folder / f"facts_{rank}.json").write_text(json.dumps(facts))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def equal(one: Any, other: Any) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
