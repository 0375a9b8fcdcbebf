-- Times are Unix milliseconds. Nothing secret stands here in clear: tokens and client secrets as digests,
-- validation tokens and queued mails sealed with a key that is made from the signing key's seed.

create table accounts (
    mxid text not null primary key,
    created_at bigint not null
);

create table tokens (
    digest bytea not null primary key,
    mxid text not null references accounts (mxid) on delete cascade,
    created_at bigint not null,
    used_at bigint not null
);
create index tokens_by_account on tokens (mxid, created_at);

create table accepted_terms (
    mxid text not null references accounts (mxid) on delete cascade,
    url text not null,
    accepted_at bigint not null,
    primary key (mxid, url)
);

-- One validation session; send_attempt is the number of the last message that went out, sending_attempt the one
-- that somebody is sending until sending_until.
create table sessions (
    sid text not null primary key,
    medium text not null,
    address text not null,
    typed_address text not null,
    client_secret_digest bytea not null,
    account text,
    sealed_token bytea not null,
    created_at bigint not null,
    validated_at bigint,
    send_attempt bigint,
    sending_attempt bigint,
    sending_until bigint,
    wrong_tokens integer not null,
    next_link text
);
create index sessions_by_key on sessions (address, client_secret_digest);
create index sessions_by_age on sessions (created_at);

-- At most one live association for each address; digest and digest_lower are its lookup hashes under the pepper.
create table associations (
    medium text not null,
    address text not null,
    typed_address text not null,
    mxid text not null,
    ts bigint not null,
    not_before bigint not null,
    not_after bigint not null,
    digest bytea not null,
    digest_lower bytea,
    primary key (medium, address)
);
create unique index associations_by_digest on associations (digest);
create index associations_by_digest_lower on associations (digest_lower) where digest_lower is not null;
create index associations_by_mxid on associations (mxid);

-- Every change of an association in its order; mxid null is a removal.
create table association_changes (
    id bigint not null primary key generated always as identity,
    medium text not null,
    address text not null,
    mxid text,
    ts bigint not null,
    not_before bigint,
    not_after bigint
);

create table peppers (
    id integer not null primary key check (id = 1),
    pepper text not null,
    created_at bigint not null
);

-- Token buckets; subject is a digest of the limit's name and what it counts, full_at when the bucket is full again.
create table rate_limits (
    subject bytea not null primary key,
    full_at bigint not null
);
create index rate_limits_by_age on rate_limits (full_at);

-- Mails that the relay put off (SMTP 4xx); leased_until keeps two workers from sending the same one.
create table outgoing_mails (
    id text not null primary key,
    sealed_mail bytea not null,
    attempts integer not null,
    next_attempt_at bigint not null,
    leased_until bigint,
    expires_at bigint not null
);
create index outgoing_mails_by_turn on outgoing_mails (next_attempt_at);
