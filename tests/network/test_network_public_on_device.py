"""Public TFLite models as firmware on the emulated board: outputs identical to TFLite's reference kernels.

Three images each; `benchmarks/tflite_on_device.py` runs as many as one likes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import tflite_on_device
from patchline import targets

MODELS = Path(__file__).parents[3] / "shared" / "models"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vww_96_int8.tflite", "mcunet-vww1.tflite"])
def test_firmware_equals_tflite(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    if not (MODELS / name).exists():
        pytest.skip(f"{name} is not at hand")
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    found = tflite_on_device.compare(MODELS / name, targets.load("stm32f746"), 3)
    assert found.device.shape == (3, 2)
    assert np.array_equal(found.device, found.tflite)
