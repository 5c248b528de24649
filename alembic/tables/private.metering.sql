alter table private.metering enable row level security;
revoke all on private.metering from public, anon, authenticated, service_role;
grant select, update on private.metering to service_role;
