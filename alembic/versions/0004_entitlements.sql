-- What a subscription grants ------------------------------------------------------------------------

-- Written when the payment provider's state is looked at; what holds at a moment is computed when
-- it is read, so that nothing has to run at midnight for a plan to end.
alter table public.profiles
  add column subscription_id text,
  -- The base item's running period, of the subscription that grants the plan.
  add column period_start timestamptz,
  add column period_end timestamptz,
  -- From then on the account is on the free plan: cancelled, or unpaid for too long.
  add column plan_ends_at timestamptz,
  -- The user's own: USD beyond the base price in a period, at most. Null means the plan's.
  add column overage_cap_usd numeric(8, 2) check (overage_cap_usd >= 0),
  add check ((period_start is null) = (period_end is null)),
  add check (period_end > period_start);
grant select (subscription_id, period_start, period_end, plan_ends_at, overage_cap_usd)
  on public.profiles to authenticated;
grant update (overage_cap_usd) on public.profiles to authenticated;

-- Allowances ----------------------------------------------------------------------------------------

-- What may be used in a period: what is included, then credits, then what costs extra.
alter table public.quota_periods rename column token_limit to included;
alter table public.quota_periods
  add column overage bigint not null default 0 check (overage >= 0),
  -- Of `used`, what credits have paid.
  add column credited bigint not null default 0 check (credited >= 0);

-- Given by an admin, with a reason. Like the ledger they outlive the account, and only `spent`
-- ever changes, together with a line that says what for.
create table public.credit_grants (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  tokens bigint not null check (tokens > 0),
  spent bigint not null default 0 check (spent between 0 and tokens),
  reason text not null check (char_length(reason) between 1 and 500),
  granted_by text not null check (char_length(granted_by) between 1 and 320),
  expires_at timestamptz,
  created_at timestamptz not null default now()
);
create index credit_grants_user_idx on public.credit_grants (user_id, created_at desc);
create index credit_grants_open_idx on public.credit_grants (user_id) where spent < tokens;

create table public.credit_uses (
  id uuid primary key default gen_random_uuid(),
  grant_id uuid not null references public.credit_grants (id),
  reservation_id uuid not null references public.reservations (id),
  tokens bigint not null check (tokens > 0),
  created_at timestamptz not null default now()
);
create index credit_uses_grant_idx on public.credit_uses (grant_id);
create index credit_uses_reservation_idx on public.credit_uses (reservation_id);

-- Of a line's quota tokens, what credits paid: they never reach the meter.
alter table public.usage_records
  add column credit_tokens bigint not null default 0 check (credit_tokens >= 0),
  add check (credit_tokens <= quota_tokens);

alter table public.credit_grants enable row level security;
alter table public.credit_uses enable row level security;
create policy own_credits_read on public.credit_grants for select to authenticated
  using (user_id = (select auth.uid()));

revoke all on public.credit_grants, public.credit_uses
  from public, anon, authenticated, service_role;
grant select (id, user_id, tokens, spent, expires_at, created_at)
  on public.credit_grants to authenticated;
grant select, insert on public.credit_grants, public.credit_uses to service_role;
grant update (spent) on public.credit_grants to service_role;

-- The reservation, with what may be used beyond what is included -----------------------------------

drop function private.reserve;
drop function private.close_reservation;

-- Locks, in this order always: the user's period, then credits, then the day's rows (free, total).
-- The shared rows come last, so that what all users wait for is held for the shortest time.
-- `refusal` is null when the call may go on. A refusal changes nothing but, at most, an empty row.
create function private.reserve(
  p_id uuid,
  p_user uuid,
  p_conversation uuid,
  p_message uuid,
  p_purpose text,
  p_plan text,
  p_model text,
  p_prompt integer,             -- tokens, upper estimate
  p_prompt_count integer,       -- tokens, best count
  p_max integer,                -- completion tokens asked for
  p_min integer,                -- fewer than these are not worth a call
  p_weight numeric,             -- quota tokens per token
  p_input_usd numeric,          -- per million tokens
  p_output_usd numeric,
  p_period_key text,            -- null: the calendar month, UTC, by the database's clock
  p_period_start timestamptz,
  p_period_end timestamptz,
  p_included bigint,            -- quota tokens of the period
  p_overage bigint,             -- quota tokens beyond them that the user's cap would pay for
  p_parallel integer,           -- null: not counted
  p_free boolean,
  p_free_cap numeric,
  p_total_cap numeric,
  p_lease_seconds double precision,
  p_scopes text[],              -- kill switches that would stop this call
  out refusal text,
  out max_tokens integer,
  out tokens_left bigint,
  out retry_at timestamptz
) language plpgsql set search_path = '' as $$
declare
  v_day date := (now() at time zone 'UTC')::date;
  v_next_day timestamptz := ((v_day + 1)::timestamp at time zone 'UTC');
  v_quota public.quota_periods;
  v_left bigint;
  v_credits bigint;
  v_tokens bigint;
  v_cost numeric;
  v_open integer;
  v_held numeric;
begin
  if exists (select 1 from private.kill_switches where scope = any(p_scopes)) then
    refusal := 'paused';
    return;
  end if;
  if p_period_key is null then
    p_period_key := 'month:' || to_char(v_day, 'YYYY-MM');
    p_period_start := date_trunc('month', v_day::timestamp) at time zone 'UTC';
    p_period_end := (date_trunc('month', v_day::timestamp) + interval '1 month') at time zone 'UTC';
  end if;

  select * into v_quota from public.quota_periods
    where user_id = p_user and period_key = p_period_key for update;
  if not found then
    insert into public.quota_periods (
      user_id, period_key, period_start, period_end, included, overage
    ) values (p_user, p_period_key, p_period_start, p_period_end, p_included, p_overage)
      on conflict (user_id, period_key) do nothing;
    select * into v_quota from public.quota_periods
      where user_id = p_user and period_key = p_period_key for update;
  end if;

  if p_parallel is not null then
    select count(*) into v_open from public.reservations
      where user_id = p_user and state = 'open' and purpose = 'reply';
    if v_open >= p_parallel then
      refusal := 'busy';
      return;
    end if;
  end if;

  select coalesce(sum(tokens - spent), 0) into v_credits from public.credit_grants
    where user_id = p_user and spent < tokens and (expires_at is null or expires_at > now());
  v_left := greatest(
    p_included + p_overage + v_credits + v_quota.credited - v_quota.used - v_quota.reserved, 0
  );
  tokens_left := v_left;
  max_tokens := least(p_max, floor(v_left / p_weight)::bigint - p_prompt);
  if max_tokens < least(p_min, p_max) or max_tokens < 1 then
    refusal := 'quota_exceeded';
    retry_at := p_period_end;
    return;
  end if;
  v_tokens := ceil((p_prompt + max_tokens) * p_weight);
  v_cost := round((p_prompt * p_input_usd + max_tokens * p_output_usd) / 1000000, 6);

  insert into public.spend_days (day, scope)
    select v_day, s.scope from (values ('free'), ('total')) s (scope)
    where not exists (
      select 1 from public.spend_days d where d.day = v_day and d.scope = s.scope
    )
    on conflict do nothing;
  if p_free then
    select spent_usd + reserved_usd into v_held from public.spend_days
      where day = v_day and scope = 'free' for update;
    if v_held + v_cost > p_free_cap then
      refusal := 'free_tier_spent';
      retry_at := v_next_day;
      return;
    end if;
  end if;
  select spent_usd + reserved_usd into v_held from public.spend_days
    where day = v_day and scope = 'total' for update;
  if v_held + v_cost > p_total_cap then
    refusal := 'total_spent';
    retry_at := v_next_day;
    return;
  end if;

  update public.spend_days set reserved_usd = reserved_usd + v_cost
    where day = v_day and (scope = 'total' or (p_free and scope = 'free'));
  update public.quota_periods
    set reserved = reserved + v_tokens, included = p_included, overage = p_overage,
      period_end = p_period_end
    where user_id = p_user and period_key = p_period_key;
  insert into public.reservations (
    id, user_id, conversation_id, message_id, purpose, plan, model, period_key, tokens, cost_usd,
    prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, lease_expires_at
  ) values (
    p_id, p_user, p_conversation, p_message, p_purpose, p_plan, p_model, p_period_key, v_tokens,
    v_cost, p_prompt, p_prompt_count, max_tokens, p_weight, v_day, p_free,
    now() + make_interval(secs => p_lease_seconds)
  );
  tokens_left := v_left - v_tokens;
end $$;

-- Gives back what a reservation holds and books what was used. `closed` is false when it was closed
-- already, so that of two settlers only one writes; the rest is the period as it is afterwards, and
-- `credited` what of this call's tokens credits have paid.
create function private.close_reservation(
  p_id uuid,
  p_quota_tokens bigint,
  p_cost numeric,
  out closed boolean,
  out credited bigint,
  out period_key text,
  out period_end timestamptz,
  out used bigint,
  out included bigint,
  out overage bigint,
  out period_credited bigint
) language plpgsql set search_path = '' as $$
declare
  v public.reservations;
  v_quota public.quota_periods;
  v_grant public.credit_grants;
  v_beyond bigint;
  v_paid bigint;
begin
  closed := false;
  credited := 0;
  update public.reservations r
    set state = case when p_quota_tokens = 0 and p_cost = 0 then 'released' else 'settled' end,
        closed_at = now()
    where r.id = p_id and r.state = 'open'
    returning * into v;
  if not found then
    return;
  end if;
  closed := true;
  update public.quota_periods q
    set reserved = q.reserved - v.tokens, used = q.used + p_quota_tokens
    where q.user_id = v.user_id and q.period_key = v.period_key
    returning * into v_quota;

  -- What of this call goes beyond what is included, as far as credits reach: the one that expires
  -- first pays first. Only the rest costs extra.
  v_beyond := least(v_quota.used - v_quota.credited - v_quota.included, p_quota_tokens);
  if v_beyond > 0 then
    for v_grant in
      select * from public.credit_grants g
      where g.user_id = v.user_id and g.spent < g.tokens
        and (g.expires_at is null or g.expires_at > now())
      order by g.expires_at nulls last, g.created_at, g.id for update
    loop
      v_paid := least(v_beyond, v_grant.tokens - v_grant.spent);
      update public.credit_grants g set spent = g.spent + v_paid where g.id = v_grant.id;
      insert into public.credit_uses (grant_id, reservation_id, tokens)
        values (v_grant.id, p_id, v_paid);
      credited := credited + v_paid;
      v_beyond := v_beyond - v_paid;
      exit when v_beyond = 0;
    end loop;
    if credited > 0 then
      update public.quota_periods q set credited = q.credited + close_reservation.credited
        where q.user_id = v.user_id and q.period_key = v.period_key
        returning * into v_quota;
    end if;
  end if;
  period_key := v.period_key;
  period_end := v_quota.period_end;
  used := v_quota.used;
  included := v_quota.included;
  overage := v_quota.overage;
  period_credited := v_quota.credited;

  if v.free_tier then
    update public.spend_days
      set reserved_usd = reserved_usd - v.cost_usd, spent_usd = spent_usd + p_cost
      where day = v.spend_day and scope = 'free';
  end if;
  update public.spend_days
    set reserved_usd = reserved_usd - v.cost_usd, spent_usd = spent_usd + p_cost
    where day = v.spend_day and scope = 'total';
end $$;

revoke execute on function private.reserve, private.close_reservation
  from public, anon, authenticated, service_role;
grant execute on function private.reserve, private.close_reservation to service_role;
