-- How many tokens a model's provider counts for one of ours: what is reserved for a prompt follows it.
create table private.token_ratios (
  model text primary key check (char_length(model) between 1 and 200),
  -- The highest, slowly forgotten, and the typical one.
  highest numeric(8, 4) not null default 1 check (highest between 0.25 and 3),
  typical numeric(8, 4) not null default 1 check (typical between 0.25 and 3),
  reports bigint not null default 0 check (reports >= 0),
  -- Reports that no tokenizer can explain, from which nothing was learned.
  disbelieved bigint not null default 0 check (disbelieved >= 0),
  updated_at timestamptz not null default now()
);

alter table private.token_ratios enable row level security;
revoke all on private.token_ratios from public, anon, authenticated, service_role;
grant select, insert, update on private.token_ratios to service_role;
