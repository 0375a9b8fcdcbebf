create table association_changes (
    id bigint not null primary key generated always as identity,
    medium text not null,
    address text not null,
    mxid text,
    ts bigint not null,
    not_before bigint,
    not_after bigint
);
