alter table private.added_models enable row level security;
revoke all on private.added_models from public, anon, authenticated, service_role;
grant select, insert, update on private.added_models to service_role;
