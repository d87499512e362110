"""Stage prepare: raw images -> data/prepared/ and metrics/prepare.json."""

from patchline import data, files
from patchline.config import load_params
from patchline.errors import run_main


def main() -> None:
    params = load_params()
    manifest = data.write_prepared(data.prepare(params.data, params.seed))
    metrics = {
        **{f"images_{split}": count for split, count in manifest.counts.items()},
        "classes": len(manifest.classes),
        "skipped_files": len(manifest.skipped),
        "duplicate_files": manifest.duplicates,
    }
    files.write_json("metrics/prepare.json", metrics)
    if manifest.skipped:
        print(f"left out {len(manifest.skipped)} files that cannot be read; data/prepared/manifest.json names them")


if __name__ == "__main__":
    run_main(main)
