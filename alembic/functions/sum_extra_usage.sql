create or replace function private.sum_extra_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.quota_periods
    set billed_tokens = billed_tokens + new.overage_tokens, billed_usd = billed_usd + new.overage_usd
    where user_id = new.user_id and period_key = new.period_key;
  return null;
end $$;

revoke all on function private.sum_extra_usage from public, anon, authenticated, service_role;
