drop table lookup_fingerprints;
drop table lookup_leases;
drop table lookup_days;
