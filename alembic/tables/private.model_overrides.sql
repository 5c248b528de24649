alter table private.model_overrides enable row level security;
revoke all on private.model_overrides from public, anon, authenticated, service_role;
grant select, insert, update on private.model_overrides to service_role;
revoke all on sequence private.model_revisions from public, anon, authenticated, service_role;
grant usage on sequence private.model_revisions to service_role;
