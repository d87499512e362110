"""The prepared data as an MLflow dataset: named by DVC's hash, loadable again from the repository that DVC tracks."""

from __future__ import annotations

from pathlib import Path

from mlflow.data.meta_dataset import MetaDataset

from patchline.tracking.dvc_source import DvcSource
from patchline.tracking.results import Results
from patchline.tracking.state import git, locked_hash

PREPARED = "data/prepared"


def prepared_dataset(results: Results, repository: Path) -> MetaDataset:
    """The prepared data of this pipeline state; `repository` is used as address where git knows no remote."""
    md5 = locked_hash(results.root, "prepare", PREPARED)
    address = git(results.root, "remote", "get-url", "origin") or str(repository)
    source = DvcSource(_without_password(address), git(results.root, "rev-parse", "HEAD"), PREPARED, md5)
    return MetaDataset(
        source, name=str(results.manifest.get("name") or results.params.project), digest=md5[:36] or None
    )


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else address
