-- Written by a trigger of the ledger alone.
alter table private.usage_totals enable row level security;
revoke all on private.usage_totals from public, anon, authenticated, service_role;
grant select on private.usage_totals to service_role;
