alter table public.conversations enable row level security;
revoke all on public.conversations from public, anon, authenticated, service_role;
grant select on public.conversations to authenticated;
grant insert (id, user_id, title, model, effort) on public.conversations to authenticated;
grant update (title, model, last_message_at, deleted_at, effort, leaf_id)
  on public.conversations to authenticated;
grant select, delete on public.conversations to service_role;

drop policy if exists own_conversations_read on public.conversations;
create policy own_conversations_read on public.conversations for select to authenticated
  using (user_id = (select auth.uid()));

drop policy if exists own_conversations_add on public.conversations;
create policy own_conversations_add on public.conversations for insert to authenticated
  with check (user_id = (select auth.uid()));

drop policy if exists own_conversations_write on public.conversations;
create policy own_conversations_write on public.conversations for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

create or replace trigger conversations_touch before update on public.conversations
  for each row execute function private.touch_updated_at();
create or replace trigger conversations_owner after insert or update of user_id on public.conversations
  for each row execute function private.require_profile();
