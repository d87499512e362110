"""Stage generate (one target): network.npz -> plan, C sources and firmware: build/<target>/, models/<target>/plan.json.

python stages/generate.py TARGET -> metrics/<target>/generate.json
"""

from pathlib import Path

from patchline import build, codegen, files, targets
from patchline.build import elf
from patchline.config import load_params
from patchline.errors import UserError, run_for_target
from patchline.network import serialize
from patchline.schedule import best_patch_plan, solve
from patchline.schedule.limits import Limits


def main(name: str) -> None:
    params = load_params().search
    target = targets.load(name)
    network = serialize.load(Path("models") / name / "network.npz")
    limits = Limits.of(params, target)
    solution = solve(
        network, target, kind=params.schedule, input_mode=params.input, max_extra_macs=params.max_extra_macs,
        sram_budget=params.sram_budget,
    )  # fmt: skip
    plan = solution.plan
    if not plan.fits:
        reason = solution.why_not("search.max_extra_macs:")
        raise UserError(f"{name}: the network {reason}. Raise search.sram_budget, or let the search run again")
    folder = codegen.generate(network, plan, target, Path("build") / name)
    linked = elf.load(build.compile_folder(folder))
    sizes = build.check_sizes(linked, plan)
    if sizes.flash > limits.flash:
        raise UserError(f"{name}: the firmware takes {sizes.flash} bytes of flash, the limit is {limits.flash} bytes")
    files.write_text(Path("models") / name / "plan.json", plan.to_json())
    # MCUNetV2's kind of plan at its best; streamed input cannot be cut into patches
    patch = None if params.input == "pushed" else best_patch_plan(network, target, params.input)
    metrics = {
        "sram_peak_bytes": plan.sram_peak_bytes,
        "activation_peak_bytes": plan.activation_peak_bytes,
        "arena_bytes": plan.arena_bytes,
        "sram_layer_by_layer_bytes": plan.sram_layer_by_layer_bytes,
        "sram_patch_bytes": patch.sram_peak_bytes if patch else None,
        "patch_extra_macs_ratio": patch.extra_macs_ratio if patch else None,
        "flash_bytes": sizes.flash,
        "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio,
        "input_passes": plan.input_passes,
    }
    files.write_json(f"metrics/{name}/generate.json", {k: v for k, v in metrics.items() if v is not None})
    print(
        f"{name}: {plan.sram_peak_bytes:,} bytes of SRAM ({plan.sram_layer_by_layer_bytes:,} layer by layer): "
        f"arena {plan.arena_bytes:,} with {plan.activation_peak_bytes:,} of activations; "
        f"{sizes.flash:,} bytes of flash, {plan.macs:,} MACs, {plan.extra_macs_ratio:.1%} of them again"
    )


if __name__ == "__main__":
    run_for_target(main)
