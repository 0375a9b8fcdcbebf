-- backoff is the length in milliseconds of the wait that ends at next_attempt_at. A longer wait shows that the clock was
-- ahead. Rows of an earlier version are retried once at the next start.
alter table onbinds add column backoff bigint not null default 0;
alter table outgoing_mails add column backoff bigint not null default 0;
