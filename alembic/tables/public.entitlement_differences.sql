alter table public.entitlement_differences enable row level security;
revoke all on public.entitlement_differences from public, anon, authenticated, service_role;
grant select, insert, delete on public.entitlement_differences to service_role;
grant update (ours, theirs, note, found_by, found_at, corrected_at)
  on public.entitlement_differences to service_role;
