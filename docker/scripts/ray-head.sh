#!/bin/sh
# The head of a Ray cluster, in the foreground. Further arguments go to `ray start`.
#
# Secrets, each as NAME or NAME_FILE:
#   RAY_AUTH_TOKEN             or RAY_AUTH_TOKEN_PATH, Ray's own name for the file
#   MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD   where MLFLOW_TRACKING_URI is set
# Settings: RAY_NODE_IP (an address, or a name for one), RAY_PORT, RAY_DASHBOARD_HOST, RAY_NUM_CPUS,
#   RAY_NUM_GPUS, RAY_MEMORY, RAY_OBJECT_STORE_MEMORY (bytes), RAY_TEMP_DIR,
#   RAY_BLOCK (`false`: return once Ray runs)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

ray_token
# Jobs run on the head and inherit its environment: so they can track, while the password is in no
# job's metadata. The workers never track, and never get it.
if [ -n "${MLFLOW_TRACKING_URI:-}" ]; then
    secret MLFLOW_TRACKING_USERNAME
    secret MLFLOW_TRACKING_PASSWORD
fi

if [ -n "${RAY_NODE_IP:-}" ]; then
    # With several networks Ray would take the one with the default route.
    address=$(getent ahostsv4 "$RAY_NODE_IP" | awk 'NR == 1 {print $1}')
    [ -n "$address" ] || die "RAY_NODE_IP: no address for $RAY_NODE_IP"
    set -- --node-ip-address "$address" "$@"
fi
[ -z "${RAY_TEMP_DIR:-}" ] || set -- --temp-dir "$RAY_TEMP_DIR" "$@"

ray_options
# shellcheck disable=SC2086
exec python3 "$here/ray_without_client.py" start --head --port "${RAY_PORT:-6379}" \
    --include-dashboard true --dashboard-host "${RAY_DASHBOARD_HOST:-127.0.0.1}" \
    --dashboard-port "${RAY_DASHBOARD_PORT:-8265}" $options "$@"
