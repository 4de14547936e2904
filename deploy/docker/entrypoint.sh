#!/bin/sh
# The first process of a container: `troupe` with the flags of the environment. A coordinator continues the run in its folder if there is
# one, so a container that is started again loses nothing but the work since the last checkpoint.
set -eu

run=${TROUPE_RUN:-/data/run}

case ${1:-} in
  coordinator)
    shift
    # The flags of the environment are words, as in the systemd unit.
    # shellcheck disable=SC2086
    set -- coordinator --keep-serving --out "$run" ${TROUPE_FLAGS:-} "$@"
    for checkpoint in "$run"/*.safetensors; do
      if [ -e "$checkpoint" ]; then
        set -- "$@" --resume
        break
      fi
    done
    ;;
  worker)
    # shellcheck disable=SC2086
    set -- "$@" ${TROUPE_WORKER_FLAGS:-}
    ;;
esac
exec troupe "$@"
