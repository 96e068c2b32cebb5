#!/bin/sh
# A worker of a Ray cluster, in the foreground. Further arguments go to `ray start`.
#
# Secret: RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_FILE, or RAY_AUTH_TOKEN_PATH, Ray's own name for the file
# Settings: RAY_HEAD_ADDRESS (host:port), RAY_HEAD_PATIENCE (seconds), RAY_NUM_CPUS, RAY_NUM_GPUS,
#   RAY_MEMORY, RAY_OBJECT_STORE_MEMORY (bytes), RAY_BLOCK (`false`: return once Ray runs)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

ray_token
required RAY_HEAD_ADDRESS
case $RAY_HEAD_ADDRESS in
    ?*:[0-9]*) ;;
    *) die "RAY_HEAD_ADDRESS: expected host:port, got $RAY_HEAD_ADDRESS" ;;
esac

ray_options
patience=${RAY_HEAD_PATIENCE:-120}
# This node's address is the one that reaches the head, whatever other networks there are.
address=$(python3 "$here/await_head.py" "$RAY_HEAD_ADDRESS" "$patience") ||
    die "no head at $RAY_HEAD_ADDRESS within $patience s"

# shellcheck disable=SC2086
set -- start --address "$RAY_HEAD_ADDRESS" --node-ip-address "$address" $options "$@"
[ "${RAY_BLOCK:-true}" != false ] || exec ray "$@"

# SIGTERM: Ray drains this node, and its trials take their checkpoints away and end meanwhile.
ray "$@" &
ray=$! leaving=no code=0
trap 'trap "" TERM; leaving=yes; kill -TERM "$ray"; python3 "$here/end_trials.py" "$ray"' TERM
wait "$ray" || code=$?
# The first wait ended with the signal, this one with Ray.
[ $leaving = no ] || { code=0 && wait "$ray" || code=$?; }
exit "$code"
