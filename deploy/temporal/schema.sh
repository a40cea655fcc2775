#!/bin/sh
# Temporal's two databases exist and have the schema of this image's release. Run again, it upgrades them.
set -eu

# temporal-sql-tool reads SQL_PASSWORD by itself, so that no password stands in a list of processes.
sql() {
    database=$1
    shift
    temporal-sql-tool --plugin postgres12 --ep "$POSTGRES_HOST" -p 5432 -u temporal --db "$database" "$@"
}

# Upgrade first: setup-schema would set the version of a database that is in use back to 0.0.
prepare() {
    database=$1
    versions=$2
    if ! sql "$database" update-schema -d "$versions"; then
        echo "database $database has no schema yet; making it"
        sql "$database" create || echo "not created; it may be there already"
        sql "$database" setup-schema -v 0.0
        sql "$database" update-schema -d "$versions"
    fi
    echo "database $database is ready"
}

prepare temporal /etc/temporal/schema/postgresql/v12/temporal/versioned
prepare temporal_visibility /etc/temporal/schema/postgresql/v12/visibility/versioned
