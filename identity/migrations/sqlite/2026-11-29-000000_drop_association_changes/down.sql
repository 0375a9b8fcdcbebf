create table association_changes (
    id integer not null primary key autoincrement,
    medium text not null,
    address text not null,
    mxid text,
    ts bigint not null,
    not_before bigint,
    not_after bigint
);
