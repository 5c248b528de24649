create table if not exists objects (
    seq integer primary key autoincrement,
    kind text not null,
    id text not null,
    body text not null,
    unique (kind, id)
);
create index if not exists objects_by_customer on objects (kind, json_extract(body, '$.customer'));
create index if not exists objects_by_subscription
    on objects (kind, json_extract(body, '$._subscription'));

create table if not exists clock_moves (
    wall integer not null,
    ahead integer not null
);

-- Answers to requests with an idempotency key.
create table if not exists answers (
    key text primary key,
    request text not null,
    status integer not null,
    body text not null,
    created integer not null
);
create index if not exists answers_by_age on answers (created);

create table if not exists deliveries (
    seq integer primary key autoincrement,
    event text not null,
    kind text not null,
    endpoint text not null,
    attempts integer not null default 0,
    due real not null default 0,
    last_status integer,
    delivered integer not null default 0
);
create index if not exists deliveries_open on deliveries (due) where not delivered;

-- `at` is the books' instant of `timestamp`, which is the machine's, as it was sent.
create table if not exists meter_events (
    seq integer primary key autoincrement,
    identifier text not null,
    meter text not null,
    customer text not null,
    value integer not null,
    timestamp integer not null,
    at integer not null,
    received integer not null,
    state text not null check (state in ('counted', 'cancelled', 'invalid'))
);
create index if not exists meter_events_by_identifier on meter_events (identifier);
create index if not exists meter_events_by_customer on meter_events (meter, customer, at);

create index if not exists objects_waiting on objects (kind, json_extract(body, '$._due'))
    where json_extract(body, '$._due') is not null;
