#!/bin/sh
# Makes the random secrets that compose.yaml names, in docker/secrets or the folder given, and for
# docker compose the file .env beside it. What is there stays as it is.
#
# The containers run as you, or as EQUIGRID_UID where you are root (default 1000), and read the
# files as that user; nobody else can.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
me=$(id -u)
owner=$me
[ "$me" -ne 0 ] || owner=${EQUIGRID_UID:-1000}
if [ "${EQUIGRID_UID:-$owner}" -ne "$owner" ]; then
    echo "make-secrets.sh: EQUIGRID_UID is $EQUIGRID_UID, you are $me: only root makes them for another" >&2
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

# From here compose knows whom the containers run as, whatever shell it is called from.
settings=$here/../.env
if [ $# -eq 0 ] && ! grep -qs '^EQUIGRID_UID=' "$settings"; then
    printf 'EQUIGRID_UID=%s\nRAY_WORKERS=%s\n' "$owner" "${RAY_WORKERS:-2}" >>"$settings"
    echo "made .env: EQUIGRID_UID=$owner"
fi
