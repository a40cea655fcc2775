#!/bin/sh
# mongod as a member of the set "lull" with authentication on.
set -eu

# mongod refuses a key that others may read, and a mounted file keeps the owner and mode it has on the host.
umask 077
printf '%s' "$MONGO_REPLICA_KEY" >/tmp/replica.key
chown mongodb:mongodb /tmp/replica.key
unset MONGO_REPLICA_KEY

# The image's own entry creates the administrator on the first start, and then becomes mongod.
exec docker-entrypoint.sh mongod --replSet lull --keyFile /tmp/replica.key --bind_ip_all
