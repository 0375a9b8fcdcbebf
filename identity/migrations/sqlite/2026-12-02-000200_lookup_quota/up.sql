-- The daily lookup quotas, counted by all processes together. A day is the number of days since 1970-01-01, UTC.
-- fingerprint_key turns the lookup digests of the day into fingerprints.
create table lookup_days (
    day bigint not null primary key,
    fingerprint_key blob not null
);

-- subject is a digest of an account, of a client, or of a group of these. leased counts the addresses that the processes
-- may look up or have looked up for it, parts the rows of lookup_fingerprints. name is the domain of a group of homeservers.
create table lookup_leases (
    day bigint not null,
    subject blob not null,
    leased bigint not null,
    parts bigint not null,
    name text,
    primary key (day, subject)
);
create index lookup_leases_by_name on lookup_leases (day) where name is not null;

-- Fingerprints of the addresses that an account or a client has looked up, 8 bytes each: looking them up again is free.
create table lookup_fingerprints (
    day bigint not null,
    subject blob not null,
    part bigint not null,
    fingerprints blob not null,
    primary key (day, subject, part)
);
