-- Models that admins added to those of the catalogue file. What they cost is LiteLLM's price, or an admin's
-- in private.model_overrides; each change of a row here has a new revision there.
create table private.added_models (
  model text primary key check (char_length(model) between 1 and 200),
  label text not null check (char_length(label) between 1 and 80),
  provider text not null check (char_length(provider) between 1 and 40),
  -- LiteLLM's name of it.
  upstream text not null check (char_length(upstream) between 1 and 300),
  -- Tokens.
  context_window integer not null check (context_window >= 256),
  max_output integer not null check (max_output >= 1),
  plans text[] not null check (cardinality(plans) > 0),
  fallback text check (char_length(fallback) between 1 and 200),
  added_at timestamptz not null default now(),
  added_by text not null,
  -- A model that was removed keeps its row: conversations and receipts name it.
  removed_at timestamptz
);

alter table private.added_models enable row level security;
revoke all on private.added_models from public, anon, authenticated, service_role;
grant select, insert, update on private.added_models to service_role;

-- Null: as the catalogue file has it. The successor counts where an admin retired the model.
alter table private.model_overrides
  add column retired boolean,
  add column successor text check (char_length(successor) between 1 and 200);
