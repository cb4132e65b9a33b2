"""What is wrong with options alone is a usage error: it ends with 2, before any file is looked for."""

from __future__ import annotations

import pytest
from pertcast_jobs.cli import run


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("data split nosuch --kind unseen_compond --out s.json", "Did you mean unseen_compound"),
        ("data split nosuch --kind zzz --out s.json", "There are unseen_compound, unseen_scaffold"),
        ("data split nosuch --kind group --controls zzz --out s.json", "There are shared, separate"),
        ("data split nosuch --kind random --test-among some --out s.json", "There are all, combined"),
        ("data simulate --regime lin --out atlas", "Did you mean linear?"),
        ("data simulate --regime linear --size hugh --out atlas", "'hugh' is not known"),
        ("data ingest nosuch --out store --executor zzz", "There are in-process, ray-data"),
        ("data compact nosuch --codec zzz", "There are none, train, archive"),
        ("data prepare nosuch --split s --out o --hvg 9 --hvg-flavour seurat", "Did you mean seurat_v3?"),
        ("data prepare nosuch --split s --out o --log1p --target-sum many", "neither a number nor median"),
        ("data networks nosuch --links --methods onion", "Did you mean union?"),
        ("screen compounds --model nosuch --out o --executor ray_data", "Did you mean ray-data?"),
        ("screen genes --model nosuch --out o --objective revers", "Did you mean reverse?"),
        ("screen genes --model nosuch --out o --up a --down b --score cosin", "Did you mean cosine?"),
        ("screen export nosuch --to h5 --out o", "Did you mean h5ad?"),
        ("screen export nosuch --to csv --out o --doses 1,many", "'many' is no number"),
        ("screen export nosuch --to csv --out o --cells ,", "names nothing"),
        ("query --screen nosuch --sig-id a --score cosin", "Did you mean cosine?"),
        ("targets nosuch --drugs nosuch --out o --score cosin", "Did you mean cosine?"),
        ("preset show lincs2021", "Did you mean lincs2020"),
    ],
)
def test_an_unknown_word_is_told_with_the_known_ones(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("query", "--screen SCREEN (predicted) or --store STORE"),
        ("query --screen nosuch --store nosuch --sig-id a", "Search one library"),
        ("query --screen nosuch", "Ask with one signature"),
        ("query --screen nosuch --sig-id a --signature b", "Ask with one signature"),
        ("query --screen nosuch --up a", "--down FILE"),
        ("screen compounds --model nosuch", "--out SCREEN"),
        ("screen compounds --model nosuch --out o --up a", "--down FILE"),
        ("screen compounds --model nosuch --out o --up a --signature b", "Give one signature"),
        ("screen compounds --model nosuch --out o --score cosine", "add --up and --down, or --signature"),
        ("screen export nosuch --to gmt --out o --long", "--long is for --to csv"),
        ("screen export nosuch --to gmt --out o --layer sd", "--layer sd has no meaning"),
        ("data prepare nosuch --split s --out o", "nothing to prepare"),
        ("data prepare nosuch --split s --out o --genes a --gene-column b", "give one of them"),
        ("data split nosuch --kind blocked --out s.json", "--blocks FILE"),
        ("data split nosuch --kind random --group-column a --out s.json", "--group-column is for kind"),
        ("data split nosuch --kind random --test-share 0.3 --test-groups 3 --out s.json", "give one of them"),
        ("data split nosuch --kind all --test-share 0.3 --out s.json", "tests nothing"),
        ("data split nosuch --kind random --folds 1 --out s.json", "at least 2 folds"),
        ("tune nosuch", "--out DIR"),
        ("train nosuch", "--out RUN"),
        ("train nosuch --out o --ensemble 2 --seeds 3", "leave out --seeds"),
        ("evaluate", "Nothing to evaluate was named"),
    ],
)
def test_a_missing_option_and_options_that_exclude_each_other_are_told_before_files(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert told in capsys.readouterr().err


def test_what_a_file_holds_is_no_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "--screen", "nosuch", "--sig-id", "a"]) == 1
    assert run(["data", "split", "nosuch", "--kind", "random", "--out", "s.json"]) == 1
    assert "Usage" not in capsys.readouterr().err
