-- Always locks in this order: the user's period, then credits, then the day's rows (free, total). The
-- rows that all users share come last, so that they are locked for the shortest time.
-- `refusal` is null when the call may proceed. A refusal writes at most an empty row and the time of a
-- cap's first refusal.
create or replace function private.reserve(
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
  p_min integer,                -- fewer aren't worth a call
  p_weight numeric,             -- quota tokens per token
  p_input_usd numeric,          -- per million tokens
  p_output_usd numeric,
  p_period_key text,            -- null: the calendar month, UTC, by the database's clock
  p_period_start timestamptz,
  p_period_end timestamptz,
  p_included bigint,            -- quota tokens of the period
  p_overage bigint,             -- quota tokens beyond those, up to the user's spending cap
  p_parallel integer,           -- null: not counted
  p_free boolean,
  p_free_cap numeric,           -- USD per day, unless an admin has set another cap
  p_total_cap numeric,
  p_lease_seconds double precision,
  p_scopes text[],              -- kill switches that apply to this call
  -- Every model that may answer, with its weight and price. The call settles at these, even if an admin
  -- changes them meanwhile. Null from a process of the previous release.
  p_models jsonb default null,
  -- The newest model change that the caller has seen; null from a process of the previous release.
  p_revision bigint default null,
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
  v_cap numeric;
begin
  if exists (select 1 from private.kill_switches where scope = any(p_scopes)) then
    refusal := 'paused';
    return;
  end if;
  if p_revision is null then
    if exists (select 1 from private.model_overrides where model = p_model and not enabled) then
      refusal := 'paused';
      return;
    end if;
  elsif p_revision <> (select coalesce(max(revision), 0) from private.model_overrides) then
    -- The caller's weight or price may be outdated: it reads them again and retries.
    refusal := 'models_changed';
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
    -- Read after taking the lock, which a change of the cap takes too: no call uses an older cap.
    select usd into v_cap from private.spending_caps where scope = 'free';
    if v_held + v_cost > coalesce(v_cap, p_free_cap) then
      update public.spend_days set refused_at = now()
        where day = v_day and scope = 'free' and refused_at is null;
      refusal := 'free_tier_spent';
      retry_at := v_next_day;
      return;
    end if;
  end if;
  select spent_usd + reserved_usd into v_held from public.spend_days
    where day = v_day and scope = 'total' for update;
  select usd into v_cap from private.spending_caps where scope = 'total';
  if v_held + v_cost > coalesce(v_cap, p_total_cap) then
    update public.spend_days set refused_at = now()
      where day = v_day and scope = 'total' and refused_at is null;
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
    prompt_estimate, prompt_count, max_tokens, weight, models, spend_day, free_tier,
    lease_expires_at
  ) values (
    p_id, p_user, p_conversation, p_message, p_purpose, p_plan, p_model, p_period_key, v_tokens,
    v_cost, p_prompt, p_prompt_count, max_tokens, p_weight, p_models, v_day, p_free,
    now() + make_interval(secs => p_lease_seconds)
  );
  tokens_left := v_left - v_tokens;
end $$;

revoke all on function private.reserve from public, anon, authenticated, service_role;
grant execute on function private.reserve to service_role;
