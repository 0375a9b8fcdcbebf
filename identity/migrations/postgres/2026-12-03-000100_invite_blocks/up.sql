-- Who wants no more invitations by mail: digests of an address, or of an address and a sender, under a key that is derived
-- from a signing key.
create table invite_blocks (
    digest bytea not null primary key,
    created_at bigint not null
);
