"""The prepared data as an MLflow dataset: named by DVC's hash, loadable again from the repository that DVC tracks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow.data.dataset_source import DatasetSource
from mlflow.data.meta_dataset import MetaDataset

from patchline.tracking.results import Results
from patchline.tracking.state import git, locked_hash

PREPARED = "data/prepared"


class DvcSource(DatasetSource):
    """A path in a repository with DVC at a commit; `md5` is DVC's hash of the content."""

    def __init__(self, repository: str, revision: str, path: str, md5: str) -> None:
        self.repository = repository
        self.revision = revision
        self.path = path
        self.md5 = md5

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError("a DVC source is made from its parts, not from an address")

    def load(self) -> str:
        """Fetch the data into a new temporary folder; returns its path."""
        from dvc.api import DVCFileSystem

        folder = Path(tempfile.mkdtemp(prefix="patchline-data-")) / Path(self.path).name
        DVCFileSystem(self.repository, rev=self.revision or None).get(self.path, str(folder), recursive=True)
        return str(folder)

    def to_dict(self) -> dict[str, str]:
        return {"repository": self.repository, "revision": self.revision, "path": self.path, "md5": self.md5}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> DvcSource:
        return cls(**source_dict)


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
