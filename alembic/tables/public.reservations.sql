alter table public.reservations enable row level security;
revoke all on public.reservations from public, anon, authenticated, service_role;
grant select (id, user_id, conversation_id, message_id, purpose, model, tokens, state, created_at)
  on public.reservations to authenticated;
grant select, insert, update, delete on public.reservations to service_role;

drop policy if exists own_reservations_read on public.reservations;
create policy own_reservations_read on public.reservations for select to authenticated
  using (user_id = (select auth.uid()));
