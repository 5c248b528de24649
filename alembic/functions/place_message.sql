-- Where a new message stands in its conversation's tree. One that says neither what it follows nor that it
-- is the first (`depth` 0) follows the last one in view, and comes into view: as the release before this
-- function adds messages.
create or replace function private.place_message() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.parent_id is null and new.depth is null then
    select coalesce(c.leaf_id, (
        select m.id from public.messages m where m.conversation_id = c.id
        order by m.created_at desc, m.id desc limit 1))
      into new.parent_id from public.conversations c where c.id = new.conversation_id;
    update public.conversations set leaf_id = null
      where id = new.conversation_id and leaf_id is not null;
  end if;
  new.depth := 0;
  if new.parent_id is not null then
    -- A parent without a depth is one of a conversation that the migration hasn't reached: nothing in it
    -- has a second version yet.
    select 1 + coalesce(m.depth, (
        select count(*) - 1 from public.messages e where e.conversation_id = m.conversation_id))
      into new.depth from public.messages m where m.id = new.parent_id;
  end if;
  return new;
end $$;

revoke all on function private.place_message from public, anon, authenticated, service_role;
