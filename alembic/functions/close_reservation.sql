-- Never charges more than was reserved, whichever process settles. The previous release doesn't bound its
-- ledger line, so while it runs the two may differ if a provider reports too much. The caps hold anyway.
create or replace function private.close_reservation(
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
  p_quota_tokens := least(p_quota_tokens, v.tokens);
  p_cost := least(p_cost, v.cost_usd);
  update public.quota_periods q
    set reserved = q.reserved - v.tokens, used = q.used + p_quota_tokens
    where q.user_id = v.user_id and q.period_key = v.period_key
    returning * into v_quota;

  -- Credits pay for the tokens of this call beyond the included ones; the credit that expires first pays
  -- first. Only the rest is charged as extra usage.
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

revoke all on function private.close_reservation from public, anon, authenticated, service_role;
grant execute on function private.close_reservation to service_role;
