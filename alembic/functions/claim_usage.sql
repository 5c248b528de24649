-- For senders of the previous release, which know one meter.
create or replace function private.claim_usage(
  p_limit integer,
  p_after text,               -- customers after this name come first, so that each gets a turn
  p_lease_seconds double precision,
  p_per_second double precision,
  p_burst_seconds double precision
) returns table (
  id uuid, claim uuid, identifier text, customer text, tokens bigint, event_at timestamptz,
  failures integer, attempts integer,
  fresh boolean                -- certainly not sent before
) language sql set search_path = '' as $$
  select c.id, c.claim, c.identifier, c.customer, c.value, c.event_at, c.failures, c.attempts, c.fresh
  from private.claim_meter_events(
    p_limit, p_after, p_lease_seconds, p_per_second, p_burst_seconds, array['ai_tokens_used']) c
$$;

revoke all on function private.claim_usage from public, anon, authenticated, service_role;
grant execute on function private.claim_usage to service_role;
