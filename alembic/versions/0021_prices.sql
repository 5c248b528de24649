-- What a price said: a line of the ledger names it by model, version and digest, and can be computed again
-- from it whatever is sold at which price since.
create table private.price_versions (
  model text not null check (char_length(model) between 1 and 200),
  version text not null check (char_length(version) between 1 and 100),
  -- Of what the price says: a version whose price was edited has another.
  digest text not null check (digest ~ '^[0-9a-f]{16}$'),
  -- USD per million tokens, by kind and tier.
  price jsonb not null,
  since timestamptz not null default now(),
  primary key (model, version, digest)
);

alter table private.price_versions enable row level security;
revoke all on private.price_versions from public, anon, authenticated, service_role;
grant select, insert on private.price_versions to service_role;

-- What else decides what a call costs. Of lines from before nothing is known but their prices.
alter table public.usage_records
  add column price_digest text,
  -- Part of the completion.
  add column thinking_tokens integer not null default 0,
  -- Part of the prompt; those that are kept for an hour are part of them.
  add column cache_write_tokens integer not null default 0,
  add column cache_write_1h_tokens integer not null default 0,
  -- Where the provider says that it answered.
  add column region text not null default '';
-- Not looked at in lines that are there: that would hold up everybody for as long as the ledger is.
alter table public.usage_records
  add constraint usage_records_kinds_check check (
    thinking_tokens between 0 and completion_tokens
    and cache_write_tokens between 0 and prompt_tokens
    and cache_write_1h_tokens between 0 and cache_write_tokens
  ) not valid;

-- All of an admin's price, beside the three rates that the release before knows.
alter table private.model_overrides add column price jsonb;
