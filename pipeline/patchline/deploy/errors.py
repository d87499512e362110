"""Errors of the plug-in: MLflow's own kind for callers, one line and no traceback on the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from patchline.errors import UserError
from patchline.hil.outcome import RunError

F = TypeVar("F", bound=Callable[..., Any])


class DeploymentError(MlflowException, click.ClickException):
    """`mlflow deployments` prints it as one line, because click knows its own exceptions."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)
        click.ClickException.__init__(self, message)


def plain_errors(function: F) -> F:
    """Turn Patchline's errors and MLflow's into `DeploymentError`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except DeploymentError:
            raise
        except (UserError, RunError) as error:
            raise DeploymentError(str(error)) from error
        except MlflowException as error:
            raise DeploymentError(error.message) from error

    return wrapped  # type: ignore[return-value]
