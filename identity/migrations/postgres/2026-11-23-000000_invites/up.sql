-- Public halves of the key pairs that invites were made with; homeservers ask for them long after the invite is gone.
-- An invite that expires takes its key with it: expires_at is null again once the invite was delivered.
create table ephemeral_keys (
    public_key bytea not null primary key,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint
);

-- News of a new association for its user's homeserver, until that homeserver has taken the invites. server is the
-- homeserver's name in lower case; leased_until keeps two workers from sending the same one, dead_at is when it was given
-- up.
create table onbinds (
    id text not null primary key,
    medium text not null,
    address text not null,
    mxid text not null,
    server text not null,
    ts bigint not null,
    not_before bigint not null,
    not_after bigint not null,
    created_at bigint not null,
    attempts integer not null,
    next_attempt_at bigint not null,
    leased_until bigint,
    dead_at bigint,
    last_failure text
);
create index onbinds_by_turn on onbinds (next_attempt_at) where dead_at is null;
create index onbinds_by_address on onbinds (address, medium);

-- Invitations of addresses that nobody had bound. One waits until onbind_id says that it goes to whoever has bound the
-- address since; delivered_at is only set if delivered ones are kept.
create table invites (
    id text not null primary key,
    medium text not null,
    address text not null,
    room_id text not null,
    sender text not null,
    token text not null,
    public_key bytea references ephemeral_keys (public_key),
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    delivered_at bigint,
    onbind_id text references onbinds (id) on delete set null
);
create unique index invites_by_token on invites (token);
create index invites_by_address on invites (address, medium);
create index invites_by_onbind on invites (onbind_id) where onbind_id is not null;
create index invites_by_public_key on invites (public_key);
