"""Stage track: everything the stages before found out -> one MLflow run for this pipeline state."""

from patchline.cli.track import command
from patchline.errors import run_main

if __name__ == "__main__":
    run_main(command)
