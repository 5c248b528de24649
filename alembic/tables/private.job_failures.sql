alter table private.job_failures enable row level security;
revoke all on private.job_failures from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.job_failures to service_role;
