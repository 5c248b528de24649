-- The outbox ----------------------------------------------------------------------------------------

alter table public.usage_outbox
  drop constraint usage_outbox_state_check,
  -- Waived: an admin decided that it is never billed.
  add constraint usage_outbox_state_check
    check (state in ('pending', 'sent', 'dead', 'parked', 'waived')),
  -- Null: a correction, which makes up for what the meter lacks of a day. It is in no ledger.
  alter column usage_record_id drop not null;

drop index public.usage_outbox_trouble_idx;
create index usage_outbox_trouble_idx on public.usage_outbox (state, event_at desc, id desc)
  where state in ('dead', 'parked', 'waived');

-- Reconciliation --------------------------------------------------------------------------------------

alter table public.meter_reconciliations
  -- Of the drift: what an admin has settled elsewhere, like by a credit note at the provider.
  add column settled_tokens bigint not null default 0,
  -- When something was last done about it. The meter needs its time to show that.
  add column corrected_at timestamptz;

drop index public.meter_reconciliations_drift_idx;
create index meter_reconciliations_drift_idx
  on public.meter_reconciliations (day desc, stripe_customer_id)
  where drift <> settled_tokens;

-- Plans -----------------------------------------------------------------------------------------------

-- Whose plan was found to differ from what follows from their subscriptions at the provider, and
-- when that was put right. `ours` and `theirs` hold the plan, its state, subscription and ends.
create table public.entitlement_differences (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.profiles (id) on delete cascade,
  ours jsonb not null,
  theirs jsonb not null,
  note text,
  found_by text not null,
  found_at timestamptz not null default now(),
  corrected_at timestamptz
);
create unique index entitlement_differences_open_idx on public.entitlement_differences (user_id)
  where corrected_at is null;
create index entitlement_differences_found_idx
  on public.entitlement_differences (found_at desc, id desc);

create index profiles_plan_ends_idx on public.profiles (plan_ends_at)
  where plan_ends_at is not null;

-- Purging ---------------------------------------------------------------------------------------------

create index billing_notices_over_idx on public.billing_notices (created_at)
  where state <> 'pending';

-- Access ----------------------------------------------------------------------------------------------

alter table public.entitlement_differences enable row level security;
revoke all on public.entitlement_differences from public, anon, authenticated, service_role;
grant select, insert, delete on public.entitlement_differences to service_role;
grant update (ours, theirs, note, found_by, found_at, corrected_at)
  on public.entitlement_differences to service_role;
grant delete on public.processed_webhook_events, public.webhook_failures, public.billing_notices
  to service_role;
