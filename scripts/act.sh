#!/usr/bin/env bash
# The CI workflow on this machine, without Docker: act runs it in a scratch clone of the last commit with an origin of
# its own, so nothing is pushed to yours. DVC's cache serves as the remote. Set MLFLOW_TRACKING_URI to see it promote.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
export DVC_NO_ANALYTICS=1

scratch=$(mktemp -d "${TMPDIR:-/tmp}/patchline-act.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

git diff --quiet HEAD -- || echo "note: changes that are not committed stay out"
git clone -q --bare "$repository" "$scratch/origin.git"
git clone -q "$scratch/origin.git" "$scratch/repo"
cd "$scratch/repo"
git config user.name patchline
git config user.email patchline@localhost

HOME="$scratch" act push -W .github/workflows/patchline.yml -P ubuntu-latest=-self-hosted \
  -s DVC_REMOTE_URL="$repository/.dvc/cache" -s MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-}"
git fetch -q origin
git --no-pager log --oneline -3 FETCH_HEAD 2>/dev/null || true
