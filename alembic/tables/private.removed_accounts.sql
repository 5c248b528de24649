alter table private.removed_accounts enable row level security;
revoke all on private.removed_accounts from public, anon, authenticated, service_role;
grant select, delete on private.removed_accounts to service_role;
