-- The tables of schema `auth`. Applied at every start, in one transaction: each statement may find
-- its work done already. `users` has the columns of hosted Supabase that a product may rely on; the
-- other tables are this server's own business.

create table if not exists auth.users (
  id                   uuid primary key default gen_random_uuid(),
  instance_id          uuid,
  aud                  varchar(255),
  role                 varchar(255),
  email                varchar(255),
  encrypted_password   varchar(255),
  email_confirmed_at   timestamptz,
  invited_at           timestamptz,
  confirmation_sent_at timestamptz,
  recovery_sent_at     timestamptz,
  email_change         varchar(255),
  email_change_sent_at timestamptz,
  email_change_confirm_status smallint not null default 0
                         check (email_change_confirm_status between 0 and 2),
  reauthentication_sent_at timestamptz,
  last_sign_in_at      timestamptz,
  raw_app_meta_data    jsonb,
  raw_user_meta_data   jsonb,
  is_super_admin       boolean,
  created_at           timestamptz default now(),
  updated_at           timestamptz default now(),
  phone                text unique,
  phone_confirmed_at   timestamptz,
  confirmed_at         timestamptz generated always as
                         (least(email_confirmed_at, phone_confirmed_at)) stored,
  banned_until         timestamptz,
  deleted_at           timestamptz,
  is_sso_user          boolean not null default false,
  is_anonymous         boolean not null default false
);
-- Folders from before an address was changed from both ends.
alter table auth.users add column if not exists
  email_change_confirm_status smallint not null default 0
    check (email_change_confirm_status between 0 and 2);
-- Folders from before a new password could need a code.
alter table auth.users add column if not exists reauthentication_sent_at timestamptz;
create unique index if not exists users_email_key on auth.users (lower(email))
  where not is_sso_user;
create index if not exists users_created_at_idx on auth.users (created_at desc);

create table if not exists auth.identities (
  id              uuid primary key default gen_random_uuid(),
  provider_id     text not null,
  user_id         uuid not null references auth.users on delete cascade,
  identity_data   jsonb not null,
  provider        text not null,
  last_sign_in_at timestamptz,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  unique (provider_id, provider)
);
create index if not exists identities_user_id_idx on auth.identities (user_id);

create table if not exists auth.sessions (
  id           uuid primary key default gen_random_uuid(),
  user_id      uuid not null references auth.users on delete cascade,
  method       text not null,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),
  refreshed_at timestamptz,
  user_agent   text
);
create index if not exists sessions_user_id_idx on auth.sessions (user_id);

create table if not exists auth.mfa_factors (
  id            uuid primary key default gen_random_uuid(),
  user_id       uuid not null references auth.users on delete cascade,
  friendly_name text not null,
  secret        text not null,
  status        text not null default 'unverified' check (status in ('unverified', 'verified')),
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  unique (user_id, friendly_name)
);

create table if not exists auth.mfa_challenges (
  id         uuid primary key default gen_random_uuid(),
  factor_id  uuid not null references auth.mfa_factors on delete cascade,
  created_at timestamptz not null default now()
);
create index if not exists mfa_challenges_factor_id_idx on auth.mfa_challenges (factor_id);

-- Which second factor a session has shown; without one it's at aal1. Added later, like the tables.
alter table auth.sessions
  add column if not exists factor_id uuid references auth.mfa_factors on delete set null,
  add column if not exists factor_verified_at timestamptz;
create index if not exists sessions_factor_id_idx on auth.sessions (factor_id);

create table if not exists auth.refresh_tokens (
  id         bigint generated always as identity primary key,
  token_hash bytea not null unique,
  session_id uuid not null references auth.sessions on delete cascade,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
-- At most one live token in a session, whatever runs at the same time.
create unique index if not exists refresh_tokens_live_key on auth.refresh_tokens (session_id)
  where revoked_at is null;
create index if not exists refresh_tokens_session_id_idx on auth.refresh_tokens (session_id);

create index if not exists refresh_tokens_revoked_at_idx on auth.refresh_tokens (revoked_at)
  where revoked_at is not null;

create table if not exists auth.one_time_tokens (
  id             uuid primary key default gen_random_uuid(),
  user_id        uuid not null references auth.users on delete cascade,
  purpose        text not null,
  link_hash      bytea not null unique,
  code_hash      bytea not null,
  relates_to     text not null,
  wrong_codes    integer not null default 0,
  code_challenge text,
  challenge_kind text check (challenge_kind in ('s256', 'plain')),
  created_at     timestamptz not null default now(),
  unique (user_id, purpose)
);

alter table auth.one_time_tokens drop constraint if exists one_time_tokens_purpose_check;
delete from auth.one_time_tokens where purpose = 'email_change';
alter table auth.one_time_tokens add constraint one_time_tokens_purpose_check
  check (purpose in ('confirmation', 'recovery', 'email_change_current', 'email_change_new',
                     'reauthentication'));

create table if not exists auth.flow_state (
  id             uuid primary key default gen_random_uuid(),
  user_id        uuid not null references auth.users on delete cascade,
  auth_code_hash bytea not null unique,
  code_challenge text not null,
  challenge_kind text not null check (challenge_kind in ('s256', 'plain')),
  method         text not null,
  created_at     timestamptz not null default now()
);

create table if not exists auth.mailbox (
  id         bigint generated always as identity primary key,
  recipient  text not null,
  kind       text not null,
  subject    text not null,
  body       text not null,
  code       text not null,
  token_hash text not null,
  link       text not null,
  created_at timestamptz not null default now()
);

-- Folders from before mails came in by SMTP. These are empty for the server's own mails.
alter table auth.mailbox
  add column if not exists sender text not null default '',
  add column if not exists html text not null default '',
  add column if not exists message_id text not null default '';

create table if not exists auth.embedded_signing_keys (
  kid          text primary key,
  private_key  text not null,
  chain_secret bytea not null,
  created_at   timestamptz not null default now()
);

-- As on hosted, migrations (which run as `postgres`) may refer to users and hang triggers on them.
-- Keys, secrets, and mail are nobody else's.
do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'postgres') then
    grant usage on schema auth to postgres;
    grant select, insert, update, delete, references, trigger
      on auth.users, auth.identities, auth.sessions to postgres;
    revoke all on auth.refresh_tokens, auth.one_time_tokens, auth.flow_state, auth.mailbox,
      auth.mfa_factors, auth.mfa_challenges, auth.embedded_signing_keys from postgres;
  end if;
end
$$;
