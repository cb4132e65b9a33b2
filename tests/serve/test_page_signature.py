"""The view of a signature: what is read, what an address carries, and that its numbers are the service's."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import analysis_toys as toys
import anyio
import numpy as np
import page_toys as pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast.report.tables import fixed
from pertcast_serve.analysis.service import AnalysisService
from pertcast_serve.page.views.signature_code import MOST_LETTERS, GivenSignature, coded, decoded
from pertcast_serve.page.views.signature_text import read_set, read_values
from pertcast_serve.problems import Refused
from pertcast_serve.schemas.base import Problem

Call = Callable[..., Any]
ATTACK = '"><script>alert(1)</script>'
SETS = {"up": " ".join(toys.SETS["up"]), "down": " ".join(toys.SETS["down"])}
NAMES = st.text("ABCDEFGHIKLMNPRSTUVWXYZ0123456789-.", min_size=1, max_size=12).filter(
    lambda name: name.lower() not in ("id", "gene", "genes", "name", "names", "symbol", "feature")
)
GENE_LISTS = st.lists(NAMES, min_size=1, max_size=20)
FEW = settings(max_examples=25, deadline=None)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = toys.write_files(tmp_path_factory.mktemp("signature"))
    return folder


@pytest.fixture(scope="module")
def page(client: Any, files: Path, tiny_bundle: Path, call_api: Callable[..., Call]) -> Call:
    return call_api(pages.page_api(client, toys.config_of(files, tiny_bundle)))


def address(view: str, **parameters: str) -> str:
    return f"/ui/{view}?{urlencode(parameters)}"


def cells(text: str, place: int) -> list[list[str]]:
    """Return the texts of the cells of the table at a place of the page."""
    table = re.findall(r"<tbody>(.*?)</tbody>", text, re.S)[place]
    rows = re.findall(r"<tr.*?</tr>", table, re.S)
    plain = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in plain]


@FEW
@given(GENE_LISTS, GENE_LISTS)
def test_a_code_of_sets_is_the_signature_again(up: list[str], down: list[str]) -> None:
    signature = GivenSignature(tuple(up), tuple(down))
    assert decoded(str(coded(signature))) == signature


@FEW
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), NUMBERS), min_size=1, max_size=60))
def test_a_code_of_values_is_the_signature_again_to_the_last_bit(pairs: list[tuple[str, float]]) -> None:
    genes, values = zip(*pairs, strict=True)
    signature = GivenSignature(genes=genes, values=values)
    code = coded(signature)
    if code is not None:
        assert decoded(code) == signature
        assert np.array(decoded(code).values).tobytes() == np.array(values).tobytes()


def test_a_code_is_never_longer_than_an_address_takes() -> None:
    random = np.random.default_rng(0)
    names = ["".join(random.choice(list("ABCDEFGHIJ0123456789"), 12)) for _ in range(2000)]
    fits = [coded(GivenSignature(tuple(names[:n]), ("A",))) for n in (10, 300, 600, 2000)]
    assert fits[-1] is None
    assert all(len(code) <= MOST_LETTERS for code in fits if code is not None)
    assert fits[1] is not None


@FEW
@given(st.data())
def test_a_code_that_was_cut_or_changed_is_refused_or_the_same(data: st.DataObject) -> None:
    signature = GivenSignature(("TP53", "MYC"), ("CDK1",))
    code = str(coded(signature))
    cut = data.draw(st.integers(0, len(code) - 1))
    for damaged in (
        code[:cut],
        code[:cut] + "A" + code[cut + 1 :],
        code + "AAAA",
        code[:cut] + "%" + code[cut:],
    ):
        try:
            assert decoded(damaged) == signature
        except Refused as refused:
            assert "Copy the permalink again" in refused.problem.detail


@pytest.mark.parametrize(
    "content",
    [
        *(b"[]", b"{", b'{"up":[1]}', b'{"values":[1.0]}', b'{"other":1}'),
        b'{"genes":["A"],"values":[1e999]}',
        b'{"up":["A"],"down":["B"],"genes":["C"],"values":[1]}',
        b'{"up":["' + b"A" * (1 << 21) + b'"]}',
    ],
    ids=lambda content: content[:20].decode(),
)
def test_a_code_that_holds_no_signature_is_refused_also_one_that_swells(content: bytes) -> None:
    code = base64.urlsafe_b64encode(zlib.compress(content)).decode().rstrip("=")
    assert len(code) <= MOST_LETTERS
    with pytest.raises(Refused, match="damaged"):
        decoded(code)


@FEW
@given(GENE_LISTS, st.sampled_from([" ", "\n", ", ", ";", "\t", "\r\n", " | ", "\u00a0", '", "']))
def test_genes_are_read_in_any_separators(genes: list[str], separator: str) -> None:
    assert read_set(separator.join(genes), "up") == tuple(genes)


def test_headings_comments_and_quotes_of_a_list_are_no_genes() -> None:
    assert read_set("\ufeff# top hits, day 3\ngene\n\"TP53\", 'MYC'\n#end\nCDK1", "up") == (
        "TP53",
        "MYC",
        "CDK1",
    )


@FEW
@given(st.lists(st.tuples(NAMES, NUMBERS), min_size=1, max_size=30), st.sampled_from(["\t", ",", ";", " "]))
def test_values_are_read_in_any_separators_to_the_last_bit(
    pairs: list[tuple[str, float]], separator: str
) -> None:
    found = read_values("\n".join(f"{gene}{separator}{value!r}" for gene, value in pairs))
    assert list(zip(found.genes, found.values, strict=True)) == pairs


def test_a_table_of_differential_expression_is_read_by_its_heading() -> None:
    text = ',baseMean,log2FoldChange,padj\n"TP53",10,-1.5,0.01\nMYC,5,2,NA\nCDK1,7,NA,NA\n'
    found = read_values(text)
    assert (found.genes, found.values) == (("TP53", "MYC"), (-1.5, 2.0))
    assert found.remarks == (
        "Values are column 'log2FoldChange'.",
        "1 line without a gene or value left out.",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene\tvalue\nTP53\tmany", "Line 2 of the values (TP53): 'many' is no finite number"),
        ("a,b,c\n1,2,3", "No column of the values names genes"),
        ("gene,x,y\nTP53,1,2", "Name one of them 'value'"),
        ("gene,value", "No line of the values holds a gene"),
        ("TP53 inf", "No column"),
    ],
)
def test_values_that_cannot_be_read_are_refused_with_what_to_do(text: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read_values(text)
    assert said in refused.value.problem.detail


def test_without_a_signature_an_example_is_shown(page: Call) -> None:
    answer = page("GET", "/ui/signature")
    seen = pages.Seen.of(answer.text)
    assert answer.status_code == 200
    assert "An example is shown: the predicted response to GENE0 knock-out in A375" in seen.text
    late = next(
        each["hx-get"] for each in seen.attributes("div") if "/signature/answer" in each.get("hx-get", "")
    )
    # The toy libraries hold other genes than the toy model: the answer says so, and what to do.
    assert page("GET", late).status_code == 422
    chips = [each["href"] for each in seen.attributes("a") if each.get("class", "").startswith("chip")]
    assert len(chips) == 3 and all("/ui/signature?" in chip and "pert=GENE" in chip for chip in chips)


@pytest.mark.parametrize("library", ["first", "l1000"])
@pytest.mark.parametrize("rows", ["", "perturbations"])
def test_every_number_of_the_tables_is_the_services(page: Call, library: str, rows: str) -> None:
    shown = page("GET", address("part/signature/answer", **SETS, library=library, rows=rows)).text
    body = {**toys.SETS, "library": library, "per_tail": 12, "by_perturbation": bool(rows)}
    found = page("POST", "/v1/connectivity", json=body).json()
    formats = {"raw_cs": fixed(3), "norm_cs": fixed(2), "tau": fixed(1), "fdr_q_nlog10": fixed(1)}
    for place, word in enumerate(("mimics", "reverses")):
        wanted = [row for row in found["rows"] if row["word"] == word]
        numbers = [[write(row[name]) for name, write in formats.items()] for row in wanted]
        assert [row[-4:] for row in cells(shown, place)] == numbers
        named = [row["cmap_name"] or row["pert_id"] for row in wanted]
        assert [row[0].split(",")[0] for row in cells(shown, place)] == named
    first = found["rows"][0]
    assert f"tau {first['tau']:.1f}" in shown if first["tau"] is not None else True


def test_the_library_says_whether_it_was_predicted_or_measured(page: Call) -> None:
    for library, kind in (("first", "predicted"), ("l1000", "measured")):
        seen = pages.Seen.of(page("GET", address("part/signature/answer", **SETS, library=library)).text)
        assert f"against 128 {kind} profiles of {library} by wtcs" in seen.text
        assert ("These profiles are forecasts" in seen.text) == (kind == "predicted")
    form = page("GET", "/ui/signature").text
    assert "first (predicted, 128)" in form and "l1000 (measured, 128)" in form


def test_the_mapping_report_names_what_was_not_used(page: Call) -> None:
    seen = pages.Seen.of(page("GET", address("part/signature/answer", **SETS)).text)
    assert "used 6 of 8" in seen.text and "used 6 of 6" in seen.text
    assert "known, not measured here 1: G999" in seen.text
    assert "no gene 1: 1-Mar" in seen.text


def test_filters_are_those_of_the_service(page: Call) -> None:
    shown = page("GET", address("part/signature/answer", **SETS, in_cell="MCF7", score="cosine")).text
    assert {row[1] for place in (0, 1) for row in cells(shown, place)} == {"MCF7"}
    body = {**toys.SETS, "cell_iname": ["MCF7"], "score": "cosine", "per_tail": 12}
    found = page("POST", "/v1/connectivity", json=body).json()
    assert (
        cells(shown, 1)[0][-4] == f"{next(r for r in found['rows'] if r['word'] == 'reverses')['raw_cs']:.3f}"
    )


def test_the_heatmap_shows_the_signatures_genes_in_the_strongest_profiles(page: Call) -> None:
    shown = page("GET", address("part/signature/answer", **SETS, library="first")).text
    spec = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', shown, re.S)[0])
    (drawn,) = spec["data"]
    genes = [text.split("<br>")[1] for text in drawn["text"][0]]
    assert set(genes[:6]) == set(toys.GENES[:6]) and set(genes[6:]) == set(toys.GENES[6:12])
    z = drawn["z"]
    if isinstance(z, dict):
        z = np.frombuffer(base64.b64decode(z["bdata"]), dtype=z["dtype"]).reshape(-1, len(genes))
    planted = toys.profiles()[toys.PLANTED]
    columns = [toys.GENES.index(gene) for gene in genes]
    assert any(np.allclose(row, planted[columns]) for row in np.asarray(z))


def test_a_stored_profile_is_a_signature_and_is_left_out_of_its_own_library(page: Call) -> None:
    shown = page(
        "GET", address("part/signature/answer", sig=f"S{toys.PLANTED}", of="first", library="first")
    ).text
    found = page("POST", "/v1/connectivity", json={"stored": {"library": "first", "sig_id": "S20"}}).json()
    assert cells(shown, 0)[0][-4] == f"{found['rows'][0]['raw_cs']:.3f}"
    assert "its own row is left out" in shown


def test_a_condition_is_predicted_and_searched_with(client: Any, tiny_bundle: Path, call_api: Any) -> None:
    config = toys.ServeConfig(models={"default": tiny_bundle})
    own = call_api(pages.page_api(client, config))
    shown = own("GET", "/ui/part/signature/answer?pert=drug-1&type=trt_cp&cell=HT29&dose=10&time=24").text
    body = {"conditions": [toys.CONDITION]}
    predicted = own("POST", "/v1/predict", json=body).json()
    genes = own("GET", "/v1/metadata").json()["genes"]
    asked = {"signature": {"genes": genes, "values": predicted["mean"]}, "per_tail": 12}
    found = own("POST", "/v1/connectivity", json=asked).json()
    assert [row[-4] for row in cells(shown, 0)] == [
        f"{row['raw_cs']:.3f}" for row in found["rows"] if row["word"] == "mimics"
    ]
    assert '<tr class="muted">' in shown, "the condition itself is greyed"
    assert "/ui/perturbation?pert=" in shown


def test_a_permalink_shows_the_same_signature(page: Call) -> None:
    many = {"up": "\n".join([*toys.GENES[:6], *(f"LONGNAME{i}" for i in range(80))]), "down": SETS["down"]}
    sent = page("POST", "/ui/signature", data={**many, "library": "l1000"})
    assert sent.status_code == 303
    permalink = sent.headers["location"]
    assert re.match(r"/ui/signature\?s=[\w-]+&library=l1000$", permalink)
    form = page("GET", permalink).text
    assert many["up"] in form and "LONGNAME79" in form
    late = permalink.replace("/ui/", "/ui/part/").replace("signature?", "signature/answer?")
    by_text = page("GET", address("part/signature/answer", **many, library="l1000")).text
    assert page("GET", late).text == by_text


def test_a_signature_too_long_for_an_address_is_answered_without_a_permalink(page: Call) -> None:
    random = np.random.default_rng(1)
    lines = [f"{gene}\t{value}" for gene, value in zip(toys.GENES, random.normal(size=toys.G), strict=True)]
    lines += [f"X{number}\t{random.normal()}" for number in range(3000)]
    answer = page("POST", "/ui/signature", data={"values": "\n".join(lines), "library": "first"})
    seen = pages.Seen.of(answer.text)
    assert answer.status_code == 200
    assert "there is no permalink" in seen.text and "Copy permalink" not in seen.text
    assert "used 60 of 3,060" in seen.text
    assert len(cells(answer.text, 0)) == 12


def test_without_script_the_answer_comes_with_the_form(page: Call) -> None:
    shown = page("GET", address("signature", **SETS, inline="yes", library="first")).text
    assert "Mimickers" in shown and "G999" in shown and len(cells(shown, 0)) == 12
    assert "data:text/csv;base64," in shown


def test_what_was_typed_stays_where_it_is_refused(page: Call) -> None:
    names = " ".join(f"GENE{number}" for number in range(10_000))
    sent = page("POST", "/ui/signature", data={"up": names, "down": "A"})
    assert sent.status_code == 422
    assert "10,000 names, of which 2,000 may be searched for" in sent.text
    assert "GENE9999" in sent.text
    half = page("GET", address("signature", up="TP53 MYC"))
    assert half.status_code == 422
    assert "genes that rise and none that fall" in half.text and "TP53 MYC</textarea>" in half.text
    both = page("GET", address("signature", **SETS, values="TP53 1"))
    assert both.status_code == 422 and "Keep one of them" in both.text


def test_too_few_measured_genes_come_back_with_how_they_were_understood(page: Call) -> None:
    answer = page(
        "GET", address("part/signature/answer", up="G1 TP53 1-Mar", down=SETS["down"], library="first")
    )
    seen = pages.Seen.of(answer.text)
    assert answer.status_code == 422
    assert "up 3 1 TP53 1-Mar" in seen.text


HOSTILE = [
    {"up": ATTACK, "down": ATTACK},
    {**SETS, "library": ATTACK},
    {**SETS, "library": "../../etc/passwd"},
    {**SETS, "library": "x" * 5000},
    {**SETS, "in_cell": ATTACK},
    {**SETS, "in_type": "\u202e\U0001f9ec"},
    {**SETS, "score": ATTACK},
    {**SETS, "model": ATTACK},
    {"s": ATTACK},
    {"s": "A" * 50_000},
    {"sig": ATTACK, "of": "first"},
    {"sig": "S1" * 2000, "of": "first"},
    {"sig": "S1"},
    {"values": f"gene,value\n{ATTACK},1"},
    {"values": "\n".join(f"G{i} 0" for i in range(20))},
    {"values": "\n".join(f"G{i} 1e308" for i in range(20))},
    {"up": "\U0001f9ec " * 10, "down": "\x00 \x01 \ud7ff"},
    {"up": "G1," * 50, "down": "G1," * 50},
    {"pert": ATTACK, "type": "trt_cp", "cell": ATTACK},
    {"pert": "drug-1", "dose": "nan"},
    {"up": "A" * 4000, "down": "B"},
]


@pytest.mark.parametrize("parameters", HOSTILE, ids=lambda each: "+".join(each))
def test_hostile_addresses_end_in_a_remedy_and_never_in_a_script(
    page: Call, parameters: dict[str, str]
) -> None:
    for view in ("signature", "part/signature/answer"):
        for answer in (
            page("GET", address(view, **parameters)),
            page("GET", address(view, **parameters, inline="yes")),
        ):
            assert answer.status_code < 500
            assert "<script>alert" not in answer.text
    sent = page("POST", "/ui/signature", data=parameters)
    assert sent.status_code < 500 and "<script>alert" not in sent.text


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["up", "down", "values", "s", "library", "score"]), st.text(max_size=60))
)
def test_no_address_fails_the_server(page: Call, parameters: dict[str, str]) -> None:
    assert page("GET", address("part/signature/answer", **parameters)).status_code < 500


@pytest.mark.parametrize(
    ("body", "status"), [(b"\xff\xfe", 422), (b"&".join([b"a=1"] * 500), 422), (b"view=x&template=y", 303)]
)
def test_forms_that_are_none_are_refused(page: Call, body: bytes, status: int) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert page("POST", "/ui/signature", content=body, headers=headers).status_code == status


def test_what_is_copied_asks_for_the_rows_that_are_shown(page: Call) -> None:
    shown = page("GET", address("part/signature/answer", **SETS, library="first")).text
    copies = [html.unescape(text) for text in re.findall(r'data-copy="(.*?)"', shown, re.S)]
    words = shlex.split(next(text for text in copies if text.startswith("curl")))
    body = json.loads(words[words.index("-d") + 1])
    found = page("POST", "/v1/connectivity", json=body).json()
    assert [row[-4] for row in cells(shown, 0)] == [
        f"{row['raw_cs']:.3f}" for row in found["rows"] if row["word"] == "mimics"
    ]
    assert "{origin}/ui/signature?" in copies[2]


def test_stored_profiles_come_in_the_order_asked_for_or_not_at_all(
    client: Any, files: Path, tiny_bundle: Path
) -> None:
    service = AnalysisService(toys.config_of(files, tiny_bundle), client)
    for library in ("first", "l1000"):
        found = anyio.run(service.stored_profiles, library, ["S20", "S3", "S100"])
        assert not isinstance(found, Problem)
        assert found.genes == tuple(toys.GENES)
        np.testing.assert_array_equal(found.values, toys.profiles()[[20, 3, 100]])
    for names in (["S20", "nothing"], [], ["S1"] * 2000):
        refused = anyio.run(service.stored_profiles, "first", names)
        assert isinstance(refused, Problem) and refused.status in (404, 422)
