#!/bin/sh
# MLflow's server in the foreground: runs in PostgreSQL, artifacts through the server, and nothing
# without a name and a password.
#
# Secrets, each as NAME or NAME_FILE:
#   POSTGRES_PASSWORD                of POSTGRES_USER
#   MLFLOW_AUTH_ADMIN_PASSWORD       of MLFLOW_AUTH_ADMIN_USERNAME, which may be a secret as well
#   MLFLOW_TRACKING_PASSWORD         of MLFLOW_TRACKING_USERNAME, the account that jobs track with
#   MLFLOW_FLASK_SERVER_SECRET_KEY   signs the sign-up form
# Settings: POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB (in UTF8), POSTGRES_USER,
#   MLFLOW_ARTIFACTS_DESTINATION,
#   MLFLOW_HOST, MLFLOW_PORT, MLFLOW_WORKERS, MLFLOW_SERVER_ALLOWED_HOSTS, MLFLOW_DEFAULT_PERMISSION,
#   MLFLOW_AUTH_CACHE_SECONDS, MLFLOW_UVICORN_OPTS
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

secret POSTGRES_PASSWORD
secret MLFLOW_AUTH_ADMIN_USERNAME
secret MLFLOW_AUTH_ADMIN_PASSWORD
secret MLFLOW_TRACKING_USERNAME
secret MLFLOW_TRACKING_PASSWORD
secret MLFLOW_FLASK_SERVER_SECRET_KEY
required POSTGRES_HOST
required MLFLOW_ARTIFACTS_DESTINATION
user=${POSTGRES_USER:-mlflow} database=${POSTGRES_DB:-mlflow}
address=$POSTGRES_HOST:${POSTGRES_PORT:-5432}
# They become part of an address and of an ini file, both of which have characters of their own.
case $address$user$database in
    *[!A-Za-z0-9._:-]*) die "POSTGRES_HOST, _PORT, _USER, _DB: letters, digits and . _ - only" ;;
esac

# The driver takes the password from here: it is in no address, command line or message.
PGUSER=$user PGPASSWORD=$POSTGRES_PASSWORD
export PGUSER PGPASSWORD
unset POSTGRES_PASSWORD
store=postgresql+psycopg2://$user@$address/$database

# The accounts live in the same database; their tables and migrations have names of their own.
# READ: who has an account sees every experiment and can build its table; changing one takes its
# maker or the administrator. Only the administrator makes accounts.
# A password once checked holds for a minute: the check costs 0.15 s of a core at every request.
# The server reads this file as long as it runs, so no start can remove its own: each one writes the
# same again, in a folder that only we may enter.
port=${MLFLOW_PORT:-5000}
folder=${TMPDIR:-/tmp}/mlflow-auth.$(id -u).$port
mkdir -m 700 "$folder" 2>/dev/null ||
    { [ -d "$folder" ] && [ ! -h "$folder" ] && [ -O "$folder" ] && chmod 700 "$folder"; } ||
    die "$folder: cannot be made, or is not ours alone"
(
    umask 077
    cat >"$folder/basic_auth.ini" <<INI
[mlflow]
default_permission = ${MLFLOW_DEFAULT_PERMISSION:-READ}
database_uri = $store
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = ${MLFLOW_AUTH_CACHE_SECONDS:-60}
INI
) || die "$folder/basic_auth.ini: cannot be written"
export MLFLOW_AUTH_CONFIG_PATH="$folder/basic_auth.ini"
export MLFLOW_DISABLE_TELEMETRY=true
# Scheduled jobs judge language models; nothing here does.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
# A request takes up to three connections at once, and a writer sends eight: with the five that are
# kept otherwise PostgreSQL starts a process for every other request.
export MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=20

python3 "$here/mlflow_accounts.py" || die "the accounts could not be set, see above"
# The server itself needs neither password.
unset MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD

hosts=${MLFLOW_SERVER_ALLOWED_HOSTS:-localhost:$port,127.0.0.1:$port}
# A line for each request in the log would take a tenth of the server's time.
exec mlflow server \
    --app-name basic-auth \
    --backend-store-uri "$store" \
    --serve-artifacts --artifacts-destination "$MLFLOW_ARTIFACTS_DESTINATION" \
    --host "${MLFLOW_HOST:-127.0.0.1}" --port "$port" --workers "${MLFLOW_WORKERS:-2}" \
    --allowed-hosts "$hosts" --uvicorn-opts "${MLFLOW_UVICORN_OPTS---no-access-log}"
