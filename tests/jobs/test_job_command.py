"""What is asked of a cluster is checked before anything is sent, and named so that it is not run twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster import command
from pertcast_jobs.cluster.code_archive import sent_files
from pertcast_jobs.run_config.load import shipped_configs

TRAINING = ["train", "response_mlp", "data.store=S", "data.split=T", "--out", "/data/run"]


def test_a_config_is_trained_and_a_command_is_run_as_it_stands() -> None:
    assert command.job_command(["response_mlp", "data.store=S"]) == ["train", "response_mlp", "data.store=S"]
    assert command.job_command(["evaluate", "RUN"]) == ["evaluate", "RUN"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [([], "CONFIG"), (["job", "list"], "beside itself"), (["serve", "up"], "RayService"), (["key"], "here")],
)
def test_what_is_no_job_is_refused_with_the_remedy(words: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        command.job_command(words)


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([*TRAINING, "--resum"], 2, "--resum"),
        (["data", "inspekt", "/data/store"], 2, "inspekt"),
        (TRAINING[:-2], 2, "--out"),
        (["response_mpl", *TRAINING[2:]], 1, "response_mlp"),
        ([*TRAINING, "train.batchsize=3"], 1, "train.batchsize"),
        ([*TRAINING, "@node_9gpu"], 1, "@node_8gpu"),
    ],
)
def test_a_slip_is_told_here_with_the_commands_own_exit_code(
    words: list[str], code: int, reason: str
) -> None:
    whole = command.job_command(words)
    with pytest.raises(Exception) as told:
        command.parse_command(whole)
    assert getattr(told.value, "exit_code", 1) == code
    assert reason in str(told.value)


def test_a_configuration_of_the_cluster_is_read_only_there() -> None:
    words = ["train", "/configs/of/the/image.yaml", *TRAINING[2:]]
    with pytest.raises(ConfigError, match=r"image\.yaml"):
        command.parse_command(words)
    parsed = command.parse_command(words, configs_here=False)
    assert (parsed.values["config"], parsed.config) == (words[1], None)


def test_an_absolute_configuration_that_is_here_is_checked_and_sent(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(shipped_configs()["response_mlp"].read_text())
    words = ["train", str(config), *TRAINING[2:]]
    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        command.parse_command([*words, "train.batchsize=3"], configs_here=False)
    parsed = command.parse_command(words, configs_here=False)
    assert parsed.config is not None
    assert sent_files(parsed)[1] == {"sent/mine.yaml": config}


@pytest.mark.parametrize("out", ["/data/run", "s3://bucket/run", "gs://bucket/run"])
def test_results_may_go_where_they_last(out: str) -> None:
    command.require_lasting_out(command.parse_command([*TRAINING[:-1], out]))


def test_a_relative_folder_of_results_is_refused_for_a_cluster() -> None:
    with pytest.raises(ConfigError, match="removed with the job"):
        command.require_lasting_out(command.parse_command([*TRAINING[:-1], "runs/first"]))


def test_the_id_follows_from_the_command_and_its_place_and_not_from_resuming() -> None:
    first = command.submission_id_of(TRAINING)
    assert first.startswith("pertcast-train-")
    assert command.submission_id_of([*TRAINING, "--resume"]) == first
    assert command.submission_id_of([*TRAINING, "train.epochs=2"]) != first
    assert command.submission_id_of(TRAINING, "/elsewhere") != first


def test_an_ended_job_runs_again_under_the_first_free_number() -> None:
    assert command.next_id("a", []) == "a"
    assert command.next_id("a", ["a", "a-2", "a-4"]) == "a-3"
    assert command.is_run_of("a", "a-12")
    assert not command.is_run_of("a", "a-b")


def test_trainings_and_sweeps_go_on_where_they_stopped() -> None:
    assert command.resumed(TRAINING)[-1] == "--resume"
    assert command.resumed([*TRAINING, "--resume"]).count("--resume") == 1
    assert command.resumed(["evaluate", "/data/run"]) == ["evaluate", "/data/run"]


def test_where_no_cluster_answers_the_error_names_the_address_and_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["job", "list", "--address", "http://127.0.0.1:9"]) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:9" in told and "ray start --head" in told


def test_an_option_of_submit_that_is_misspelt_or_late_is_told_as_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["job", "submit", "--wiat", *TRAINING]) == 2
    told = capfd.readouterr().err
    assert "job submit" in told
    assert "--wait" in told
    # Nobody listens there: what is wrong is found before anybody is asked.
    assert run(["job", "submit", "--address", "http://127.0.0.1:9", *TRAINING, "--wait"]) == 2
    assert "--wait is an option of `job submit`: write it before" in capfd.readouterr().err
