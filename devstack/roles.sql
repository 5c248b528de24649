-- What a hosted Supabase project has before its first migration runs, plus the app's two logins.
-- Run by the launcher as superuser at every start: each statement may find its work done already.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon',                'nologin noinherit'),
      ('authenticated',       'nologin noinherit'),
      ('service_role',        'nologin noinherit bypassrls'),
      ('postgres',            'login nosuperuser createdb createrole replication bypassrls'),
      ('supabase_auth_admin', 'login noinherit'),
      ('app_rw',              'login noinherit nobypassrls'),
      ('app_service',         'login noinherit nobypassrls')
    ) as roles (name, attributes)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('create role %I', wanted.name);
    end if;
    execute format('alter role %I %s', wanted.name, wanted.attributes);
  end loop;
end
$$;

-- Admin option, as hosted has it since PostgreSQL 16: an operator there can make the two logins.
grant anon, authenticated, service_role to postgres with admin option;
grant anon, authenticated to app_rw;
grant service_role to app_service;
-- A person who connects with the service's address by hand sees what the service sees; our own
-- transactions say their role anyway.
alter role app_service set role to 'service_role';

alter database postgres owner to postgres;
alter database postgres set search_path to "$user", public, extensions;

-- Public: it belongs to the owner of the database (pg_database_owner); nobody else creates in it.
alter schema public owner to pg_database_owner;
revoke create on schema public from public;
grant usage on schema public to anon, authenticated, service_role;

-- Hosted hands every new table to everybody and trusts row security to sort it out. The same here,
-- so that a migration which forgets to revoke is caught on this machine.
alter default privileges for role postgres in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on sequences to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
  grant all on functions to anon, authenticated, service_role;

-- Extensions: the schema only. Not every PostgreSQL that may be found here carries pgcrypto.
create schema if not exists extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;

-- Auth: belongs to the auth server. `postgres` may refer to its tables and hang triggers on them.
create schema if not exists auth authorization supabase_auth_admin;
alter role supabase_auth_admin set search_path to auth;
grant usage on schema auth to anon, authenticated, service_role, postgres;
grant select, insert, update, delete, references, trigger on all tables in schema auth to postgres;
alter default privileges for role supabase_auth_admin in schema auth
  grant select, insert, update, delete, references, trigger on tables to postgres;

create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

alter function auth.jwt() owner to supabase_auth_admin;
alter function auth.uid() owner to supabase_auth_admin;
alter function auth.role() owner to supabase_auth_admin;
