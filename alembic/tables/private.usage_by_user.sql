-- Written by a trigger of the ledger alone.
alter table private.usage_by_user enable row level security;
revoke all on private.usage_by_user from public, anon, authenticated, service_role;
grant select on private.usage_by_user to service_role;
