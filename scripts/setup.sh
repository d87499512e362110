#!/usr/bin/env bash
# Everything Patchline needs, installed where missing: Debian packages, then .venv from requirements.lock.
# A stamp in .venv makes a second call return at once; `make setup FORCE=1` starts afresh.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.patchline-setup
wanted=$(cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)
if [ "${FORCE:-}" != 1 ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

say() { printf '== %s\n' "$*"; }

# Python 3.11 is what the lock file was made for; a newer one mostly works, an older one does not.
python_command() {
  local name
  for name in python3.11 python3 python3.12 python3.13; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

has_newlib() {
  local file
  file=$(arm-none-eabi-gcc -print-file-name=nano.specs 2>/dev/null) && [ "$file" != nano.specs ]
}

missing_packages() {
  local python
  python=$(python_command)
  [ -n "$python" ] || echo python3
  { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; } || echo python3-venv
  command -v git >/dev/null || echo git
  { command -v gcc >/dev/null && [ -e "$(gcc -print-file-name=libasan.so)" ]; } || echo gcc
  [ -e /usr/include/stdio.h ] || echo libc6-dev
  command -v arm-none-eabi-gcc >/dev/null || echo gcc-arm-none-eabi
  has_newlib || echo libnewlib-arm-none-eabi
  [ -e /usr/share/datasets/fashion-mnist ] || [ -e data/raw ] || echo dataset-fashion-mnist
}

install_packages() {
  local as_root=()
  if ! command -v apt-get >/dev/null; then
    echo "error: missing, and there is no apt-get here to install it:" >&2
    printf '  %s\n' "$@" >&2
    echo "These are Debian's names. Install what holds the same, then run this again." >&2
    exit 2
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "error: these packages are missing; as root run: apt-get install $*" >&2
      exit 2
    fi
    as_root=(sudo)
  fi
  say "installing Debian packages: $*"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -gt 0 ]; then
  install_packages "${missing[@]}"
fi

if [ "${FORCE:-}" = 1 ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  say "making .venv"
  "$(python_command)" -m venv --clear .venv
fi
.venv/bin/python scripts/torch_build.py requirements.lock
say "installing Python packages from requirements.lock (a few minutes the first time)"
.venv/bin/python scripts/install.py requirements.lock
.venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "$wanted" > "$stamp"
say "set up; .venv/bin/patchline doctor shows what is installed"
