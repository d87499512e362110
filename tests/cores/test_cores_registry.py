"""Cores are found by name, and nothing outside their folder names one."""

import re
from pathlib import Path

import pytest

from patchline import cores
from patchline.errors import UserError
from patchline.schedule import latency

PACKAGE = Path(cores.__file__).parents[1]


@pytest.mark.parametrize("name", cores.names())
def test_every_core_is_complete(name: str) -> None:
    from unicorn import arm_const

    core = cores.load(name)
    assert core.name == name
    assert hasattr(arm_const, f"UC_CPU_ARM_{core.emulated_as}")
    assert latency.figures(name)["kernels"]
    assert f"-mcpu={name} " in core.cpu_flags(True)
    assert ("-mfloat-abi=hard" in core.cpu_flags(True)) and ("-mfloat-abi=soft" in core.cpu_flags(False))


def test_cores_of_one_family_define_the_same_names() -> None:
    """Templates and start-up code may ask for any of them on any board."""
    assert len({frozenset(cores.load(name).defines) for name in cores.names()}) == 1


def test_an_unknown_core_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"core 'cortex-m99' is not known; there are cortex-m4, cortex-m7"):
        cores.load("cortex-m99")


def test_no_module_outside_the_cores_names_one() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "cores" not in path.parents]
    assert len(files) > 50
    assert [path.name for path in files if re.search(r"cortex.m\d", path.read_text(encoding="utf-8").lower())] == []
