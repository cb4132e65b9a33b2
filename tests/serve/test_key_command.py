"""`pertcast key`: a key is shown once, listed without its secret, and revoked by its id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pertcast.errors import PertcastError
from pertcast_serve.access.keys import KEY_PATTERN, read_keys
from pertcast_serve.key_command import app
from typer.testing import CliRunner, Result


def run(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, PertcastError):
        raise result.exception
    return result


def create(path: Path, *more: str, scopes: Sequence[str] = ("predict",)) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    result = run("create", "--keys", str(path), "--name", "Ada", *words, *more)
    assert result.exit_code == 0, result.output
    assert "only time" in result.stderr
    return result.stdout.strip()


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = create(path, "--days", "30", scopes=("screen", "predict", "screen"))
    parts = KEY_PATTERN.fullmatch(text)
    assert parts is not None
    (key,) = read_keys(path)
    assert key.scopes == ("predict", "screen")
    assert key.is_secret(parts[2])
    assert key.expires is not None
    assert (key.expires - key.created).days == 30
    listed = run("list", "--keys", str(path)).stdout
    assert listed.split()[:3] == [parts[1], "active", "predict,screen"]
    assert listed.strip().endswith("Ada")
    assert parts[2] not in listed and key.sha256 not in listed
    assert run("revoke", parts[1], "--keys", str(path)).stdout == f"revoked {parts[1]}\n"
    assert run("list", "--keys", str(path)).stdout.split()[1] == "revoked"
    revoked_at = read_keys(path)[0].revoked
    run("revoke", parts[1], "--keys", str(path))
    assert read_keys(path)[0].revoked == revoked_at


def test_an_unknown_id_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = create(path)
    identity = text.split("_")[1]
    typo = identity[:-1] + ("0" if identity[-1] != "0" else "1")
    with pytest.raises(PertcastError, match=f"Unknown key '{typo}'.*{identity}"):
        run("revoke", typo, "--keys", str(path))
    assert len(read_keys(path)) == 1


@pytest.mark.parametrize(("scope", "known"), [("predicts", "predict"), ("foo", "predict, screen, admin")])
def test_an_unknown_scope_is_a_usage_error_that_names_the_known_ones(
    tmp_path: Path, scope: str, known: str
) -> None:
    result = run("create", "--keys", str(tmp_path / "keys.json"), "--name", "Ada", "--scope", scope)
    assert result.exit_code == 2
    assert f"'{scope}' is not known" in result.output and known in result.output
    assert not (tmp_path / "keys.json").exists()


def test_a_name_that_would_break_a_list_is_refused(tmp_path: Path) -> None:
    for name in ("", "a\nb", "x" * 101):
        result = run("create", "--keys", str(tmp_path / "k"), "--name", name, "--scope", "predict")
        assert result.exit_code == 2
    assert not (tmp_path / "k").exists()


def test_listing_or_revoking_without_a_file_says_how_to_make_one(tmp_path: Path) -> None:
    for words in (("list",), ("revoke", "0" * 12)):
        with pytest.raises(PertcastError, match="pertcast key create"):
            run(*words, "--keys", str(tmp_path / "none.json"))
