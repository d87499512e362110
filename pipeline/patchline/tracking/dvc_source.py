"""Where a data set comes from, in DVC's terms. MLflow loads this file on every start (entry point): keep it light."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow.data.dataset_source import DatasetSource


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
