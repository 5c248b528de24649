-- Append-only: nobody may change or remove a row.
alter table private.write_offs enable row level security;
revoke all on private.write_offs from public, anon, authenticated, service_role;
grant select, insert on private.write_offs to service_role;
