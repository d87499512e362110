"""Plug-in of `mlflow deployments`: models of the registry onto emulated boards, `patchline:/<target>`.

MLflow loads this module by its entry point and expects exactly one client class, `run_local` and `target_help`.
"""

from patchline.deploy.client import PatchlineDeployments, run_local, target_help

__all__ = ["PatchlineDeployments", "run_local", "target_help"]
