"""Layer-by-layer against streamed plans of a whole network, run on an emulated board: memory, instructions,
bit-exactness.

    python benchmarks/streaming_on_device.py mobilenet_v2 --width 0.35 --resolution 144 --target stm32l4r5
    python benchmarks/streaming_on_device.py NETWORK.json --target stm32f746 --plans auto

NETWORK is what `patchline plan` takes; weights of descriptions are seeded random numbers, images are random. Every
output of every image must equal the reference, and the linked sizes must equal the plan: anything else ends with an
error.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from patchline import build, codegen, targets
from patchline.errors import run_main
from patchline.files import write_text
from patchline.hil import bench, cases
from patchline.network import serialize, zoo
from patchline.network.ir import Network
from patchline.schedule import Plan, layer_plan, solve
from patchline.targets import Target


@dataclass(frozen=True)
class Row:
    """One plan, planned and measured (bytes, instructions of one inference)."""

    kind: str
    plan: Plan
    result: bench.Result

    @property
    def sram_allowance(self) -> float:
        """What a board may need for these activations: 10 % and 3 KiB more."""
        return 1.10 * self.plan.activation_peak_bytes + 3 * 1024


def measure(network: Network, target: Target, kind: str, max_extra_macs: float, images: int) -> Row:
    """Plan, generate, build and run `network` on the emulated board with random images."""
    if kind == "layer":
        plan = layer_plan(network, target)
    else:
        plan = solve(network, target, kind="auto", max_extra_macs=max_extra_macs).plan
    with tempfile.TemporaryDirectory() as name:
        folder = codegen.generate(network, plan, target, Path(name) / "firmware")
        serialize.save(network, folder / "network.npz")
        write_text(folder / "plan.json", plan.to_json())
        build.compile_folder(folder)
        shape = (images, *network.tensors[network.input].shape)
        pixels = np.random.default_rng(1).integers(-128, 128, shape, dtype=np.int8)
        case = cases.load_case(folder, target.name, network=folder / "network.npz", plan=folder / "plan.json")
        return Row(kind, plan, bench.run(case, pixels, traced_images=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--target", default="stm32l4r5")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--plans", nargs="+", choices=("layer", "auto"), default=["layer", "auto"])
    parser.add_argument("--max-extra-macs", type=float, default=0.03)
    parser.add_argument("--images", type=int, default=20)
    args = parser.parse_args()
    network = zoo.resolve(args.network, args.width, args.resolution)
    target = targets.load(args.target)
    rows = [measure(network, target, kind, args.max_extra_macs, args.images) for kind in args.plans]
    table = Table(
        title=f"{network.name} on {target.name}, {args.images} images, {network.macs / 1e6:.1f}M MACs", box=None
    )
    names = (
        "plan",
        "activations",
        "SRAM plan",
        "measured",
        "allowed",
        "extra MACs",
        "instructions",
        "ratio",
        "per MAC",
    )
    for name in (*names, "cycles/MAC (est.)", "bit-exact"):
        table.add_column(name, justify="left" if name == "plan" else "right", overflow="fold")
    for row in rows:
        plan, result = row.plan, row.result
        table.add_row(
            row.kind,
            f"{plan.activation_peak_bytes:,}",
            f"{plan.sram_peak_bytes:,}",
            f"{result.sizes.sram:,}",
            f"{row.sram_allowance:,.0f}",
            f"{plan.extra_macs_ratio:.2%}",
            f"{result.instructions:,}",
            f"{result.instructions / rows[0].result.instructions:.3f}",
            f"{result.instructions / network.macs:.2f}",
            f"{result.cycles_est / network.macs:.2f}",
            f"{result.bit_exact_outputs:.1%}",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    run_main(main)
