-- How a session was opened; until when it stands for having read the account's mail, which for
-- that long is worth as much as the current password.
alter table private.sessions
  add column opened_by text not null default 'password'
    check (opened_by in (
      'sign_up', 'password', 'confirmation', 'magic_link', 'recovery', 'invite', 'email_change',
      'provider'
    )),
  add column recovered_until timestamptz;

-- A picture is small and asked for rarely (browsers keep it), so it lives beside the profile. It is
-- never changed, only put in place of another; its address carries its version, a hash.
create table public.profile_pictures (
  user_id uuid not null references public.profiles (id) on delete cascade,
  version text not null check (version ~ '^[0-9a-f]{16,64}$'),
  content bytea not null check (octet_length(content) between 1 and 262144),
  content_type text not null check (content_type in ('image/png', 'image/jpeg', 'image/webp')),
  created_at timestamptz not null default now(),
  primary key (user_id, version)
);

alter table public.profile_pictures enable row level security;
create policy own_picture_read on public.profile_pictures for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_picture_add on public.profile_pictures for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy own_picture_remove on public.profile_pictures for delete to authenticated
  using (user_id = (select auth.uid()));

revoke all on public.profile_pictures from public, anon, authenticated, service_role;
grant select, delete on public.profile_pictures to authenticated;
grant insert (user_id, version, content, content_type) on public.profile_pictures to authenticated;
-- An admin looks at it as the service; nobody else ever does.
grant select on public.profile_pictures to service_role;

-- Besides pictures elsewhere, which a sign-in provider may name: one's own here.
alter table public.profiles drop constraint profiles_avatar_url_check;
alter table public.profiles add constraint profiles_avatar_url_check check (
  char_length(avatar_url) <= 2048
  and (
    avatar_url ~ '^https://'
    or avatar_url ~ ('^/api/account/picture/' || id::text || '\?v=[0-9a-f]{16,64}$')
  )
);
