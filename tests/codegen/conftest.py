"""Shared by the tests of the generated C: one folder of compiled objects that do not depend on the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from patchline import codegen
from patchline.build import host
from patchline.network import reference
from patchline.network.ir import Network
from patchline.schedule.plan import Plan


@pytest.fixture(scope="session")
def shared_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


CheckOnHost = Callable[..., None]


@pytest.fixture(scope="session")
def check_on_host(shared_objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckOnHost]:
    """Compile a plan with sanitizers, run it on a poisoned arena and compare all outputs with the reference."""
    if shutil.which("gcc") is None or shutil.which("make") is None:
        pytest.skip("gcc and make are not installed")
    folder = tmp_path_factory.mktemp("generated")

    def check(network: Network, plan: Plan, images: np.ndarray, *, emulate_dsp: bool) -> None:
        out = codegen.generate(network, plan, None, folder / "model")
        program = host.build(out, sanitize=True, emulate_dsp=emulate_dsp, shared=shared_objects)
        expected = reference.run_batch(network, images)
        found = host.run(program, network, images, poison=True)
        if any(not np.array_equal(found[name], expected[name]) for name in expected):
            differing = (host.compare(program, network, image) for image in images)
            pytest.fail("; ".join(str(d) for d in differing if d) or "outputs differ although every row was right")

    yield check
    shutil.rmtree(folder, ignore_errors=True)
