"""Stage quantize: models/<target>/subnet.pt -> int8 model.onnx, network.npz and metrics/<target>/quantize.json.

python stages/quantize.py TARGET
"""

from pathlib import Path

from patchline import files
from patchline.config import load_params
from patchline.errors import run_for_target
from patchline.quantize.results import METRICS, MODEL, NETWORK, quantized


def main(name: str) -> None:
    folder = Path("models") / name
    made = quantized(load_params(), folder / "subnet.pt")
    for file, to in ((MODEL, folder), (NETWORK, folder), (METRICS, Path("metrics") / name)):
        files.write_bytes(to / file, (made / file).read_bytes())
    metrics = files.read_json(made / METRICS)
    print(
        f"{name}: accuracy on the test images: float {metrics['accuracy_fp32']:.4f}, int8 reference "
        f"{metrics['accuracy_int8']:.4f}, int8 onnxruntime {metrics['accuracy_onnxruntime']:.4f}"
    )


if __name__ == "__main__":
    run_for_target(main)
