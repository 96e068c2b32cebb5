#!/bin/sh
# Makes the random secrets that compose.yaml names, in docker/secrets or the folder given. What is
# there stays as it is.
#
# The containers run as EQUIGRID_UID (default 1000) and read the files as that user; nobody else can.
set -eu
umask 077
folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
owner=${EQUIGRID_UID:-1000}
me=$(id -u)
if [ "$me" -ne 0 ] && [ "$me" -ne "$owner" ]; then
    echo "make-secrets.sh: you are uid $me: export EQUIGRID_UID=$me, also for docker compose" >&2
    exit 1
fi
if [ "$owner" -eq 0 ]; then
    echo "make-secrets.sh: EQUIGRID_UID is root: name the user the containers run as" >&2
    exit 1
fi

mkdir -p "$folder"
for name in postgres_password mlflow_admin_password mlflow_tracking_password mlflow_form_key \
    ray_token; do
    file=$folder/$name
    if [ -s "$file" ]; then
        echo "kept $file"
        continue
    fi
    # 256 bits. First beside it: a file that is there is whole.
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$file.new"
    [ "$me" -ne 0 ] || chown "$owner" "$file.new"
    mv "$file.new" "$file"
    echo "made $file"
done
