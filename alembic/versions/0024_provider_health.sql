-- Attempts at providers, summed by minute and by hour: a row for each model and each way an attempt ended.
create table private.provider_health (
  step text not null check (step in ('minute', 'hour')),
  starts timestamptz not null,
  provider text not null check (char_length(provider) between 1 and 200),
  model text not null check (char_length(model) between 1 and 200),
  -- answered, stopped (by us), or the class of the error.
  kind text not null check (char_length(kind) between 1 and 200),
  times integer not null check (times > 0),
  -- How many first tokens came in each range of seconds (billing/provider_health.py); ranges behind the
  -- last one that has any are left out.
  first_tokens integer[] not null default '{}' check (cardinality(first_tokens) <= 100),
  -- Tokens that came after the first ones, and how long they took.
  tokens bigint not null default 0 check (tokens >= 0),
  writing_ms bigint not null default 0 check (writing_ms >= 0),
  last_at timestamptz not null,
  primary key (step, starts, provider, model, kind)
);

-- Circuits that aren't closed, as each process has them; it renews its rows while they aren't.
create table private.provider_circuits (
  process uuid not null,
  provider text not null check (char_length(provider) between 1 and 200),
  -- Empty: of all the provider's models.
  model text not null default '' check (char_length(model) <= 200),
  failures integer not null check (failures > 0),
  -- When a call may try it again.
  until timestamptz not null,
  seen_at timestamptz not null default now(),
  primary key (process, provider, model)
);

alter table private.provider_health enable row level security;
alter table private.provider_circuits enable row level security;
revoke all on private.provider_health, private.provider_circuits
  from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.provider_health, private.provider_circuits
  to service_role;
