#!/bin/sh
# The namespace exists and has lull's search attributes. Run again, it adds what is missing.
# The temporal command takes address and namespace from TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE.
set -eu

TRIES_MAX=30

# A new namespace is known to every part of the server only after some seconds.
retry() {
    tries=1
    until "$@"; do
        if [ "$tries" -ge "$TRIES_MAX" ]; then
            echo "gave up after $tries tries: $*" >&2
            exit 1
        fi
        tries=$((tries + 1))
        sleep 2
    done
}

is_there() {
    temporal operator search-attribute list --output json | grep -q "\"$1\""
}

add_attribute() {
    is_there "$1" || temporal operator search-attribute create --name "$1" --type Keyword
}

retry temporal operator cluster health
if ! temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    retry temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION" \
        --description "lull: background jobs over MongoDB collections"
fi
for attribute in LullState LullKind LullCluster LullNamespace LullReason; do
    retry add_attribute "$attribute"
done
echo "namespace $TEMPORAL_NAMESPACE is ready"
