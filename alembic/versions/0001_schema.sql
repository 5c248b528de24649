-- Everything in schema `public` can be reached by a signed-in user's own token on hosted Supabase,
-- so each table starts from nothing granted. What only the server needs lives in `private`.

create schema if not exists private;
revoke all on schema private from public;
grant usage on schema private to service_role;

create function private.touch_updated_at() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end $$;

-- Accounts ---------------------------------------------------------------------------------------

create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  email text not null,
  full_name text not null default '' check (char_length(full_name) <= 120),
  avatar_url text check (char_length(avatar_url) <= 2048 and avatar_url ~ '^https://'),
  role text not null default 'user' check (role in ('user', 'admin')),
  plan text not null default 'free',
  subscription_status text not null default 'free'
    check (subscription_status in ('free', 'active', 'past_due', 'cancelled', 'trialing')),
  stripe_customer_id text unique,
  -- Limits set for one account; null means the plan's.
  requests_per_minute integer check (requests_per_minute >= 0),
  requests_per_day integer check (requests_per_day >= 0),
  tokens_per_month bigint check (tokens_per_month >= 0),
  suspended_at timestamptz,
  suspended_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index profiles_email_idx on public.profiles (lower(email));
create trigger profiles_touch before update on public.profiles
  for each row execute function private.touch_updated_at();

create function private.profile_for_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.profiles (id, email, full_name)
  values (
    new.id,
    coalesce(new.email, ''),
    left(coalesce(new.raw_user_meta_data ->> 'full_name', ''), 120)
  )
  on conflict (id) do nothing;
  return new;
end $$;
create trigger aisaas_profile_for_new_user after insert on auth.users
  for each row execute function private.profile_for_new_user();

create function private.profile_follows_email() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.profiles set email = coalesce(new.email, '') where id = new.id;
  return new;
end $$;
create trigger aisaas_profile_follows_email after update of email on auth.users
  for each row when (old.email is distinct from new.email)
  execute function private.profile_follows_email();

create table private.sessions (
  id uuid primary key default gen_random_uuid(),
  token_hash bytea not null unique,
  user_id uuid not null references public.profiles (id) on delete cascade,
  access_token bytea not null,
  refresh_token bytea not null,
  access_expires_at timestamptz not null,
  -- When the auth server last said that this user and session are good.
  verified_at timestamptz not null default now(),
  -- The process that is refreshing holds a claim until then; the others wait for its result.
  refresh_claimed_until timestamptz,
  user_agent text not null default '',
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index sessions_user_idx on private.sessions (user_id, created_at desc);

-- A row is an engaged switch: 'all', 'plan:free', 'model:gpt-4o', 'provider:openai'.
create table private.kill_switches (
  scope text primary key check (scope ~ '^(all|(plan|model|provider):[^[:space:]]+)$'),
  reason text not null default '',
  engaged_at timestamptz not null default now()
);

-- Chat -------------------------------------------------------------------------------------------

create table public.conversations (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.profiles (id) on delete cascade,
  title text not null default 'New Conversation' check (char_length(title) between 1 and 200),
  model text not null check (char_length(model) between 1 and 200),
  last_message_at timestamptz not null default now(),
  deleted_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (id, user_id)
);
create index conversations_user_created_idx on public.conversations (user_id, created_at desc);
create index conversations_user_recent_idx
  on public.conversations (user_id, last_message_at desc, id desc) where deleted_at is null;
create index conversations_deleted_idx
  on public.conversations (deleted_at) where deleted_at is not null;
create trigger conversations_touch before update on public.conversations
  for each row execute function private.touch_updated_at();

create table public.messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null,
  user_id uuid not null,
  role text not null check (role in ('user', 'assistant', 'system')),
  content text not null default '' check (char_length(content) <= 2000000),
  status text not null default 'done'
    check (status in ('streaming', 'done', 'stopped', 'interrupted', 'failed')),
  -- The user's message which an assistant's message answers.
  reply_to uuid,
  model text,
  answered_by text,
  -- Counted by the server when the reply settles, and not the user's to write: it is charged for.
  token_count integer not null default 0 check (token_count >= 0),
  prompt_tokens integer check (prompt_tokens >= 0),
  completion_tokens integer check (completion_tokens >= 0),
  cost_usd numeric(10, 6) check (cost_usd >= 0),
  -- How many of the oldest messages did not fit the model's context window.
  history_cut integer not null default 0 check (history_cut >= 0),
  error_code text,
  -- clock_timestamp, so that two messages of one transaction keep their order.
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  unique (id, conversation_id),
  foreign key (conversation_id, user_id)
    references public.conversations (id, user_id) on delete cascade,
  foreign key (reply_to, conversation_id)
    references public.messages (id, conversation_id) on delete cascade,
  check (status <> 'streaming' or role = 'assistant')
);
create index messages_conversation_idx on public.messages (conversation_id, created_at desc, id desc);
create index messages_reply_to_idx on public.messages (reply_to, conversation_id);
create index messages_owner_idx on public.messages (conversation_id, user_id);
create index messages_streaming_idx on public.messages (created_at) where status = 'streaming';
create trigger messages_touch before update on public.messages
  for each row execute function private.touch_updated_at();

-- Money ------------------------------------------------------------------------------------------

-- Like the ledger, the two tables of the allowance outlive the account: a reply that is still running
-- when its account is deleted has to settle, and what it holds of the day's caps to be given back.
create table public.quota_periods (
  user_id uuid not null,
  -- 'month:2026-11' or a subscription item's period: a key, so there is nothing to reset.
  period_key text not null,
  period_start timestamptz not null,
  period_end timestamptz not null check (period_end > period_start),
  token_limit bigint not null check (token_limit >= 0),
  used bigint not null default 0 check (used >= 0),
  reserved bigint not null default 0 check (reserved >= 0),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (user_id, period_key)
);
create index quota_periods_recent_idx on public.quota_periods (user_id, period_end desc);
create trigger quota_periods_touch before update on public.quota_periods
  for each row execute function private.touch_updated_at();

create table public.reservations (
  id uuid primary key,
  user_id uuid not null,
  conversation_id uuid,
  message_id uuid,
  purpose text not null check (purpose in ('reply', 'title')),
  plan text not null,
  model text not null,
  period_key text not null,
  -- What is held: quota tokens (weighted) and money, the worst case of the call.
  tokens bigint not null check (tokens >= 0),
  cost_usd numeric(14, 6) not null check (cost_usd >= 0),
  -- The upper estimate that is held, and the best count that is charged if no better comes.
  prompt_estimate integer not null check (prompt_estimate >= 0),
  prompt_count integer not null check (prompt_count >= 0),
  max_tokens integer not null check (max_tokens >= 0),
  weight numeric(10, 4) not null check (weight > 0),
  spend_day date not null,
  free_tier boolean not null,
  state text not null default 'open' check (state in ('open', 'settled', 'released')),
  lease_expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  closed_at timestamptz,
  foreign key (user_id, period_key) references public.quota_periods (user_id, period_key),
  check ((state = 'open') = (closed_at is null))
);
create index reservations_user_created_idx on public.reservations (user_id, created_at desc);
create index reservations_user_open_idx on public.reservations (user_id) where state = 'open';
create index reservations_lease_idx on public.reservations (lease_expires_at) where state = 'open';
create index reservations_message_idx on public.reservations (message_id);

-- The ledger. No foreign keys to what a user may delete: it outlives conversations and accounts,
-- and what is left of an account is its random id.
create table public.usage_records (
  id uuid primary key default gen_random_uuid(),
  reservation_id uuid not null unique,
  user_id uuid not null,
  conversation_id uuid,
  message_id uuid,
  purpose text not null check (purpose in ('reply', 'title')),
  plan text not null,
  model text not null,
  provider text not null,
  prompt_tokens integer not null check (prompt_tokens >= 0),
  cached_prompt_tokens integer not null default 0 check (cached_prompt_tokens >= 0),
  completion_tokens integer not null check (completion_tokens >= 0),
  total_tokens integer not null generated always as (prompt_tokens + completion_tokens) stored,
  -- Where the counts come from: the provider, or our documented estimate.
  counted_by text not null check (counted_by in ('provider', 'estimate')),
  weight numeric(10, 4) not null check (weight > 0),
  quota_tokens bigint not null check (quota_tokens >= 0),
  period_key text not null,
  input_usd_per_million numeric(14, 6) not null check (input_usd_per_million >= 0),
  output_usd_per_million numeric(14, 6) not null check (output_usd_per_million >= 0),
  price_version text not null,
  cost_usd numeric(10, 6) not null check (cost_usd >= 0),
  outcome text not null check (outcome in ('done', 'stopped', 'interrupted', 'failed')),
  stripe_meter_event_id text unique,
  created_at timestamptz not null default now()
);
create index usage_records_user_created_idx on public.usage_records (user_id, created_at desc);
create index usage_records_created_idx on public.usage_records (created_at desc);

create table public.usage_outbox (
  id uuid primary key default gen_random_uuid(),
  usage_record_id uuid not null unique references public.usage_records (id),
  user_id uuid not null,
  identifier text not null unique,
  stripe_customer_id text not null,
  tokens bigint not null check (tokens > 0),
  event_at timestamptz not null,
  state text not null default 'pending' check (state in ('pending', 'sent', 'dead', 'parked')),
  attempts integer not null default 0 check (attempts >= 0),
  next_attempt_at timestamptz not null default now(),
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now()
);
create index usage_outbox_due_idx on public.usage_outbox (next_attempt_at) where state = 'pending';
create index usage_outbox_user_idx on public.usage_outbox (user_id, created_at desc);

create table public.spend_days (
  day date not null,
  scope text not null check (scope in ('free', 'total')),
  spent_usd numeric(14, 6) not null default 0 check (spent_usd >= 0),
  reserved_usd numeric(14, 6) not null default 0 check (reserved_usd >= 0),
  primary key (day, scope)
);

create table public.subscriptions (
  id text primary key,
  user_id uuid not null references public.profiles (id) on delete cascade,
  stripe_customer_id text not null,
  status text not null,
  plan text not null,
  price_id text,
  item_id text,
  current_period_start timestamptz,
  current_period_end timestamptz,
  cancel_at_period_end boolean not null default false,
  trial_end timestamptz,
  past_due_since timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index subscriptions_user_idx on public.subscriptions (user_id, created_at desc);
create index subscriptions_customer_idx on public.subscriptions (stripe_customer_id);
create trigger subscriptions_touch before update on public.subscriptions
  for each row execute function private.touch_updated_at();

create table public.processed_webhook_events (
  id text primary key,
  type text not null,
  created_at timestamptz not null default now()
);
create index processed_webhook_events_created_idx
  on public.processed_webhook_events (created_at desc);

create table public.audit_log (
  id uuid primary key default gen_random_uuid(),
  actor text not null,
  action text not null,
  subject text not null,
  before jsonb,
  after jsonb,
  reason text not null default '',
  created_at timestamptz not null default now()
);
create index audit_log_created_idx on public.audit_log (created_at desc);
create index audit_log_subject_idx on public.audit_log (subject, created_at desc);

-- Row level security: on everywhere, also where nothing is granted ------------------------------

alter table public.profiles enable row level security;
alter table public.conversations enable row level security;
alter table public.messages enable row level security;
alter table public.quota_periods enable row level security;
alter table public.reservations enable row level security;
alter table public.usage_records enable row level security;
alter table public.usage_outbox enable row level security;
alter table public.spend_days enable row level security;
alter table public.subscriptions enable row level security;
alter table public.processed_webhook_events enable row level security;
alter table public.audit_log enable row level security;
alter table private.sessions enable row level security;
alter table private.kill_switches enable row level security;
alter table private.alembic_version enable row level security;

create policy own_profile_read on public.profiles for select to authenticated
  using (id = (select auth.uid()));
create policy own_profile_write on public.profiles for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

create policy own_conversations_read on public.conversations for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_conversations_add on public.conversations for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy own_conversations_write on public.conversations for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

create policy own_messages_read on public.messages for select to authenticated
  using (user_id = (select auth.uid()));
-- A message is tied to its author and to whose conversation it is. Users add what they typed and
-- an empty reply to be filled by the server; nothing else.
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

create policy own_quota_read on public.quota_periods for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_reservations_read on public.reservations for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_usage_read on public.usage_records for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_subscriptions_read on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));

-- Grants: hosted Supabase gives anon and authenticated everything on new tables by default -------

revoke all on all tables in schema public from public, anon, authenticated, service_role;
revoke all on all tables in schema private from public, anon, authenticated, service_role;
alter default privileges in schema public
  revoke all on tables from anon, authenticated, service_role;
-- Not `in schema public`: what everybody may execute by default can only be taken back for all
-- schemas at once.
alter default privileges revoke execute on functions from public;
alter default privileges in schema public
  revoke execute on functions from anon, authenticated, service_role;
alter default privileges in schema public
  revoke all on sequences from anon, authenticated, service_role;
revoke execute on all functions in schema private from public;

grant select (id, email, full_name, avatar_url, role, plan, subscription_status, created_at, updated_at)
  on public.profiles to authenticated;
grant update (full_name, avatar_url) on public.profiles to authenticated;
grant select on public.conversations to authenticated;
grant insert (id, user_id, title, model) on public.conversations to authenticated;
grant update (title, model, last_message_at, deleted_at) on public.conversations to authenticated;
grant select on public.messages to authenticated;
grant insert (id, conversation_id, user_id, role, content, status, reply_to, model)
  on public.messages to authenticated;
grant select on public.quota_periods to authenticated;
grant select (id, user_id, conversation_id, message_id, purpose, model, tokens, state, created_at)
  on public.reservations to authenticated;
grant select on public.usage_records to authenticated;
grant select (id, user_id, status, plan, current_period_start, current_period_end,
    cancel_at_period_end, trial_end) on public.subscriptions to authenticated;

-- The server. The ledger and the audit log take no UPDATE and no DELETE from anyone.
grant select, update on public.profiles to service_role;
grant select, delete on public.conversations to service_role;
grant select, update on public.messages to service_role;
grant select, insert, update on public.quota_periods to service_role;
grant select, insert, update on public.reservations to service_role;
grant select, insert on public.usage_records to service_role;
grant select, insert, update on public.usage_outbox to service_role;
grant select, insert, update on public.spend_days to service_role;
grant select, insert, update on public.subscriptions to service_role;
grant select, insert on public.processed_webhook_events to service_role;
grant select, insert on public.audit_log to service_role;
grant select, insert, update, delete on private.sessions to service_role;
grant select, insert, update, delete on private.kill_switches to service_role;

-- The reservation: one statement for the caller, all or nothing ---------------------------------

-- Locks, in this order always: the user's period, then the day's rows (free, total). The shared rows
-- come last, so that what all users wait for is held for the shortest time.
-- `refusal` is null when the call may go on. A refusal changes nothing but, at most, an empty row.
create function private.reserve(
  p_id uuid,
  p_user uuid,
  p_conversation uuid,
  p_message uuid,
  p_purpose text,
  p_plan text,
  p_model text,
  p_prompt integer,             -- tokens, upper estimate
  p_prompt_count integer,       -- tokens, best count
  p_max integer,                -- completion tokens asked for
  p_min integer,                -- fewer than these are not worth a call
  p_weight numeric,             -- quota tokens per token
  p_input_usd numeric,          -- per million tokens
  p_output_usd numeric,
  p_period_key text,            -- null: the calendar month, UTC, by the database's clock
  p_period_start timestamptz,
  p_period_end timestamptz,
  p_token_limit bigint,
  p_parallel integer,           -- null: not counted
  p_free boolean,
  p_free_cap numeric,
  p_total_cap numeric,
  p_lease_seconds double precision,
  p_scopes text[],              -- kill switches that would stop this call
  out refusal text,
  out max_tokens integer,
  out tokens_left bigint,
  out retry_at timestamptz
) language plpgsql set search_path = '' as $$
declare
  v_day date := (now() at time zone 'UTC')::date;
  v_next_day timestamptz := ((v_day + 1)::timestamp at time zone 'UTC');
  v_quota public.quota_periods;
  v_left bigint;
  v_tokens bigint;
  v_cost numeric;
  v_open integer;
  v_held numeric;
begin
  if exists (select 1 from private.kill_switches where scope = any(p_scopes)) then
    refusal := 'paused';
    return;
  end if;
  if p_period_key is null then
    p_period_key := 'month:' || to_char(v_day, 'YYYY-MM');
    p_period_start := date_trunc('month', v_day::timestamp) at time zone 'UTC';
    p_period_end := (date_trunc('month', v_day::timestamp) + interval '1 month') at time zone 'UTC';
  end if;

  select * into v_quota from public.quota_periods
    where user_id = p_user and period_key = p_period_key for update;
  if not found then
    insert into public.quota_periods (user_id, period_key, period_start, period_end, token_limit)
      values (p_user, p_period_key, p_period_start, p_period_end, p_token_limit)
      on conflict (user_id, period_key) do nothing;
    select * into v_quota from public.quota_periods
      where user_id = p_user and period_key = p_period_key for update;
  end if;

  if p_parallel is not null then
    select count(*) into v_open from public.reservations
      where user_id = p_user and state = 'open' and purpose = 'reply';
    if v_open >= p_parallel then
      refusal := 'busy';
      return;
    end if;
  end if;

  v_left := greatest(p_token_limit - v_quota.used - v_quota.reserved, 0);
  tokens_left := v_left;
  max_tokens := least(p_max, floor(v_left / p_weight)::bigint - p_prompt);
  if max_tokens < least(p_min, p_max) or max_tokens < 1 then
    refusal := 'quota_exceeded';
    retry_at := v_quota.period_end;
    return;
  end if;
  v_tokens := ceil((p_prompt + max_tokens) * p_weight);
  v_cost := round((p_prompt * p_input_usd + max_tokens * p_output_usd) / 1000000, 6);

  insert into public.spend_days (day, scope)
    select v_day, s.scope from (values ('free'), ('total')) s (scope)
    where not exists (
      select 1 from public.spend_days d where d.day = v_day and d.scope = s.scope
    )
    on conflict do nothing;
  if p_free then
    select spent_usd + reserved_usd into v_held from public.spend_days
      where day = v_day and scope = 'free' for update;
    if v_held + v_cost > p_free_cap then
      refusal := 'free_tier_spent';
      retry_at := v_next_day;
      return;
    end if;
  end if;
  select spent_usd + reserved_usd into v_held from public.spend_days
    where day = v_day and scope = 'total' for update;
  if v_held + v_cost > p_total_cap then
    refusal := 'total_spent';
    retry_at := v_next_day;
    return;
  end if;

  update public.spend_days set reserved_usd = reserved_usd + v_cost
    where day = v_day and (scope = 'total' or (p_free and scope = 'free'));
  update public.quota_periods set reserved = reserved + v_tokens, token_limit = p_token_limit
    where user_id = p_user and period_key = p_period_key;
  insert into public.reservations (
    id, user_id, conversation_id, message_id, purpose, plan, model, period_key, tokens, cost_usd,
    prompt_estimate, prompt_count, max_tokens, weight, spend_day, free_tier, lease_expires_at
  ) values (
    p_id, p_user, p_conversation, p_message, p_purpose, p_plan, p_model, p_period_key, v_tokens,
    v_cost, p_prompt, p_prompt_count, max_tokens, p_weight, v_day, p_free,
    now() + make_interval(secs => p_lease_seconds)
  );
  tokens_left := v_left - v_tokens;
end $$;

-- Gives back what a reservation holds and books what was used; false when it was closed already,
-- so that of two settlers only one writes.
create function private.close_reservation(
  p_id uuid, p_quota_tokens bigint, p_cost numeric
) returns boolean language plpgsql set search_path = '' as $$
declare
  v public.reservations;
begin
  update public.reservations
    set state = case when p_quota_tokens = 0 and p_cost = 0 then 'released' else 'settled' end,
        closed_at = now()
    where id = p_id and state = 'open'
    returning * into v;
  if not found then
    return false;
  end if;
  update public.quota_periods
    set reserved = reserved - v.tokens, used = used + p_quota_tokens
    where user_id = v.user_id and period_key = v.period_key;
  if v.free_tier then
    update public.spend_days
      set reserved_usd = reserved_usd - v.cost_usd, spent_usd = spent_usd + p_cost
      where day = v.spend_day and scope = 'free';
  end if;
  update public.spend_days
    set reserved_usd = reserved_usd - v.cost_usd, spent_usd = spent_usd + p_cost
    where day = v.spend_day and scope = 'total';
  return true;
end $$;

revoke execute on all functions in schema private from public;
grant execute on function private.reserve, private.close_reservation to service_role;
