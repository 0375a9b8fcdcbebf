-- The public halves of the keys that have signed: a key file without the current one is lost or another server's.
create table recorded_keys (
    id text not null primary key,
    public_key blob not null,
    is_current integer not null,
    recorded_at bigint not null
);
