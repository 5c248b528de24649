-- Append-only: nobody may change or remove a row.
alter table private.usage_losses enable row level security;
revoke all on private.usage_losses from public, anon, authenticated, service_role;
grant select, insert on private.usage_losses to service_role;
