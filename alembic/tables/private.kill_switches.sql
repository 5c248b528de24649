alter table private.kill_switches enable row level security;
revoke all on private.kill_switches from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.kill_switches to service_role;
