-- Why a provider's report wasn't believed, word by word; null where it was, or where none came. The line
-- then has our own count.
alter table public.usage_records add column report_issue text;

-- What a provider produced, or says it produced, beyond what its user is charged: the house's loss.
-- Append-only, like the ledger.
create table private.usage_losses (
  id uuid primary key default gen_random_uuid(),
  -- One call may have several: a provider that failed, and the one that answered in its place.
  reservation_id uuid not null,
  user_id uuid not null,
  purpose text not null check (purpose in ('reply', 'title')),
  model text not null,
  provider text not null,
  -- report: more than can be. overrun: cut where the grant ended. reservation: more than was held.
  -- failed: a call that is free for its user.
  reason text not null check (reason in ('report', 'overrun', 'reservation', 'failed')),
  -- What the provider reported; null where it reported nothing.
  reported_prompt_tokens bigint check (reported_prompt_tokens >= 0),
  reported_completion_tokens bigint check (reported_completion_tokens >= 0),
  -- Our own count of what was sent and of what came.
  counted_prompt_tokens bigint not null check (counted_prompt_tokens >= 0),
  counted_completion_tokens bigint not null check (counted_completion_tokens >= 0),
  reserved_prompt_tokens bigint not null check (reserved_prompt_tokens >= 0),
  reserved_completion_tokens bigint not null check (reserved_completion_tokens >= 0),
  reserved_usd numeric(14, 6) not null check (reserved_usd >= 0),
  charged_prompt_tokens bigint not null check (charged_prompt_tokens >= 0),
  charged_completion_tokens bigint not null check (charged_completion_tokens >= 0),
  charged_usd numeric(14, 6) not null check (charged_usd >= 0),
  -- What the provider may bill beyond what was charged.
  lost_tokens bigint not null check (lost_tokens > 0),
  lost_usd numeric(20, 6) not null check (lost_usd >= 0),
  created_at timestamptz not null default now()
);
create index usage_losses_newest_idx on private.usage_losses (created_at desc, id desc);
create index usage_losses_reservation_idx on private.usage_losses (reservation_id);

alter table private.usage_losses enable row level security;
revoke all on private.usage_losses from public, anon, authenticated, service_role;
grant select, insert on private.usage_losses to service_role;

-- The last line of the bound: whoever settles, no more than was held is charged. The release before
-- doesn't bound its ledger line, so for as long as it runs, the two may differ where a provider reports
-- too much; the caps hold all the same.
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
