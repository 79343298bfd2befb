"""README and documentation: every block of code runs as it stands, every link leads somewhere."""

import ast
import re
import shlex
import sys
import tomllib
from types import ModuleType
from urllib.parse import urlsplit

import pytest
import typer
from helpers.documentation import DOCS, PAGES, ROOT, anchors_of, blocks_of, links_of, name_of

from forgetless.benchmarks import load_suite
from forgetless.benchmarks.command import app, main

LANGUAGES = {"", "python", "bash", "toml", "{toctree}", "{include}"}
WITH_CODE = [page for page in PAGES if any(block.language in ("python", "bash", "toml") for block in blocks_of(page))]
SLOW = [page for page in WITH_CODE if any(block.when == "slow" for block in blocks_of(page))]


def commands_of(block):
    """The lines of a block that call forgetless, as lists of arguments."""
    if block.language not in ("", "bash"):
        return []
    code = re.sub(r"\$\{\w+\}", "1", re.sub(r"\\\n\s*", "", block.code))  # one line for each, and a value for variables
    calls = [call for line in code.splitlines() for call in line.split(" && ") if call.startswith("forgetless ")]
    # In a list of commands, what each does stands beside it.
    return [shlex.split(re.split(r"\s{2,}| #", call)[0])[1:] for call in calls]


def run_blocks(page, slow, monkeypatch):
    """Run the blocks of a page in one namespace and the current folder, as a reader would."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where pickle finds classes
    monkeypatch.syspath_prepend(".")
    for block in blocks_of(page):
        if block.when == "slow" and not slow:
            continue
        if block.file:
            monkeypatch.delitem(sys.modules, block.file.removesuffix(".py"), raising=False)  # another page's
            with open(block.file, "w", encoding="utf-8") as file:
                file.write(block.code)
        elif block.language == "python":
            exec(compile(block.code, name_of(page), "exec"), vars(module))
        elif block.when == "slow":
            for arguments in commands_of(block):
                monkeypatch.setattr(sys, "argv", ["forgetless", *arguments])
                with pytest.raises(SystemExit) as end:
                    main()
                assert not end.value.code, arguments
        if block.language == "toml":
            assert load_suite(block.file) if block.file else tomllib.loads(block.code)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_code_runs(page, folder, monkeypatch):
    if "from river" in page.read_text("utf-8"):
        pytest.importorskip("river", reason="forgetless[data] has river")
    run_blocks(page, False, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=name_of)
def test_code_that_takes_minutes_runs(page, folder, monkeypatch):
    run_blocks(page, True, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_there_with_their_options(page):
    command = typer.main.get_command(app)
    for block in blocks_of(page):
        assert block.language in LANGUAGES or block.language.startswith("{"), block
        for name, *arguments in commands_of(block):
            if name.startswith("-"):
                continue
            assert name in command.commands, name
            command.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    for link in links_of(page):
        parts = urlsplit(link)
        if parts.scheme:
            fine = parts.scheme in ("https", "mailto") and ("." in parts.netloc or parts.scheme == "mailto")
        else:
            fine = is_there(page, parts.path, parts.fragment)
        if not fine:
            broken.append(link)
    assert not broken


def is_there(page, path, anchor):
    target = page if not path else (page.parent / path).resolve()
    if "auto_examples" in target.parts:  # made by the gallery of the example of this name
        example = re.sub(r"^sphx_glr_|_\d+$", "", target.stem)
        return example == "index" or (ROOT / "examples" / f"{example}.py").exists()
    if target.parent == DOCS / "api" and target.suffix == ".rst":  # made of the public names
        return (ROOT / target.stem / "__init__.pyi").exists()
    return target.exists() and (not anchor or anchor in anchors_of(target))


def test_speed_in_the_readme_is_that_of_the_last_run():
    table = (DOCS / "performance.md").read_text("utf-8").partition("### Avalanche, on tensors")[2].partition("###")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if "| 1 thread |" in line]
    ratios = [float(row[8]) for row in rows]
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"Avalanche takes {min(ratios):.1f} to {max(ratios):.1f} times as long" in text


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_for_the_gallery(example):
    text = ast.get_docstring(ast.parse(example.read_text("utf-8")))
    title, line, _ = text.split("\n", 2)
    assert line == "=" * len(title)
