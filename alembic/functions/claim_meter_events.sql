-- Claims due rows: for each customer without one in flight, the oldest. Records that a row may have been
-- sent before its sender can send it. All times are the database's, read after taking the lock, because a
-- caller that waited for the lock must not use an older count.
create or replace function private.claim_meter_events(
  p_limit integer,
  p_after text,               -- customers after this name come first, so that each gets a turn
  p_lease_seconds double precision,
  p_per_second double precision,
  p_burst_seconds double precision,
  p_meters text[]
) returns table (
  id uuid, claim uuid, identifier text, customer text, meter text, value bigint,
  event_at timestamptz, failures integer, attempts integer,
  fresh boolean                -- certainly not sent before
) language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
  v_sender private.metering;
  v_now timestamptz;
  v_room integer;
  v_taken integer;
  v_from text;
begin
  -- All meters share one rate.
  select * into strict v_sender from private.metering where meter = 'ai_tokens_used' for update;
  v_now := clock_timestamp();

  -- Claims of senders that died. The customer's other rows go first, in case this row was the cause.
  update public.usage_outbox o
    set claim = null, claimed_until = null,
      next_attempt_at = v_now + make_interval(secs => least(300, 0.5 * 2 ^ least(o.attempts, 12)))
    where o.claim is not null and o.claimed_until < v_now;
  -- The provider recognizes an identifier for 24 hours only. A row that may have arrived is not sent again
  -- after that, until its total at the meter has been read.
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
      -- One index step per customer, however many rows wait.
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

revoke all on function private.claim_meter_events from public, anon, authenticated, service_role;
grant execute on function private.claim_meter_events to service_role;
