"""README and docs name only what is there: files, commands with their options, targets of make, parameters, C names."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from patchline import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = (
    "pipeline", "stages", "firmware_template", "tests", "benchmarks", "docs", "scripts", "hil", "schedule", "network",
    "build", "codegen", "search", "supernet", "targets", "data", "tracking",
)  # fmt: skip
"""Folders of the repository and of the library in which a page may name a file."""

MADE = re.compile(r"build/(stm32f412|mine|my-board)|data/(raw|prepared|\*\*)")
"""Places that a run or a user makes."""

in_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@in_every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@in_every_page
def test_files_exist(page: Path) -> None:
    for name in re.findall(r"`([\w.*/-]+/[\w.*-]*)`", page.read_text()):
        if name.split("/")[0] in PLACES and not MADE.match(name):
            assert any(next(base.glob(name), None) for base in (ROOT, ROOT / "pipeline" / "patchline")), name


@in_every_page
def test_commands_take_the_options_that_are_shown(page: Path) -> None:
    for line in commands(page.read_text()):
        words = shlex.split(line, comments=True)
        assert words[1] in cli.command_names(), line
        known = options(words[1])
        for word in words[2:]:
            if word.startswith("-"):
                assert word.split("=")[0] in known, line


@in_every_page
def test_make_has_the_targets(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    of_a_package = {"host", "example", "profile"}
    for target in re.findall(r"(?:^\s*|`)make ([a-z][a-z-]*)", page.read_text(), re.M):
        assert target in targets | of_a_package, target


@in_every_page
def test_parameters_exist(page: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    sections = {name: entries for name, entries in params.items() if isinstance(entries, dict)}
    for section, key in re.findall(rf"`({'|'.join(sections)})\.([a-z_]+)", page.read_text()):
        if key not in {"json", "py"}:
            assert key in sections[section], f"{section}.{key}"


@in_every_page
def test_names_in_c_exist(page: Path) -> None:
    for name in set(re.findall(r"`((?:pl|board|model|PL|MODEL)_\w+)", page.read_text())):
        assert re.search(rf"\b{name}\b", sources()), name


def commands(text: str) -> list[str]:
    """Command lines of Patchline: in backticks, and lines that begin with one."""
    found = re.findall(r"`(patchline [a-z][^`\n]*)`", text)
    found += re.findall(r"^(?:\s*|.*&& |\s*\$ )(patchline [a-z-]+(?: [^\n]*)?)$", text, re.M)
    return [re.sub(r"\s{2,}.*|\s&&.*", "", line.strip()) for line in found if "patchline @" not in line]


@functools.cache
def options(command: str) -> set[str]:
    context = typer.Context(typer.main.get_command(cli.app))
    found: Any = typer.main.get_command(cli.app)
    return {name for option in found.get_command(context, command).params for name in option.opts} | {"--help"}


@functools.cache
def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def sources() -> str:
    folders = (ROOT / "firmware_template", ROOT / "pipeline" / "patchline" / "codegen" / "templates")
    return "\n".join(
        path.read_text() for folder in folders for path in folder.rglob("*") if path.suffix in {".c", ".h", ".S", ".j2"}
    )
