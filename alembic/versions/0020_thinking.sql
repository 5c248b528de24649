-- How a reply ended, as shown to its reader; `status` is that of its stream. Null for replies
-- that ended before this migration, or in a process of the release before.
alter table public.messages
  add column ending text check (ending in ('complete', 'limit', 'filtered', 'refused', 'empty',
    'only_thinking', 'stopped', 'cut', 'failed')),
  -- What the model thought, where its provider says so. Shown and exported, never sent to a model.
  add column thinking text not null default '' check (char_length(thinking) <= 2000000),
  -- Part of completion_tokens.
  add column thinking_tokens integer check (thinking_tokens >= 0),
  -- Null for a reply without any.
  add column thinking_seconds integer check (thinking_seconds >= 0),
  -- Where its last call began to add to it: characters that were there already.
  add column continued_from integer not null default 0 check (continued_from >= 0);

-- How much the model is asked to think; null leaves it to the model.
alter table public.conversations
  add column effort text check (effort in ('none', 'low', 'medium', 'high'));
grant insert (effort), update (effort) on public.conversations to authenticated;
