"""Configurations: files and shipped names, overrides, and errors that name the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.run_config import RunConfig, dump_config, load_config, load_sweep, shipped_configs
from pertcast_jobs.run_config.load import parse_override, with_value

MINIMAL = "model: {name: train_mean}\n"


@pytest.fixture
def write(tmp_path: Path):
    def save(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return save


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_config_is_valid_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    loaded = load_config(name) if "sweep" not in name else load_sweep(name)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(loaded))
    reread = load_config(again) if "sweep" not in name else load_sweep(again)
    assert reread == loaded


def test_response_mlp_is_shipped() -> None:
    assert "response_mlp" in shipped_configs()


def test_a_file_needs_only_the_model_and_defaults_fill_the_rest(write) -> None:
    config = load_config(write(MINIMAL))
    assert config == RunConfig.model_validate({"model": {"name": "train_mean"}})
    assert config.cluster.launcher == "in_process"


def test_overrides_are_read_as_yaml(write) -> None:
    config = load_config(
        write(MINIMAL),
        [
            "train.batch_size=64",
            "train.patience=null",
            "train.ema_decay=9e-1",
            "train.engine={name: deepspeed, zero_stage: 2}",
            "data.store=/somewhere/with spaces",
        ],
    )
    assert config.train.batch_size == 64
    assert config.train.patience is None
    assert config.train.ema_decay == 0.9
    assert (config.train.engine.name, config.train.engine.zero_stage) == ("deepspeed", 2)
    assert config.data.store == Path("/somewhere/with spaces")


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "No"])
def test_words_that_old_yaml_takes_for_truth_values_stay_words(word: str) -> None:
    assert parse_override(f"data.store={word}") == (("data", "store"), word)
    assert parse_override("cluster.use_gpu=true")[1] is True


def test_a_later_override_wins(write) -> None:
    assert load_config(write(MINIMAL), ["train.seed=1", "train.seed=2"]).train.seed == 2


@pytest.mark.parametrize(
    ("override", "unknown", "nearest"),
    [
        ("train.batchsize=8", "train.batchsize", "train.batch_size"),
        ("trian.seed=1", "trian", "train"),
        ("cluster.num_worker=2", "cluster.num_worker", "cluster.num_workers"),
        ("data.stor=x", "data.stor", "data.store"),
        ("train.engine.zero_stge=1", "train.engine.zero_stge", "train.engine.zero_stage"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(write, override: str, unknown: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown key {unknown}\. Did you mean.* {nearest}\b"):
        load_config(write(MINIMAL), [override])


def test_an_unknown_model_key_names_the_nearest_with_its_full_path() -> None:
    known = next(iter(load_config("response_mlp").model.config))
    with pytest.raises(ConfigError, match=rf"unknown key model\.config\.{known}x\..*model\.config\.{known}"):
        load_config("response_mlp", [f"model.config.{known}x=1"])


def test_an_unknown_model_names_the_nearest(write) -> None:
    with pytest.raises(ConfigError, match=r"train_meen.*train_mean"):
        load_config(write("model: {name: train_meen}\n"))


def test_every_problem_is_named_at_once(write) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write(MINIMAL), ["train.batch_size=none", "train.sede=1"])
    assert "train.batch_size" in str(raised.value)
    assert "train.sede" in str(raised.value)


def test_a_bad_value_is_named_with_its_key(write) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size: .*\(got -1\)"):
        load_config(write(MINIMAL), ["train.batch_size=-1"])


def test_a_missing_model_is_named(write) -> None:
    with pytest.raises(ConfigError, match="model is missing"):
        load_config(write("train: {seed: 1}\n"))


def test_a_key_given_twice_is_an_error_with_its_line(write) -> None:
    with pytest.raises(ConfigError, match="line 4: key 'seed' is given twice"):
        load_config(write("model: {name: train_mean}\ntrain:\n  seed: 1\n  seed: 2\n"))


def test_broken_yaml_names_the_file(write) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml is not valid YAML"):
        load_config(write("model: [unclosed\n"))


def test_an_empty_file_is_an_error(write) -> None:
    with pytest.raises(ConfigError, match="holds no keys"):
        load_config(write(""))


def test_an_unknown_name_suggests_a_shipped_configuration() -> None:
    with pytest.raises(ConfigError, match=r"respons_mlp.*response_mlp"):
        load_config("respons_mlp")


@pytest.mark.parametrize("text", ["train.seed", "=1", "train..seed=1", "train.=1"])
def test_an_override_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not of the form a\.b=value"):
        parse_override(text)


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.seed is the value 3"):
        with_value({"train": {"seed": 3}}, ("train", "seed", "deep"), 1)


def test_with_value_leaves_its_argument_alone() -> None:
    before = {"train": {"seed": 3}}
    assert with_value(before, ("train", "seed"), 4) == {"train": {"seed": 4}}
    assert before == {"train": {"seed": 3}}


def test_several_workers_need_ray(write) -> None:
    with pytest.raises(ConfigError, match=r"num_workers=2 needs Ray: set cluster\.launcher=ray"):
        load_config(write(MINIMAL), ["cluster.num_workers=2"])


def test_a_batch_that_does_not_divide_over_the_workers_is_refused(write) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size=65"):
        load_config(write(MINIMAL), ["cluster.launcher=ray", "cluster.num_workers=2", "train.batch_size=65"])


def test_missing_data_is_named_with_the_command_that_makes_it(write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.store is not given.*pertcast data ingest"):
        load_config(write(MINIMAL)).data.require()
    with pytest.raises(ConfigError, match=r"data\.split: .*nowhere does not exist.*pertcast data split"):
        load_config(
            write(MINIMAL), [f"data.store={tmp_path}", f"data.split={tmp_path}/nowhere"]
        ).data.require()


def test_paths_become_absolute_for_workers_in_other_folders(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("store", "split.json"):
        (tmp_path / name).mkdir()
    config = load_config(write(MINIMAL), ["data.store=store", "data.split=split.json"])
    absolute = config.with_absolute_paths()
    assert absolute.data.store == tmp_path / "store"
    assert absolute.data.split == tmp_path / "split.json"


SWEEP = "model: {name: train_mean}\nspace:\n  train.seed: {int: [0, 3]}\n"


def test_a_sweep_reads_its_space(write) -> None:
    sweep = load_sweep(write(SWEEP + "  train.ema_decay: {loguniform: [1e-3, 1e-1]}\n"))
    assert sweep.space["train.seed"].int == (0, 3)
    assert sweep.space["train.ema_decay"].loguniform == (0.001, 0.1)
    assert sweep.search.trials == 4


def test_a_space_key_that_is_unknown_names_the_nearest(write) -> None:
    with pytest.raises(ConfigError, match=r"space\.train\.sede: unknown key train\.sede.*train\.seed"):
        load_sweep(write("model: {name: train_mean}\nspace: {train.sede: {int: [0, 3]}}\n"))


def test_a_space_value_that_cannot_be_used_is_refused(write) -> None:
    with pytest.raises(ConfigError, match=r"space\.train\.batch_size: train\.batch_size"):
        load_sweep(write("model: {name: train_mean}\nspace: {train.batch_size: {choice: [32, -1]}}\n"))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{int: [3, 0]}", "must be below"),
        ("{loguniform: [0, 1]}", "must be above 0"),
        ("{int: [0, 3], choice: [1]}", "exactly one"),
        ("{}", "exactly one"),
        ("{normal: [0, 1]}", "unknown key"),
    ],
)
def test_a_space_entry_that_makes_no_sense_is_refused(write, entry: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_sweep(write(f"model: {{name: train_mean}}\nspace: {{train.seed: {entry}}}\n"))


def test_a_sweep_without_a_space_is_refused_with_an_example(write) -> None:
    with pytest.raises(ConfigError, match=r"has no `space:`.*pertcast train"):
        load_sweep(write(MINIMAL))


def test_stages_are_kept_only_of_a_bundle() -> None:
    with pytest.raises(ConfigError, match=r"frozen_stages=response: .*--init-from BUNDLE"):
        load_config("response_mlp", ["train.frozen_stages=[response]"])


def test_one_bad_objective_is_one_problem() -> None:
    with pytest.raises(ConfigError, match="nearest known: advantage") as refused:
        load_sweep("response_mlp_sweep", ["search.objectives=[{metric: advantag, mode: max}]"])
    assert len(str(refused.value).splitlines()) == 1
