-- What is charged beyond what is included ------------------------------------------------------------

-- What of a period was charged as extra usage, kept by the ledger itself. An upgrade in the middle of a
-- period has an allowance of its own; what was charged before it is carried over: it counts neither
-- against the new allowance nor a second time against the cap.
alter table public.quota_periods
  add column billed_tokens bigint not null default 0,
  add column billed_usd numeric(14, 6) not null default 0,
  add column carried_tokens bigint not null default 0,
  add column carried_usd numeric(14, 6) not null default 0,
  add constraint quota_periods_billed_check check (
    billed_tokens >= carried_tokens and carried_tokens >= 0 and billed_usd >= 0 and carried_usd >= 0
  ) not valid;

create function private.sum_extra_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.quota_periods
    set billed_tokens = billed_tokens + new.overage_tokens, billed_usd = billed_usd + new.overage_usd
    where user_id = new.user_id and period_key = new.period_key;
  return null;
end $$;
create trigger usage_records_extra after insert on public.usage_records
  for each row when (new.overage_tokens > 0) execute function private.sum_extra_usage();

-- Of the periods that run. What comes afterwards is summed by the trigger, nothing by both.
update public.quota_periods q set billed_tokens = s.tokens, billed_usd = s.usd
from public.quota_periods p cross join lateral (
  select sum(u.overage_tokens) as tokens, sum(u.overage_usd) as usd
  from public.usage_records u
  where u.user_id = p.user_id and u.created_at >= p.period_start and u.period_key = p.period_key
    and u.overage_tokens > 0
) s
where p.period_end > now() and p.used > p.included + p.credited and s.tokens > 0
  and q.user_id = p.user_id and q.period_key = p.period_key;

-- Of the running period of the subscription behind a plan: the tokens it includes, where an upgrade has
-- made it another number than the plan's, and what was charged before the upgrade.
alter table public.profiles
  add column period_tokens bigint check (period_tokens >= 0),
  add column period_spent_usd numeric(14, 6) not null default 0,
  -- The plan that begins when the period ends, where it is another one.
  add column next_plan text;

-- The meter -----------------------------------------------------------------------------------------

alter table public.subscriptions
  add column period_tokens bigint check (period_tokens >= 0),
  add column next_plan text,
  -- Usage of calls that began before goes to the meter of tokens, which a graduated price of this
  -- subscription bills; what comes later goes to the meter of money. Null: all of it does.
  add column tokens_until timestamptz;
update public.subscriptions set tokens_until = '9999-12-31'
  where status not in ('canceled', 'incomplete_expired');

-- A row is either tokens, or what they cost in millionths of a dollar.
alter table public.usage_outbox
  add column meter text not null default 'ai_tokens_used',
  add column micro_usd bigint,
  drop constraint usage_outbox_tokens_check,
  add constraint usage_outbox_value_check check (
    case when meter = 'ai_tokens_used' then micro_usd is null and tokens > 0
      else micro_usd > 0 and tokens >= 0 end
  ) not valid;

-- What is compared of a day is what its meter counts.
alter table public.meter_reconciliations
  add column meter text not null default 'ai_tokens_used';

-- Takes rows that are due, the oldest of each customer who has none in flight, and enters that they
-- may have been sent before anybody can send them. Time is the database's alone, and is looked at
-- behind the lock: a caller that waited for it must not use an older count.
create function private.claim_meter_events(
  p_limit integer,
  p_after text,               -- customers behind this one come first, so that all have their turn
  p_lease_seconds double precision,
  p_per_second double precision,
  p_burst_seconds double precision,
  p_meters text[]
) returns table (
  id uuid, claim uuid, identifier text, customer text, meter text, value bigint,
  event_at timestamptz, failures integer, attempts integer,
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
  -- One pace for all meters.
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
            and o.meter = any(p_meters)
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
        returning o.id, o.claim, o.identifier, o.stripe_customer_id, o.meter,
          coalesce(o.micro_usd, o.tokens), o.event_at, o.failures, o.attempts, p.fresh;
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

-- A sender of the release before knows one meter.
create or replace function private.claim_usage(
  p_limit integer,
  p_after text,               -- customers behind this one come first, so that all have their turn
  p_lease_seconds double precision,
  p_per_second double precision,
  p_burst_seconds double precision
) returns table (
  id uuid, claim uuid, identifier text, customer text, tokens bigint, event_at timestamptz,
  failures integer, attempts integer,
  fresh boolean                -- it surely has not been sent before
) language sql set search_path = '' as $$
  select c.id, c.claim, c.identifier, c.customer, c.value, c.event_at, c.failures, c.attempts, c.fresh
  from private.claim_meter_events(
    p_limit, p_after, p_lease_seconds, p_per_second, p_burst_seconds, array['ai_tokens_used']) c
$$;

-- What is to be done about a subscription at the payment provider -------------------------------------

-- Noted together with the fact that it follows from, and removed once it is done.
create table private.subscription_tasks (
  kind text not null check (kind in ('end_duplicate', 'end_refunded', 'release_schedule')),
  subscription_id text not null,
  user_id uuid not null,
  -- Until then a process is working on it.
  claimed_until timestamptz not null default now(),
  created_at timestamptz not null default now(),
  primary key (kind, subscription_id)
);
alter table private.subscription_tasks enable row level security;
revoke all on private.subscription_tasks from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.subscription_tasks to service_role;

revoke execute on function private.claim_meter_events, private.sum_extra_usage
  from public, anon, authenticated, service_role;
grant execute on function private.claim_meter_events to service_role;
