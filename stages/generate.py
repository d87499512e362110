"""Stage generate (one target): network.npz -> plan, C sources and firmware: build/<target>/, models/<target>/plan.json.

python stages/generate.py TARGET -> metrics/<target>/generate.json
"""

from pathlib import Path
from typing import Any

from patchline import build, codegen, files, targets
from patchline.build import elf
from patchline.config import load_params
from patchline.errors import UserError, run_for_target
from patchline.network import serialize
from patchline.schedule import solve


def main(name: str) -> None:
    params = load_params().search
    target = targets.load(name)
    network = serialize.load(Path("models") / name / "network.npz")
    limits: dict[str, Any] = {"input_mode": params.input, "max_extra_macs": params.max_extra_macs}
    plan = solve(network, target, kind=params.schedule, sram_budget=params.sram_budget, **limits).plan
    if not plan.fits:
        raise UserError(f"{name}: the network {plan.reason}. Raise search.sram_budget, or let the search run again")
    folder = codegen.generate(network, plan, target, Path("build") / name)
    linked = elf.load(build.compile_folder(folder))
    sizes = build.check_sizes(linked, plan)
    budget = min(params.flash_budget or target.flash.size, target.flash.size)
    if sizes.flash > budget:
        raise UserError(f"{name}: the firmware takes {sizes.flash} bytes of flash, the limit is {budget} bytes")
    files.write_text(Path("models") / name / "plan.json", plan.to_json())
    # the least that MCUNetV2's kind of plan takes; streamed input cannot be cut into patches
    patch = None if params.input == "pushed" else solve(network, target, kind="patch", **limits).plan
    metrics = {
        "sram_peak_bytes": plan.sram_peak_bytes,
        "activation_peak_bytes": plan.activation_peak_bytes,
        "sram_layer_by_layer_bytes": plan.sram_layer_by_layer_bytes,
        "sram_patch_bytes": patch.sram_peak_bytes if patch else None,
        "flash_bytes": sizes.flash,
        "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio,
        "input_passes": plan.input_passes,
    }
    files.write_json(f"metrics/{name}/generate.json", {k: v for k, v in metrics.items() if v is not None})
    print(
        f"{name}: {plan.sram_peak_bytes:,} bytes of SRAM ({plan.sram_layer_by_layer_bytes:,} layer by layer), "
        f"{sizes.flash:,} bytes of flash, {plan.macs:,} MACs, {plan.extra_macs_ratio:.1%} of them again"
    )


if __name__ == "__main__":
    run_for_target(main)
