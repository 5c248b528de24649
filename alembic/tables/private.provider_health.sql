alter table private.provider_health enable row level security;
revoke all on private.provider_health from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.provider_health to service_role;
