-- A row's contents never change; only the columns about sending it do.
alter table public.billing_notices enable row level security;
revoke all on public.billing_notices from public, anon, authenticated, service_role;
grant select, insert, delete on public.billing_notices to service_role;
grant update (state, attempts, next_attempt_at, last_error, sent_at)
  on public.billing_notices to service_role;
