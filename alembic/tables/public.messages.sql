alter table public.messages enable row level security;
revoke all on public.messages from public, anon, authenticated, service_role;
grant select on public.messages to authenticated;
grant insert (id, conversation_id, user_id, role, content, status, reply_to, model, parent_id, depth)
  on public.messages to authenticated;
grant select, update, delete on public.messages to service_role;

drop policy if exists own_messages_read on public.messages;
create policy own_messages_read on public.messages for select to authenticated
  using (user_id = (select auth.uid()));

-- A message is tied to its author and to whose conversation it is. Users add what they typed and
-- an empty reply to be filled by the server; nothing else.
drop policy if exists own_messages_add on public.messages;
create policy own_messages_add on public.messages for insert to authenticated
  with check (
    user_id = (select auth.uid())
    and exists (
      select 1 from public.conversations c
      where c.id = conversation_id and c.user_id = (select auth.uid()) and c.deleted_at is null
    )
    and (
      (role = 'user' and status = 'done')
      or (role = 'assistant' and status = 'streaming' and content = '')
    )
  );

create or replace trigger messages_place before insert on public.messages
  for each row execute function private.place_message();
create or replace trigger messages_touch before update on public.messages
  for each row execute function private.touch_updated_at();
