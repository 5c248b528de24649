-- The service reads pictures for admins; only their owners write them.
alter table public.profile_pictures enable row level security;
revoke all on public.profile_pictures from public, anon, authenticated, service_role;
grant select, delete on public.profile_pictures to authenticated;
grant insert (user_id, version, content, content_type) on public.profile_pictures to authenticated;
grant select on public.profile_pictures to service_role;

drop policy if exists own_picture_read on public.profile_pictures;
create policy own_picture_read on public.profile_pictures for select to authenticated
  using (user_id = (select auth.uid()));

drop policy if exists own_picture_add on public.profile_pictures;
create policy own_picture_add on public.profile_pictures for insert to authenticated
  with check (user_id = (select auth.uid()));

drop policy if exists own_picture_remove on public.profile_pictures;
create policy own_picture_remove on public.profile_pictures for delete to authenticated
  using (user_id = (select auth.uid()));
