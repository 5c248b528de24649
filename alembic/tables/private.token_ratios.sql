alter table private.token_ratios enable row level security;
revoke all on private.token_ratios from public, anon, authenticated, service_role;
grant select, insert, update on private.token_ratios to service_role;
