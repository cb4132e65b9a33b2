"""The demo asks what its data can answer, in command lines that exist, and never does a step twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.encoding import ConditionEncoder
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest
from pertcast_data.splits import SPLIT_KINDS, make_split
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs import cli
from pertcast_jobs.cli import demo as demo_command
from pertcast_jobs.demo import DemoFolder, Step, choose_split
from pertcast_jobs.run_config import load_config
from typer.main import get_command

GENES = tuple(f"GENE{i}" for i in range(24))
LINES = ("A549", "MCF7", "K562")


def conditions_of(
    perturbations: Sequence[str], lines: Sequence[str] = LINES[:1], *, compound: bool = False, **others: Any
) -> pl.DataFrame:
    rows = [
        {"cell_iname": line, "pert_id": name, "inchi_key": f"{name:A<14}-N", "canonical_smiles": name}
        for line in lines
        for name in perturbations
    ]
    frame = pl.DataFrame(rows).with_columns(
        pert_type=pl.lit("trt_cp" if compound else "trt_xpr"), targets=pl.lit(None, dtype=pl.String)
    )
    unknown = [pl.lit(None, dtype=pl.String).alias(name) for name in ("inchi_key", "canonical_smiles")]
    return frame if compound and others.get("has_structures", True) else frame.with_columns(unknown)


def unmeasured(count: int) -> list[str]:
    return [f"OTHER{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        (conditions_of(unmeasured(12), compound=True), "unseen_compound"),
        (conditions_of(unmeasured(12), LINES, compound=True, has_structures=False), "random"),
        (conditions_of(unmeasured(5), LINES, compound=True), "random"),
        (conditions_of(GENES[:12]), "unseen_perturbation"),
        (conditions_of([f"{a}+{b}" for a, b in pairwise(GENES)]), "unseen_perturbation"),
        (conditions_of(unmeasured(9), LINES), "random"),
        (conditions_of([f"{a}+OTHER0" for a in GENES]), "random"),
    ],
    ids=["structures", "no structures", "few", "measured", "pairs", "other lines", "half-measured pairs"],
)
def test_the_split_holds_out_whole_what_has_features_and_else_conditions(
    conditions: pl.DataFrame, kind: str
) -> None:
    assert choose_split(conditions, GENES) == kind
    assert kind in SPLIT_KINDS


@pytest.mark.parametrize(
    "conditions",
    [conditions_of(unmeasured(30)), conditions_of(unmeasured(30), compound=True, has_structures=False)],
)
def test_data_about_which_nothing_can_be_forecast_is_refused_before_anything_is_trained(
    conditions: pl.DataFrame,
) -> None:
    with pytest.raises(ConfigError, match=r"Of 30 treated conditions only 0 .*structure"):
        choose_split(conditions, GENES)


def test_the_encoder_can_name_what_the_chosen_split_holds_out(tmp_path: Path) -> None:
    names = [*unmeasured(9), "GENE3"]
    rows = [
        {"cell_iname": line, "pert_type": "ctl_vector", "pert_id": "control"} for line in LINES for _ in "ab"
    ]
    rows += [
        {"cell_iname": line, "pert_type": "trt_sh", "pert_id": name, "targets": name}
        for line in LINES
        for name in names
        for _ in "ab"
    ]
    store = create_store(
        tmp_path / "store",
        obs=pl.DataFrame(rows),
        var=pl.DataFrame({"gene_symbol": GENES}),
        batches=[np.random.default_rng(0).normal(8, 1, (len(rows), len(GENES))).astype(np.float32)],
        measure="expression",
        normalisation="log2_intensity",
    )
    treated = store.conditions.filter(~pl.col("is_control"))
    kind = choose_split(treated, store.genes)
    shares = {}
    for name in (kind, "unseen_perturbation"):
        split = make_split(store, name)
        encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"))
        tested = treated.filter(pl.col("condition_id").is_in(list(split.folds[0].test)))
        shares[name] = len(encoder.encode_lenient(tested)[1]) / tested.height
    assert kind == "random" and shares["random"] > 0.8 > 0.5 > shares["unseen_perturbation"]


def parse(words: Sequence[str]) -> str:
    """Parse a command line as the program does, without running it, and return the last command's name."""
    command: Any = get_command(cli.app)
    context = command.make_context("pertcast", list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(rest), parent=context)
    return str(context.info_name)


@pytest.fixture
def own_data(small_screen: Any, tmp_path: Path) -> DemoFolder:
    wells = small_screen.store.parent / "atlas" / "wells.h5ad"
    ingest([wells], tmp_path / "demo" / "store")
    return DemoFolder(tmp_path / "demo", wells)


def test_every_step_is_a_command_line_that_the_program_understands(own_data: DemoFolder) -> None:
    steps = list(own_data.steps())
    names = [step.words[0] for step in steps]
    assert names == ["data", "data", "tune", "train", "evaluate", "screen"]
    for step in steps:
        assert parse(step.words) == (step.words[1] if step.words[0] in ("data", "screen") else step.words[0])
    train = next(step for step in steps if step.words[0] == "train")
    config = load_config("response_mlp", [word for word in train.words if "=" in word])
    assert config.cluster.launcher == "ray" and config.train.engine.zero_stage == 2
    assert cli.run((*steps[0].words, "--no-such-option")) == 2


def test_the_simulated_atlas_comes_first_where_no_data_is_given(tmp_path: Path) -> None:
    first = next(DemoFolder(tmp_path).steps())
    assert first.words[:2] == ("data", "simulate")
    assert parse(first.words) == "simulate"


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.h5ad does not exist"):
        DemoFolder(tmp_path, tmp_path / "nothing.h5ad")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return what a demo really runs: the commands' names, and "Ray" where one is started."""
    happened: list[str] = []

    @contextmanager
    def ray() -> Iterator[None]:
        happened.append("Ray")
        yield

    def run(words: Sequence[str]) -> int:
        happened.append(words[0])
        return 0

    monkeypatch.setattr(demo_command, "ray_session", ray)
    monkeypatch.setattr(cli, "run", run)
    return lambda: happened


def finish(steps: Sequence[Step]) -> None:
    for step in steps:
        step.result.parent.mkdir(parents=True, exist_ok=True)
        if not step.is_done:
            step.result.touch()


def test_done_steps_are_passed_over_and_ray_starts_only_for_what_runs_on_it(
    own_data: DemoFolder, ran: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = list(own_data.steps())
    make_split(ExpressionStore.open(own_data.store), "unseen_compound").save(steps[1].result)
    finish([step for step in steps if step.words[0] != "evaluate"])
    demo_command.demo(own_data.root, own_data.data)
    assert ran() == ["evaluate"]
    finish(steps)
    demo_command.demo(own_data.root, own_data.data)
    assert ran() == ["evaluate"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["open", str(own_data.screen_report)]
    own_data.screen_report.unlink()
    demo_command.demo(own_data.root, own_data.data)
    assert ran() == ["evaluate", "Ray", "screen"]


def test_a_split_that_is_there_is_kept_whatever_would_be_chosen(own_data: DemoFolder) -> None:
    steps = list(own_data.steps())
    assert "unseen_compound" in steps[1].words
    make_split(ExpressionStore.open(own_data.store), "random").save(steps[1].result)
    assert "random" in list(own_data.steps())[1].words
