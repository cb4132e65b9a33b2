"""Commands, paths, links and tests that README and docs name are real, and every page can be found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import commands_page
import pytest
import typer
from pertcast_data.errors import PertcastError
from pertcast_jobs.cli import app as command_line
from pertcast_jobs.cluster.command import job_command, parse_command
from pertcast_jobs.run_config.load import shipped_configs
from typer.main import get_command

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "k8s").rglob("*.md")]
)
PROMPT = re.compile(r"^(\$ )?((?:[A-Z_]+=\S+ )*)(?=pertcast )")
ROOMS = (
    r"(?:docs|k8s|tests|benchmarks|jobs/slurm|jobs/pertcast_jobs|data/pertcast_data|platform/pertcast"
    r"|serve/pertcast_serve)"
)
REPOSITORY_PATH = re.compile(rf"(?<![\w/.-]){ROOMS}/[\w./*-]*[\w/*]")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
LINK_TO_HEADING = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")
TEST = re.compile(r"(?:(\btest_\w+\.py)|\.\.\.)(?:::(test_\w+)(\.\.\.)?)?")
CLICKS = 2
"""Most links that a reader follows from the README to a page."""

USAGE_ERROR = typer.BadParameter.__base__ or typer.BadParameter
STANDS_FOR = {"CONFIG": "response_mlp", "WORDS": "response_mlp"}
"""Names that a reader replaces, and what they are replaced by here."""

OF_THE_READER = frozenset({"k8s/overlays/mine"})
"""Paths that a reader makes."""


class Line(NamedTuple):
    number: int
    text: str


def fenced_lines(page: Path) -> Iterator[Line]:
    """Yield the lines of fenced blocks, continued lines joined to the first."""
    is_inside, begun = False, None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_inside, begun = not is_inside, None
        elif is_inside:
            whole = (
                Line(number, line) if begun is None else Line(begun.number, f"{begun.text} {line.strip()}")
            )
            begun = Line(whole.number, whole.text[:-1].rstrip()) if whole.text.endswith("\\") else None
            if begun is None:
                yield whole


def commands(page: Path) -> list[Line]:
    """Return the `pertcast` commands of fenced blocks, without prompt, variables and comment."""
    lines = [Line(number, text.strip()) for number, text in fenced_lines(page)]
    return [Line(number, PROMPT.sub("", text)) for number, text in lines if PROMPT.match(text)]


def job_words(words: list[str]) -> list[str] | None:
    """Return the whole command that `job submit` would send, None where `words` submit nothing."""
    if words[:2] != ["job", "submit"]:
        return None
    return job_command(list(parse_command(words).values["command"]))


def make_files_of_the_reader(words: list[str], folder: Path) -> None:
    """Make what a command names and a reader would have: configurations, tables, gene sets."""
    configuration = shipped_configs()["response_mlp"].read_text(encoding="utf-8")
    for word in words:
        name = word.partition("=")[2] if word.startswith("--") else word
        path = folder / name.removeprefix("@")
        if "=" in name or not path.suffix or not path.is_relative_to(folder) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("train: {}\n" if name.startswith("@") else configuration, encoding="utf-8")


def words_of(text: str) -> list[str]:
    """Return a command's words after `pertcast`, up to a pipe or another command."""
    words = shlex.split(text, comments=True)[1:]
    ends = [position for position, word in enumerate(words) if word in {"|", "&&", ">", ";", "&"}]
    return [STANDS_FOR.get(word, word) for word in words[: ends[0] if ends else None]]


def problem_of(text: str, folder: Path) -> str | None:
    """Return why the command line refuses a command, None where it takes it."""
    words = words_of(text)
    make_files_of_the_reader(words, folder)
    try:
        parse_command(words)
        sent = job_words(words)
        if sent is not None:
            parse_command(sent)
    except USAGE_ERROR as error:
        return error.format_message()
    except PertcastError as error:
        return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_of_a_page_is_one_that_the_command_line_takes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problems = {f"line {number}: {text}": problem_of(text, tmp_path) for number, text in commands(page)}
    assert not {line: problem for line, problem in problems.items() if problem}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_a_page_names_by_its_path_in_the_repository_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {
        name
        for name in REPOSITORY_PATH.findall(text)
        if name not in OF_THE_READER and not any(REPOSITORY.glob(name.rstrip("/.")))
    }
    assert not named
    linked = {link for link in LINK.findall(text) if not (page.parent / link).exists()}
    assert not linked


def linked_pages(page: Path) -> Iterator[Path]:
    """Yield the pages of the repository that a page links to."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        if target.suffix == ".md" and target.is_file():
            yield target


def found_within(clicks: int, start: Path) -> set[Path]:
    """Return the pages that a reader comes to from `start` by that many links."""
    found = newest = {start}
    for _ in range(clicks):
        newest = {page for one in newest for page in linked_pages(one)} - found
        found = found | newest
    return found


def headings(page: Path) -> set[str]:
    """Return the names by which links reach the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def missing_tests(text: str) -> list[str]:
    """Return the tests that a page names and that are none: `test_a.py::test_b...`, `...::test_b...`."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("*.py")}
    missing = []
    for match in TEST.finditer(text):
        file, name, is_cut = match.groups()
        places = [sources.get(file, "")] if file else list(sources.values())
        begin = rf"^\s*(?:async )?def {name}" + ("" if is_cut else r"\b")
        if (file and file not in sources) or (
            name and not any(re.search(begin, source, re.MULTILINE) for source in places)
        ):
            missing.append(match.group())
    return missing


def test_every_page_is_found_from_the_readme_by_two_links() -> None:
    lost = set(PAGES) - found_within(CLICKS, REPOSITORY / "README.md")
    names = sorted(str(page.relative_to(REPOSITORY)) for page in lost)
    assert not names, "link these from docs/README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_heading_that_a_page_links_to_exists(page: Path) -> None:
    linked = LINK_TO_HEADING.findall(page.read_text(encoding="utf-8"))
    targets = [((page.parent / target) if target else page, heading) for target, heading in linked]
    assert [heading for target, heading in targets if heading not in headings(target)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    assert missing_tests(page.read_text(encoding="utf-8")) == []


def test_a_test_that_is_none_is_found() -> None:
    assert missing_tests("`tests/test_house.py::test_every_dependency...`, `test_house.py`, a list ...") == []
    assert missing_tests("`...::test_every_dependency_is_pinned`") == []
    misspelt = "`test_hose.py`, `test_house.py::test_every_dependency`, `...::test_of_nothing...`"
    assert missing_tests(misspelt) == [word.strip("`,") for word in misspelt.split()]


def test_the_page_of_commands_is_what_the_command_line_says() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page(), (
        "write it again: .venv/bin/python tests/jobs/commands_page.py"
    )
    calls = {call for call, _ in commands_page.leaves(get_command(command_line))}
    assert set(commands_page.READ_MORE) <= calls | {call.split()[0] for call in calls}


def test_a_command_that_is_misspelt_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = [
        "pertcast trian response_mlp",
        "pertcast train response_mpl --out runs/first",
        "pertcast train response_mlp @node_9gpu --out runs/first",
        "pertcast train response_mlp train.epoch=3 --out runs/first",
        "pertcast screen compounds library.csv --modle runs/first",
        "pertcast job submit --wiat response_mlp --out runs/first",
        "pertcast job submit train response_mlp --oot runs/first",
    ]
    assert [text for text in refused if problem_of(text, tmp_path) is None] == []
    assert problem_of("pertcast train response_mlp @node_8gpu --out runs/first # eight", tmp_path) is None


def test_commands_are_found_behind_prompts_and_over_several_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\n$ pertcast train a \\\n    b=c --out d\npertcast: no\n```\npertcast train e\n")
    assert commands(page) == [Line(2, "pertcast train a b=c --out d")]
