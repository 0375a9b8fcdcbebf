-- SMS of a day (days since 1970-01-01, UTC), all processes together: of one calling code, and of all under ''.
create table sms_days (
    day bigint not null,
    calling_code text not null,
    messages bigint not null,
    primary key (day, calling_code)
);
