alter table public.processed_webhook_events enable row level security;
revoke all on public.processed_webhook_events from public, anon, authenticated, service_role;
grant select, insert, delete on public.processed_webhook_events to service_role;
grant update (outcome, customer_id, subscription_id, note)
  on public.processed_webhook_events to service_role;
