"""The code of README and docs runs, the commands they show exist with their options, links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import click
import pytest
from doc_pages import ALL_PAGES, PAGES, ROOT, anchors, command_lines, inline_commands, links, name_of, python_blocks

from ovito_mace_phase.cli import group
from ovito_mace_phase.model.registry import SHIPPED

MOST_NOT_RUN = 3
"""Blocks that may be left out, in all pages."""

GIVEN = """
from ase.build import bulk
crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3)
positions, types, cell, pbc = crystal.positions, crystal.numbers, crystal.cell[:], True
"""
"""Names that pages use for the reader's own arrays."""

RUNNER = """
import json, sys
namespace = {"__name__": "__main__"}
for name, code in json.load(sys.stdin):
    exec(compile(code, name, "exec"), namespace)
"""

PRINTED = {
    "docs/recipes.md": {
        r"step +0 +crystal +([\d.]+)%": (59, 63),
        r"step +15000 +crystal +([\d.]+)%": (0, 0),
        r"1430 K: +(\S+) m/s": (-95, -70),
        r"melting point: (\d+) K": (1307, 1347),  # 1327 K for the potential
        r"22\.0 ps +crystal from +(\S+) to": (-52, -46),
        r"22\.0 ps .* to +(\S+) of": (0, 6),
        r"(\d+) grains": (6, 6),
        r"(\d+)% of the atoms are in boundaries": (45, 55),
        r"step 15000: (\d+) molecules": (432, 432),
        r"\[([\d.]+), 1\.0\]": (1, 1),
        r"rock salt ([\d.]+)": (1, 1),
    },
}
"""Page: what its code prints, as a pattern with one number, and the limits of the number."""

BLOCKS = [block for page in PAGES for block in python_blocks(page)]
NOT_RUN = [block for block in BLOCKS if block.mark == "not run"]


def test_modules_named_in_the_text_exist():
    """A file in backticks, as `engine/sweep.py`, is one of the repository: names outlive a move otherwise."""
    folders = ("ovito_mace_phase", "docs", "examples", "sample_dumps", "tests")
    files = ["/" + path.relative_to(ROOT).as_posix() for name in folders for path in (ROOT / name).rglob("*.py")]
    texts = [page for page in PAGES if page.name != "migrating.md"]
    texts += (ROOT / "ovito_mace_phase").rglob("*.py")
    named = [(text, word) for text in texts for word in re.findall(r"`([\w/]+\.py)`", text.read_text(encoding="utf-8"))]
    assert len(named) > 50
    gone = [
        f"{text.relative_to(ROOT)}: {word}"
        for text, word in named
        if not any(one.endswith("/" + word) for one in files)
    ]
    assert not gone, gone


def _pages():
    for page in PAGES:
        blocks = [block for block in python_blocks(page) if block.mark != "not run"]
        if blocks:
            slow = [pytest.mark.slow] if any(block.mark == "slow" for block in blocks) else []
            yield pytest.param(blocks, id=name_of(page), marks=slow)


@pytest.mark.skipif(not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree")
@pytest.mark.parametrize("blocks", list(_pages()))
def test_python_of_a_page_runs(blocks, tmp_path):
    (tmp_path / "sample_dumps").symlink_to(ROOT / "sample_dumps", target_is_directory=True)
    code = [("given", GIVEN), *((f"{name_of(block.page)}:{block.line}", block.code) for block in blocks)]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(code),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for pattern, (least, most) in PRINTED.get(name_of(blocks[0].page), {}).items():
        found = re.search(pattern, done.stdout)
        assert found, f"{pattern} in\n{done.stdout}"
        assert least <= float(found[1]) <= most, found[0]


def test_blocks_that_are_not_run_say_why(capsys):
    with capsys.disabled():
        print(f"\n{len(BLOCKS)} Python blocks in the documentation, {len(NOT_RUN)} not run")
        for block in NOT_RUN:
            print(f"  {name_of(block.page)}:{block.line}: {block.reason}")
    assert len(NOT_RUN) <= MOST_NOT_RUN
    assert all(len(block.reason.split()) >= 3 for block in NOT_RUN)


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: f"{name_of(block.page)}:{block.line}")
def test_imports_of_blocks_that_are_not_run(block):
    found = [node for node in ast.parse(block.code).body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(body=found, type_ignores=[]), name_of(block.page), "exec"), {})


def test_python_is_well_formed():
    assert len(BLOCKS) >= 10
    for block in BLOCKS:
        ast.parse(block.code, f"{name_of(block.page)}:{block.line}")


def _parse(arguments: list[str]) -> None:
    """Let click read a command line without running it; files need not be there."""
    first = next((k for k, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    try:
        with group.make_context("ovito-mace-phase", arguments[: first + 1], obj={"traceback": False}) as context:
            name, command, _ = group.resolve_command(context, arguments[first:])
            command.make_context(name, arguments[first + 1 :], parent=context)
    except click.exceptions.Exit:
        return  # --help and --version
    except click.BadParameter as error:
        if not error.format_message().rstrip(".").endswith("does not exist"):
            raise


COMMANDS = [(name_of(page), *found) for page in PAGES for found in command_lines(page)]


@pytest.mark.parametrize(("page", "line", "arguments"), COMMANDS, ids=[f"{page}:{line}" for page, line, _ in COMMANDS])
def test_commands(page, line, arguments):
    _parse(arguments)


def test_commands_were_found():
    assert {arguments[0] for _, _, arguments in COMMANDS} >= {"classify", "phases", "add-phase", "bench", "evaluate"}


def test_commands_in_the_text():
    assert sum(len(list(inline_commands(page))) for page in PAGES) >= 10
    for page in PAGES:
        for line, arguments in inline_commands(page):
            try:
                _parse([argument for argument in arguments if argument != "..."])
            except click.MissingParameter:
                pass  # the text names a command without all that it needs
            except click.ClickException as error:
                pytest.fail(f"{name_of(page)}:{line}: {' '.join(arguments)}: {error.format_message()}")


@pytest.mark.parametrize(
    "wrong", [["clasify", "a.dump"], ["classify", "a.dump", "--speces", "1"], ["phases", "--grp", "x"]]
)
def test_wrong_commands_are_noticed(wrong):
    with pytest.raises(click.ClickException):
        _parse(wrong)


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_links(page):
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_messages_of_the_trouble_shooting_page_are_those_of_the_code():
    """Quoted messages (`> ...`) consist of pieces of string literals; `...` stands for what differs."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^> (.+(?:\n> .+)*)", text, re.M)
    assert len(quoted) >= 12
    strings = "\n".join(
        piece.value if isinstance(piece, ast.Constant) and isinstance(piece.value, str) else "\n"
        for file in sorted((ROOT / "ovito_mace_phase").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Constant)
        for piece in (node.values if isinstance(node, ast.JoinedStr) else [node])
    )
    for message in quoted:
        for piece in filter(None, (part.strip() for part in re.split(r"\.\.\.", message.replace("\n> ", " ")))):
            assert piece in strings, f"not in the code: {piece!r}"
