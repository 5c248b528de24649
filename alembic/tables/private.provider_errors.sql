alter table private.provider_errors enable row level security;
revoke all on private.provider_errors from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.provider_errors to service_role;
