-- A loss that admins are told of: the first one of a day for each model and reason. The mail goes through its
-- notice; the row is for the webhook, and exists only where there is one.
create table private.loss_alerts (
  id uuid primary key default gen_random_uuid(),
  day date not null,
  reason text not null check (reason in ('report', 'overrun', 'reservation')),
  model text not null,
  provider text not null,
  billed_tokens bigint not null check (billed_tokens > 0),
  charged_tokens bigint not null check (charged_tokens >= 0),
  reserved_tokens bigint not null check (reserved_tokens >= 0),
  lost_usd numeric(20, 6) not null check (lost_usd >= 0),
  state text not null default 'pending' check (state in ('pending', 'sent', 'dead')),
  attempts integer not null default 0 check (attempts >= 0),
  next_attempt_at timestamptz not null default now(),
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now(),
  unique (day, reason, model)
);
create index loss_alerts_due_idx on private.loss_alerts (next_attempt_at) where state = 'pending';
create index loss_alerts_dead_idx on private.loss_alerts (created_at desc) where state = 'dead';
