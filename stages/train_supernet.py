"""Stage train_supernet: data/prepared -> models/supernet.pt, metrics/train_supernet.json and its plots.

Runs on `train_supernet.processes` processes of this machine, or on those of torchrun (docs/scaling.md).
"""

from pathlib import Path

from patchline import data, files, supernet
from patchline.config import load_params
from patchline.errors import run_main
from patchline.supernet.train import checkpoint_folder, train_supernet
from patchline.supernet.workers import joined_workers


def main() -> None:
    params = load_params()
    manifest = data.load_manifest()
    train, val = data.load_split("train"), data.load_split("val")
    folder = checkpoint_folder(Path(".patchline/checkpoints"), params.train_supernet, params.seed, manifest)
    with joined_workers(params.train_supernet.processes) as workers:
        net, history = train_supernet(
            params.train_supernet, params.seed, len(manifest.classes), train, val, folder, workers
        )
        if not workers.leads:
            return
    supernet.save_supernet("models/supernet.pt", net)
    files.write_csv("plots/train_supernet.csv", history.steps)
    files.write_csv("plots/train_supernet_epochs.csv", history.epochs)
    metrics = {
        **{key: history.epochs[-1][key] for key in ("accuracy_largest", "accuracy_smallest")},
        "loss": history.steps[-1]["loss"],
        "epochs": int(history.epochs[-1]["epoch"]),
        "steps": int(history.steps[-1]["step"]),
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    # no times here: equal results on two machines must be equal files
    files.write_json("metrics/train_supernet.json", metrics)
    print(f"trained in {history.seconds:.0f} s")


if __name__ == "__main__":
    run_main(main)
