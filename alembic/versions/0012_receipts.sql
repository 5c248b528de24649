-- What a reply takes from its owner's plan, beside its tokens: shown with the reply. Null for replies that
-- ended before this migration.
alter table public.messages
  add column quota_tokens bigint check (quota_tokens >= 0),
  add column overage_usd numeric(12, 6) check (overage_usd >= 0);
