"""The documentation builds without a warning, and its filled pages hold what the data files say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from doc_pages import ROOT

from ovito_mace_phase import phase_table

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import filled_pages

STRANGE_CARD = {"format": "ovito-mace-phase", "format_version": 1, "name": "bare", "phases": ["OTHER"], "scores": {}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the folder of the built pages."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def _text(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_page_is_there_and_filled(pages):
    for source in (ROOT / "docs").rglob("*.md"):
        built = pages / source.relative_to(ROOT / "docs").with_suffix(".html")
        assert built.is_file(), source.name
        assert not re.search(filled_pages.MARK, _text(built))


@pytest.mark.slow
def test_public_names_are_in_the_reference(pages):
    import ovito_mace_phase

    text = _text(pages / "api.html")
    for name in ovito_mace_phase.__all__:
        assert f'id="ovito_mace_phase.{name}"' in text, name
    assert "apply_to_positions" in text


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(pages):
    for page in pages.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+href="([^"]+)"', _text(page))
        assert [link for pair in loaded for link in pair if re.match(r"(https?:)?//", link)] == [], page.name


@pytest.mark.slow
def test_model_card_is_the_shipped_one(pages):
    card = json.loads(filled_pages.CARD.read_text(encoding="utf-8"))
    text = _text(pages / "model_card.html")
    assert card["name"] in text
    assert card["sha256"] in text
    assert card["citation"][-1] in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's script")
@pytest.mark.parametrize(
    ("words", "key"), [("laves c15", "LAVES_C15"), ("(225) ab2", "FLUORITE"), ("A2B fm-3m", "FLUORITE")]
)
def test_filter_of_the_phase_table(pages, words, key, tmp_path):
    text = _text(pages / "phase_table.html")
    rows = re.findall(r'<tr data-search="([^"]*)">', text)
    assert len(rows) == len(phase_table())
    script = re.search(r"<script>\s*(\(function.*?\}\)\(\);)\s*</script>", text, re.S)[1]
    stub = f"""
    const rows = {json.dumps(rows)}.map(text => ({{style: {{}}, getAttribute: () => text, text}}));
    const field = {{value: {json.dumps(words)}, addEventListener() {{}}}}, count = {{}};
    global.window = {{location: {{hash: ""}}}};
    global.document = {{getElementById: id => id === "phase-filter" ? field : count, querySelectorAll: () => rows}};
    {script}
    console.log(JSON.stringify(rows.filter(row => row.style.display === "").map(row => row.text)));
    """
    done = subprocess.run(["node", "-e", stub], capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert 0 < len(shown) < 40
    assert any(f" {key} " in f" {row} " for row in shown)


def test_formulas():
    phases = {phase["key"]: phase for phase in json.loads(filled_pages.TABLE.read_text(encoding="utf-8"))["phases"]}
    assert filled_pages.formula(phases["FLUORITE"]) == "AB2"
    assert filled_pages.formulas(phases["FLUORITE"]) == ["A2B", "AB2"]
    assert filled_pages.formula(phases["HCP"]) == "A"
    assert filled_pages.formula(phases["OTHER"]) is None


def test_a_card_without_scores_makes_a_page():
    text = filled_pages.card_markdown(STRANGE_CARD)
    assert "| name | bare |" in text
    assert "Accuracy" not in text


def test_links_to_what_is_no_page_become_text():
    page = ROOT / "docs" / "index.md"
    text = "[a](figures/speed.py) [b](quickstart.md#python) [c](https://x.org) [d](nowhere.md) ![e](figures/speed.png)"
    expected = "a [b](quickstart.md#python) [c](https://x.org) [d](nowhere.md) ![e](figures/speed.png)"
    assert filled_pages.unlink(text, page) == expected


def test_panel_lists_all_parameters_and_buttons(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import panel, pathlib; panel.draw(pathlib.Path('p.png')); "
    code += "print(sum(map(len, panel.groups().values())))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "docs" / "figures")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    from ovito_mace_phase.plugin.modifier import MacePhaseModifier, parameter_names

    traits = MacePhaseModifier().traits()
    buttons = [name for name, trait in traits.items() if type(trait.trait_type).__name__ == "Button"]
    assert buttons == ["reload_model", "show_model_card"]
    assert int(done.stdout) == len(parameter_names()) + len(buttons)
    assert (tmp_path / "p.png").stat().st_size > 10_000
