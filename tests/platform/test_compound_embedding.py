"""A user's embedding table as features: found by structure or name, standardised on training rows only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec
from pertcast.models.registry import get_model
from pertcast.predictor import Predictor
from pertcast.training.bundle import BundleFacts, save_bundle
from pertcast_data.compounds import canonicalise, morgan_fingerprints
from pertcast_data.embedding_table import read_embedding_table
from pertcast_data.errors import ConfigError, SchemaError, UnknownCompound
from pertcast_data.splits import FittedOn
from pertcast_data.store import ExpressionStore
from pydantic import ValidationError
from rdkit import Chem

HELD_OUT = ("BRD-03", "BRD-05")
NEW = "O=S(=O)(c1cccs1)N1CCOCC1"
WIDTH = 6
Store = ExpressionStore


def rows_of(store: Store, without: tuple[str, ...] = HELD_OUT) -> np.ndarray:
    held_out = store.obs["pert_id"].is_in(list(without)).to_numpy()
    return np.flatnonzero(~store.is_control & ~held_out)


def structures(store: Store) -> pl.DataFrame:
    """One row a compound of the store: pert_id, cmap_name, canonical_smiles, in order of pert_id."""
    treated = store.obs.filter(pl.col("pert_type") == "trt_cp")
    return treated.select("pert_id", "cmap_name", "canonical_smiles").unique().sort("pert_id")


def embedded(names: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    values = np.random.default_rng(seed).normal(3.0, 2.0, (names.height, WIDTH))
    return names.with_columns(pl.Series(f"dim_{i}", values[:, i]) for i in range(WIDTH))


def vectors(table: pl.DataFrame) -> np.ndarray:
    return table.select(f"dim_{i}" for i in range(WIDTH)).to_numpy()


def saved(table: pl.DataFrame, path: Path) -> Path:
    table.write_csv(path)
    return path


def spec(path: Path, features: str = "embedding", **others: Any) -> EncoderSpec:
    chosen = {"compound_features": features, "compound_embedding": path, "fingerprint_bits": 128, **others}
    return EncoderSpec.model_validate(chosen)


def asked(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"cell_iname": "A375", "pert_type": "trt_cp", **columns})


@pytest.fixture(scope="module")
def store(stores: SimpleNamespace) -> Store:
    found: Store = stores.compounds
    return found


@pytest.fixture(scope="module")
def table(store: Store) -> pl.DataFrame:
    """All sixteen compounds of the store and two that it has never seen."""
    strangers = pl.DataFrame(
        {
            "pert_id": ["BRD-98", "BRD-99"],
            "cmap_name": ["stranger", "other"],
            "canonical_smiles": [NEW, "CCCCI"],
        }
    )
    return embedded(pl.concat([structures(store), strangers]))


@pytest.fixture(scope="module")
def encoder(store: Store, table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> ConditionEncoder:
    """Embedding alone, fitted without BRD-03 and BRD-05."""
    path = saved(table, tmp_path_factory.mktemp("embedding") / "molformer.csv")
    return ConditionEncoder.fit(store, rows_of(store), spec(path))


def test_features_are_the_tables_values_standardised_on_the_training_compounds_only(
    encoder: ConditionEncoder, table: pl.DataFrame
) -> None:
    trained = vectors(table.filter(~pl.col("pert_id").is_in([*HELD_OUT, "BRD-98", "BRD-99"])))
    batch = encoder.encode(asked(pert_id=["BRD-00", "BRD-03", "BRD-98"]))
    wanted = (vectors(table)[[0, 3, 16]] - trained.mean(axis=0)) / trained.std(axis=0)
    np.testing.assert_allclose(batch.summed_features().numpy(), wanted, rtol=1e-4, atol=1e-5)
    features = encoder.training_conditions.features.numpy()
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, rtol=1e-4)
    assert batch.perturbation.tolist() == [[0], [-1], [-1]]


def test_held_out_rows_of_the_table_do_not_change_what_is_fitted(
    encoder: ConditionEncoder, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    changed = table.with_columns(
        pl.when(pl.col("pert_id").is_in([*HELD_OUT, "BRD-98"]))
        .then(pl.lit(1e3))
        .otherwise(f"dim_{i}")
        .alias(f"dim_{i}")
        for i in range(WIDTH)
    )
    other = ConditionEncoder.fit(store, rows_of(store), spec(saved(changed, tmp_path / "molformer.csv")))
    np.testing.assert_array_equal(other.training_conditions.features, encoder.training_conditions.features)
    assert (
        FittedOn.of("scale of the compound embedding", "scaler", "train", rows_of(store)) in encoder.fitted_on
    )


@pytest.mark.parametrize("features", ["embedding", "both"])
def test_a_value_far_outside_of_training_is_cut_off(
    features: str, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    """A column that hardly varies in training must not throw an unseen compound to infinity."""
    far = table.with_columns(dim_0=pl.when(pl.col("pert_id") == "BRD-98").then(1e6).otherwise("dim_0"))
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(saved(far, tmp_path / "far.csv"), features))
    column = 128 if features == "both" else 0
    known, new = encoder.encode(asked(pert_id=["BRD-00", "BRD-98"])).summed_features()[:, column].tolist()
    trained = encoder.training_conditions.features[:, column].numpy()
    assert new == pytest.approx(10 * trained.std(), rel=1e-3) and abs(known) < new


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "lists.parquet", "npz"])
def test_every_kind_of_file_gives_the_same_features(
    ending: str, encoder: ConditionEncoder, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / f"table.{ending}"
    keys = table.select("pert_id", "cmap_name", "canonical_smiles")
    write: dict[str, Callable[[], Any]] = {
        "csv": lambda: table.write_csv(path),
        "tsv": lambda: table.write_csv(path, separator="\t"),
        "parquet": lambda: table.write_parquet(path),
        "lists.parquet": lambda: keys.with_columns(
            embedding=pl.Series(vectors(table).tolist())
        ).write_parquet(path),
        "npz": lambda: np.savez(
            path, smiles=np.array(keys["canonical_smiles"].to_list()), embedding=vectors(table)
        ),
    }
    write[ending]()
    other = ConditionEncoder.fit(store, rows_of(store), spec(path))
    features = encoder.training_conditions.features
    np.testing.assert_allclose(other.training_conditions.features, features, rtol=1e-6)


@pytest.mark.parametrize("keys", [["canonical_smiles"], ["pert_id"], ["cmap_name"], ["inchi_key"]])
def test_compounds_are_found_by_any_key_alone(
    keys: list[str], encoder: ConditionEncoder, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    keyed = table.with_columns(
        inchi_key=table["canonical_smiles"].map_elements(lambda text: canonicalise(text).inchi_key, pl.String)
    )
    path = saved(keyed.select(*keys, *(f"dim_{i}" for i in range(WIDTH))), tmp_path / "table.csv")
    other = ConditionEncoder.fit(store, rows_of(store), spec(path))
    np.testing.assert_array_equal(other.training_conditions.features, encoder.training_conditions.features)


def test_a_salt_and_another_spelling_of_an_id_are_the_same_compound(
    encoder: ConditionEncoder, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    spelt = {
        "salts": table.with_columns(pl.col("canonical_smiles") + ".Cl").drop("pert_id", "cmap_name"),
        "names": table.with_columns(pl.col("cmap_name").str.to_uppercase() + " hydrochloride").drop(
            "canonical_smiles", "pert_id"
        ),
        "ids": table.with_columns(pl.col("pert_id").str.to_lowercase()).drop("canonical_smiles", "cmap_name"),
    }
    for name, changed in spelt.items():
        other = ConditionEncoder.fit(store, rows_of(store), spec(saved(changed, tmp_path / f"{name}.csv")))
        np.testing.assert_array_equal(
            other.training_conditions.features, encoder.training_conditions.features
        )


def test_a_training_compound_without_a_row_is_named_with_the_remedy(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = saved(table.filter(~pl.col("pert_id").is_in(["BRD-00", "BRD-07"])), tmp_path / "molformer.csv")
    with pytest.raises(ConfigError, match=r"molformer\.csv has no row for 2 of 14 .*BRD-00, BRD-07.*=both"):
        ConditionEncoder.fit(store, rows_of(store), spec(path))


def test_a_table_of_other_compounds_is_refused(store: Store, table: pl.DataFrame, tmp_path: Path) -> None:
    path = saved(table.filter(pl.col("pert_id") > "BRD-97"), tmp_path / "molformer.csv")
    for features in ("embedding", "both"):
        with pytest.raises(
            ConfigError, match=r"a row of none of the 14 training compounds \(BRD-00.*stranger"
        ):
            ConditionEncoder.fit(store, rows_of(store), spec(path, features))


def test_both_lets_the_fingerprint_speak_where_the_table_is_silent_and_marks_it(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = saved(table.filter(pl.col("pert_id") != "BRD-00"), tmp_path / "molformer.csv")
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(path, "both"))
    assert encoder.space.feature_width == 128 + WIDTH + 1
    batch = encoder.encode(
        asked(pert_id=["BRD-00", "BRD-01", "new"], canonical_smiles=[None, None, "CCCCCF"])
    )
    features = batch.summed_features().numpy()
    prints = morgan_fingerprints(["CCO", "CCN", "CCCCCF"], 128)
    np.testing.assert_array_equal(features[:, :128], prints)
    assert features[:, -1].tolist() == [1, 0, 1]
    assert not features[[0, 2], 128:-1].any() and features[1, 128:-1].any()
    trained = encoder.training_conditions.features.numpy()
    squares = np.square(trained).sum(axis=0)
    with_row = trained[:, -1] == 0
    assert squares[128:-1].sum() / with_row.sum() == pytest.approx(
        squares[:128].sum() / len(trained), rel=0.01
    )


def test_the_report_counts_the_store_and_the_training_and_names_what_is_missing(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    changed = table.filter(~pl.col("pert_id").is_in(["BRD-00", "BRD-03"])).with_columns(
        dim_2=pl.lit(1.5),
        canonical_smiles=pl.when(pl.col("pert_id") == "BRD-01")
        .then(pl.lit("CCCCCCCC"))
        .otherwise("canonical_smiles"),
    )
    encoder = ConditionEncoder.fit(
        store, rows_of(store), spec(saved(changed, tmp_path / "molformer.csv"), "both")
    )
    assert encoder.coverage is not None
    assert encoder.coverage.text() == (
        "embedding table molformer.csv: 13 of 16 compounds of the store, 12 of 14 in training; missing: "
        "BRD-00, BRD-01, BRD-03; of these named with another structure: BRD-01; 1 of 6 columns "
        "constant in training, left at zero"
    )
    assert not encoder.training_conditions.features[:, 128 + 2].any()


def test_at_prediction_an_unknown_compound_is_a_fault_with_the_nearest_known_names(
    encoder: ConditionEncoder,
) -> None:
    table = asked(
        pert_id=["BRD-98", "BRD-9", "fresh", "other"], canonical_smiles=[None, None, "CCCCCF", None]
    )
    conditions, rows, problems = encoder.encode_lenient(table)
    assert rows.tolist() == [0, 3] and conditions.summed_features().abs().sum(dim=1).min() > 0
    assert [problem.value for problem in problems] == ["BRD-9", "fresh"]
    assert "BRD-99" in problems[0].suggestions and "molformer.csv, 18 rows" in problems[1].message
    with pytest.raises(UnknownCompound, match=r"BRD-9'.*Nearest known.*train anew"):
        encoder.encode(table)


def test_a_compound_asked_by_a_name_of_the_table_is_the_training_compound_of_that_structure(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    renamed = table.with_columns(cmap_name=pl.lit("made-") + pl.col("cmap_name"))
    path = saved(renamed.drop("pert_id"), tmp_path / "molformer.csv")
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(path, "both"))
    batch = encoder.encode(asked(pert_id=["made-drug-0", "made-stranger", "BRD-00"]))
    assert batch.perturbation.tolist() == [[0], [-1], [0]] and batch.key[0] == batch.key[2]
    np.testing.assert_array_equal(
        batch.summed_features()[1, :128].numpy(), morgan_fingerprints([NEW], 128)[0]
    )


def test_stereoisomers_have_their_own_rows_and_a_missing_one_takes_the_skeletons(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    pair = pl.DataFrame(
        {"pert_id": ["S", "R"], "cmap_name": ["s", "r"], "canonical_smiles": ["C[C@H](N)O", "C[C@@H](N)O"]}
    )
    path = saved(pl.concat([table, embedded(pair, seed=5)]), tmp_path / "molformer.csv")
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(path))
    both = encoder.encode(
        asked(pert_id=["a", "b", "c"], canonical_smiles=[*pair["canonical_smiles"], "CC(N)O"])
    )
    features = both.summed_features().numpy()
    assert not np.allclose(features[0], features[1]) and np.array_equal(features[0], features[2])


def test_salts_with_ids_of_their_own_keep_their_rows(
    store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    salt = pl.DataFrame({"pert_id": ["SALT"], "cmap_name": ["a salt"], "canonical_smiles": [f"{NEW}.Cl"]})
    path = saved(pl.concat([table, embedded(salt, seed=5)]), tmp_path / "molformer.csv")
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(path))
    wanted = asked(pert_id=["SALT", "BRD-98", "else"], canonical_smiles=[NEW] * 3)
    features = encoder.encode(wanted).slot_features()[0][:, 0].numpy()
    assert not np.allclose(features[0], features[1]) and np.array_equal(features[1], features[2])


def test_a_compound_without_structure_is_encoded_by_its_row_and_compared_by_cosine(
    stores: SimpleNamespace, table: pl.DataFrame, tmp_path: Path
) -> None:
    """Where the store has no structures at all, only the embedding can say how near a new compound is."""
    bare = stores.make(tmp_path / "store", stores.compound_obs(n_plates=1).drop("canonical_smiles"))
    keyed = table.drop("canonical_smiles")
    chosen = spec(saved(keyed, tmp_path / "molformer.csv"), "both")
    encoder = ConditionEncoder.fit(bare, rows_of(bare), chosen)
    assert encoder.space.feature_width == WIDTH + 1
    flags = encoder.applicability(asked(pert_id=["BRD-00", "BRD-03"]))
    trained = encoder.training_conditions.features.numpy()[:, :WIDTH]
    new = encoder.encode(asked(pert_id=["BRD-03"])).summed_features()[0, :WIDTH].numpy()
    cosine = (trained @ new) / np.linalg.norm(trained, axis=1) / np.linalg.norm(new)
    np.testing.assert_allclose(flags["nn_train_dist"].to_numpy(), [0, 1 - cosine.max()], atol=1e-5)
    assert flags["is_in_domain"][0]


def test_the_distance_of_compounds_with_structures_is_tanimotos_also_without_fingerprint_features(
    encoder: ConditionEncoder, store: Store
) -> None:
    plain = ConditionEncoder.fit(store, rows_of(store), EncoderSpec(fingerprint_bits=128))
    wanted = asked(pert_id=["BRD-03", "BRD-98"], canonical_smiles=["CCBr", NEW])
    again = ConditionEncoder.from_state(*encoder.state())
    for one in (encoder, again):
        assert one.applicability(wanted).equals(plain.applicability(wanted))


@pytest.mark.parametrize("features", ["embedding", "both"])
def test_the_bundle_predicts_every_compound_of_the_table_without_the_file_and_names_no_folder(
    features: str, store: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = saved(table, tmp_path / "secret_folder_name.csv")
    encoder = ConditionEncoder.fit(store, rows_of(store), spec(path, features))
    model = get_model("no_change").build({}, encoder.space, encoder.training_conditions)
    save_bundle(
        tmp_path / "bundle",
        model_name="no_change",
        model=model,
        conditions=encoder.training_conditions,
        encoder_state=encoder.state(),
        basal_state=BasalProfiles.fit(store, None).state(),
        facts=BundleFacts(data_hash=store.data_hash, measure="expression", normalisation="log2_intensity"),
    )
    content = read_embedding_table(path).sha256
    path.unlink()
    predictor = Predictor.from_bundle(tmp_path / "bundle")
    manifest = (tmp_path / "bundle" / "bundle.json").read_text()
    assert str(tmp_path) not in manifest and json.loads(manifest)["encoder"]["embedding"]["sha256"] == content
    wanted = asked(pert_id=["BRD-98", "BRD-05"], pert_dose=[1.0, 1.0], pert_time=[24.0, 24.0])
    assert predictor.predict(wanted).mean.shape == (2, 20)
    np.testing.assert_array_equal(
        predictor.encoder.encode(wanted).summed_features(), encoder.encode(wanted).summed_features()
    )


def test_a_state_from_before_embeddings_is_an_encoder_of_fingerprints(store: Store) -> None:
    encoder = ConditionEncoder.fit(store, rows_of(store), EncoderSpec(fingerprint_bits=128))
    facts, arrays = encoder.state()
    older = {
        name: facts["spec"][name] for name in ("fingerprint_bits", "fingerprint_radius", "gene_components")
    }
    assert "embedding" not in facts and len(facts["limits"]) == 2
    again = ConditionEncoder.from_state({**facts, "spec": older}, arrays)
    assert again.spec.compound_features == "fingerprint" and again.coverage is None
    np.testing.assert_array_equal(again.training_conditions.features, encoder.training_conditions.features)


UNCLEAR = {
    "one id twice": ("pert_id,a\nx,1\nX,2\n", r"1 compounds have several rows.*row 1 \(x\) and row 2 \(X\)"),
    "one structure twice": ("smiles,a\nCCO,1\nOCC.Cl,2\n", r"row 1 \(CCO\) and row 2 \(OCC\.Cl\)"),
    "invalid structure": ("smiles,a\nCCO,1\nC1CC,2\n", r"1 rows have neither a valid structure .*C1CC"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_rows_whose_compound_is_unclear_are_refused_by_name(case: str, store: Store, tmp_path: Path) -> None:
    text, message = UNCLEAR[case]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=rf"table\.csv.*{message}"):
        ConditionEncoder.fit(store, rows_of(store), spec(path))


def test_columns_that_are_all_constant_are_refused(store: Store, table: pl.DataFrame, tmp_path: Path) -> None:
    flat = table.with_columns(pl.lit(0.25).alias(f"dim_{i}") for i in range(WIDTH))
    with pytest.raises(SchemaError, match="all 6 columns are constant over the 14 training compounds"):
        ConditionEncoder.fit(store, rows_of(store), spec(saved(flat, tmp_path / "flat.csv")))


def test_a_store_without_compounds_needs_no_table(stores: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "molformer.csv"
    path.write_text("pert_id,a\nx,1\n")
    with pytest.raises(ConfigError, match="no compound among the training rows"):
        ConditionEncoder.fit(stores.genes, rows_of(stores.genes), spec(path))


def test_features_and_table_must_agree() -> None:
    with pytest.raises(ValidationError, match=r"needs a table: set encoder\.compound_embedding=FILE"):
        EncoderSpec(compound_features="both")
    with pytest.raises(ValidationError, match=r"set encoder\.compound_features=embedding or both"):
        EncoderSpec(compound_embedding=Path("molformer.csv"))


def test_the_kinds_of_fingerprint_say_different_things(store: Store) -> None:
    found = {
        kind: ConditionEncoder.fit(
            store,
            rows_of(store),
            EncoderSpec.model_validate({"fingerprint_bits": 256, "fingerprint_kind": kind}),
        )
        for kind in ("morgan", "fcfp", "count")
    }
    features = {kind: one.training_conditions.features.numpy() for kind, one in found.items()}
    assert set(np.unique(features["fcfp"])) == {0.0, 1.0} and features["count"].max() > 1
    np.testing.assert_array_equal(features["count"] > 0, features["morgan"] > 0)
    halogens = morgan_fingerprints(["c1ccccc1Cl", "c1ccccc1Br"], 256, kind="fcfp")
    np.testing.assert_array_equal(halogens[0], halogens[1])
    again = ConditionEncoder.from_state(*found["count"].state())
    wanted = asked(pert_id=["new"], canonical_smiles=[Chem.CanonSmiles("CCCCCCCCBr")])
    assert again.applicability(wanted).equals(found["count"].applicability(wanted))
    assert 0 < again.applicability(wanted)["nn_train_dist"][0] < 1
