alter table private.provider_circuits enable row level security;
revoke all on private.provider_circuits from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.provider_circuits to service_role;
