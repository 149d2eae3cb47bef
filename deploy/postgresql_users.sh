#!/bin/sh
# Makes the role and the database of the store. The image of PostgreSQL runs it once, on an empty volume, as the
# superuser. The role owns its database, and may do nothing else.
set -eu
psql --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'SQL'
\set password `cat /run/secrets/store_password`
CREATE ROLE hookline LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
CREATE DATABASE hookline OWNER hookline;
REVOKE ALL ON DATABASE hookline, postgres, template1 FROM PUBLIC;
SQL
