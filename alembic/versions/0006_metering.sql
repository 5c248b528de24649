-- The outbox ----------------------------------------------------------------------------------------

alter table public.usage_outbox
  -- Whoever sends a row holds it, for as long as a call can take; then anybody may send it again.
  add column claim uuid,
  add column claimed_until timestamptz,
  -- When it may have reached the meter for the first time. Null: it surely has not.
  add column first_sent_at timestamptz,
  -- How many failures the provider has answered with. It remembers its answers, failures too.
  add column failures integer not null default 0 check (failures >= 0),
  add check ((claim is null) = (claimed_until is null)),
  add check (claim is null or (state = 'pending' and first_sent_at is not null));

-- The provider takes one call at a time for a customer. This holds it, over all processes.
create unique index usage_outbox_in_flight_idx on public.usage_outbox (stripe_customer_id)
  where claim is not null;
create index usage_outbox_lane_idx on public.usage_outbox (stripe_customer_id, event_at)
  where state = 'pending';
create index usage_outbox_waiting_idx on public.usage_outbox (event_at) where state = 'pending';
create index usage_outbox_unsure_idx on public.usage_outbox (first_sent_at)
  where state = 'pending' and first_sent_at is not null;
create index usage_outbox_trouble_idx on public.usage_outbox (state, event_at desc)
  where state in ('dead', 'parked');
create index usage_outbox_customer_idx on public.usage_outbox (stripe_customer_id, event_at);
create index usage_outbox_created_idx on public.usage_outbox (created_at);
drop index public.usage_outbox_due_idx;

-- What all senders have in common. Whoever claims locks the meter's row, so claims come one after
-- the other, and none of them sees a customer free whom another has just taken.
create table private.metering (
  meter text primary key,
  -- Calls are spaced evenly: the instant until which what was claimed so far takes its time.
  spent_until timestamptz not null default now(),
  -- The provider asked for a rest, or doesn't answer: until then nothing is sent.
  paused_until timestamptz not null default now(),
  -- Rows made before have been entered for reconciliation.
  entered_until timestamptz not null default 'epoch'
);
insert into private.metering (meter) values ('ai_tokens_used');

-- Reconciliation --------------------------------------------------------------------------------------

-- A customer's day (UTC) in the ledger and in the meter. Like the outbox it outlives the account.
create table public.meter_reconciliations (
  stripe_customer_id text not null,
  day date not null,
  -- All that the ledger has of that day, whatever became of it.
  ledger_tokens bigint not null default 0 check (ledger_tokens >= 0),
  -- Of those: not sent yet, or nobody knows (parked).
  pending_tokens bigint not null default 0 check (pending_tokens >= 0),
  meter_tokens bigint not null default 0 check (meter_tokens >= 0),
  -- What the meter has too much; below zero, what it lacks.
  drift bigint generated always as (meter_tokens - (ledger_tokens - pending_tokens)) stored,
  checked_at timestamptz,
  -- When to compare next, and meanwhile the claim of whoever compares. Null: it is settled.
  next_check_at timestamptz,
  primary key (stripe_customer_id, day)
);
create index meter_reconciliations_due_idx on public.meter_reconciliations (next_check_at)
  where next_check_at is not null;
create index meter_reconciliations_drift_idx on public.meter_reconciliations (day desc)
  where drift <> 0;

-- Access ----------------------------------------------------------------------------------------------

alter table private.metering enable row level security;
alter table public.meter_reconciliations enable row level security;
revoke all on private.metering, public.meter_reconciliations
  from public, anon, authenticated, service_role;
grant select, update on private.metering to service_role;
grant select, insert, update on public.meter_reconciliations to service_role;

-- The claim -------------------------------------------------------------------------------------------

-- Takes rows that are due, the oldest of each customer who has none in flight, and enters that they
-- may have been sent before anybody can send them. Time is the database's alone, and is looked at
-- behind the lock: a caller that waited for it must not use an older count.
create function private.claim_usage(
  p_limit integer,
  p_after text,               -- customers behind this one come first, so that all have their turn
  p_lease_seconds double precision,
  p_per_second double precision,
  p_burst_seconds double precision
) returns table (
  id uuid, claim uuid, identifier text, customer text, tokens bigint, event_at timestamptz,
  failures integer, attempts integer,
  fresh boolean                -- it surely has not been sent before
) language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  v_sender private.metering;
  v_now timestamptz;
  v_room integer;
  v_taken integer;
  v_from text;
begin
  select * into strict v_sender from private.metering where meter = 'ai_tokens_used' for update;
  v_now := clock_timestamp();

  -- A sender that never came back. Others of the same customer go first, in case it was the row.
  update public.usage_outbox o
    set claim = null, claimed_until = null,
      next_attempt_at = v_now + make_interval(secs => least(300, 0.5 * 2 ^ least(o.attempts, 12)))
    where o.claim is not null and o.claimed_until < v_now;
  -- The provider recognises an identifier for 24 hours only: what may have arrived is not sent again
  -- after that, until the meter itself was asked.
  update public.usage_outbox o set state = 'parked'
    where o.state = 'pending' and o.claim is null and o.first_sent_at < v_now - interval '23 hours';
  update public.usage_outbox o set state = 'dead', last_error = 'too old for the meter'
    where o.state = 'pending' and o.first_sent_at is null
      and o.event_at < v_now - interval '35 days';

  if v_sender.paused_until > v_now then
    return;
  end if;
  v_room := least(p_limit, floor(p_per_second * (
    p_burst_seconds - extract(epoch from greatest(v_sender.spent_until, v_now) - v_now))));
  foreach v_from in array case p_after when '' then array[''] else array[p_after, ''] end loop
    exit when v_room < 1;
    return query
      -- One step of an index for each customer, however many rows wait.
      with recursive customers as (
        (select o.stripe_customer_id as name from public.usage_outbox o
          where o.state = 'pending' and o.stripe_customer_id > v_from
          order by o.stripe_customer_id limit 1)
        union all
        select (select o.stripe_customer_id from public.usage_outbox o
          where o.state = 'pending' and o.stripe_customer_id > c.name
          order by o.stripe_customer_id limit 1)
        from customers c where c.name is not null
      ), picked as (
        select r.id, r.first_sent_at is null as fresh from customers c cross join lateral (
          select o.id, o.first_sent_at from public.usage_outbox o
          where o.state = 'pending' and o.stripe_customer_id = c.name and o.next_attempt_at <= v_now
          order by o.event_at limit 1 for update skip locked
        ) r
        where not exists (
          select 1 from public.usage_outbox f
          where f.stripe_customer_id = c.name and f.claim is not null
        )
        limit v_room
      )
      update public.usage_outbox o
        set claim = gen_random_uuid(),
          claimed_until = v_now + make_interval(secs => p_lease_seconds),
          first_sent_at = coalesce(o.first_sent_at, v_now),
          attempts = o.attempts + 1
        from picked p where o.id = p.id
        returning o.id, o.claim, o.identifier, o.stripe_customer_id, o.tokens, o.event_at,
          o.failures, o.attempts, p.fresh;
    get diagnostics v_taken = row_count;
    v_room := v_room - v_taken;
    if v_taken > 0 then
      update private.metering m
        set spent_until = greatest(m.spent_until, v_now)
          + make_interval(secs => v_taken / p_per_second)
        where m.meter = 'ai_tokens_used';
    end if;
  end loop;
end $$;

revoke execute on function private.claim_usage from public, anon, authenticated, service_role;
grant execute on function private.claim_usage to service_role;
