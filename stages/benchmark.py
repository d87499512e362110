"""Stage benchmark (one target): build/<target>/firmware.elf on an emulated board, over the test images.

python stages/benchmark.py TARGET -> metrics/<target>/benchmark.json, plots/<target>/per_op.csv
"""

from dataclasses import asdict
from pathlib import Path

from patchline import data, files
from patchline.config import load_params
from patchline.data.parts import part
from patchline.errors import run_for_target
from patchline.hil import bench, cases


def main(name: str) -> None:
    params = load_params().benchmark
    models = Path("models") / name
    case = cases.load_case(Path("build") / name, name, network=models / "network.npz", plan=models / "plan.json")
    test = part(data.load_split("test"), params.images)
    result = bench.run(
        case,
        case.network.contract.values_of(test.images, "the prepared test images"),
        test.labels,
        emulator=params.emulator,
        traced_images=params.traced_images,
    )
    files.write_json(f"metrics/{name}/benchmark.json", result.metrics())
    files.write_csv(f"plots/{name}/per_op.csv", [asdict(row) for row in result.per_op])
    print(
        f"{name}: accuracy {result.accuracy_device:.4f} on the device (one and the same answer for every image: "
        f"{result.accuracy_constant:.4f}), {result.sizes.sram:,} bytes of SRAM, "
        f"{result.sizes.flash:,} of flash, {result.instructions:,} instructions, "
        f"{result.latency_ms_est:.1f} ms (estimate)"
    )
    if result.warning:
        print(f"{name}: warning: {result.warning}")


if __name__ == "__main__":
    run_for_target(main)
