#!/usr/bin/env bash
# Everything Patchline needs, installed where missing: Debian packages, then .venv from requirements.lock.
# A stamp in .venv makes a second call return at once; `make setup FORCE=1` starts afresh.
# `scripts/setup.sh tests` installs what only tests use, too. Without it they skip and say why: it is never an error.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }

# The programs that pip puts into .venv are shell scripts that name their folder, and PATH has no quotes.
case $PWD in
*[\"\$\`\\:]*)
  echo "error: no Python environment can lie in $PWD: move this folder to one without \" \$ \` \\ : in its name" >&2
  exit 2
  ;;
esac

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

missing_for_tests() {
  command -v "${QEMU_SYSTEM_ARM:-qemu-system-arm}" >/dev/null || echo qemu-system-arm
  command -v cppcheck >/dev/null || echo cppcheck
  command -v chromium >/dev/null || command -v google-chrome >/dev/null || printf '%s\n' chromium fonts-liberation
}

# Why apt-get cannot be used here; nothing where it can.
why_no_apt() {
  command -v apt-get >/dev/null || { echo "there is no apt-get here"; return; }
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || echo "you are not root and there is no sudo"
}

install_packages() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

stamp=.venv/.patchline-setup
wanted=$(cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)
fresh=$([ "${FORCE:-}" != 1 ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && echo yes || echo no)

missing=() for_tests=()
[ $fresh = yes ] || mapfile -t missing < <(missing_packages)
[ "${1:-}" != tests ] || mapfile -t for_tests < <(missing_for_tests)
if [ ${#missing[@]} -gt 0 ]; then
  if [ -n "$(why_no_apt)" ]; then
    echo "error: these packages are missing, and $(why_no_apt):" >&2
    printf '  %s\n' "${missing[@]}" "${for_tests[@]}" >&2
    echo "These are Debian's names. Install what holds the same, then run this again." >&2
    exit 2
  fi
  say "installing Debian packages: ${missing[*]}"
  install_packages "${missing[@]}"
fi

# What tests need comes in the background, beside the Python packages.
apt_job='' apt_log=''
finish_apt() {
  if [ -n "$apt_job" ] && ! wait "$apt_job"; then
    tail -n 5 "$apt_log" >&2
    skipped
  fi
  rm -f "$apt_log"
  apt_job=''
}
skipped() { echo "note: the tests that need one of these Debian packages will be skipped: ${for_tests[*]}" >&2; }
trap finish_apt EXIT
if [ ${#for_tests[@]} -gt 0 ]; then
  if [ -n "$(why_no_apt)" ] || { [ "$(id -u)" != 0 ] && ! sudo true; }; then # sudo asks for a password here, if at all
    skipped
  else
    say "installing Debian packages for the tests: ${for_tests[*]}"
    apt_log=$(mktemp)
    install_packages "${for_tests[@]}" >"$apt_log" 2>&1 </dev/null &
    apt_job=$!
  fi
fi
[ $fresh = no ] || exit 0

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
