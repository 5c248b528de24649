alter table private.subscription_tasks enable row level security;
revoke all on private.subscription_tasks from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.subscription_tasks to service_role;
