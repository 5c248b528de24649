-- Webhooks ----------------------------------------------------------------------------------------

-- What became of each event; 'done' until its handling says otherwise, in the same transaction.
alter table public.processed_webhook_events
  add column outcome text not null default 'done'
    check (outcome in ('done', 'ignored', 'unknown_customer', 'unknown_price', 'stale')),
  add column customer_id text,
  add column subscription_id text,
  add column note text;

-- Events whose handling failed and was rolled back: they come again, and the later success resolves
-- them. `last_error` is a code, never what was in the event.
create table public.webhook_failures (
  event_id text primary key,
  type text not null,
  attempts integer not null default 1 check (attempts > 0),
  last_error text not null,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  resolved_at timestamptz
);
create index webhook_failures_open_idx on public.webhook_failures (last_at desc)
  where resolved_at is null;

-- Mails to be written: facts that were recorded together with what they are about. `key` names the
-- fact, so that it is mailed once, whichever events tell of it and how often.
create table public.billing_notices (
  id uuid primary key default gen_random_uuid(),
  -- Null: it is for the admins.
  user_id uuid references public.profiles (id) on delete cascade,
  kind text not null check (char_length(kind) between 1 and 60),
  key text not null unique check (char_length(key) between 1 and 400),
  values jsonb not null default '{}',
  state text not null default 'pending' check (state in ('pending', 'sent', 'dead')),
  attempts integer not null default 0 check (attempts >= 0),
  next_attempt_at timestamptz not null default now(),
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now(),
  check ((state = 'sent') = (sent_at is not null))
);
create index billing_notices_due_idx on public.billing_notices (next_attempt_at)
  where state = 'pending';
create index billing_notices_user_idx on public.billing_notices (user_id, created_at desc);

-- Subscriptions -----------------------------------------------------------------------------------

alter table public.subscriptions
  -- Null: a price that was made for no plan of ours; it grants nothing.
  alter column plan drop not null,
  -- When it is going to end, if somebody has cancelled it.
  add column cancel_at timestamptz;
create index subscriptions_live_idx on public.subscriptions (user_id)
  where status not in ('canceled', 'incomplete_expired');

-- When the payment provider is asked about this user again, in case its webhooks got lost.
alter table public.profiles add column billing_look_at timestamptz;
create index profiles_customer_look_idx on public.profiles (billing_look_at)
  where stripe_customer_id is not null;

-- Access ------------------------------------------------------------------------------------------

alter table public.webhook_failures enable row level security;
alter table public.billing_notices enable row level security;

revoke all on public.webhook_failures, public.billing_notices
  from public, anon, authenticated, service_role;
grant select (cancel_at) on public.subscriptions to authenticated;
grant update (outcome, customer_id, subscription_id, note) on public.processed_webhook_events
  to service_role;
grant select, insert, update on public.webhook_failures to service_role;
grant select, insert, update on public.billing_notices to service_role;
