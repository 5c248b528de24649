alter table private.sessions enable row level security;
revoke all on private.sessions from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.sessions to service_role;
