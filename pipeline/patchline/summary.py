"""The results of a finished pipeline as one table, read from the stages' metrics files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from patchline.config import Params
from patchline.files import read_json
from patchline.tracking import stage_metrics

if TYPE_CHECKING:
    from rich.table import Table

Metrics = Mapping[str, float]


def _share(value: float) -> str:
    return f"{value:.4f}"


def _kib(value: float) -> str:
    return f"{value / 1024:.1f} KB"


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f} M"


# What is shown, in this order: name in the metrics files, label, format.
ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("accuracy_fp32", "accuracy, float", _share),
    ("accuracy_int8", "accuracy, int8 reference", _share),
    ("accuracy_device", "accuracy, firmware on the emulated board", _share),
    ("accuracy_constant", "accuracy of one and the same answer for every image", _share),
    ("bit_exact_outputs", "outputs equal to the reference, bit for bit", "{:.2%}".format),
    ("sram_layer_by_layer_bytes", "SRAM, layer by layer", _kib),
    ("sram_patch_bytes", "SRAM, by patches as MCUNetV2, least of all grids", _kib),
    ("patch_extra_macs_ratio", "for which it computes again, of its MACs", "{:.1%}".format),
    ("sram_peak_bytes", "SRAM, Patchline's plan (all of it: arena, static, stack)", _kib),
    ("arena_bytes", "of this, the arena", _kib),
    ("activation_peak_bytes", "of this, activations", _kib),
    ("flash_bytes", "flash", _kib),
    ("macs", "multiply-accumulates", _millions),
    ("extra_macs_ratio", "of these, computed twice", "{:.1%}".format),
    ("instructions", "instructions per image", _millions),
    ("latency_ms_est", "latency, estimate", "{:.1f} ms".format),
    ("latency_prediction_error", "what the search predicted, against it", "{:+.1%}".format),
)


def collect(root: Path, params: Params) -> dict[str, dict[str, float]]:
    """Metrics by board. Raises UserError naming the first file that is missing."""
    return {target: stage_metrics.load(root, target) for target in params.targets}


def table(results: Mapping[str, Metrics]) -> Table:
    """One row per metric, one column per board; rows that no board has are left out."""
    from rich.table import Table

    view = Table(title="Results", title_justify="left")
    view.add_column("")
    for target in results:
        view.add_column(target, justify="right")
    for name, label, form in ROWS:
        values = [metrics.get(name) for metrics in results.values()]
        if any(value is not None for value in values):
            view.add_row(label, *("" if value is None else form(value) for value in values))
    return view


def remarks(root: Path, results: Mapping[str, Metrics]) -> list[str]:
    """What a reader must know: where an accuracy means little, and what the data are if they are prepared here."""
    warnings = {target: stage_metrics.warning(metrics) for target, metrics in results.items()}
    found = [f"{target}: warning: {warning}" for target, warning in warnings.items() if warning]
    path = root / "data/prepared/manifest.json"
    return [*found, f"Data: {read_json(path)['description']}"] if path.is_file() else found
