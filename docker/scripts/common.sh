# Sourced by the scripts beside it.
# shellcheck shell=sh

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# required NAME [HINT]: refuses a setting that is missing, empty or blank.
required() {
    eval "value=\${$1:-}"
    case $value in
        *[![:space:]]*) ;;
        *) die "$1 is missing or empty${2:+: $2}" ;;
    esac
}

# secret NAME: exports NAME, from $NAME itself or from the file that $NAME_FILE names.
# There are no defaults: a secret that everybody knows is none.
secret() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -n "$file" ]; then
        [ -z "$value" ] || die "both $1 and $1_FILE are set: keep one"
        { [ -f "$file" ] && [ -r "$file" ]; } || die "$1_FILE: cannot read $file as uid $(id -u)"
        export "$1=$(cat "$file")"
    fi
    required "$1" "set it, or $1_FILE to a file that holds it"
    unset value file
}

# ray_token: Ray reads RAY_AUTH_TOKEN or the file RAY_AUTH_TOKEN_PATH names. A file stays a file,
# so that the token is in no environment.
ray_token() {
    export RAY_AUTH_MODE=token
    : "${RAY_AUTH_TOKEN_PATH:=${RAY_AUTH_TOKEN_FILE:-}}"
    if [ -z "$RAY_AUTH_TOKEN_PATH" ]; then
        unset RAY_AUTH_TOKEN_PATH
        secret RAY_AUTH_TOKEN
        return
    fi
    # In a subshell: it checks the file, and the value goes with it.
    (
        RAY_AUTH_TOKEN_FILE=$RAY_AUTH_TOKEN_PATH
        secret RAY_AUTH_TOKEN
    ) || exit 1
    export RAY_AUTH_TOKEN_PATH
}

# ray_options: sets `options` to what a head and a worker share: flags and numbers, safe to split.
ray_options() {
    export RAY_USAGE_STATS_ENABLED=0
    # Seconds in which Ray waits for its work to end when it is told to stop. Trials do not end, and
    # need not: they have their checkpoints.
    export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="${RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S:-5}"
    options=--disable-usage-stats
    for flag in num-cpus num-gpus memory object-store-memory; do
        name=RAY_$(printf %s "$flag" | tr a-z- A-Z_)
        number=
        eval "number=\${$name:-}"
        case $number in
            '') ;;
            *[!0-9]*) die "$name: expected a number, got $number" ;;
            *) options="$options --$flag $number" ;;
        esac
    done
    [ "${RAY_BLOCK:-true}" = false ] || options="$options --block"
}
