"""Champion and challenger: when the alias `champion` moves to the model of the current pipeline state."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchline.errors import UserError
from patchline.tracking import lock, state
from patchline.tracking.registry import (
    CHAMPION,
    champion_version,
    model_name,
    read_champion,
    version_of,
)
from patchline.tracking.report import amount
from patchline.tracking.results import Results, TargetResult, load_results
from patchline.tracking.store import connect, exclusive, store_of


@dataclass(frozen=True)
class Decision:
    """What was decided about one board, and why. `moved`: the alias was set (in a dry run: would be)."""

    target: str
    model: str
    version: str
    champion: str | None  # the version that held the alias before
    moved: bool
    accepted: bool  # False: the challenger was refused
    reason: str


def promote(root: Path, *, dry_run: bool = False) -> list[Decision]:
    """Judge the pipeline state in `root`, board by board, and move `champion` where it earned it.

    A challenger must hold every constraint, be bit-exact, and lose no more than promote.tolerance of device accuracy
    against the champion on the same test set. Where the test set has changed, the champion's network is run on the
    new one first. The alias moves under a lock, and only while the champion is the one of the verdict: two processes,
    also on different machines, never both win (`lock` says what holds on which store).
    """
    results = load_results(root)
    state.check_fresh(root, results.params.targets)
    identity = state.pipeline_state(root)
    store = store_of(root)
    with exclusive(store):
        client = connect(store)
    return [_promote_target(client, results, result, identity, dry_run) for result in results.targets]


def _promote_target(client: Any, results: Results, result: TargetResult, identity: str, dry_run: bool) -> Decision:
    name = model_name(results.params.project, result.name)
    version = version_of(client, name, identity)
    if version is None:
        raise UserError(f"model {name} has no version of this pipeline state: run `patchline track` first")
    while True:
        decision = judge(client, results, result, name, str(version.version))  # without the lock: it may take minutes
        if dry_run or not decision.moved:
            return decision
        with suppress(lock.LostError), lock.held(client, name) as check:
            now = champion_version(client, name)
            if decision.champion == (None if now is None else str(now.version)):
                check()
                client.set_registered_model_alias(name, CHAMPION, version.version)
                return decision


def judge(client: Any, results: Results, result: TargetResult, name: str, version: str) -> Decision:
    """The verdict on `version` of model `name` against the champion of now; moves nothing."""
    current = champion_version(client, name)
    before = None if current is None else str(current.version)
    broken = [
        f"{c.label} {amount(c.value, c.unit)}, {'must be' if c.exact else 'at most'} {amount(c.limit, c.unit)}"
        for c in result.constraints
        if not c.holds
    ]
    if broken:
        return Decision(result.name, name, version, before, False, False, "broken: " + "; ".join(broken))
    if before == version:
        return Decision(result.name, name, version, before, False, True, "it is the champion already")
    if current is None:
        return Decision(
            result.name, name, version, before, True, True, "every constraint holds and there was no champion"
        )
    accepted, reason = _compare(client, results, result, current)
    return Decision(result.name, name, version, before, accepted, accepted, reason)


def _compare(client: Any, results: Results, result: TargetResult, current: Any) -> tuple[bool, str]:
    champion = read_champion(client, current, result.name)
    new, old = result.metrics.get("accuracy_device"), champion.metrics.get("accuracy_device")
    note = ""
    if champion.test_hash != results.comparable_hash(result):
        old, note = _champion_on_new_data(client, results, result, current)
    if new is None or old is None:
        return False, note or "the accuracy on the device is not known for both models"
    tolerance = results.params.promote.tolerance
    # Accuracies are counts over the same images; the small term keeps 0.90 - 0.01 from refusing 0.89.
    if new < old - tolerance - 1e-9:
        return False, f"accuracy {new:.4f} is more than {tolerance:g} below the champion's {old:.4f}{note}"
    return (
        True,
        f"all constraints hold, accuracy {new:.4f} against the champion's {old:.4f}{note}, tolerance {tolerance:g}",
    )


def _champion_on_new_data(
    client: Any, results: Results, result: TargetResult, current: Any
) -> tuple[float | None, str]:
    """Accuracy of the champion on the test set of now, remembered in a tag of its version.

    The reference executor stands for the champion's firmware, which was bit-exact with it when it became champion.
    """
    tag = f"patchline.accuracy.{results.comparable_hash(result)[:24]}"
    if tag in current.tags:
        return float(current.tags[tag]), " measured again on the new test set"
    import mlflow

    from patchline.data.parts import part
    from patchline.data.prepared import load_split
    from patchline.network import reference, serialize

    path = mlflow.artifacts.download_artifacts(f"models:/{current.name}/{current.version}")
    network = serialize.load(Path(path) / "extra_files" / "network.npz")
    test = part(load_split("test", results.root / "data/prepared"), results.params.benchmark.images)
    images, labels = test.images, test.labels
    shape, outputs = network.tensors[network.input].shape, network.tensors[network.outputs[0]].channels
    if images.shape[1:] != shape or outputs != len(results.classes):
        return None, (
            f"champion version {current.version} reads {shape} and knows {outputs} classes, the test set has "
            f"{images.shape[1:]} and {len(results.classes)}: move the alias by hand if this is meant"
        )
    logits = reference.run_batch(network, network.contract.values_of(images))[network.outputs[0]]
    accuracy = float(np.mean(logits.reshape(len(labels), -1).argmax(axis=1) == labels))
    client.set_model_version_tag(current.name, current.version, tag, repr(accuracy))
    return accuracy, " measured again on the new test set"
