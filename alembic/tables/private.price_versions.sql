-- Append-only: nobody may change or remove a row.
alter table private.price_versions enable row level security;
revoke all on private.price_versions from public, anon, authenticated, service_role;
grant select, insert on private.price_versions to service_role;
