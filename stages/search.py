"""Stage search: models/supernet.pt -> models/<target>/{subnet.pt, arch.json, plan_search.json, pareto.csv}.

python stages/search.py TARGET
"""

from pathlib import Path

from patchline import data, files, targets
from patchline.config import Params, load_params
from patchline.errors import run_for_target
from patchline.search import Limits, SearchResult, predicted_cycles, search
from patchline.search.cost import candidate_plan
from patchline.search.finetune import AUTO_STEPS, BATCH, fine_tune
from patchline.search.judge import Judge
from patchline.search.results import front_rows, metrics, remembered_network
from patchline.supernet import StaticNet, Supernet, load_supernet, save_static
from patchline.supernet.evaluate import accuracy
from patchline.supernet.images import passes

SUPERNET = "models/supernet.pt"
FINE_TUNED = Path(".patchline/finetuned")


def main(name: str) -> None:
    params, target = load_params(), targets.load(name)
    supernet = load_supernet(SUPERNET)
    manifest = data.load_manifest()
    image_size = manifest.input.height
    train, val = data.load_split("train"), data.load_split("val")
    limits = Limits.of(params.search, target)
    identity = [files.hash_file(SUPERNET), manifest.hashes["train"], manifest.hashes["val"]]

    judge = Judge(supernet, train, val, identity)
    result = search(supernet.space, supernet.classes, judge, target, params.search, limits, params.seed, image_size)
    network, plan = candidate_plan(result.winner.arch, target, params.search, image_size)
    net = tuned(supernet, result, params, train, identity)

    folder = Path("models") / name
    save_static(folder / "subnet.pt", net)
    files.write_json(folder / "arch.json", result.winner.arch.to_dict())
    files.write_text(folder / "plan_search.json", plan.to_json())
    for path in (folder / "pareto.csv", Path("plots") / name / "pareto.csv"):
        files.write_csv(path, front_rows(result))
    cycles = round(predicted_cycles(network, plan, target))
    latency = 1000 * cycles / target.clock_hz
    accuracy_val = accuracy(net, val.images, val.labels)
    files.write_json(f"metrics/{name}/search.json", metrics(result, plan, limits, accuracy_val, cycles, latency))
    print(f"{name}: {result.winner.arch.label}")
    print(
        f"{name}: accuracy {accuracy_val:.4f} (validation), {plan.sram_peak_bytes:,} bytes of SRAM, "
        f"{plan.macs:,} MACs, {latency:.1f} ms (predicted)"
    )


def tuned(
    supernet: Supernet, result: SearchResult, params: Params, train: data.Split, identity: list[str]
) -> StaticNet:
    """The winner, fine-tuned; taken from memory when another board or an earlier run had the same one."""
    arch = result.winner.arch
    epochs = passes(params.search.finetune_epochs, len(train.images), BATCH, AUTO_STEPS)
    settings = [arch.to_dict(), epochs, params.seed, identity]

    def make() -> StaticNet:
        return fine_tune(supernet, arch, train, epochs, params.seed)

    return remembered_network(FINE_TUNED, settings, make)


if __name__ == "__main__":
    run_for_target(main)
