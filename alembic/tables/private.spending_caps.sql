alter table private.spending_caps enable row level security;
revoke all on private.spending_caps from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.spending_caps to service_role;
