alter table public.subscriptions enable row level security;
revoke all on public.subscriptions from public, anon, authenticated, service_role;
grant select (id, user_id, status, plan, current_period_start, current_period_end,
  cancel_at_period_end, trial_end, cancel_at)
  on public.subscriptions to authenticated;
grant select, insert, update on public.subscriptions to service_role;

drop policy if exists own_subscriptions_read on public.subscriptions;
create policy own_subscriptions_read on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));

create or replace trigger subscriptions_touch before update on public.subscriptions
  for each row execute function private.touch_updated_at();
