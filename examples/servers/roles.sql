-- The database of foundry and its two roles; run once by a superuser with psql, with both passwords in the environment:
--
--   OWNER_PASSWORD=... SERVER_PASSWORD=... psql --no-psqlrc -v ON_ERROR_STOP=1 -f roles.sql
--
-- foundry_owner owns the database; only `foundry migrate` uses it. foundry_server has no right but to connect until a
-- migration grants it what serving takes. It could not switch a guard off if it wanted to.
\getenv owner_password OWNER_PASSWORD
\getenv server_password SERVER_PASSWORD

CREATE ROLE foundry_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE foundry_server LOGIN PASSWORD :'server_password';

-- Text is ordered by code points, on every machine and after every update of its libraries.
CREATE DATABASE foundry OWNER foundry_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';

REVOKE ALL ON DATABASE foundry FROM PUBLIC;
GRANT CONNECT ON DATABASE foundry TO foundry_server;
